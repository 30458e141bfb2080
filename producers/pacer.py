"""Waiting for one's turn at an exchange: first come, first served, as fast as it allows."""

import asyncio
import time
from typing import Final

from core.pacing import TokenBucket

_NS_PER_S: Final = 1_000_000_000


class Pacer:
    """A token bucket that several tasks share, and the exchange's own word to wait."""

    def __init__(self, bucket: TokenBucket) -> None:
        self._bucket = bucket
        self._turn = asyncio.Lock()
        self._blocked_until = 0

    async def turn(self) -> int:
        """Wait for a turn; return for how long, ns."""
        asked = time.monotonic_ns()
        # One waits for the bucket, the others for it.
        async with self._turn:
            while True:
                now = time.monotonic_ns()
                ready = max(self._bucket.ready_at(now), self._blocked_until)
                if ready <= now:
                    self._bucket.take(now)
                    return now - asked
                await asyncio.sleep((ready - now) / _NS_PER_S)

    def block(self, seconds: float) -> int:
        """Let nobody through for that long; return when it ends, monotonic ns."""
        until = time.monotonic_ns() + int(seconds * _NS_PER_S)
        self._blocked_until = max(self._blocked_until, until)
        return self._blocked_until
