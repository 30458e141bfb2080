"""A separate program that plays recorded frames through cryptofeed's own handlers.

It runs under the Python of cryptofeed's environment and shares nothing with Streamgauge: it needs
the standard library and an installed cryptofeed (2.5 or 3.x), and reads the same files. One JSON
request a line on standard input, one JSON answer a line on standard output (see `Player.answer`).

The frames go to the feed's message handler in the recorded order, with checksum validation on and
everything else as it comes (so 2.5 does not look for crossed books); the body of a REST snapshot is
given to it when it asks for one. With rows, its trades and, once a second of the recording, the
best 25 levels a side of its books become columns; without, its callbacks do nothing.
"""

import asyncio
import gc
import importlib
import importlib.metadata
import json
import logging
import re
import sys
import time
import zlib
from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

FEEDS = {
    "binance": "BINANCE",
    "binance_usdm": "BINANCE_FUTURES",
    "deribit": "DERIBIT",
    "kraken": "KRAKEN",
    "kraken_v1": "KRAKEN",
    "kraken_futures": "KRAKEN_FUTURES",
}
SYMBOL = re.compile(r"symbol=([^&]+)")
LEVELS = 25
"""Levels a side of a book's row, as Streamgauge stores them."""
SCALE = Decimal(10**18)


class Connection:
    """What a feed sees of its socket: it subscribes, and nothing is sent."""

    uuid = "bench"
    address = ""

    def __init__(self, subscription: dict[str, Any]) -> None:
        self.subscription = subscription

    async def write(self, *_args: Any, **_options: Any) -> None:
        """Send nothing."""


class Tape:
    """A recording: the text of the frames received, with receive times in s, and REST bodies."""

    def __init__(self, path: str) -> None:
        self.frames: list[tuple[str, float]] = []
        self.bodies: dict[str, str] = {}
        with Path(path).open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                received, kind, where, payload = line.rstrip("\n").split("\t", 3)
                if kind == "R":
                    self.frames.append((payload, int(received) / 1e9))
                elif kind == "H":
                    self.bodies[symbol_of(where)] = payload


def symbol_of(url: str) -> str:
    """Return the symbol that a URL names, nothing where it names none."""
    named = SYMBOL.search(url)
    return named.group(1) if named else ""


class Rows:
    """Columns of trades and of books' best levels, as a sink would insert them.

    Decimals are in the form in which ClickHouse stores a Decimal(38, 18), as on the other side.
    """

    def __init__(self) -> None:
        self.trades: list[list[Any]] = [[] for _ in range(8)]
        self.books: list[list[Any]] = [[] for _ in range(8)]
        self.second: int | None = None

    async def trade(self, trade: Any, received: float) -> None:
        """Store a trade."""
        row = (
            trade.exchange,
            trade.symbol,
            trade.id,
            trade.side,
            stored(trade.price),
            stored(trade.amount),
            trade.timestamp,
            received,
        )
        for column, value in zip(self.trades, row, strict=True):
            column.append(value)

    def sample(self, books: dict[str, Any], received: float) -> None:
        """Store every book as it stands before a frame that begins another second."""
        second = int(received)
        if self.second is not None and second > self.second:
            for symbol, held in books.items():
                book = held.book
                bids = [book.bids.index(place) for place in range(min(LEVELS, len(book.bids)))]
                asks = [book.asks.index(place) for place in range(min(LEVELS, len(book.asks)))]
                row = (
                    held.exchange,
                    symbol,
                    held.timestamp,
                    received,
                    b"".join([stored(price) for price, _ in bids]),
                    b"".join([stored(size) for _, size in bids]),
                    b"".join([stored(price) for price, _ in asks]),
                    b"".join([stored(size) for _, size in asks]),
                )
                for column, value in zip(self.books, row, strict=True):
                    column.append(value)
        self.second = second

    def counts(self) -> dict[str, int]:
        """Return how many rows there are, by table."""
        return {"books": len(self.books[0]), "trades": len(self.trades[0])}

    def digest(self) -> int:
        """Return a sum over all books' prices and sizes, whatever their order."""
        rows = zip(*self.books[4:], strict=True)
        return sum(zlib.crc32(b"".join(values)) for values in rows)


def stored(value: Decimal) -> bytes:
    """Return a decimal as ClickHouse stores it."""
    return int(value * SCALE).to_bytes(16, "little")


