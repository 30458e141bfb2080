"""Fair prices that all venues have in common: a seeded random walk of each asset.

Instruments with the same base and quote are worth the same wherever they are traded; what a venue
adds (its basis, its own noise, a fault) is its own. A walk is a function of its seed and of the
time that venues ask for, whichever of them asks first.
"""

from collections import deque
from math import exp, log, sqrt
from random import Random
from typing import Final

from simulator.instruments import COINS, Instrument

STEP_S: Final = 0.1  # a price stands still for so long
STEPS_KEPT: Final = 600  # a venue may be a minute behind another one
RETURN_S: Final = 86_400.0  # a price goes back to where it opened within about a day
LEVEL_MAX: Final = sqrt(2.0)  # most that an asset rises or falls: a pair stays in half to twice
BASIS_BP: Final = 5.0  # most that a venue is always away from the common price, basis points


class FairPrices:
    """Levels of all assets: how much each is worth, as a multiple of what it was at the opening.

    `wildness` multiplies the volatility from now on, of all venues alike.
    """

    def __init__(self, seed: int, volatility: float) -> None:
        """`volatility` is the standard deviation over one second, as a share of the price."""
        self.wildness = 1.0
        self._seed = seed
        self._sigma = volatility * sqrt(STEP_S)
        self._walks: dict[str, _Walk] = {}

    def resume(self, instrument: Instrument, level: float, salt: int) -> None:
        """Begin where an earlier session ended, unless the asset has begun; `salt` is new in each.

        A pair of two coins says nothing of either.
        """
        if instrument.quote not in COINS or instrument.kind == "option":
            asset = _asset(instrument)
            if asset not in self._walks:
                self._walks[asset] = _Walk(f"{self._seed}:{asset}:{salt}", level)

    def level(self, instrument: Instrument, now: float) -> float:
        """Return an instrument's level at `now`, seconds since the start."""
        step = int(now / STEP_S)
        level = self._walk(_asset(instrument)).at(step, self._sigma * self.wildness)
        if instrument.quote in COINS and instrument.kind != "option":
            level /= self._walk(instrument.quote).at(step, self._sigma * self.wildness)
        return level

    def _walk(self, asset: str) -> "_Walk":
        walk = self._walks.get(asset)
        if walk is None:
            walk = self._walks[asset] = _Walk(f"{self._seed}:{asset}:0", 1.0)
        return walk


class _Walk:
    """The levels of one asset, a step after the other."""

    __slots__ = ("_last", "_levels", "_log", "_random")

    def __init__(self, seed: str, level: float) -> None:
        self._random = Random(seed)
        self._log = _bounded(log(level))
        self._levels = deque((exp(self._log),), maxlen=STEPS_KEPT)
        self._last = 0

    def at(self, step: int, sigma: float) -> float:
        while self._last < step:
            self._last += 1
            move = self._random.gauss(0.0, sigma) - self._log * (STEP_S / RETURN_S)
            self._log = _bounded(self._log + move)
            self._levels.append(exp(self._log))
        behind = min(self._last - step, len(self._levels) - 1)
        return self._levels[-1 - behind]


def _asset(instrument: Instrument) -> str:
    """Return what an instrument's price follows: its base, or an option itself."""
    return instrument.symbol if instrument.kind == "option" else instrument.base


def _bounded(level: float) -> float:
    most = log(LEVEL_MAX)
    return min(max(level, -most), most)


def basis_of(seed: int, instrument: Instrument) -> float:
    """Return a venue's own constant distance from the common price, as a share of it."""
    draw = Random(f"{seed}:basis:{instrument.venue}:{instrument.symbol}")
    return draw.uniform(-BASIS_BP, BASIS_BP) * 1e-4
