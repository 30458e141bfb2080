"""The wheel: what it puts into a user's environment, and that it works there."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from typing import Final

import click
import pytest

from tests.integration.cli.conftest import CHECKOUT

FOLDERS: Final = {"core", "infra", "processors", "producers", "schemas", "simulator", "sinks"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with the installed hatchling and without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        timeout=60,
    )
    (built,) = folder.glob("*.whl")
    return built


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_wheel_adds_two_names_to_an_environment(wheel: Path) -> None:
    top = {name.split("/")[0] for name in names(wheel)}

    assert {name for name in top if not name.endswith(".dist-info")} == {
        "streamgauge.py",
        "streamgauge_app",
    }


def test_wheel_brings_one_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith("entry_points.txt"))
        text = archive.read(name).decode()

    assert text.split() == ["[console_scripts]", "streamgauge", "=", "streamgauge:main"]


def test_wheel_holds_every_tracked_file_of_the_application(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", *sorted(FOLDERS)],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    tracked = {name for name in listed.stdout.splitlines() if (CHECKOUT / name).exists()}

    assert {f"streamgauge_app/{name}" for name in tracked} - names(wheel) == set()


def test_wheel_holds_no_tests_and_no_state(wheel: Path) -> None:
    folders = {name.split("/")[1] for name in names(wheel) if name.startswith("streamgauge_app/")}

    assert folders == FOLDERS


def test_installed_wheel_runs_isolated_next_to_a_package_of_the_same_name(
    wheel: Path, tmp_path: Path
) -> None:
    """A user's own `core` neither breaks the command nor is it hidden by an installation."""
    venv.create(tmp_path / "venv", with_pip=False)
    python = tmp_path / "venv" / "bin" / "python"
    site = next((tmp_path / "venv" / "lib").glob("python3.*/site-packages"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "core.py").write_text("name = 'of the user'\n")
    # Its dependencies come from this environment's folder; only their order matters here.
    (site / "dependencies.pth").write_text(str(dependencies()))
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*arguments: str) -> str:
        return subprocess.run(
            [python, "-I", *arguments],
            cwd=tmp_path,
            env=environ,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    assert "Usage: streamgauge" in run("-m", "streamgauge", "--help")
    assert "SQL" in run("-m", "streamgauge", "query", "--help")
    assert "chdb" in run("-m", "streamgauge", "clickhouse", "--help").lower()
    assert run("-c", "import core; print(core.name)") == "of the user\n"
    assert run("-c", "import importlib.util as u; print(u.find_spec('infra'))") == "None\n"


def dependencies() -> Path:
    """Return the folder of installed packages."""
    return Path(click.__file__).parents[1]
