"""The venue's clock against ours, from what it says of its time: an interval, never a guess.

We ask at `sent` and have the answer at `received`; the venue says when it read the question and
when it wrote the answer. It read it after `sent` and wrote it before `received`, so its clock is
ahead of ours by something between `told_out - received` and `told_in - sent`, whatever the two
ways took. Intervals of several questions are intersected, widened by what clocks may drift in
between. One that meets none of the others shows that a clock was set.

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
"""Half an hour of what was known, to tell a slow drift from the noise of the network."""
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
    history: list[Interval] = []

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
        merged = Interval(max(low, before.low), min(high, before.high), received)
        if merged.low <= merged.high:
            self.known = merged
            # Of a clock that runs away, the bound on that side is true of all answers so far.
            departure = self._drifted(merged)
            self._remember(merged)
            return departure
        least = max(fresh.low - before.high, before.low - fresh.high)
        if least >= STEP_LEAST_NS:
            self._begin(fresh)
            return Departure(least, received - known.mono, is_step=True)
        self.known = fresh
        departure = self._drifted(fresh)
        self._remember(fresh)
        return departure

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
        self.known = None
        self.history = []

    def _begin(self, interval: Interval) -> None:
        self.known = interval
        self.history = [interval]

    def _remember(self, interval: Interval) -> None:
        if interval.mono - self.history[-1].mono >= HISTORY_NS:
            self.history.append(interval)
            del self.history[:-HISTORY]

    def _drifted(self, now: Interval) -> Departure | None:
        """Compare with every interval of the past, each as it was: drift shows in the long run."""
        for past in self.history:
            since = now.mono - past.mono
            least = max(now.low - past.high, past.low - now.high)
            if least >= STEP_LEAST_NS + since * RUNAWAY_PPM // 1_000_000:
                # The past is kept: as long as the clock runs away, every answer shows it.
                return Departure(least, since, is_step=False)
        return None
