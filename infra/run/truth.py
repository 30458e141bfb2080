"""Comparing ClickHouse with the simulator's truth, row by row.

Every trade that was handed to a subscribed socket must be one row with equal price, size, side and
time; every stored book must be the true book at its sequence number, or at its exchange time where
the venue has no sequence. Nothing is sampled and nothing is tolerated.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

import aiohttp
import msgspec
from clickhouse_connect.driver.client import Client

from core.events import Quality

TIMED: Final = frozenset({"kraken"})
"""Venues whose books are found by exchange time, microseconds."""
_POINTS: Final = 2000
"""Books asked of the simulator in one request."""
_EXAMPLES: Final = 5


class Truth(msgspec.Struct):
    """What the comparison found; `examples` are the first few differences, for people."""

    trades_expected: int = 0
    trades_found: int = 0
    trades_missing: int = 0
    trades_doubled: int = 0
    trades_wrong: int = 0
    books_compared: int = 0
    books_equal: int = 0
    books_different: int = 0
    examples: list[str] = msgspec.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything expected is there, once and right, and there was something."""
        wrong = self.trades_missing + self.trades_doubled + self.trades_wrong
        compared = self.trades_expected and self.books_compared
        return not wrong and not self.books_different and bool(compared)

    def note(self, text: str) -> None:
        """Keep a difference as an example while there are few."""
        if len(self.examples) < _EXAMPLES:
            self.examples.append(text)


class Venue(msgspec.Struct, frozen=True):
    """What is compared of an exchange; a stored book has at least `levels` a side if they exist."""

    symbols: tuple[str, ...]
    levels: int


async def compare(
    client: Client, truth_url: str, venues: Mapping[str, Venue], *, since_ns: int
) -> Truth:
    """Compare all that was received since `since_ns` with the truth at `truth_url`."""
    truth = Truth()
    async with aiohttp.ClientSession(truth_url, timeout=aiohttp.ClientTimeout(600)) as session:
        for exchange, venue in venues.items():
            for symbol in venue.symbols:
                await _trades(truth, client, session, exchange, symbol, since_ns)
                await _books(truth, client, session, exchange, symbol, since_ns, venue.levels)
    return truth


async def _trades(
    truth: Truth,
    client: Client,
    session: aiohttp.ClientSession,
    exchange: str,
    symbol: str,
    since_ns: int,
) -> None:
    rows = client.query(
        "SELECT trade_id, price, size, side, toUnixTimestamp64Nano(ts_event) FROM trades"
        " WHERE exchange = {exchange:String} AND symbol = {symbol:String}"
        " AND toUnixTimestamp64Nano(ts_recv) >= {since:Int64}",
        parameters={"exchange": exchange, "symbol": symbol, "since": since_ns},
    ).result_rows
    stored = {row[0]: row[1:] for row in rows}
    times = Counter(row[0] for row in rows)
    async with session.get("/truth/trades", params={"venue": exchange, "symbol": symbol}) as answer:
        answer.raise_for_status()
        lines = (await answer.read()).splitlines()
    made = set[str]()
    for trade in map(msgspec.json.decode, lines):
        made.add(str(trade["trade_id"]))
        if not trade["delivered"] or trade["ts_event_ns"] < since_ns:
            continue
        truth.trades_expected += 1
        identity = str(trade["trade_id"])
        found = stored.get(identity)
        if found is None:
            truth.trades_missing += 1
            truth.note(f"{exchange} {symbol}: trade {identity} is not in ClickHouse")
            continue
        truth.trades_found += 1
        if times[identity] > 1:
            truth.trades_doubled += 1
            truth.note(f"{exchange} {symbol}: trade {identity} is there {times[identity]} times")
        price, size = Decimal(trade["price"]), Decimal(trade["size"])
        expected = (price, size, trade["side"], trade["ts_event_ns"])
        if found != expected:
            truth.trades_wrong += 1
            truth.note(f"{exchange} {symbol}: trade {identity} is {found}, made as {expected}")
    for identity in stored.keys() - made:
        truth.trades_wrong += 1
        truth.note(f"{exchange} {symbol}: trade {identity} was never made")


async def _books(
    truth: Truth,
    client: Client,
    session: aiohttp.ClientSession,
    exchange: str,
    symbol: str,
    since_ns: int,
    levels: int,
) -> None:
    point = "toUnixTimestamp64Micro(ts_event)" if exchange in TIMED else "sequence"
    rows = client.query(
        f"SELECT {point}, bid_prices, bid_sizes, ask_prices, ask_sizes, quality FROM books"
        " WHERE exchange = {exchange:String} AND symbol = {symbol:String}"
        " AND toUnixTimestamp64Nano(ts_sample) >= {since:Int64} ORDER BY epoch, number",
        parameters={"exchange": exchange, "symbol": symbol, "since": since_ns},
    ).result_rows
    for chunk in _chunks(rows):
        points = [row[0] for row in chunk]
        depth = max(levels, *(max(len(row[1]), len(row[3])) for row in chunk))
        question = {"venue": exchange, "symbol": symbol, "depth": depth, "at": points}
        async with session.post("/truth/books", json=question) as answer:
            answer.raise_for_status()
            ladders = msgspec.json.decode(await answer.read())
        for row, ladder in zip(chunk, ladders, strict=True):
            truth.books_compared += 1
            if ladder is not None and _equal(row, ladder, levels):
                truth.books_equal += 1
            else:
                truth.books_different += 1
                what = "never was a state" if ladder is None else "differs"
                truth.note(f"{exchange} {symbol}: the book at {row[0]} {what}")


def _equal(row: Any, ladder: Any, levels: int) -> bool:
    """Whether a stored ladder is the true one as far as it goes; a shallow one may end early."""
    shallow = bool(row[5] & Quality.SHALLOW)
    for side, prices, sizes in (("bids", row[1], row[2]), ("asks", row[3], row[4])):
        true = [(Decimal(price), Decimal(size)) for price, size in ladder[side]]
        held = list(zip(prices, sizes, strict=True))
        if held != true[: len(held)] or (len(held) < min(levels, len(true)) and not shallow):
            return False
    return True


def _chunks(rows: Any) -> Iterator[Any]:
    for start in range(0, len(rows), _POINTS):
        yield rows[start : start + _POINTS]
