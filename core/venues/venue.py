"""One venue's price of one instrument: what is usual for it, and what is not.

A venue has a basis of its own: other quotes, fees and countries keep it apart from the others for
long. So it is compared with where it usually is, in two ways:

    divergence    its price is elsewhere than usual, by more than its own noise, than a floor, and
                  than what all prices have just moved by: who follows a little later is not
                  elsewhere
    frozen price  messages come and its price stands still, while the others' moves further than it
                  ever did beside this venue's standing price

What is usual is learned with half-lives of many minutes, and a twelfth as fast while it is unusual.
A venue whose price strays too far by itself is not judged: it does not follow the others. All
figures are logarithms in 10**-9 (`NANOS_PER_BP`), so that every run rounds alike.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from core.stability.alerts import AlertKind, Finding
from core.stability.incidents import Incidents
from core.stability.windows import Ewma, Extreme, Recent
from core.venues.mids import NANOS_PER_BP

_S: Final = 1_000_000_000
BASIS_NS: Final = 1250 * _S
"""Half-life of the basis: a time constant of half an hour."""
USUAL_NS: Final = 3600 * _S
"""Half-life of how far a venue usually is from its basis."""
SLOWLY: Final = 12
"""While a venue diverges it is learned from so many times slower."""
KNOWN_S: Final = 900
"""Seconds that a venue was compared for before it is judged."""
RECENT_S: Final = 5
"""Seconds with messages, of whose divergences the median counts."""
FLOOR: Final = 10 * NANOS_PER_BP
SIGMAS: Final = 8.0
"""A divergence is at least so large, and so many times as large as is usual for the venue and for
most of the others."""
SIGMA_LEAST: Final = NANOS_PER_BP // 2
LOOSE: Final = 5 * NANOS_PER_BP
"""A venue that strays further by itself is not judged, nor is any where most do."""
SIGMA_PER_MEAN: Final = 1.2533
"""Of a normal distribution: the standard deviation in mean absolute deviations, sqrt(pi / 2)."""
HOLD: Final = 0.5
"""An open divergence is held by this share of what opens it."""
STILL_S: Final = 10
STILL_SPOKEN: Final = 5
"""A price that stands still does so for so long, with messages in so many of the seconds."""
STILL_FLOOR: Final = 4 * NANOS_PER_BP
STILL_FACTOR: Final = 2
"""It is frozen if the consensus has moved by this, and by so many times as much as ever before."""
LEFT_BEHIND_S: Final = 5
"""A price that has stood for so long, and that the others have left, has not gone elsewhere."""
_BUCKET_NS: Final = 3600 * _S
_BUCKETS: Final = 6

Top = tuple[int, int, int]
"""Exponent, best bid and best ask."""


class Still(msgspec.Struct, array_like=True):
    """A price that has not changed since a second: the consensus then, and the furthest since."""

    since: int
    top: Top
    consensus: int
    spoken: int = 0
    """Seconds since then in which the book has changed elsewhere."""
    furthest: int = 0
    moved: int = 0
    """How far the consensus is now from where it was."""


class Compared(msgspec.Struct, frozen=True):
    """One second of a venue whose price counts: everything that is asked of it.

    `movement` is how far the consensus went in the last seconds, and `sigma` the standard deviation
    that the venues of this second have at the median.
    """

    second: int
    log: int
    top: Top
    ts_book: int
    consensus: int
    movement: int
    sigma: int


class Venue(msgspec.Struct, array_like=True):
    """What is remembered of a venue's symbol; all of it goes into a checkpoint."""

    exchange: str
    symbol: str
    heard: int = 0
    """The last second in which it said anything."""
    ts_book: int = 0
    compared_s: int = 0
    basis: Ewma = msgspec.field(default_factory=lambda: Ewma(BASIS_NS))
    usual: Ewma = msgspec.field(default_factory=lambda: Ewma(USUAL_NS))
    recent: Recent = msgspec.field(default_factory=lambda: Recent(RECENT_S))
    still: Still | None = None
    excursions: Extreme = msgspec.field(
        default_factory=lambda: Extreme.over(width_ns=_BUCKET_NS, keep=_BUCKETS)
    )
    incidents: Incidents = msgspec.field(default_factory=Incidents)
    limit: int = FLOOR
    """The least divergence that is a fault, as of the last second."""

    @property
    def offset(self) -> int | None:
        """The basis; None before the first comparison."""
        return None if self.basis.value is None else round(self.basis.value)

    @property
    def sigma(self) -> int | None:
        """One robust standard deviation of the divergence."""
        if self.usual.value is None:
            return None
        return max(round(self.usual.value * SIGMA_PER_MEAN), SIGMA_LEAST)

    @property
    def is_known(self) -> bool:
        """Whether enough is known of it, and it follows the others closely enough, to be judged."""
        sigma = self.sigma
        return self.compared_s >= KNOWN_S and sigma is not None and sigma <= LOOSE

    def divergence(self, log: int, consensus: int) -> int:
        """Return how far a price is from where it usually is."""
        return log - consensus - (self.offset or 0)

    def compare(self, now: Compared) -> None:
        """Take a second in which its price counts, and the consensus is known."""
        divergence = self._divergence_learned(now)
        has_spoken = now.ts_book != self.ts_book
        self.ts_book = now.ts_book
        if has_spoken:
            self.recent.add(divergence)
        self._stand_still(now, has_spoken=has_spoken)

    def pause(self) -> None:
        """Its price did not count, or there was no consensus: nothing goes on over that."""
        self.still = None
        self.recent.values = []

    # -- what is usual --

    def _divergence_learned(self, now: Compared) -> int:
        away = now.log - now.consensus
        if self.basis.value is None:
            self.basis.value = float(away)
        divergence = self.divergence(now.log, now.consensus)
        # The venue in the middle strays least, also where no two have anything in common.
        sigma = max(self.sigma or 0, now.sigma)
        self.limit = max(FLOOR, round(SIGMAS * sigma), now.movement)
        self.compared_s = min(self.compared_s + 1, USUAL_NS // _S)
        is_usual = abs(divergence) < self.limit and not self.incidents.open
        passed_ns = _S if is_usual or not self.is_known else _S // SLOWLY
        self.basis.add(away, self._hurried(passed_ns, BASIS_NS))
        strayed = float(abs(divergence))
        if self.compared_s >= KNOWN_S:
            # A few seconds of trouble are not to make the next trouble look usual.
            strayed = min(strayed, 4.0 * max(self.usual.value or 0.0, SIGMA_LEAST))
        self.usual.add(strayed, self._hurried(passed_ns, USUAL_NS))
        return divergence

    def _hurried(self, passed_ns: int, half_life_ns: int) -> int:
        """Return the time that a sample stands for: what is young is learned with a half-life of
        its age, so that the first sample does not count for more than the others."""
        age_ns = self.compared_s * _S
        return passed_ns * half_life_ns // min(half_life_ns, age_ns)

    def _stand_still(self, now: Compared, *, has_spoken: bool) -> None:
        still = self.still
        excursion = None
        if still is None or still.top != now.top:
            if still is not None and AlertKind.FROZEN_PRICE not in self.incidents.open:
                excursion = min(still.furthest, self.still_limit)
            self.still = Still(now.second, now.top, now.consensus)
        else:
            still.spoken += has_spoken
            still.moved = abs(now.consensus - still.consensus)
            still.furthest = max(still.furthest, still.moved)
        self.excursions.add(excursion, _S)

    @property
    def still_limit(self) -> int:
        """The least move of the consensus beside a standing price that is a fault."""
        return max(STILL_FLOOR, STILL_FACTOR * (self.excursions.most() or 0))

    # -- what is not --

    def findings(self, second: int) -> Iterator[Finding]:
        """Yield what the second that was just compared is evidence of, of a venue that is known."""
        still = self.still
        assert still is not None, "a venue that was compared stands somewhere"
        stood_s = second - still.since
        is_open = AlertKind.FROZEN_PRICE in self.incidents.open
        is_frozen = stood_s >= STILL_S and still.spoken >= STILL_SPOKEN
        if is_frozen and (is_open or still.moved >= self.still_limit):
            yield _frozen(still, self.still_limit)
            return
        diverged = self._diverged()
        if diverged:
            is_left = stood_s >= LEFT_BEHIND_S and 2 * still.moved >= abs(diverged)
            if is_left and still.spoken:
                yield _frozen(still, self.still_limit)
                return
            away = sum(2 * abs(value) >= abs(diverged) for value in self.recent.values)
            yield Finding(
                AlertKind.DIVERGENCE,
                (second - away + 1) * _S,
                "divergence",
                abs(diverged) / NANOS_PER_BP,
                self.limit / NANOS_PER_BP,
                "bps",
            )

    def _diverged(self) -> int:
        """Return the divergence of the last seconds if it is a fault, else 0."""
        median = self.recent.median()
        share = HOLD if AlertKind.DIVERGENCE in self.incidents.open else 1.0
        if median is None or abs(median) < share * self.limit:
            return 0
        last = self.recent.values[-1]
        # One that comes back is not to be opened by seconds that are over.
        return median if abs(last) >= share * self.limit and last * median > 0 else 0


def _frozen(still: Still, limit: int) -> Finding:
    return Finding(
        AlertKind.FROZEN_PRICE,
        still.since * _S,
        "consensus moved, price did not",
        still.moved / NANOS_PER_BP,
        limit / NANOS_PER_BP,
        "bps",
    )
