"""One market: an instrument, its engine and order flow, its numbering and its recent trades.

The venue stamps each event (sequence number, time) because numbering is the venue's own; the
market only keeps what the last event did, in the shape that truth and channels read.
"""

from collections import deque
from typing import NamedTuple

from simulator.flow import OrderFlow
from simulator.instruments import Instrument
from simulator.settings import MarketSettings

HISTORY = 1000  # trades kept in memory per market; older ones are read from the truth on disk


class Trade(NamedTuple):
    """One execution.

    `tag` is the venue's second number: Deribit's trade id, Binance's aggregate trade id, and for
    Kraken 1 when the aggressor was a limit order. `tick_direction` is Deribit's: 0 up, 1 same as
    the last up, 2 down, 3 same as the last down.
    """

    sequence: int  # contiguous per market
    tag: int
    price: int  # ticks
    size: int  # lots
    buy: bool  # side of the aggressor
    tick_direction: int
    ts_event: int  # ns, in the wire's resolution


# One level's key, and its size in lots before and after an event; 0 when absent.
Change = tuple[int, int, int]


class Market:
    """State of one symbol; `sequence` and `ts_event` name the book as it stands."""

    __slots__ = (
        "basis",
        "changes",
        "delivered",
        "engine",
        "flow",
        "high",
        "history",
        "instrument",
        "low",
        "offset",
        "sequence",
        "symbol",
        "tag",
        "trade_sequence",
        "trades",
        "ts_event",
        "volume",
    )

    def __init__(
        self,
        instrument: Instrument,
        settings: MarketSettings,
        *,
        seed: str,
        events_per_s: float,
        level: float = 1.0,
        basis: float = 0.0,
    ) -> None:
        """Open the market at the common price's `level`, and always a share `basis` beside it."""
        self.instrument = instrument
        self.symbol = instrument.symbol
        self.basis = basis
        self.offset = 0.0  # a fault: share of the price by which this venue is wrong
        self.flow = OrderFlow(
            instrument, settings, seed=seed, events_per_s=events_per_s, fair=self._fair(level)
        )
        self.engine = self.flow.engine
        self.sequence = 0
        self.ts_event = 0
        self.trade_sequence = 0
        self.tag = 0
        self.changes: list[Change] = []  # of the last event
        self.trades: list[Trade] = []  # of the last event
        self.history: deque[Trade] = deque(maxlen=HISTORY)
        self.delivered: dict[int, int] = {}  # trade sequence -> deliveries not yet in the truth
        self.high = self.low = self.middle
        self.volume = 0

    @property
    def middle(self) -> int:
        """Return the price between the best bid and the best ask in ticks, rounded down."""
        bids, asks = self.engine.bids, self.engine.asks
        if not bids or not asks:
            return int(self.flow.fair)
        return (bids[-1] - asks[-1]) // 2

    @property
    def last_price(self) -> int:
        """Return the price of the last trade in ticks, or the middle when nothing traded yet."""
        return self.history[-1].price if self.history else self.middle

    def _fair(self, level: float) -> float:
        return self.instrument.start * level * (1.0 + self.basis) * (1.0 + self.offset)

    def step(self, level: float) -> bool:
        """Make one event of the order flow at the common price's level.

        False when it changed no level of the book and traded nothing.
        """
        self.flow.step(self._fair(level))
        engine = self.engine
        sizes = engine.sizes
        self.changes = [
            (key, before, after)
            for key, before in engine.before.items()
            if (after := sizes.get(key, 0)) != before
        ]
        return bool(self.changes or engine.fills)

    def record_trades(self, tags: list[int]) -> None:
        """Turn the engine's fills into trades, one tag for each."""
        self.trades = []
        for fill, tag in zip(self.engine.fills, tags, strict=True):
            self.trade_sequence += 1
            price = abs(fill.key)
            trade = Trade(
                self.trade_sequence,
                tag,
                price,
                fill.size,
                fill.key < 0,
                self._tick_direction(price),
                self.ts_event,
            )
            self.trades.append(trade)
            self.history.append(trade)
            self.volume += fill.size
        if self.trades:
            self.tag = tags[-1]
            self.high = max(self.high, self.trades[-1].price)
            self.low = min(self.low, self.trades[-1].price)

    def _tick_direction(self, price: int) -> int:
        if not self.history:
            return 0
        last = self.history[-1]
        if price == last.price:
            return last.tick_direction | 1
        return 0 if price > last.price else 2

    def top(self, depth: int) -> tuple[list[int], list[int]]:
        """Return the keys of the best `depth` bids and asks, best first."""
        bids, asks = self.engine.bids, self.engine.asks
        return bids[: -depth - 1 : -1], asks[: -depth - 1 : -1]
