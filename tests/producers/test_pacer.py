import asyncio
import time

from core.pacing import TokenBucket
from producers.pacer import Pacer

DEADLINE_S = 10.0


async def order_of(pacer: Pacer, asked: list[tuple[str, bool]]) -> list[str]:
    """Let tasks ask for a turn, in this order; return the order in which they had it."""
    had: list[str] = []

    async def ask(name: str, urgent: bool) -> None:
        await pacer.turn(urgent=urgent)
        had.append(name)

    tasks = [asyncio.create_task(ask(name, urgent)) for name, urgent in asked]
    await asyncio.wait_for(asyncio.gather(*tasks), DEADLINE_S)
    return had


async def test_pacer_turns_come_in_order() -> None:
    pacer = Pacer(TokenBucket(200.0, 1))
    names = [f"{number}" for number in range(10)]

    assert await order_of(pacer, [(name, True) for name in names]) == names


async def test_pacer_urgent_ones_overtake() -> None:
    pacer = Pacer(TokenBucket(20.0, 1))
    asked = [("a", False), ("b", False), ("c", True), ("d", True)]

    assert await order_of(pacer, asked) == ["a", "c", "d", "b"]


async def test_pacer_keeps_the_rate() -> None:
    pacer = Pacer(TokenBucket(100.0, 2))
    loop = asyncio.get_running_loop()
    started = loop.time()
    await order_of(pacer, [("x", True)] * 12)

    assert loop.time() - started >= 0.099


async def test_pacer_one_that_gives_up_holds_nobody() -> None:
    pacer = Pacer(TokenBucket(1000.0, 1))
    pacer.block(0.05)
    first = asyncio.create_task(pacer.turn())
    second = asyncio.create_task(pacer.turn())
    await asyncio.sleep(0)
    first.cancel()

    assert await asyncio.wait_for(second, DEADLINE_S) >= 0


async def test_pacer_blocked_lets_nobody_through_until_the_end() -> None:
    pacer = Pacer(TokenBucket(1000.0, 10))
    until = pacer.block(0.1)
    await asyncio.wait_for(pacer.turn(), DEADLINE_S)

    assert time.monotonic_ns() >= until
