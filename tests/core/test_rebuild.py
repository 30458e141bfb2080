"""Recordings of real sessions give the books that an independent rebuild found."""

from typing import Any

import msgspec
import pytest

from core.exchanges import exchange_of
from core.frames import Frame, FrameKind
from core.rebuild import RebuiltBook, rebuild
from tests.core import recordings

EXPECTED = recordings.expected()
SESSIONS = [name for name in recordings.names() if EXPECTED[name]["dialect"] != "none"]
BOOK_FIELDS = [field for field in RebuiltBook.__struct_fields__ if field != "last_seq"]


def _wanted(book: dict[str, Any]) -> dict[str, Any]:
    """Return an expected book as ours would look; a counter that is not there is 0."""
    empty: dict[str, Any] = {"best_bid": None, "best_ask": None}
    wanted = {field: book.get(field, empty.get(field, 0)) for field in BOOK_FIELDS}
    return wanted | {"last_seq": book.get("last_seq")}


@recordings.needed
@pytest.mark.parametrize("name", SESSIONS)
def test_rebuild_recording_equals_independent_result(name: str) -> None:
    tape = recordings.tape(name)

    rebuilt = rebuild(tape.frames, exchange_of(tape.header["exchange"]))

    wanted = {symbol: _wanted(book) for symbol, book in EXPECTED[name].get("books", {}).items()}
    assert msgspec.json.decode(msgspec.json.encode(rebuilt.books)) == wanted
    assert rebuilt.frames == EXPECTED[name]["counts"]["lines_R"]
    assert rebuilt.decode_errors == 0


@recordings.needed
@pytest.mark.parametrize("name", [n for n in recordings.names() if n not in SESSIONS])
def test_rebuild_unrelated_frames_ends_with_counts(name: str) -> None:
    """These are no sessions: what matters is that nothing breaks and every frame is counted."""
    tape = recordings.tape(name)
    received = sum(frame.kind is FrameKind.RECEIVED for frame in tape.frames)

    rebuilt = rebuild(tape.frames, exchange_of(tape.header["exchange"]))

    assert rebuilt.frames == received
    assert rebuilt.decode_errors <= received


def test_rebuild_session_without_books_lists_none() -> None:
    frames = [Frame(FrameKind.RECEIVED, 1, 1, "ws", b'{"channel":"heartbeat"}')]

    rebuilt = rebuild(frames, exchange_of("kraken"))

    assert (rebuilt.frames, rebuilt.books) == (1, {})
