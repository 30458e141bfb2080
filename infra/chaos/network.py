"""The way between a venue and us: two directions with delay, noise and stalls, in order as TCP is.

The model: a fixed delay; congestion that comes and goes (a mean-reverting AR(1) process); noise of
each segment; now and then a stall (a lost segment that TCP sends again), behind which all that
follows waits. Faults of the network change a path's fields.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from math import exp, sqrt
from random import Random
from typing import Final

import msgspec

CONGESTION_S: Final = 2.0
"""Time constant of congestion."""
LEAST_S: Final = 0.0005
"""No segment is faster."""

Segment = Callable[[bytes, float], None]
"""Takes what arrives, and the loop's time at which it was sent."""


class PathSettings(msgspec.Struct, frozen=True):
    """One direction; times in s, `stall_share` of the segments stall for `stall_s` on average."""

    delay_s: float = 0.04
    congestion_s: float = 0.002
    noise_s: float = 0.003
    stall_share: float = 2e-4
    stall_s: float = 0.15


class Path:
    """One direction. Faults: `is_cut` loses all, `noise_factor`, and `extra` delay by time."""

    def __init__(
        self, settings: PathSettings, random: Random, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.is_cut = False
        self.lost_at: float | None = None
        """When a segment was lost first since `cut`."""
        self.noise_factor = 1.0
        self.extra: Callable[[float], float] | None = None
        self._settings = settings
        self._random = random
        self._loop = loop
        self._congestion = 0.0
        self._congestion_at = 0.0

    def cut(self) -> None:
        """Lose everything from now on."""
        self.is_cut = True
        self.lost_at = None

    def mend(self) -> None:
        """Lose nothing any more."""
        self.is_cut = False

    def delay_s(self, now: float) -> float:
        """Draw the delay of a segment that is sent now."""
        settings, draw = self._settings, self._random
        kept = exp((self._congestion_at - now) / CONGESTION_S)
        self._congestion_at = now
        fresh = settings.congestion_s * sqrt(max(1.0 - kept * kept, 0.0))
        self._congestion = self._congestion * kept + draw.gauss(0.0, fresh)
        noise = draw.gauss(0.0, settings.noise_s) * self.noise_factor
        delay = settings.delay_s + self._congestion + noise
        if draw.random() < settings.stall_share:
            delay += draw.expovariate(1.0 / settings.stall_s)
        if self.extra is not None:
            delay += self.extra(now)
        return max(delay, LEAST_S)


class Stream:
    """What one socket sends one way: segments arrive in order, or never."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop, arrive: Segment) -> None:
        self.is_over = False
        """Nothing arrives any more."""
        self._path = path
        self._loop = loop
        self._arrive = arrive
        self._arrives_at = 0.0
        self._flying: deque[tuple[bytes, float]] = deque()

    def send(self, data: bytes) -> None:
        """Send a segment; empty is the end."""
        path, now = self._path, self._loop.time()
        if path.is_cut:
            path.lost_at = now if path.lost_at is None else path.lost_at
            return
        self._arrives_at = max(self._arrives_at, now + path.delay_s(now))
        # Timers of one instant fire in any order: which segment is next is remembered here.
        self._flying.append((data, now))
        self._loop.call_at(self._arrives_at, self._hand_over)

    def _hand_over(self) -> None:
        data, sent_at = self._flying.popleft()
        if not self.is_over:
            self._arrive(data, sent_at)
