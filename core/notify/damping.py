"""Damping: what opens again and again is told only where it lasts.

The notifications are damped, never the incidents: all of them are on the topic and in the tables.
Judged by the log's own time, so a restart that reads the same alerts comes to the same end.
"""

from collections import deque
from collections.abc import Hashable

import msgspec


class Damping(msgspec.Struct, frozen=True):
    """After `openings` within `window_ns` the next is held for `hold_ns`; 0 openings: never."""

    openings: int
    window_ns: int
    hold_ns: int


class Flaps:
    """The recent openings of every stream."""

    def __init__(self, damping: Damping) -> None:
        self._damping = damping
        self._recent: dict[Hashable, deque[int]] = {}

    def opened(self, stream: Hashable, ts: int) -> tuple[int, int]:
        """Take an opening at `ts`; return from when it may be told, and how many were before it.

        Those within the window are counted.
        """
        damping = self._damping
        recent = self._recent.setdefault(stream, deque())
        while recent and recent[0] <= ts - damping.window_ns:
            recent.popleft()
        before = len(recent)
        recent.append(ts)
        # More than these make no difference.
        while len(recent) > max(damping.openings, 1) * 4:
            recent.popleft()
        flaps = damping.openings and before >= damping.openings
        return (ts + damping.hold_ns if flaps else ts), before
