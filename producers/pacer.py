"""Waiting for one's turn at an exchange, as fast as it allows: urgent ones first, then in order."""

import asyncio
import itertools
import time
from typing import Final

from core.pacing import TokenBucket

_NS_PER_S: Final = 1_000_000_000


class Pacer:
    """A token bucket that several tasks share, and the exchange's own word to wait."""

    def __init__(self, bucket: TokenBucket) -> None:
        self._bucket = bucket
        self._places: set[tuple[bool, int]] = set()
        self._arrivals = itertools.count()
        self._moved = asyncio.Event()
        self._blocked_until = 0

    async def turn(self, *, urgent: bool = True) -> int:
        """Wait for a turn; return for how long, ns."""
        asked = time.monotonic_ns()
        place = (not urgent, next(self._arrivals))
        self._places.add(place)
        try:
            while True:
                now = time.monotonic_ns()
                ready = max(self._bucket.ready_at(now), self._blocked_until)
                if min(self._places) != place:
                    self._moved.clear()
                    await self._moved.wait()
                elif ready > now:
                    await asyncio.sleep((ready - now) / _NS_PER_S)
                else:
                    self._bucket.take(now)
                    return now - asked
        finally:
            self._places.remove(place)
            self._moved.set()

    def block(self, seconds: float) -> int:
        """Let nobody through for that long; return when it ends, monotonic ns."""
        until = time.monotonic_ns() + int(seconds * _NS_PER_S)
        self._blocked_until = max(self._blocked_until, until)
        return self._blocked_until
