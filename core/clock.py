"""The venue's clock against ours, from what it says of its time: an interval, never a guess.

We ask at `sent` and have the answer at `received`; the venue says when it read the question and
when it wrote the answer. It read it after `sent` and wrote it before `received`, so its clock is
ahead of ours by something between `told_out - received` and `told_in - sent`, whatever the two
ways took. Intervals of several questions are intersected, widened by what clocks may drift in
between. One that meets none of the others shows that a clock was set. So does one that lies beside
them on both sides, unless one way became quicker and the other slower, by the same, at once.

Our own time is monotonic, so that setting our wall clock changes nothing here.
Source: D. Mills, RFC 5905 section 8 (the four timestamps) and K. Marzullo, "Maintaining the time in
a distributed system" (1984), for the intersection.
"""

from typing import Final

import msgspec

DRIFT_PPM: Final = 50
"""What two clocks that keep time drift apart at most, millionths."""
RUNAWAY_PPM: Final = 100
"""A drift beyond this is a clock that does not keep time."""
STEP_LEAST_NS: Final = 20_000_000
"""A clock set by less than this, beyond any doubt, is let be."""
HISTORY_NS: Final = 120_000_000_000
HISTORY: Final = 15
"""Half an hour in stretches, to tell a slow drift from the noise of the network."""
ANSWERS_LEAST: Final = 8
"""Fewer in a stretch say nothing of how much its ways vary."""
ALONE: Final = 3
"""A single answer is given so many times the doubt of a stretch."""
TIME_MAX: Final = 1 << 62
"""Differences of times beyond this are of no clock; two of them fit into 64 bits."""


class ServerTime(msgspec.Struct, frozen=True):
    """The venue's own time, ns since the epoch, cut off at `resolution` ns.

    `ts_in` is when it had read a question of ours, `ts_out` when it wrote this answer.
    """

    ts_in: int
    ts_out: int
    resolution: int


class Interval(msgspec.Struct, array_like=True, frozen=True):
    """The venue's time minus our monotonic time lies in `low` to `high` ns, at `mono` of ours."""

    low: int
    high: int
    mono: int

    def at(self, mono: int) -> "Interval":
        """Return what this says at another time."""
        widen = abs(mono - self.mono) * DRIFT_PPM // 1_000_000
        return Interval(self.low - widen, self.high + widen, mono)


class Stretch(msgspec.Struct, array_like=True):
    """What the answers of `HISTORY_NS`, from `mono` on, allow: `low` by the quickest way to us of
    all of them, `high` by the quickest way there; below `low` where the clock has run away.

    `widths` is the sum of what each of its `count` answers leaves open.
    """

    low: int
    high: int
    mono: int
    count: int = 0
    widths: int = 0

    def add(self, answer: Interval) -> None:
        """Take an answer."""
        self.low, self.high = max(self.low, answer.low), min(self.high, answer.high)
        self.count += 1
        self.widths += answer.high - answer.low

    @property
    def doubt(self) -> int:
        """How much quicker or slower the quickest way of another stretch may be, ns.

        No more than the quickest ways there and back together; and half of what a round trip
        usually takes more than these.
        """
        width = max(self.high - self.low, 0)
        if self.count < ANSWERS_LEAST:
            return width
        return min(width, max(self.widths // self.count - width, 0) // 2)

    def moved(self, other: "Stretch | Interval") -> int:
        """Return by how much all that `other` allows lies beside this, to whichever side; below 0
        where it is wider or narrower only."""
        low, high = other.low - self.low, other.high - self.high
        return max(min(low, high), min(-low, -high))


class Departure(msgspec.Struct, frozen=True):
    """The clock has gone from where it was by at least `least_ns`, in `since_ns`; `is_step` says
    that it did so between two answers."""

    least_ns: int
    since_ns: int
    is_step: bool


class VenueClock(msgspec.Struct, array_like=True):
    """What is known of one connection's venue clock; all of it goes into a checkpoint."""

    known: Interval | None = None
    """The intersection of what still holds."""
    history: list[Stretch] = []
    """Stretches that have ended, the oldest first."""
    stretch: Stretch | None = None
    """The one that has not."""

    def add(self, sent: int, received: int, told: ServerTime) -> Departure | None:
        """Take what was told to a question that left at `sent` and was answered by `received`,
        monotonic ns.

        Return how the clock has gone from where it was, None where it keeps time or the answer
        makes no sense.
        """
        low, high = told.ts_out - received, told.ts_in + told.resolution - sent
        if low > high or sent > received or max(abs(low), abs(high), abs(received)) > TIME_MAX:
            return None
        fresh = Interval(low, high, received)
        known = self.known
        if known is None:
            self._begin(fresh)
            return None
        before = known.at(received)
        least = max(fresh.low - before.high, before.low - fresh.high, self._shifted(fresh))
        if least >= STEP_LEAST_NS:
            self._begin(fresh)
            return Departure(least, received - known.mono, is_step=True)
        merged = Interval(max(low, before.low), min(high, before.high), received)
        self.known = merged if merged.low <= merged.high else fresh
        self._remember(fresh)
        return self._drifted()

    def recent(self) -> tuple[int, int] | None:
        """Return the bounds that the answers of this stretch and the one before set together, ns;
        the lower is above the upper where the clock has run away meanwhile."""
        stretch = self.stretch
        if stretch is None:
            return None
        past = self.history[-1] if self.history else stretch
        return max(stretch.low, past.low), min(stretch.high, past.high)

    @property
    def has_turned(self) -> bool:
        """Whether the last answer began a stretch after another."""
        return self.stretch is not None and self.stretch.count == 1 and bool(self.history)

    def offset(self, mono: int, wall: int) -> tuple[int, int] | None:
        """Return the venue's clock minus our wall clock and its uncertainty, both ns.

        `mono` and `wall` are our two clocks at one moment. The uncertainty is half the width of
        what is possible; it grows while nothing is heard. None before the first answer.
        """
        if self.known is None:
            return None
        now = self.known.at(mono)
        middle = (now.low + now.high) // 2
        return middle - (wall - mono), (now.high - now.low + 1) // 2

    def forget(self) -> None:
        """A new socket may belong to another machine, whose monotonic clock is another one."""
        self.known = self.stretch = None
        self.history = []

    def _begin(self, answer: Interval) -> None:
        self.known = answer
        self.history = []
        self.stretch = None
        self._remember(answer)

    def _remember(self, answer: Interval) -> None:
        stretch = self.stretch
        if stretch is not None and answer.mono - stretch.mono >= HISTORY_NS:
            self.history.append(stretch)
            del self.history[:-HISTORY]
            stretch = None
        if stretch is None:
            stretch = self.stretch = Stretch(answer.low, answer.high, answer.mono)
        stretch.add(answer)

    def _shifted(self, answer: Interval) -> int:
        """Return by how much the clock was set since the last stretch, 0 or less if it was not."""
        if not self.history:
            return 0
        past = self.history[-1]
        drift = (answer.mono - past.mono) * RUNAWAY_PPM // 1_000_000
        return past.moved(answer) - ALONE * past.doubt - drift

    def _drifted(self) -> Departure | None:
        """Compare the last stretch with every one before: drift shows in the long run."""
        if not self.history:
            return None
        last = self.history[-1]
        for past in self.history[:-1]:
            since = last.mono - past.mono
            least = past.moved(last) - max(past.doubt, last.doubt)
            if least >= STEP_LEAST_NS + since * RUNAWAY_PPM // 1_000_000:
                # The past is kept: as long as the clock runs away, every answer shows it.
                return Departure(least, since, is_step=False)
        return None
