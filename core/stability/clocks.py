"""The clocks of one connection: the venue's, and the wall clock of our producer.

Latency is the difference of two clocks. `correction_ns` makes it comparable over time, also when
one of them is set. It begins in the middle of what several answers allow together, and follows what
both bounds of that have in common from then on: when a way becomes quicker, one bound moves, and
when a clock does, both.
"""

from typing import Final

import msgspec

from core.clock import TIME_MAX, Departure, ServerTime, VenueClock

LOCAL_STEP_NS: Final = 50_000_000
"""A wall clock that goes from the monotonic one by more between two ticks was set."""
ANSWERS_MIN: Final = 3
"""Answers of a socket, or since a clock was set, before the venue's clock counts as known."""
CORRECTION_MAX_NS: Final = 1 << 60
"""36 years: no clock that is worth following is farther off."""
WAIT_NS: Final = 8_000_000_000
"""How long latency may wait for the clock before it is judged without."""


class ClockReading(msgspec.Struct, frozen=True):
    """The clocks at one tick. `offset_ns` is the venue's minus our wall clock, within
    `uncertainty_ns`; both None where the venue has told no time in this epoch.

    `correction_ns` is to be added to latencies; None: they cannot be compared now. `waits_after_ns`
    is how long ago the last question left that was answered, where it pays to wait for the next,
    else None.
    """

    offset_ns: int | None = None
    uncertainty_ns: int | None = None
    correction_ns: int | None = 0
    waits_after_ns: int | None = None


class Reference(msgspec.Struct, array_like=True, frozen=True):
    """What a stretch of answers allowed, the venue's clock minus our wall clock (ns), and the
    correction of then."""

    low: int
    high: int
    correction_ns: int


class Clocks(msgspec.Struct, array_like=True):
    """What is remembered of both clocks; all of it goes into the connection's checkpoint."""

    venue: VenueClock = msgspec.field(default_factory=VenueClock)
    answers: int = 0
    """Of this epoch, or since the venue's clock was set; no more than are needed."""
    correction_ns: int = 0
    is_corrected: bool = False
    """The venue's clock was known once: latencies are judged by it from then on."""
    is_adrift: bool = False
    """The venue's clock was set, and is not known again."""
    wall_ns: int | None = None
    """Our wall clock minus our monotonic one, at the last tick of this epoch."""
    asked_mono: int | None = None
    """When the last question left that was answered, in this epoch."""
    asking_mono: int | None = None
    """When the request left that is on its way, in this epoch."""
    reference: Reference | None = None
    """What later stretches are compared with."""

    def begin_epoch(self) -> None:
        """A new socket may be another machine's, whose clocks are others."""
        self.venue.forget()
        self.answers = 0
        self.wall_ns = self.asked_mono = self.asking_mono = None

    def told(self, sent: int, received: int, told: ServerTime, wall_ns: int) -> Departure | None:
        """Take an answer about the time; `wall_ns` is our wall clock minus our monotonic one.

        Where there was a tick, its clock counts: that ours was set since is for the next to see.
        """
        departure = self.venue.add(sent, received, told)
        self.asked_mono = sent
        known = self.venue.known
        if known is None:
            return None
        self.answers = min(self.answers + 1, ANSWERS_MIN)
        if departure is not None and departure.is_step:
            self.answers, self.is_adrift = 1, True
        if self.answers == ANSWERS_MIN:
            self._follow(wall_ns if self.wall_ns is None else self.wall_ns)
        return departure

    def _follow(self, wall_ns: int) -> None:
        """Correct latencies by what the last answers say."""
        recent = self.venue.recent()
        if recent is None:
            return
        begins = self.reference is None or self.is_adrift or self.venue.has_turned
        self.is_adrift = False
        low, high = recent[0] - wall_ns, recent[1] - wall_ns
        reference = self.reference
        if reference is None:
            self._correct((low + high) // 2)
        else:
            moved = _in_common(low - reference.low, high - reference.high)
            correction_ns = reference.correction_ns + moved
            # Bounds that have crossed are of a clock that runs away, and bound nothing.
            self._correct(min(max(correction_ns, low), high) if low <= high else correction_ns)
        if begins:
            self.reference = Reference(low, high, self.correction_ns)

    def tick(self, wall_ns: int) -> int:
        """Take the time of a tick; return by how much our wall clock was set, 0 if it was not."""
        last, self.wall_ns = self.wall_ns, wall_ns if abs(wall_ns) <= TIME_MAX else None
        step = 0 if last is None or self.wall_ns is None else wall_ns - last
        if abs(step) < LOCAL_STEP_NS:
            return 0
        self._correct(self.correction_ns - step)
        before = self.reference
        if before is not None:
            corrected_ns = before.correction_ns - step
            self.reference = Reference(before.low - step, before.high - step, corrected_ns)
        return step

    def _correct(self, correction_ns: int) -> None:
        """Correct latencies by this, unless a clock is out of all reason."""
        self.correction_ns = correction_ns if abs(correction_ns) <= CORRECTION_MAX_NS else 0

    def read(self, mono: int, wall: int) -> ClockReading:
        """Return what is known at a tick."""
        offset = self.venue.offset(mono, wall)
        age_ns = None if self.asked_mono is None else mono - self.asked_mono
        waits = self.is_corrected and age_ns is not None and age_ns < WAIT_NS
        return ClockReading(
            None if offset is None else offset[0],
            None if offset is None else offset[1],
            None if self.is_adrift else self.correction_ns,
            age_ns if waits else None,
        )

    def begins(self) -> bool:
        """Say, once, that the venue's clock is known for the first time."""
        if self.is_corrected or self.answers < ANSWERS_MIN:
            return False
        self.is_corrected = True
        return True


def _in_common(low: int, high: int) -> int:
    """Return what two movements have in common: their harmonic mean, which is near the lesser one
    where they differ much; 0 where they are of opposite directions."""
    return 2 * low * high // (low + high) if (low > 0) is (high > 0) and low and high else 0
