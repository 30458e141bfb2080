"""Waiting before another attempt: capped exponential backoff with full jitter.

Randomness is handed in, so a test or a simulation decides what is drawn.
Source: AWS Architecture Blog, "Exponential Backoff And Jitter" (full jitter).
"""

from typing import Final

_DOUBLINGS_MAX: Final = 40


class Backoff:
    """Waits of 0 to `initial_ns`, then to twice that, and so on, never above `cap_ns`.

    The first `free` attempts do not wait at all.
    """

    def __init__(self, initial_ns: int, cap_ns: int, *, free: int = 0) -> None:
        self._initial = initial_ns
        self._cap = cap_ns
        self._free = free
        self.attempts = 0
        """Attempts since the last reset."""

    def wait(self, fraction: float) -> int:
        """Count an attempt and return how long to wait before it, ns; `fraction` is 0 to 1."""
        doublings = self.attempts - self._free
        self.attempts += 1
        if doublings < 0:
            return 0
        limit = min(self._cap, self._initial << min(doublings, _DOUBLINGS_MAX))
        return int(limit * fraction)

    def reset(self) -> None:
        """Begin anew: things have gone well for long enough."""
        self.attempts = 0
