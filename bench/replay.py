"""A separate program that plays recorded frames through the core, as `bench.peer` does for a peer.

One JSON request a line on standard input, one JSON answer a line on standard output. What is timed
is the whole way of a frame in a processor and a sink, without their I/O: the log's own digest
chain, decode, continuity and checksums, books, statistics, trades and book samples, and the
columns of their rows. Without rows it ends at the books.
"""

import gc
import sys
import time
import zlib
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from core.book import SIZES_READ
from core.decimals import render
from core.events import BookBatch, Events, FaultBatch, Header, TradeBatch
from core.exchanges import exchange_of
from core.frames import FrameBatch, FrameKind
from core.pipeline import PipelineSettings, ShardPipeline
from core.rows import COLUMNS, Place, RowBuffer
from core.tape import batches, read_tape

COUNTED: Final = ("books", "trades")
DIGESTED: Final = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")
"""Tables, and columns of `books`, that both sides have in the same form."""
NEVER: Final = 1 << 62
"""Between two samples of books that are not wanted, ns."""


class Request(msgspec.Struct, frozen=True):
    """Play `file` of `exchange` `rounds` times, with `rows` or up to the books.

    `symbols` and `options` are for peers.
    """

    file: str
    exchange: str
    rounds: int
    rows: bool
    symbols: list[str] = []
    options: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True):
    """CPU seconds, frames played, rows made with a digest of what is in them, and the CRC-32 of
    each book at the end."""

    version: str
    python: str
    seconds: float
    frames: int
    rows: dict[str, int]
    digest: int
    books: dict[str, int]


class Rows:
    """The rows of the facts of one partition, by table."""

    def __init__(self) -> None:
        self._buffers = {
            kind: RowBuffer(kind, Place("log", kind, 0)) for kind in ("trades", "books", "faults")
        }

    def counts(self) -> dict[str, int]:
        """Return how many rows there are, by table that both sides have."""
        return {kind: len(self._buffers[kind]) for kind in COUNTED}

    def digest(self) -> int:
        """Return a sum over all books' prices and sizes, whatever their order."""
        columns = dict(zip(COLUMNS["books"], self._buffers["books"].columns, strict=True))
        rows = zip(*[columns[name] for name in DIGESTED], strict=True)
        return sum(zlib.crc32(b"".join(values)) for values in rows)

    def add(self, events: Events, offset: int) -> None:
        """Store the facts of one raw record."""
        header = Header(events.address, events.number, 0, offset)
        if events.trades:
            self._buffers["trades"].append(_trade_batch(header, events), offset)
        if events.books:
            self._buffers["books"].append(BookBatch(header, events.books), offset)
        if events.faults:
            self._buffers["faults"].append(FaultBatch(header, events.faults), offset)


def _trade_batch(header: Header, events: Events) -> TradeBatch:
    numbers, indices, symbols, trade_ids, sequences, prices, sizes, sides, *rest = zip(
        *map(astuple, events.trades), strict=True
    )
    return TradeBatch(
        header,
        numbers,
        indices,
        list(symbols),
        list(trade_ids),
        tuple([-1 if sequence is None else sequence for sequence in sequences]),
        list(prices),
        list(sizes),
        bytes(sides),
        *rest,
    )


def play(request: Request, tape: list[FrameBatch]) -> Answer:
    """Play a recording and return what it took and gave."""
    exchange = exchange_of(request.exchange)
    seconds = 0.0
    settings = PipelineSettings(lenient=True)
    if not request.rows:
        settings = msgspec.structs.replace(settings, book_interval_ns=NEVER)
    plays = [(ShardPipeline(exchange, settings), Rows()) for _ in range(request.rounds)]
    # Once, not before each: it leaves the processor's caches cold, which a short recording is then
    # a measure of.
    gc.collect()
    for pipeline, rows in plays:
        render.cache_clear()
        SIZES_READ.clear()
        start = time.process_time()
        for offset, batch in enumerate(tape):
            events = pipeline.feed(batch)
            if request.rows:
                rows.add(events, offset)
        seconds += time.process_time() - start
    received = sum(frame.kind is FrameKind.RECEIVED for batch in tape for frame in batch.frames)
    books = {
        symbol: instrument.book.book.crc32()
        for symbol, instrument in sorted(pipeline.instruments.items())
        if instrument.book_stream.has_frames
    }
    return Answer(
        version="core",
        python=sys.version.split()[0],
        seconds=seconds,
        frames=received * request.rounds,
        rows=rows.counts() if request.rows else {},
        digest=rows.digest() if request.rows else 0,
        books=books,
    )


def serve() -> None:
    """Answer requests until standard input ends."""
    tapes: dict[str, list[FrameBatch]] = {}
    for line in sys.stdin:
        request = msgspec.json.decode(line, type=Request)
        if request.file not in tapes:
            with Path(request.file).open(encoding="utf-8", newline="\n") as lines:
                frames = read_tape(lines).frames
            tapes = {request.file: list(batches(frames, request.exchange))}
        answer = play(request, tapes[request.file])
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
