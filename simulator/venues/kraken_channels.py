"""Kraken's channels: books of a depth with their checksum, and trades.

A book channel follows what a correct client holds: the best `depth` levels of each side. A level
pushed out of range gets no delete; one that comes back into range is sent again.
"""

from bisect import bisect_left
from zlib import crc32

from simulator.connection import Connection
from simulator.market import Market, Trade
from simulator.matching import MatchingEngine
from simulator.venue import MarketChannel, Venue
from simulator.wire import FixedTexts, rfc3339

CHECKSUM_LEVELS = 10
TRADES_IN_SNAPSHOT = 50
LOWEST = -(1 << 62)  # below every key: the side has fewer levels than the depth


class Texts:
    """Prices and sizes of one pair, with the pair's decimals."""

    __slots__ = ("price", "size")

    def __init__(self, price: FixedTexts, size: FixedTexts) -> None:
        """Take the two tables."""
        self.price = price
        self.size = size

    def level(self, key: int, size: int) -> str:
        """Return one level as JSON."""
        return f'{{"price":{self.price[key]},"qty":{self.size[size]}}}'


def checksum(engine: MatchingEngine) -> int:
    """Return the CRC-32 of the best ten levels: asks first, digits without point and leading zeros.

    Ticks and lots are units of the last printed decimal, so their integers are those digits.
    """
    sizes = engine.sizes
    digits = [f"{-key}{sizes[key]}" for key in engine.asks[: -CHECKSUM_LEVELS - 1 : -1]]
    digits += [f"{key}{sizes[key]}" for key in engine.bids[: -CHECKSUM_LEVELS - 1 : -1]]
    return crc32("".join(digits).encode())


class BookChannel(MarketChannel):
    """The book of one pair at one depth."""

    kind = "book"

    def __init__(self, venue: Venue, market: Market, name: str, texts: Texts, depth: int) -> None:
        """`depth` in levels a side."""
        super().__init__(venue, market, name)
        self.depth = depth
        self._texts = texts
        # Keys of the last levels in range: what a client holds reaches down to them.
        self._bid_floor = self._floor(market.engine.bids)
        self._ask_floor = self._floor(market.engine.asks)

    def snapshot(self, connection: Connection) -> None:
        """Send the book as it stands."""
        sizes, level = self.market.engine.sizes, self._texts.level
        bids, asks = (
            [level(key, sizes[key]) for key in keys] for keys in self.market.top(self.depth)
        )
        self.broadcast(self.frame(self._text("snapshot", bids, asks)), [connection])

    def event(self) -> None:
        """Send what changed within the depth; nothing when it is all out of range."""
        engine = self.market.engine
        bid_before, ask_before = self._bid_floor, self._ask_floor
        bid_floor = self._bid_floor = self._floor(engine.bids)
        ask_floor = self._ask_floor = self._floor(engine.asks)
        price, qty = self._texts.price, self._texts.size
        bids: list[str] = []
        asks: list[str] = []
        for key, _, size in self.market.changes:
            if key > 0:
                if key >= (bid_floor if size else bid_before):
                    bids.append(f'{{"price":{price[key]},"qty":{qty[size]}}}')
            elif key >= (ask_floor if size else ask_before):
                asks.append(f'{{"price":{price[key]},"qty":{qty[size]}}}')
        if bid_floor < bid_before:
            bids += self._entered(engine.bids, bid_before)
        if ask_floor < ask_before:
            asks += self._entered(engine.asks, ask_before)
        if bids or asks:
            self.broadcast(self.frame(self._text("update", bids, asks)))

    def _floor(self, keys: list[int]) -> int:
        return keys[-self.depth] if len(keys) >= self.depth else LOWEST

    def _entered(self, keys: list[int], before: int) -> list[str]:
        """Return the unchanged levels that are in range now and were below the floor `before`."""
        sizes = self.market.engine.sizes
        changed = {key for key, _, _ in self.market.changes}
        start = max(0, len(keys) - self.depth)
        return [
            self._texts.level(key, sizes[key])
            for key in keys[start : bisect_left(keys, before)]
            if key not in changed
        ]

    def _text(self, kind: str, bids: list[str], asks: list[str]) -> str:
        market, code = self.market, checksum(self.market.engine)
        return (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{market.symbol}",'
            f'"bids":[{",".join(bids)}],"asks":[{",".join(asks)}],"checksum":{code},'
            f'"timestamp":"{rfc3339(market.sequence)}"}}]}}'
        )


class TradeChannel(MarketChannel):
    """The executions of one pair."""

    kind = "trades"
    counts_deliveries = True

    def __init__(self, venue: Venue, market: Market, name: str, texts: Texts) -> None:
        """Start with the next event."""
        super().__init__(venue, market, name)
        self._texts = texts

    def snapshot(self, connection: Connection) -> None:
        """Send the last trades; they are history and do not count as delivered."""
        recent = list(self.market.history)[-TRADES_IN_SNAPSHOT:]
        if recent:
            self.broadcast(self.frame(self._text("snapshot", recent)), [connection])

    def event(self) -> None:
        """Send the event's trades in one frame."""
        trades = self.market.trades
        if trades:
            self.broadcast(self.frame(self._text("update", trades), trades))

    def _text(self, kind: str, trades: list[Trade]) -> str:
        texts, symbol = self._texts, self.market.symbol
        entries = ",".join(
            f'{{"symbol":"{symbol}","side":"{"buy" if trade.buy else "sell"}",'
            f'"price":{texts.price[trade.price]},"qty":{texts.size[trade.size]},'
            f'"ord_type":"{"limit" if trade.tag else "market"}","trade_id":{trade.sequence},'
            f'"timestamp":"{rfc3339(trade.ts_event // 1000)}"}}'
            for trade in trades
        )
        return f'{{"channel":"trade","type":"{kind}","data":[{entries}]}}'
