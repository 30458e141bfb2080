"""What a recording amounts to: the books that its frames build, and how they fared.

The same pipeline as everywhere, lenient: a recording cannot be asked for a fresh snapshot, so a
book goes on after a bad checksum, which is counted. Nothing here opens files.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, cast

import msgspec

from core.book import Level
from core.events import BookState
from core.frames import Frame, FrameKind
from core.instrument import Instrument
from core.pipeline import PipelineSettings, ShardPipeline
from core.protocol import Exchange, Ignored, Message
from core.tape import batches

CHANNELS_MAX: Final = 20
"""Kinds of ignored frames that are named; a kind is whatever a frame says that it is."""


class RebuiltBook(msgspec.Struct, frozen=True):
    """One instrument's book at the end of a recording, and what was counted on the way.

    Best levels are normalised (price, size), None where a side is empty. `book_crc32` is over the
    whole book (see `core.book.ladder_crc32`). `last_seq` is None where the venue has none.
    """

    bid_levels: int
    ask_levels: int
    best_bid: Level | None
    best_ask: Level | None
    book_crc32: int
    last_seq: int | None
    in_sync: bool
    snapshots: int
    gaps: int
    duplicates: int
    crossed: int
    checksum_ok: int
    checksum_bad: int


class Rebuilt(msgspec.Struct, frozen=True):
    """A recording: frames received, trades, frames that could not be read, books by symbol.

    `ignored`: frames that were understood and not needed, by channel, the most frequent first.
    """

    exchange: str
    frames: int
    trades: int
    decode_errors: int
    ignored: dict[str, int]
    books: dict[str, RebuiltBook]


def rebuild(frames: Iterable[Frame], exchange: Exchange) -> Rebuilt:
    """Feed a recording to a pipeline and return what came of it; books that had data only."""
    counting = _Counting(exchange)
    pipeline = ShardPipeline(cast(Exchange, counting), PipelineSettings(lenient=True))
    received = trades = 0
    for batch in batches(frames, exchange.name):
        received += sum(frame.kind is FrameKind.RECEIVED for frame in batch.frames)
        trades += len(pipeline.feed(batch).trades)
    books = {
        symbol: _rebuilt(instrument)
        for symbol, instrument in sorted(pipeline.instruments.items())
        if instrument.book_stream.has_frames
    }
    ignored = dict(counting.ignored.most_common(CHANNELS_MAX))
    return Rebuilt(exchange.name, received, trades, pipeline.decode_errors, ignored, books)


class _Counting:
    """An exchange that counts which of its frames it ignores."""

    def __init__(self, exchange: Exchange) -> None:
        self.ignored: Counter[str] = Counter()
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def decode(self, payload: bytes) -> list[Message]:
        messages = self._exchange.decode(payload)
        self.ignored.update(each.channel for each in messages if isinstance(each, Ignored))
        return messages


def _rebuilt(instrument: Instrument) -> RebuiltBook:
    sync = instrument.book
    book, counters = sync.book, sync.counters
    return RebuiltBook(
        bid_levels=len(book.bids),
        ask_levels=len(book.asks),
        best_bid=book.best_bid(),
        best_ask=book.best_ask(),
        book_crc32=book.crc32(),
        last_seq=sync.sequence,
        in_sync=sync.state is BookState.LIVE,
        snapshots=counters.snapshots,
        gaps=counters.gaps,
        duplicates=counters.duplicates,
        crossed=counters.crossed,
        checksum_ok=counters.checksums_ok,
        checksum_bad=counters.checksums_bad,
    )
