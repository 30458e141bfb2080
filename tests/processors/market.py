"""Self-made connections of three venues: the frames that a producer would put into the raw log.

Seeded and deterministic; times are virtual. Books are true at every moment, so that no fault shows
that was not asked for. Every symbol trades and every book is renewed well inside a warm-up.
"""

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from zlib import crc32

import msgspec

from core.exchanges import exchanges
from core.frames import (
    Address,
    BatchBuilder,
    CloseReason,
    Frame,
    FrameBatch,
    FrameKind,
    TickStatus,
)
from core.protocol import Shard

NS = 1_000_000_000
STEP_NS = NS // 10
"""Between two book changes of one symbol, ns."""
RENEWAL_NS = 20 * NS
"""Between two fresh snapshots of one symbol, ns."""
DEPTH = 25
"""Levels a side that are kept: also the depth that Kraken is asked for."""
SYMBOLS = {
    "deribit": ("BTC-PERPETUAL", "ETH-PERPETUAL"),
    "binance": ("BTCUSDT", "ETHUSDT"),
    "kraken": ("BTC/USD", "ETH/USD"),
}

Change = tuple[str, int, int]
"""Side, price in ticks, new size in lots."""


class TrueBook:
    """One symbol's book in ticks of 0.5 and lots of 0.001, at most DEPTH levels a side."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._mid = rng.randrange(80_000, 120_000)
        self.bids = {self._mid - step: rng.randrange(1, 9999) for step in range(1, DEPTH + 1)}
        self.asks = {self._mid + step: rng.randrange(1, 9999) for step in range(1, DEPTH + 1)}

    def move(self, levels: int) -> list[Change]:
        """Move the price by a tick at most, touch `levels` levels; return what changed, in order.

        The last changes remove what fell below DEPTH; a venue that truncates does not send them.
        """
        rng = self._rng
        self._mid += rng.choice((-1, 0, 0, 1))
        changes: list[Change] = [("b", price, 0) for price in self.bids if price >= self._mid]
        changes += [("a", price, 0) for price in self.asks if price <= self._mid]
        changes += [("b", self._mid - 1, rng.randrange(1, 9999))]
        changes += [("a", self._mid + 1, rng.randrange(1, 9999))]
        while len(changes) < levels:
            step = rng.randrange(1, DEPTH)
            size = 0 if step > 3 and rng.random() < 0.3 else rng.randrange(1, 9999)
            changes.append(("b", self._mid - step, size))
            changes.append(("a", self._mid + step, size))
        for side, price, size in changes:
            if size:
                self._side(side)[price] = size
            else:
                self._side(side).pop(price, None)
        for side in "ba":
            for price, _ in self.top(side)[DEPTH:]:
                del self._side(side)[price]
                changes.append((side, price, 0))
        return changes

    def top(self, side: str) -> list[tuple[int, int]]:
        """Return one side, best first."""
        return sorted(self._side(side).items(), reverse=side == "b")

    def _side(self, side: str) -> dict[int, int]:
        return self.bids if side == "b" else self.asks


class Connection:
    """One socket of one venue: `frames()` from OPENING on, without end."""

    def __init__(
        self,
        exchange: str,
        *,
        epoch: int,
        shard: str = "",
        line: str = "A",
        levels: int = 6,
        gap_at_s: int | None = None,
        seed: int = 1,
    ) -> None:
        venue = exchanges()[exchange]
        symbols = SYMBOLS[exchange]
        name = shard or f"{exchange}-0"
        self.address = Address(exchange, name, line, epoch)
        self._shard = Shard(exchange, name, symbols, DEPTH)
        self._rng = random.Random(f"{seed} {exchange} {name} {line} {epoch}")
        self._levels = levels
        self._gap_at = None if gap_at_s is None else epoch + gap_at_s * NS
        self._books = {symbol: TrueBook(self._rng) for symbol in symbols}
        # Ids go on where an earlier socket stopped, whatever its seed was.
        self._ids = dict.fromkeys(symbols, epoch // NS * 1000)
        self._trade_ids = dict.fromkeys(symbols, epoch // NS * 1000)
        self._subscribe = venue.subscribe(self._shard)
        self._messages: dict[str, Callable[..., str]] = {
            "deribit": _deribit,
            "binance": _binance,
            "kraken": _kraken,
        }
        self._ns = epoch

    def frames(self) -> Iterator[Frame]:
        """Yield every frame in order of time."""
        yield self._frame(FrameKind.OPENING, where=f"wss://{self.address.exchange}.test/ws")
        yield self._plan()
        yield self._frame(FrameKind.OPEN)
        for message in self._subscribe:
            yield self._frame(FrameKind.SENT, message)
        yield from self._renewals()
        due_tick, due_renewal = self._ns + NS, self._ns + RENEWAL_NS
        while True:
            self._ns += STEP_NS // len(self._books)
            symbol = self._rng.choice(list(self._books))
            yield from self._market(symbol)
            if self._ns >= due_tick:
                due_tick += NS
                yield self._frame(FrameKind.PONG, str(self._rng.randrange(10**6, 10**7)))
                yield self._frame(FrameKind.TICK, TickStatus(connected=True))
            if self._ns >= due_renewal:
                due_renewal += RENEWAL_NS
                yield self._plan()
                yield from self._renewals()

    def close(self) -> Frame:
        """Return the frame that ends the connection."""
        return self._frame(FrameKind.CLOSE, CloseReason(1000, "end", "us", planned=True))

    def _market(self, symbol: str) -> Iterator[Frame]:
        changes = self._books[symbol].move(self._levels)
        first = self._ids[symbol] + 1
        self._ids[symbol] += self._rng.randrange(1, 4)
        message = self._message("delta", symbol, first=first, changes=changes)
        lost = self._gap_at is not None and self._ns >= self._gap_at
        if lost:
            self._gap_at = None
        else:
            yield self._frame(FrameKind.RECEIVED, message)
        if self._rng.random() < 0.3:
            self._trade_ids[symbol] += 1
            yield self._frame(FrameKind.RECEIVED, self._message("trade", symbol))

    def _renewals(self) -> Iterator[Frame]:
        for symbol in self._books:
            yield from self._snapshot(symbol)

    def _snapshot(self, symbol: str) -> Iterator[Frame]:
        exchange = self.address.exchange
        if exchange == "binance":
            url = f"https://binance.test/api/v3/depth?symbol={symbol}&limit=1000"
            yield self._frame(FrameKind.REQUEST, where=url)
            yield self._frame(FrameKind.RESPONSE, self._message("snapshot", symbol), where=url)
            return
        for request in exchanges()[exchange].resync(self._shard, symbol, 90):
            yield self._frame(FrameKind.SENT, request.content)
        if exchange == "kraken":
            result = {"channel": "book", "symbol": symbol, "depth": DEPTH, "snapshot": True}
            ack = {"method": "subscribe", "success": True, "result": result, "req_id": 91}
            yield self._frame(FrameKind.RECEIVED, json.dumps(ack))
        yield self._frame(FrameKind.RECEIVED, self._message("snapshot", symbol))

    def _message(
        self, what: str, symbol: str, *, first: int = 0, changes: list[Change] | None = None
    ) -> str:
        return self._messages[self.address.exchange](
            what,
            symbol,
            book=self._books[symbol],
            changes=changes or [],
            first=first,
            last=self._ids[symbol],
            trade_id=self._trade_ids[symbol],
            ts_ns=self._ns - self._rng.randrange(10**6, 2 * 10**7),
        )

    def _plan(self) -> Frame:
        return self._frame(FrameKind.PLAN, self._shard)

    def _frame(
        self, kind: FrameKind, payload: str | msgspec.Struct = "", *, where: str = ""
    ) -> Frame:
        self._ns += self._rng.randrange(1_000, 100_000)
        text = payload.encode() if isinstance(payload, str) else msgspec.json.encode(payload)
        return Frame(kind, self._ns, self._ns - self.address.epoch + 5 * NS, where, text)


def batches(connection: Connection, *, seconds: float, size: int = 50) -> list[FrameBatch]:
    """Return `seconds` of a connection, cut at every `size` frames, from its opening to a close."""
    builder = BatchBuilder(connection.address)
    cut: list[FrameBatch] = []
    end = connection.address.epoch + int(seconds * NS)
    for frame in connection.frames():
        if frame.ts_recv >= end:
            break
        builder.add(frame)
        if len(builder) == size:
            cut += _cut(builder)
    builder.add(connection.close())
    return cut + _cut(builder)


def recut(whole: list[FrameBatch], sizes: list[int]) -> list[FrameBatch]:
    """Return the same frames in batches of `sizes`, used in turn."""
    builder = BatchBuilder(whole[0].address)
    cut: list[FrameBatch] = []
    for frame in (frame for batch in whole for frame in batch.frames):
        builder.add(frame)
        if len(builder) >= sizes[len(cut) % len(sizes)]:
            cut += _cut(builder)
    return cut + _cut(builder)


def _cut(builder: BatchBuilder) -> list[FrameBatch]:
    batch = builder.cut()
    return [] if batch is None else [batch]


def _price(ticks: int) -> str:
    return f"{ticks // 2}.{'5' if ticks % 2 else '0'}"


def _size(lots: int) -> str:
    return f"{lots // 1000}.{lots % 1000:03}"


def _deribit(what: str, symbol: str, **given: object) -> str:
    book, last, ts_ms = given["book"], given["last"], int(str(given["ts_ns"])) // 10**6
    assert isinstance(book, TrueBook)
    if what == "trade":
        trade = {
            "instrument_name": symbol,
            "trade_seq": given["trade_id"],
            "trade_id": str(given["trade_id"]),
            "timestamp": ts_ms,
            "price": book.top("a")[0][0] / 2,
            "amount": 10.0,
            "direction": "buy",
        }
        data: object = [trade]
    else:
        ladders = {"b": book.top("b"), "a": book.top("a")}
        changes = given["changes"]
        assert isinstance(changes, list)
        if what == "delta":
            ladders = {
                side: [(price, size) for its, price, size in changes if its == side]
                for side in "ba"
            }
        data = {
            "type": "change" if what == "delta" else "snapshot",
            "instrument_name": symbol,
            "change_id": last,
            "timestamp": ts_ms,
            "bids": [_deribit_level(what, level) for level in ladders["b"]],
            "asks": [_deribit_level(what, level) for level in ladders["a"]],
        }
        if what == "delta":
            data["prev_change_id"] = int(str(given["first"])) - 1
    channel = f"{'trades' if what == 'trade' else 'book'}.{symbol}.100ms"
    params = {"channel": channel, "data": data}
    return json.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params})


def _deribit_level(what: str, level: tuple[int, int]) -> list[object]:
    price, size = level
    action = "new" if what == "snapshot" else "change" if size else "delete"
    return [action, price / 2, size / 1000]


def _binance(what: str, symbol: str, **given: object) -> str:
    book, changes, ts_ms = given["book"], given["changes"], int(str(given["ts_ns"])) // 10**6
    assert isinstance(book, TrueBook)
    assert isinstance(changes, list)
    if what == "snapshot":
        bids = [[_price(price), _size(size)] for price, size in book.top("b")]
        asks = [[_price(price), _size(size)] for price, size in book.top("a")]
        return json.dumps({"lastUpdateId": given["last"], "bids": bids, "asks": asks})
    if what == "trade":
        price = _price(book.top("b")[0][0])
        fields = {"t": given["trade_id"], "p": price, "q": "0.250", "T": ts_ms, "m": True}
        data = {"e": "trade", "E": ts_ms, "s": symbol, **fields}
        return json.dumps({"stream": f"{symbol.lower()}@trade", "data": data})
    sides = {
        side: [[_price(price), _size(size)] for its, price, size in changes if its == side]
        for side in "ba"
    }
    ids = {"U": given["first"], "u": given["last"]}
    data = {"e": "depthUpdate", "E": ts_ms, "s": symbol, **ids, **sides}
    return json.dumps({"stream": f"{symbol.lower()}@depth@100ms", "data": data})


def _kraken(what: str, symbol: str, **given: object) -> str:
    book, changes = given["book"], given["changes"]
    assert isinstance(book, TrueBook)
    assert isinstance(changes, list)
    moment = datetime.fromtimestamp(int(str(given["ts_ns"])) // 1000 / 10**6, UTC)
    timestamp = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if what == "trade":
        price = _price(book.top("b")[0][0])
        data = (
            f'{{"symbol":"{symbol}","side":"sell","price":{price},"qty":0.250,"ord_type":"limit",'
            f'"trade_id":{given["trade_id"]},"timestamp":"{timestamp}"}}'
        )
        return f'{{"channel":"trade","type":"update","data":[{data}]}}'
    if what == "snapshot":
        levels = {side: book.top(side) for side in "ba"}
    else:
        # No removals are sent for levels that were pushed out of range.
        held = {side: dict(book.top(side)) for side in "ba"}
        levels = {
            side: [
                (price, size)
                for its, price, size in changes
                if its == side and (size or not _pushed_out(held[side], side, price))
            ]
            for side in "ba"
        }
    bids, asks = (
        ",".join(f'{{"price":{_price(price)},"qty":{_size(size)}}}' for price, size in levels[side])
        for side in "ba"
    )
    stamp = "" if what == "snapshot" else f',"timestamp":"{timestamp}"'
    proof = f'"checksum":{_checksum(book)}{stamp}'
    data = f'{{"symbol":"{symbol}","bids":[{bids}],"asks":[{asks}],{proof}}}'
    kind = "snapshot" if what == "snapshot" else "update"
    return f'{{"channel":"book","type":"{kind}","data":[{data}]}}'


def _pushed_out(held: dict[int, int], side: str, price: int) -> bool:
    return len(held) >= DEPTH and (price < min(held) if side == "b" else price > max(held))


def _checksum(book: TrueBook) -> int:
    """Digits of the best ten asks, then bids, without points and leading zeros."""
    text = ""
    for side in "ab":
        for price, size in book.top(side)[:10]:
            text += _price(price).replace(".", "").lstrip("0")
            text += _size(size).replace(".", "").lstrip("0")
    return crc32(text.encode())
