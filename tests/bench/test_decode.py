"""The side-by-side benchmark: both sides get the same frames, and wrong results are named."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bench import decode, environments
from bench.decode import Figures, Run, Side, geomeans, our_side
from bench.harness import RECORDINGS
from bench.tapes import Recording, made_up, recorded
from core.exchanges import exchange_of
from core.rebuild import rebuild
from core.tape import read_tape

ROOT = Path(decode.__file__).resolve().parent.parent


def test_made_up_session_has_the_books_and_checksums_it_claims(tmp_path: Path) -> None:
    recording = made_up(tmp_path, frames=80)
    with recording.file.open(encoding="utf-8") as lines:
        rebuilt = rebuild(read_tape(lines).frames, exchange_of(recording.exchange))

    assert recording.books == {name: book.book_crc32 for name, book in rebuilt.books.items()}
    assert {book.checksum_bad for book in rebuilt.books.values()} == {0}
    assert sum(book.checksum_ok for book in rebuilt.books.values()) == 80 == recording.frames


def test_smoke_prints_one_line_whose_hash_recurs() -> None:
    command = [sys.executable, "-m", "bench.decode", "--smoke"]
    lines = [
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True, timeout=60).stdout
        for _ in range(2)
    ]

    first, second = (json.loads(line) for line in lines)
    assert first["benchmark"] == "decode"
    assert first["hash"] == second["hash"]
    assert [run["with_rows"] for run in first["runs"]] == [True, False]
    assert all(run["frames_s"]["ours"] > 0 and not run["problems"] for run in first["runs"])


def test_side_with_other_books_than_the_truth_is_named(tmp_path: Path) -> None:
    recording = made_up(tmp_path, frames=40)
    lied = msgspec.structs.replace(recording, books={**recording.books, "AAA/USD": 1})
    (side,) = our_side()
    try:
        right, wrong = (side.ask(each, rounds=1, rows=True) for each in (recording, lied))
    finally:
        side.close()

    assert decode._problem(right, recording) == ""
    assert decode._problem(wrong, lied) == "1 of 3 books are wrong at the end"
    assert decode._problem(Figures(error="it fell"), recording) == "it fell"


def test_side_that_ends_is_an_error_and_no_crash(tmp_path: Path) -> None:
    side = Side("gone", [sys.executable, "-c", "input()"])
    try:
        figures = side.ask(made_up(tmp_path, frames=10), rounds=1, rows=False)
    finally:
        side.close()

    assert figures.error == "it ended"


def test_geomeans_are_of_each_peer_and_of_the_better_one() -> None:
    runs = [
        Run("a", 1, True, ratio={"x": 1.0, "y": 4.0}),
        Run("b", 1, True, ratio={"x": 4.0, "y": 1.0}),
        Run("c", 1, False, ratio={"x": 3.0}),
    ]

    means = geomeans(runs)

    assert means["ratio, with rows"] == {"x": 2.0, "y": 2.0, "the better": 1.0}
    assert means["ratio, without rows"] == {"x": 3.0, "the better": 3.0}


def test_environment_without_any_python_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))

    assert environments.pythons() == {}
    assert [environments.environment(peer) for peer in environments.PEERS] == [None, None]


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings beside the checkout")
def test_recordings_hold_what_both_sides_must_end_with(tmp_path: Path) -> None:
    recordings = recorded(tmp_path)
    (in_v2,) = [each for each in recordings if each.name.endswith("(in v2)")]

    assert len({each.file for each in recordings}) == len(recordings)
    assert _books(in_v2) == in_v2.books
    for recording in recordings:
        # Kraken's checksum is over the depth that was subscribed: 10 in one recording only.
        assert bool(recording.options) is ("book10-" in recording.name)


def _books(recording: Recording) -> dict[str, int]:
    with recording.file.open(encoding="utf-8") as lines:
        rebuilt = rebuild(read_tape(lines).frames, exchange_of(recording.exchange))
    return {name: book.book_crc32 for name, book in rebuilt.books.items()}
