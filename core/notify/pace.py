"""When a receiver may be tried again, and what its answer means.

A receiver that is away is tried again after a wait that grows; what it answers and cannot take
waits by itself, so that it holds up nothing else.
"""

from enum import Enum
from typing import Final

from core.backoff import Backoff

_AWAY: Final = frozenset({408, 429, 502, 503, 504})
_NS: Final = 1_000_000_000


class Verdict(Enum):
    """What an HTTP answer means for a delivery."""

    TAKEN = "taken"
    REFUSED = "refused"
    """For good: the same request would be refused again."""
    AWAY = "away"
    """Nothing is taken now, whatever it is."""
    FAILED = "failed"
    """The receiver answers, and this one it could not take."""


def verdict(status: int) -> Verdict:
    """Return what an HTTP status means."""
    if 200 <= status < 300:
        return Verdict.TAKEN
    if status in _AWAY:
        return Verdict.AWAY
    return Verdict.FAILED if status >= 500 else Verdict.REFUSED


class Pace:
    """When a receiver may be tried next; monotonic ns. It has two lanes: fresh and troubled."""

    def __init__(self, initial_ns: int, cap_ns: int) -> None:
        self._cap_ns = cap_ns
        self._lanes = {lane: Backoff(initial_ns, cap_ns) for lane in (False, True)}
        self._due = {False: 0, True: 0}

    def due(self, *, troubled: bool) -> int:
        """Return from when on a lane may be tried."""
        return self._due[troubled]

    def worked(self, *, troubled: bool) -> None:
        """Something was taken: begin anew."""
        self._lanes[troubled].reset()
        self._due[troubled] = 0
        if not troubled:
            return
        self._lanes[False].reset()
        self._due[False] = 0

    def failed(
        self, now: int, fraction: float, *, troubled: bool, retry_after_s: float = 0.0
    ) -> None:
        """Nothing was taken; `fraction` is random, 0 to 1. A receiver may ask for a longer wait."""
        # At least a tenth of the limit: a wait of nothing would be none.
        wait = self._lanes[troubled].wait(0.1 + 0.9 * fraction)
        asked = min(int(retry_after_s * _NS), 10 * self._cap_ns)
        self._due[troubled] = now + max(wait, asked)
