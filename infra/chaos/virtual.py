"""An event loop whose time is virtual: it never waits, it jumps to what is due next.

Everything that asks the loop for the time, sleeps or sets timers runs as it would in real time,
only sooner, and the same way each time. Real sockets, threads and subprocesses do not belong here.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from simulator.clock import Clock

_T = TypeVar("_T")
_NS_PER_S: Final = 1_000_000_000
STARTED_NS: Final = 1_790_000_000 * _NS_PER_S
"""Time of day when a virtual loop begins, ns since the epoch: 2026-09-21T13:33:20Z."""
BOOTED_NS: Final = 1_000 * _NS_PER_S
"""What its monotonic clock shows then, ns."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module's docstring. Time begins at 0 s.

    A loop that waits for nothing that could ever come raises RuntimeError.
    """

    def __init__(self) -> None:
        self._elapsed = 0.0
        super().__init__(_Jumps(self))

    def time(self) -> float:
        """Return the virtual seconds that have passed."""
        return self._elapsed

    def jump(self, seconds: float) -> None:
        """Let time pass."""
        self._elapsed += seconds


class _Jumps(selectors.SelectSelector):
    """In place of waiting for sockets: pass the time that there was to wait."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits, and no timer will ever wake it")
        if timeout > 0:
            self._loop.jump(timeout)
        return []


class VirtualClock(Clock):
    """The clocks of a machine in the virtual world."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    def true_ns(self) -> int:
        """Return the time of day, ns since the epoch."""
        return STARTED_NS + round(self._loop.time() * _NS_PER_S)

    def mono_ns(self) -> int:
        """Return the monotonic clock, ns."""
        return BOOTED_NS + round(self._loop.time() * _NS_PER_S)

    def monotonic(self) -> float:
        """Return the monotonic clock, s."""
        return self._loop.time()


def run(coroutine: Coroutine[Any, Any, _T], loop: VirtualLoop) -> _T:
    """Run to the end in virtual time, and close the loop."""
    try:
        return loop.run_until_complete(coroutine)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
