"""The clock that a venue looks at: the machine's, unless a rehearsal gives it another one."""

import time


class Clock:
    """The machine's clocks."""

    def time_ns(self) -> int:
        """Return the time of day, ns since 1970."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Return a time in seconds that never goes back; its zero means nothing."""
        return time.monotonic()


MACHINE = Clock()