class Player:
    """One installed cryptofeed."""

    def __init__(self) -> None:
        logging.disable(logging.CRITICAL)
        self.version = importlib.metadata.version("cryptofeed")
        self.defines = importlib.import_module("cryptofeed.defines")
        self.feeds = importlib.import_module("cryptofeed.exchanges").EXCHANGE_MAP
        self.symbols = importlib.import_module("cryptofeed.symbols").Symbols
        self.tapes: dict[str, Tape] = {}

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Play `file` of `exchange` `rounds` times; `symbols` are those it has; `rows` or not.

        Returns CPU seconds, frames played, how many rows there are with a digest of what is in
        them, and the CRC-32 of each book at the end.
        """
        path = request["file"]
        if path not in self.tapes:
            self.tapes = {path: Tape(path)}
        tape = self.tapes[path]
        seconds = 0.0
        plays = []
        for _ in range(request["rounds"]):
            rows = Rows() if request["rows"] else None
            plays.append((*await self.feed(request, tape, rows), rows))
        # Once, not before each: it leaves the processor's caches cold, which a short recording is
        # then a measure of.
        gc.collect()
        for feed, connection, rows in plays:
            if rows is None:
                seconds += await play(feed.message_handler, tape.frames, connection)
            else:
                seconds += await play_to_rows(feed, tape.frames, connection, rows)
        return {
            "version": self.version,
            "python": sys.version.split()[0],
            "seconds": seconds,
            "frames": len(tape.frames) * request["rounds"],
            "rows": {} if rows is None else rows.counts(),
            "digest": 0 if rows is None else rows.digest(),
            "books": {name: crc32(book.book) for name, book in sorted(feed._l2_book.items())},
        }

    async def feed(
        self, request: dict[str, Any], tape: Tape, rows: Rows | None
    ) -> tuple[Any, Connection]:
        """Return a new feed that knows the symbols by their own names, and its connection."""
        name = getattr(self.defines, FEEDS[request["exchange"]])
        kind = self.feeds[name]
        symbols = request["symbols"]
        self.symbols.set(kind.id, {symbol: symbol for symbol in symbols}, {})
        if request["exchange"] == "kraken_futures":
            # 2.5 looks symbols up in lower case, 3.x in upper case.
            known = {symbol.upper(): self.spelt(symbol) for symbol in symbols}
            self.symbols.set(kind.id, known, {})

        async def ignore(_event: Any, _received: float) -> None:
            pass

        channels = (self.defines.L2_BOOK, self.defines.TRADES)
        keys = {"key_id": "none", "key_secret": "none"}
        feed = kind(
            config={"log": {"disabled": True}, kind.id.lower(): keys},
            symbols=list(self.symbols.get(kind.id)[0]),
            channels=list(channels),
            callbacks={channels[0]: ignore, channels[1]: ignore if rows is None else rows.trade},
            checksum_validation=True,
            **request.get("options", {}),
        )
        bodies = dict(tape.bodies)

        async def read(url: str, **_options: Any) -> str:
            return bodies.get(symbol_of(url)) or bodies[""]

        feed.http_conn.read = read
        connection = Connection(dict(feed.subscription))
        await feed.subscribe(connection)
        return feed, connection

    def spelt(self, symbol: str) -> str:
        """Return a futures product as this version spells it."""
        return symbol.lower() if self.version.startswith("2.") else symbol


Frames = list[tuple[str, float]]
Handler = Callable[[str, Connection, float], Awaitable[None]]


async def play(handler: Handler, frames: Frames, connection: Connection) -> float:
    """Give every frame to the feed's handler; return the CPU seconds that it took."""
    start = time.process_time()
    for payload, received in frames:
        await handler(payload, connection, received)
    return time.process_time() - start


async def play_to_rows(feed: Any, frames: Frames, connection: Connection, rows: Rows) -> float:
    """As `play`, with rows."""
    handler, sample = feed.message_handler, rows.sample
    start = time.process_time()
    for payload, received in frames:
        sample(feed._l2_book, received)
        await handler(payload, connection, received)
    return time.process_time() - start


def crc32(book: Any) -> int:
    """Return the CRC-32 of a book's canonical text, as the recordings' README defines it."""
    levels = book.to_dict()
    lines = []
    for side, mark, descending in (("bid", "b", True), ("ask", "a", False)):
        for price in sorted(levels[side], reverse=descending):
            lines.append(f"{mark} {plain(price)} {plain(levels[side][price])}\n")
    return zlib.crc32("".join(lines).encode())


def plain(value: Decimal) -> str:
    """Return a number without exponent and without superfluous zeros."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


async def serve() -> None:
    """Answer requests until standard input ends."""
    player = Player()
    for line in sys.stdin:
        try:
            answer = await player.answer(json.loads(line))
        except Exception as error:  # noqa: BLE001 - whatever happens in there is an answer
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(answer), flush=True)  # noqa: T201 - this is the answer


if __name__ == "__main__":
    asyncio.run(serve())
