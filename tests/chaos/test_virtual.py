"""Time that jumps: the loop, and a machine's clock in it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from infra.chaos.virtual import BOOTED_NS, STARTED_NS, VirtualClock, VirtualLoop, run

S = 1_000_000_000
_T = TypeVar("_T")


def play(act: Callable[[VirtualLoop], Awaitable[_T]]) -> _T:
    loop = VirtualLoop()

    async def whole() -> _T:
        return await act(loop)

    return run(whole(), loop)


def test_loop_sleeps_a_day_at_once() -> None:
    began = time.monotonic()

    async def act(loop: VirtualLoop) -> float:
        await asyncio.sleep(86_400.0)
        return loop.time()

    assert play(act) == 86_400.0
    assert time.monotonic() - began < 5.0


def test_loop_keeps_timers_in_their_order() -> None:
    seen: list[tuple[str, float]] = []

    async def act(loop: VirtualLoop) -> None:
        loop.call_at(3.0, lambda: seen.append(("late", loop.time())))
        loop.call_at(1.0, lambda: seen.append(("soon", loop.time())))
        loop.call_later(2.0, lambda: seen.append(("between", loop.time())))
        await asyncio.sleep(4.0)

    play(act)

    assert seen == [("soon", 1.0), ("between", 2.0), ("late", 3.0)]


def test_loop_that_could_wait_for_ever_says_so() -> None:
    async def act(loop: VirtualLoop) -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="no timer will ever wake it"):
        play(act)


def test_clock_tells_the_time_of_day_and_since_the_start() -> None:
    async def act(loop: VirtualLoop) -> tuple[int, int, float]:
        clock = VirtualClock(loop)
        await asyncio.sleep(1.5)
        return clock.time_ns(), clock.mono_ns(), clock.monotonic()

    assert play(act) == (STARTED_NS + 3 * S // 2, BOOTED_NS + 3 * S // 2, 1.5)


def test_clock_that_is_stepped_and_drifts_is_wrong_by_both() -> None:
    async def act(loop: VirtualLoop) -> tuple[int, int]:
        clock = VirtualClock(loop)
        await asyncio.sleep(10.0)
        clock.set_wrong(offset_s=-0.5, drift=200e-6)
        await asyncio.sleep(100.0)
        return clock.time_ns() - STARTED_NS, clock.mono_ns() - BOOTED_NS

    day, mono = play(act)

    assert day == 110 * S - S // 2 + 20_000_000
    assert mono == 110 * S
