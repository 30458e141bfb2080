"""Order flow: what traders do to one market, drawn from a seeded generator.

It is told the fair price, to which this market adds a little noise of its own. Makers quote around
it, cancel what went stale, and keep the book near its aimed depth; takers trade towards it. The
flow is a pure function of its seed and of the prices it is told: it knows no clock, so two runs
with one seed make the same orders whatever the machine does.
"""

from math import log, sqrt
from random import Random

from simulator.instruments import Instrument
from simulator.matching import MatchingEngine
from simulator.settings import MarketSettings

NOISE = 0.5e-4  # standard deviation of a market's own noise, as a share of the price
NOISE_PULL = 0.05  # share of the way back to none that the noise goes in one event
NOISE_STEP = NOISE * sqrt(2 * NOISE_PULL)  # what one event adds to it
FAR = 5e-4  # no quote is on the price's wrong side by more than this share, no spread much wider
DEEP_SHARE = 0.15  # share of new orders placed far from the top
DEEP_FACTOR = 8  # how much farther they are
CROSSING_SHARE = 0.3  # share of aggressors that are crossing limit orders
SIDE_MIN = 3  # levels of a side below which it is filled again
TABLE = 256  # sizes and distances drawn in advance: a market repeats them


class OrderFlow:
    """Drives one matching engine, one event at a time.

    `crossing` tells whether the last aggressor was a limit order (its rest stays in the book).
    """

    __slots__ = (
        "_distances",
        "_half_spread",
        "_levels",
        "_noise",
        "_random",
        "_settings",
        "_sigma",
        "_sizes",
        "_spacing",
        "crossing",
        "engine",
        "fair",
        "is_frozen",
    )

    def __init__(
        self,
        instrument: Instrument,
        settings: MarketSettings,
        *,
        seed: str,
        events_per_s: float,
        fair: float,
    ) -> None:
        """Fill an empty book around `fair`, in ticks."""
        self.engine = MatchingEngine()
        self.crossing = False
        self.is_frozen = False  # a fault: best prices stand still, while book and trades go on
        self.fair = fair
        self._noise = 0.0  # as a share of the price
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
        self._spacing = max(1.0, width / self._levels)
        for sign in (1, -1):
            self._fill(sign)
        self.engine.begin()

    def step(self, fair: float) -> None:
        """Make one event at a fair price in ticks: `engine.before` and `engine.fills` hold it."""
        draw = self._random.random
        engine = self.engine
        engine.begin()
        settings = self._settings
        if not self.is_frozen:
            self._noise += self._random.gauss(0.0, NOISE_STEP)
            self._noise -= NOISE_PULL * self._noise
            self.fair = fair * (1.0 + self._noise)
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
        if not self.is_frozen:
            self._follow()

    def _follow(self) -> None:
        """Take away quotes that the price has left far behind, and quote where nobody does."""
        engine = self.engine
        far = max(1.0, FAR * self.fair)
        sides = ((1, engine.bids), (-1, engine.asks))
        for sign, keys in sides:
            while keys and keys[-1] > sign * self.fair + far:
                engine.cancel_level(keys[-1])
        for sign, keys in sides:
            top = sign * self.fair
            if len(keys) < SIDE_MIN:
                self._fill(sign)
            elif keys[-1] < top - far - self._half_spread:
                self._quote(sign, int(top - self._half_spread))

    def _act(self) -> None:
        """Place one order or cancel one."""
        draw = self._random.random
        engine = self.engine
        choice = draw()
        if choice < 0.5:
            sign, keys = 1, engine.bids
        else:
            sign, keys = -1, engine.asks
        top = keys[-1] if self.is_frozen else sign * self.fair
        depth = len(keys)
        # One draw serves twice: what is left of it is uniform again.
        if depth < SIDE_MIN or 2 * choice % 1 < 1.5 - depth / self._levels:
            self._quote(sign, int(top - self._distances[int(draw() * TABLE)]))
        elif keys[-1] > top:
            engine.cancel_level(keys[-1])  # a stale quote on the wrong side of the fair price
        else:
            key = keys[-1 - int(draw() * draw() * depth)]
            if self.is_frozen and key == top:
                engine.limit(key, self._sizes[int(draw() * TABLE)])
            elif draw() < 0.7:
                engine.cancel_level(key)
            else:
                engine.cancel(key, engine.newest(key))

    def _quote(self, sign: int, key: int) -> None:
        """Place a maker's order; `sign` is 1 for a bid and -1 for an ask."""
        opposite = self.engine.asks if sign > 0 else self.engine.bids
        if opposite and key >= -opposite[-1]:
            key = -opposite[-1] - 1  # makers never take
        if key > 0 or sign < 0:  # no bids at or below price 0
            self.engine.limit(key, self._sizes[int(self._random.random() * TABLE)])

    def _trade(self) -> None:
        """One aggressor, drawn towards the fair price, sweeping up to a few levels.

        While prices stand still it takes one lot, and never the last one.
        """
        draw = self._random.random
        engine = self.engine
        if not engine.bids or not engine.asks:
            return
        if self.is_frozen:
            buy = draw() < 0.5
            if engine.sizes[(engine.asks if buy else engine.bids)[-1]] > 1:
                engine.market(buy=buy, size=1)
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

    def _fill(self, sign: int) -> None:
        """Build one side: dense near the top, thinner with distance."""
        draw = self._random.random
        key = int(sign * self.fair - self._half_spread)
        for level in range(self._levels):
            if sign > 0 and key < 1:
                break
            for _ in range(1 + int(draw() * 3)):
                self._quote(sign, key)
            key -= 1 + int(draw() * 2 * self._spacing * (1 + 3 * level / self._levels))


def rounded(lots: float, luck: float) -> int:
    """Return a size of at least one lot; people like round numbers half of the time."""
    size = int(lots) + 1
    if size > 100 and luck < 0.5:
        unit: int = 10 ** (len(str(size)) - 2)
        size -= size % unit
    return size
