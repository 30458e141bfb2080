"""Order flow: what traders do to one market, drawn from a seeded generator.

A hidden fair price drifts. Makers quote around it, cancel what went stale, and keep the book near
its aimed depth; takers trade towards it. The flow is a pure function of its seed: it knows no
clock, so two runs with one seed make the same orders whatever the machine does.
"""

from math import log, sqrt
from random import Random

from simulator.instruments import Instrument
from simulator.matching import MatchingEngine
from simulator.settings import MarketSettings

PULL = 0.002  # share of the way back to the opening price that the fair price goes in one event
DEEP_SHARE = 0.15  # share of new orders placed far from the top
DEEP_FACTOR = 8  # how much farther they are
CROSSING_SHARE = 0.3  # share of aggressors that are crossing limit orders
TABLE = 256  # sizes and distances drawn in advance: a market repeats them


class OrderFlow:
    """Drives one matching engine, one event at a time.

    `crossing` tells whether the last aggressor was a limit order (its rest stays in the book).
    """

    __slots__ = (
        "_distances",
        "_half_spread",
        "_levels",
        "_opening",
        "_random",
        "_settings",
        "_sigma",
        "_sizes",
        "crossing",
        "engine",
        "fair",
        "is_frozen",
        "wildness",
    )

    def __init__(
        self,
        instrument: Instrument,
        settings: MarketSettings,
        *,
        seed: str,
        events_per_s: float,
        opening: int = 0,
    ) -> None:
        """Fill an empty book around `opening` ticks (0: the catalogue's price)."""
        self.engine = MatchingEngine()
        self.crossing = False
        self.is_frozen = False  # the price stands still: only sizes far from the top change
        self.wildness = 1.0  # multiplies the volatility
        self.fair = float(opening or instrument.start)
        self._opening = float(instrument.start)
        self._settings = settings
        self._levels = max(2, min(settings.levels, instrument.levels_max, instrument.start // 4))
        self._sigma = settings.volatility * self.fair / sqrt(max(events_per_s, 0.01))
        self._half_spread = max(0.5, self.fair * 1e-5)
        self._random = Random(seed)
        width = max(float(self._levels), self.fair * 1e-4)
        draw = self._random.random
        self._sizes = [
            rounded(-log(1 - draw()) * instrument.order_lots, draw()) for _ in range(TABLE)
        ]
        self._distances = [
            self._half_spread
            - log(1 - draw()) * draw() * width * (DEEP_FACTOR if draw() < DEEP_SHARE else 1)
            for _ in range(TABLE)
        ]
        for sign in (1, -1):
            self._fill(sign, step=max(1.0, width / self._levels))
        self.engine.begin()

    def step(self) -> None:
        """Make one event: `engine.before` and `engine.fills` then hold what it did."""
        draw = self._random.random
        engine = self.engine
        engine.begin()
        if self.is_frozen:
            self._stir()
            return
        settings = self._settings
        fair = self.fair + self._random.gauss(0.0, self._sigma * self.wildness)
        fair += PULL * (self._opening - fair)
        self.fair = min(max(fair, self._opening * 0.5), self._opening * 2.0)
        least = settings.touched_min
        luck = draw()  # its cube: more often few levels than many
        wanted = least + int(luck * luck * luck * (settings.touched_max - least + 1))
        wanted = min(wanted, self._levels)
        if draw() < settings.trade_share:
            self._trade()
        before = engine.before
        tries = 4 * wanted  # actions may meet on one level: a bound, not a target
        while len(before) < wanted and tries:
            self._act()
            tries -= 1

    def move(self, share: float) -> None:
        """Move the price, and what it returns to, by a share of itself."""
        self.fair *= 1.0 + share
        self._opening *= 1.0 + share

    def _stir(self) -> None:
        """Trade a lot at the top now and then and change a size below it: no best price moves."""
        draw = self._random.random
        engine = self.engine
        buy = draw() < 0.5
        keys, opposite = (engine.bids, engine.asks) if buy else (engine.asks, engine.bids)
        if keys:
            engine.limit(keys[int(draw() * len(keys))], self._sizes[int(draw() * TABLE)])
        if opposite and draw() < self._settings.trade_share and engine.sizes[opposite[-1]] > 1:
            engine.market(buy=buy, size=1)

    def _act(self) -> None:
        """Place one order or cancel one."""
        draw = self._random.random
        engine = self.engine
        choice = draw()
        if choice < 0.5:
            keys, opposite, top = engine.bids, engine.asks, self.fair
        else:
            keys, opposite, top = engine.asks, engine.bids, -self.fair
        depth = len(keys)
        # One draw serves twice: what is left of it is uniform again.
        if depth < 3 or 2 * choice % 1 < 1.5 - depth / self._levels:
            key = int(top - self._distances[int(draw() * TABLE)])
            if opposite and key >= -opposite[-1]:
                key = -opposite[-1] - 1  # makers never take
            if key > 0 or top < 0:  # no bids at or below price 0
                engine.limit(key, self._sizes[int(draw() * TABLE)])
        elif keys[-1] > top:
            engine.cancel_level(keys[-1])  # a stale quote on the wrong side of the fair price
        else:
            key = keys[-1 - int(draw() * draw() * depth)]
            if draw() < 0.7:
                engine.cancel_level(key)
            else:
                engine.cancel(key, engine.newest(key))

    def _trade(self) -> None:
        """One aggressor, drawn towards the fair price, sweeping up to a few levels."""
        draw = self._random.random
        engine = self.engine
        if not engine.bids or not engine.asks:
            return
        middle = (engine.bids[-1] - engine.asks[-1]) / 2
        lean = (self.fair - middle) / (self._half_spread + self._sigma)
        buy = draw() < 0.5 + max(-0.45, min(0.45, 0.25 * lean))
        keys = engine.asks if buy else engine.bids
        size = self._sizes[int(draw() * TABLE)]
        if draw() < 0.1:
            size *= 6
        self.crossing = draw() < CROSSING_SHARE
        if self.crossing:
            engine.limit(-keys[-1], size)
        else:
            held = sum(engine.sizes[key] for key in keys[-3:])
            engine.market(buy=buy, size=min(size, held))

    def _fill(self, sign: int, *, step: float) -> None:
        """Build one side: dense near the top, thinner with distance."""
        draw = self._random.random
        key = int(sign * self.fair - self._half_spread)
        for level in range(self._levels):
            if sign > 0 and key < 1:
                break
            for _ in range(1 + int(draw() * 3)):
                self.engine.limit(key, self._sizes[int(draw() * TABLE)])
            key -= 1 + int(draw() * 2 * step * (1 + 3 * level / self._levels))


def rounded(lots: float, luck: float) -> int:
    """Return a size of at least one lot; people like round numbers half of the time."""
    size = int(lots) + 1
    if size > 100 and luck < 0.5:
        unit: int = 10 ** (len(str(size)) - 2)
        size -= size % unit
    return size
