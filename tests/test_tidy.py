"""The rules of the house that no linter checks: sizes, names, and nothing of one machine."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).parents[1]
FILE_LINES_MAX: Final = 600
"""Above 400 a file deserves the question whether it is still one room; here it ends."""
FUNCTION_LINES_MAX: Final = 70
FIXTURE_BYTES_MAX: Final = 200_000

# The words are cut in two here, so that this file does not find itself.
OF_ONE_MACHINE: Final = re.compile(r"/wor" r"k/|/ro" r"ot/|/ho" r"me/\w|/Us" r"ers/\w")
UNFINISHED: Final = re.compile(r"\bTO" r"DO\b|\bFIX" r"ME\b|\bXX" r"X\b")
DRAWERS: Final = {"utils", "helpers", "common", "manager", "handler", "misc", "util", "helper"}


def tracked(pattern: str = "") -> Iterator[Path]:
    """Yield the files that git knows and that are there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", *([pattern] if pattern else [])],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (path := CHECKOUT / name).is_file():
            yield path


def named(path: Path, line: int | None = None) -> str:
    """Return how to name a place in a message."""
    place = str(path.relative_to(CHECKOUT))
    return place if line is None else f"{place}:{line}"


def found(pattern: re.Pattern[str], files: Iterator[Path]) -> list[str]:
    """Return the places where `pattern` occurs."""
    return [
        named(path, number)
        for path in files
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if pattern.search(line)
    ]


def test_python_files_are_of_readable_length() -> None:
    long = [
        f"{named(path)} has {lines} lines"
        for path in tracked("*.py")
        if (lines := len(path.read_text().splitlines())) > FILE_LINES_MAX
    ]

    assert not long


def test_functions_are_of_readable_length() -> None:
    long = [
        f"{named(path, node.lineno)} {node.name}"
        for path in tracked("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    ]

    assert not long


def test_modules_have_the_names_of_things() -> None:
    assert not [named(path) for path in tracked("*.py") if path.stem in DRAWERS]


def test_nothing_of_one_machine_is_tracked() -> None:
    files = (path for path in tracked() if "fixtures" not in path.parts)

    assert not found(OF_ONE_MACHINE, files)


def test_nothing_unfinished_is_tracked() -> None:
    assert not found(UNFINISHED, tracked("*.py"))


def test_locks_have_hashes_and_name_no_index() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (CHECKOUT / name).read_text()
        pins = re.split(r"\n(?=[a-z0-9])", text)

        assert not re.search(r"://|--(extra-)?index-url|--find-links", text)
        assert len(pins) > 50
        assert not [pin.split()[0] for pin in pins if "--hash=sha256:" not in pin]


def test_fixtures_are_small_enough_to_read_in_a_review() -> None:
    large = [
        f"{named(path)} has {path.stat().st_size} bytes"
        for path in tracked("tests/fixtures/")
        if path.stat().st_size > FIXTURE_BYTES_MAX
    ]

    assert not large
