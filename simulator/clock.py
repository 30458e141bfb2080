"""The clock that a venue looks at: the machine's, unless a rehearsal gives it another one."""

import time

_NS_PER_S = 1_000_000_000


class Clock:
    """The machine's clocks; `set_wrong` makes the time of day wrong, which is right at first."""

    def __init__(self) -> None:
        self._offset_s = 0.0
        self._drift = 0.0
        self._drifts_from = 0.0

    def true_ns(self) -> int:
        """Return the time of day, ns since 1970."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Return a time in seconds that never goes back; its zero means nothing."""
        return time.monotonic()

    def time_ns(self) -> int:
        """Return what this clock takes for the time of day, ns since 1970."""
        if not self._offset_s and not self._drift:
            return self.true_ns()
        wrong_s = self._offset_s + self._drift * (self.monotonic() - self._drifts_from)
        return self.true_ns() + round(wrong_s * _NS_PER_S)

    def set_wrong(self, *, offset_s: float = 0.0, drift: float = 0.0) -> None:
        """Step the time of day to `offset_s` from the truth, and let it drift from there by
        `drift` seconds a second."""
        self._offset_s, self._drift = offset_s, drift
        self._drifts_from = self.monotonic()
