"""Token buckets: how fast a client may ask something of a venue.

Pure arithmetic on monotonic ns; who waits, and what for, is the caller's business.
"""

from typing import Final

NEVER: Final = 1 << 62
"""A deadline that never comes, ns."""
_NS_PER_S: Final = 1_000_000_000


class TokenBucket:
    """Allows `burst` at once and `per_s` in the long run.

    Kept as the one instant at which the bucket would be full again (the generic cell rate
    algorithm of ITU-T I.371), so no rounding adds up.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._interval = max(round(_NS_PER_S / per_s), 1)
        self._tolerance = self._interval * (burst - 1)
        self._full_at = 0

    def ready_at(self, now: int) -> int:
        """Return when the next token is there, ns: `now` or later."""
        return max(now, self._full_at - self._tolerance)

    def take(self, now: int) -> bool:
        """Take a token if there is one."""
        if self._full_at - self._tolerance > now:
            return False
        self.take_anyway(now)
        return True

    def take_anyway(self, now: int) -> None:
        """Take a token even from an empty bucket: those who come later wait the longer."""
        self._full_at = max(self._full_at, now) + self._interval
