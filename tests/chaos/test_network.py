"""The way between a venue and us: in order, late, or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from random import Random
from statistics import mean, pstdev
from typing import TypeVar

import pytest

from infra.chaos.network import LEAST_S, Path, PathSettings, Stream
from infra.chaos.virtual import VirtualLoop, run

STEADY = PathSettings(delay_s=0.05, congestion_s=0.0, noise_s=0.0, stall_share=0.0)
_T = TypeVar("_T")


def play(settings: PathSettings, act: Callable[[Path, VirtualLoop], Awaitable[_T]]) -> _T:
    loop = VirtualLoop()

    async def whole() -> _T:
        return await act(Path(settings, Random(1), loop), loop)

    return run(whole(), loop)


def test_segments_arrive_in_order_whatever_their_noise() -> None:
    noisy = PathSettings(noise_s=0.05, stall_share=0.05)

    async def act(path: Path, loop: VirtualLoop) -> list[bytes]:
        arrived: list[bytes] = []
        stream = Stream(path, loop, lambda data, sent_at: arrived.append(data))
        for number in range(500):
            stream.send(b"%d" % number)
            await asyncio.sleep(0.01)
        await asyncio.sleep(5.0)
        return arrived

    assert play(noisy, act) == [b"%d" % number for number in range(500)]


def test_segment_arrives_after_the_delay_and_knows_when_it_was_sent() -> None:
    async def act(path: Path, loop: VirtualLoop) -> list[tuple[float, float]]:
        seen: list[tuple[float, float]] = []
        await asyncio.sleep(1.0)
        Stream(path, loop, lambda data, sent_at: seen.append((loop.time(), sent_at))).send(b"x")
        await asyncio.sleep(1.0)
        return seen

    ((arrived_at, sent_at),) = play(STEADY, act)

    assert arrived_at == pytest.approx(1.05)
    assert sent_at == 1.0


def test_cut_path_loses_all_and_remembers_since_when() -> None:
    async def act(path: Path, loop: VirtualLoop) -> tuple[list[bytes], float | None]:
        arrived: list[bytes] = []
        stream = Stream(path, loop, lambda data, sent_at: arrived.append(data))
        path.cut()
        await asyncio.sleep(2.0)
        stream.send(b"lost")
        path.mend()
        stream.send(b"kept")
        await asyncio.sleep(1.0)
        return arrived, path.lost_at

    assert play(STEADY, act) == ([b"kept"], 2.0)


def test_stream_that_is_over_hands_nothing_on() -> None:
    async def act(path: Path, loop: VirtualLoop) -> list[bytes]:
        arrived: list[bytes] = []
        stream = Stream(path, loop, lambda data, sent_at: arrived.append(data))
        stream.send(b"on its way")
        stream.is_over = True
        await asyncio.sleep(1.0)
        return arrived

    assert play(STEADY, act) == []


def test_extra_delay_and_noise_factor_are_added() -> None:
    async def act(path: Path, loop: VirtualLoop) -> tuple[float, float]:
        path.extra = lambda now: 0.3
        slow = path.delay_s(1.0)
        path.extra = None
        path.noise_factor = 10.0
        return slow, pstdev(path.delay_s(2.0) for _ in range(2000))

    slow, spread = play(PathSettings(0.5, 0.0, 0.001, 0.0), act)

    assert slow == pytest.approx(0.8, abs=0.01)
    assert spread == pytest.approx(0.01, rel=0.1)


def test_congestion_comes_and_goes_around_the_delay() -> None:
    async def act(path: Path, loop: VirtualLoop) -> list[float]:
        return [path.delay_s(at / 10) for at in range(20_000)]

    delays = play(PathSettings(0.05, 0.004, 0.0, 0.0), act)

    assert mean(delays) == pytest.approx(0.05, abs=0.001)
    assert pstdev(delays) == pytest.approx(0.004, rel=0.15)
    assert max(abs(b - a) for a, b in pairwise(delays)) < 0.006
    assert min(delays) >= LEAST_S
