"""The venue in docs/adding-a-venue.md is found, conforms and is fuzzed, by adding two files."""

import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import core.exchanges
from tests.core import hostile, test_conformance, test_fuzz
from tests.core.transcripts import Transcript, read_transcript

CHECKOUT: Final = Path(__file__).parents[2]
PAGE: Final = CHECKOUT / "docs" / "adding-a-venue.md"
ARGUMENTS: Final = {"name": "example", "size": 7, "per_shard": 3, "url": ""}


def checks(module: Any, *needs: str) -> list[Callable[..., None]]:
    """Return the tests of a module that need such arguments."""
    return [
        check
        for name, check in vars(module).items()
        if name.startswith("test_") and tuple(inspect.signature(check).parameters) in (needs,)
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A second folder of venues that holds the page's example."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    (tmp_path / "example.py").write_text(found.group(1))
    monkeypatch.setattr(core.exchanges, "__path__", [*core.exchanges.__path__, str(tmp_path)])
    core.exchanges.exchanges.cache_clear()
    yield tmp_path
    core.exchanges.exchanges.cache_clear()
    sys.modules.pop("core.exchanges.example", None)


@pytest.fixture
def transcript(folder: Path) -> Transcript:
    return read_transcript("example")


def test_example_venue_is_found_by_itself(folder: Path) -> None:
    assert "example" in core.exchanges.exchanges()
    assert set(core.exchanges.exchanges()) > set(test_conformance.VENUES)


@pytest.mark.parametrize(
    "check",
    [
        check
        for needs in (("transcript",), ("transcript", "size"))
        for check in checks(test_conformance, *needs)
    ],
)
def test_example_venue_conforms(check: Callable[..., None], transcript: Transcript) -> None:
    extra = [ARGUMENTS[name] for name in inspect.signature(check).parameters if name in ARGUMENTS]

    check(transcript, *extra)


@pytest.mark.parametrize(
    "check",
    [
        check
        for needs in (("name",), ("name", "per_shard"), ("name", "url"))
        for check in checks(test_conformance, *needs)
    ],
)
def test_example_venue_conforms_by_name(check: Callable[..., None], folder: Path) -> None:
    check(*[ARGUMENTS[name] for name in inspect.signature(check).parameters])


@pytest.mark.parametrize("check", checks(test_fuzz, "transcript"))
def test_example_venue_is_fuzzed(check: Callable[..., None], transcript: Transcript) -> None:
    check(transcript)


def test_every_check_of_the_suites_is_run_for_the_example() -> None:
    """A check that needs something else would be left out without a word."""
    needs = {
        tuple(inspect.signature(check).parameters)
        for name, check in vars(test_conformance).items()
        if name.startswith("test_")
    }

    assert needs == {
        *(("transcript",), ("transcript", "size")),
        *(("name",), ("name", "per_shard"), ("name", "url")),
    }
    assert len(hostile.VALUES) > 60


def test_example_venue_is_code_as_we_write_it(folder: Path) -> None:
    """The page shows what ruff leaves alone."""
    for arguments in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        written = ["--config", "pyproject.toml", str(folder / "example.py")]
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, *written],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_page_names_files_that_are_there() -> None:
    path = re.compile(r"(?:core|tests|simulator)/[\w./-]+\.(?:py|jsonl)\b")
    named = set(path.findall(PAGE.read_text()))

    assert len(named) >= 5
    assert [name for name in named if not (CHECKOUT / name).is_file()] == []
