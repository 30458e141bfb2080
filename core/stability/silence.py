"""Whether a silence is longer than the stream's own rhythm explains.

A model of the gaps (normal, exponential) is wrong for streams that are driven by events: the
textbook accrual detectors raise hundreds of false alarms a day on them. What holds for any rhythm
is the longest gap of the last hours: twice that was never seen. Where a market becomes calmer, its
gaps grow with what is between two messages on average: so the longest one is known in both.
"""

from typing import Final

import msgspec

from core.stability.windows import Extreme

_S: Final = 1_000_000_000
_PER_MILLE: Final = 1000
BUCKET_NS: Final = 3600 * _S
BUCKETS: Final = 6
"""The last six hours."""
FACTOR: Final = 2.0
FACTOR_POOLED: Final = 1.7
FACTOR_EARLY: Final = 4.0
FACTORS_THIN: Final = ((1_000, 3.0), (10_000, 2.5))
"""A silence this many times the longest gap is a fault. The fewer gaps were seen, the more likely a
much longer one is still to come: early on, and in streams with fewer frames than these. Where all
symbols of a connection are pooled less will do."""
LEAST_NS: Final = 1_250_000_000
"""No silence below this is a fault, however dense the stream: time is told once a second."""
FRAMES_MIN: Final = 50
"""Gaps seen, and time watched, before a rhythm is known."""
WATCHED_MIN_NS: Final = 300 * _S
EARLY_NS: Final = 1800 * _S
RECENT_NS: Final = 300 * _S
"""Over how long messages are counted for the time between two of them, exponentially."""
BURST: Final = 2.0
"""More messages than so many times the usual are counted as no more: after a burst is no lull."""
RATIO_MOST: Final = 15_000
"""Of messages that come independently of one another one in three millions comes so late."""
INDEPENDENT: Final = 20.0
"""Mean times between two messages. Of such messages one in 500 millions comes so late; the longest
of some thousands of gaps may be less than half of that by chance."""
IRREGULAR: Final = 6.0
"""Mean times between two messages: a stream whose longest gap is shorter keeps a beat."""

SUSPICION_GOOD: Final = 2.0
SUSPICION_BAD: Final = 8.0


class Rhythm(msgspec.Struct, array_like=True):
    """The longest gaps of one stream in the last six hours."""

    gaps: Extreme = msgspec.field(
        default_factory=lambda: Extreme.over(width_ns=BUCKET_NS, keep=BUCKETS)
    )
    frames: int = 0
    watched_ns: int = 0
    ratios: Extreme = msgspec.field(
        default_factory=lambda: Extreme.over(width_ns=BUCKET_NS, keep=BUCKETS)
    )
    """The longest gaps in thousandths of what was between two frames on average."""
    rate: float = 0.0
    """Frames a second of late."""
    quiet_ns: int = 0
    """Time since the last frame that is not in the rate yet."""

    def add(
        self,
        frames: int,
        gap_max_ns: int | None,
        passed_ns: int,
        *,
        is_pooled: bool = False,
        has_loss: bool = False,
    ) -> None:
        """Take a window in which the stream was open: its frames, and the longest gap that ended
        in it; `has_loss`: messages were missing when it ended.

        A silence that was a fault, and in which messages were lost, was an outage and no rhythm: it
        leaves the limit as it is. Any other one is remembered as no more than the limit: so a
        calmer market is learned, and a market that was halted is judged as before.
        """
        limit = self.limit_ns(is_pooled=is_pooled)
        self.frames = min(self.frames + frames, FACTORS_THIN[-1][0])
        self.watched_ns = min(self.watched_ns + passed_ns, EARLY_NS)
        is_outage = False
        if gap_max_ns is not None and limit is not None:
            is_outage = has_loss and gap_max_ns >= limit
            gap_max_ns = min(gap_max_ns, limit)
            self.quiet_ns = min(self.quiet_ns, limit)
        if is_outage:
            self.quiet_ns = 0
            self.gaps.add(None, passed_ns)
            self.ratios.add(None, passed_ns)
            return
        self.gaps.add(gap_max_ns, passed_ns)
        ratio = int((gap_max_ns or 0) * self.rate * _PER_MILLE / _S)
        self.ratios.add(min(ratio, RATIO_MOST), passed_ns)
        self._count(frames, passed_ns)

    def _count(self, frames: int, passed_ns: int) -> None:
        """Let the rate follow what came; a silence counts when it has ended."""
        self.quiet_ns = min(self.quiet_ns + passed_ns, BUCKET_NS)
        if not frames or not self.quiet_ns:
            return
        fresh = frames * _S / self.quiet_ns
        if self.rate:
            share = min(self.quiet_ns / min(self.watched_ns, RECENT_NS), 1.0)
            self.rate += (min(fresh, BURST * self.rate) - self.rate) * share
        else:
            self.rate = fresh
        self.quiet_ns = 0

    def limit_ns(self, *, is_pooled: bool = False) -> int | None:
        """Return the shortest silence that is a fault, None while the rhythm is not known."""
        longest = self.gaps.most()
        if longest is None or self.frames < FRAMES_MIN or self.watched_ns < WATCHED_MIN_NS:
            return None
        least = 0.0
        if self.rate:
            mean = _S / self.rate
            longest = max(longest, int((self.ratios.most() or 0) * mean / _PER_MILLE))
            if longest >= IRREGULAR * mean:
                least = INDEPENDENT * mean
        return max(int(self._factor(is_pooled=is_pooled) * longest), int(least), LEAST_NS)

    def _factor(self, *, is_pooled: bool) -> float:
        if self.watched_ns < EARLY_NS:
            return FACTOR_EARLY
        for frames, factor in FACTORS_THIN:
            if self.frames < frames:
                return factor
        return FACTOR_POOLED if is_pooled else FACTOR

    def suspicion(self, silence_ns: int, *, is_pooled: bool = False) -> float | None:
        """Return 2 or less up to half of the limit, 8 at the limit, and more beyond."""
        limit = self.limit_ns(is_pooled=is_pooled)
        if limit is None:
            return None
        share = silence_ns / limit
        return max(0.0, SUSPICION_GOOD + (SUSPICION_BAD - SUSPICION_GOOD) * (2.0 * share - 1.0))
