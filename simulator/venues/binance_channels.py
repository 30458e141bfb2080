"""Binance's streams: diff depth, trades, aggregate trades, best bid and ask.

A stream sends its payload bare or wrapped with its name, as each socket asked for; either text is
made once. Nothing here knows of requests.
"""

from collections import deque
from collections.abc import Iterable
from itertools import groupby

from simulator.connection import Connection
from simulator.market import Market, Trade
from simulator.venue import MarketChannel, Venue
from simulator.wire import FixedTexts


class BinanceConnection(Connection):
    """A socket with its streams and its ping."""

    combined = False  # payloads are wrapped with the stream's name
    ping_due = 0.0
    ping_at = 0.0  # of the unanswered ping; 0: none
    announced = False
    streams: dict[str, None]  # every name asked for, known or not
    arrivals: deque[float]


class Texts:
    """Prices and sizes of one instrument, eight decimals each."""

    __slots__ = ("price", "size")

    def __init__(self, price: FixedTexts, size: FixedTexts) -> None:
        """Take the two tables."""
        self.price = price
        self.size = size

    def levels(self, sizes: dict[int, int], keys: Iterable[int]) -> str:
        """Return levels as `["price","size"],...` with 0 for those that are gone."""
        price, size, get = self.price, self.size, sizes.get
        return ",".join([f'["{price[key]}","{size[get(key, 0)]}"]' for key in keys])


class Stream(MarketChannel):
    """A stream with its two kinds of members."""

    def __init__(self, venue: Venue, market: Market, name: str, texts: Texts) -> None:
        """`name` is the stream's, in lower case."""
        super().__init__(venue, market, name)
        self.texts = texts
        self._bare: dict[Connection, None] = {}
        self._wrapped: dict[Connection, None] = {}

    def join(self, connection: Connection) -> None:
        """Add a member in the form that its socket has."""
        assert isinstance(connection, BinanceConnection)
        super().join(connection)
        (self._wrapped if connection.combined else self._bare)[connection] = None

    def leave(self, connection: Connection) -> None:
        """Remove a member."""
        super().leave(connection)
        self._bare.pop(connection, None)
        self._wrapped.pop(connection, None)

    def publish(self, text: str, trades: list[Trade] | None = None) -> None:
        """Send a payload to all members."""
        if self._bare:
            self.broadcast(self.frame(text, trades), self._bare)
        if self._wrapped:
            wrapped = f'{{"stream":"{self.name}","data":{text}}}'
            self.broadcast(self.frame(wrapped, trades), self._wrapped)


class DepthStream(Stream):
    """Changed levels per interval; ids `U`..`u` of one frame follow those of the frame before."""

    kind = "book"

    def __init__(
        self, venue: Venue, market: Market, name: str, texts: Texts, interval: float
    ) -> None:
        """`interval` in seconds."""
        super().__init__(venue, market, name, texts)
        self._interval = interval
        self._last = market.sequence
        self._bids: dict[int, None] = {}  # keys touched in this interval
        self._asks: dict[int, None] = {}
        self._scheduled = False

    def event(self) -> None:
        """Keep the changed levels for the end of the interval."""
        if not self._scheduled:
            self._scheduled = True
            self.venue.schedule_boundary(self, self._interval)
        bids, asks = self._bids, self._asks
        for key, _, _ in self.market.changes:
            if key > 0:
                bids[key] = None
            else:
                asks[key] = None

    def flush(self) -> None:
        """Send the levels as they are now."""
        market = self.market
        sizes = market.engine.sizes
        bids = self.texts.levels(sizes, self._bids)
        asks = self.texts.levels(sizes, self._asks)
        first, self._last = self._last + 1, market.sequence
        self._bids.clear()
        self._asks.clear()
        self._scheduled = False
        ts_ms = self.venue.clock.time_ns() // 1_000_000
        self.publish(
            f'{{"e":"depthUpdate","E":{ts_ms},"s":"{market.symbol}",'
            f'"U":{first},"u":{self._last},"b":[{bids}],"a":[{asks}]}}'
        )


class TradeStream(Stream):
    """One frame per execution."""

    kind = "trades"
    counts_deliveries = True

    def event(self) -> None:
        """Send each trade."""
        texts, symbol = self.texts, self.market.symbol
        for trade in self.market.trades:
            ts_ms = trade.ts_event // 1_000_000
            self.publish(
                f'{{"e":"trade","E":{ts_ms},"s":"{symbol}","t":{trade.sequence},'
                f'"p":"{texts.price[trade.price]}","q":"{texts.size[trade.size]}","T":{ts_ms},'
                f'"m":{"false" if trade.buy else "true"},"M":true}}',
                [trade],
            )


class AggregateTradeStream(Stream):
    """One frame per aggressor and price."""

    kind = "trades"

    def event(self) -> None:
        """Send each group of trades with one aggregate id."""
        for _, group in groupby(self.market.trades, key=lambda trade: trade.tag):
            trades = list(group)
            ts_ms = trades[0].ts_event // 1_000_000
            self.publish(
                f'{{"e":"aggTrade","E":{ts_ms},"s":"{self.market.symbol}",'
                f"{aggregate_fields(self.texts, trades)}}}",
                trades,
            )


def aggregate_fields(texts: Texts, trades: list[Trade]) -> str:
    """Return the members that stream and REST share, for trades with one aggregate id."""
    first, final = trades[0], trades[-1]
    total = sum(trade.size for trade in trades)
    return (
        f'"a":{first.tag},"p":"{texts.price[first.price]}","q":"{texts.size[total]}",'
        f'"f":{first.sequence},"l":{final.sequence},"T":{first.ts_event // 1_000_000},'
        f'"m":{"false" if first.buy else "true"},"M":true'
    )


class BookTickerStream(Stream):
    """Best bid and ask whenever one of them changes."""

    kind = "ticker"

    def __init__(self, venue: Venue, market: Market, name: str, texts: Texts) -> None:
        """Nothing was sent yet."""
        super().__init__(venue, market, name, texts)
        self._best: tuple[int, int, int, int] | None = None

    def event(self) -> None:
        """Send the best levels if they changed and both sides have one."""
        market, texts = self.market, self.texts
        bids, asks, sizes = market.engine.bids, market.engine.asks, market.engine.sizes
        if not bids or not asks:
            return
        best = bids[-1], sizes[bids[-1]], asks[-1], sizes[asks[-1]]
        if best == self._best:
            return
        self._best = best
        self.publish(
            f'{{"u":{market.sequence},"s":"{market.symbol}","b":"{texts.price[best[0]]}",'
            f'"B":"{texts.size[best[1]]}","a":"{texts.price[best[2]]}",'
            f'"A":"{texts.size[best[3]]}"}}'
        )
