"""How each fault is done to a world: to the venue, to frames on their way (`simulator.faults`), to
the network, or to our own pipeline. A play lets virtual time pass and mends what it broke.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from aiohttp import WSCloseCode

from core.protocol import DecodeError
from infra.chaos.network import Path
from infra.chaos.stage import Play, Stage, Watcher, is_of
from infra.chaos.virtual import STARTED_NS
from simulator.faults import Drop, Entry, FrameFault, garbage
from simulator.injector import freeze, move
from simulator.wire import Frame as WireFrame

_NS_PER_S: Final = 1_000_000_000
TOUCH_S: Final = 240.0
"""How long a fault of single frames waits for its frames at most, s."""


# -- F1, F2, F3, F11: nothing comes --


async def symbol_silence(stage: Stage) -> None:
    """One symbol's frames vanish."""
    await _frames(stage, Drop, count=0, seconds=stage.world.random.uniform(18.0, 28.0))


async def connection_silence(stage: Stage) -> None:
    """Everything that the venue sends vanishes, heartbeats too; what we send arrives."""
    await _blackhole(stage, (stage.world.way.down,))


async def half_open(stage: Stage) -> None:
    """Nothing passes in either direction, and both sides think that the socket is open."""
    way = stage.world.way
    await _blackhole(stage, (way.down, way.up))


async def _blackhole(stage: Stage, paths: tuple[Path, ...]) -> None:
    world, down = stage.world, stage.world.way.down
    for path in paths:
        path.cut()
    await asyncio.sleep(world.random.uniform(8.0, 14.0))
    if down.lost_at is not None:
        stage.shows(down.lost_at + world.settings.down.delay_s)
    for path in paths:
        path.mend()
    stage.ends()


async def frozen_book(stage: Stage) -> None:
    """Market data stops, heartbeats go on."""
    await _frames(stage, Drop, count=0, seconds=stage.world.random.uniform(8.0, 14.0))


async def closed_cleanly(stage: Stage) -> None:
    """The venue closes the socket: 1012 (restart) or 1008 (policy)."""
    found = stage.world.connection()
    if found is not None:
        code = stage.world.random.choice(
            (WSCloseCode.SERVICE_RESTART, WSCloseCode.POLICY_VIOLATION)
        )
        await found.close(code, "injected")
    await _until_lost(stage)


async def aborted(stage: Stage) -> None:
    """The socket is cut without a word."""
    found = stage.world.connection()
    if found is not None:
        found.abort()
    await _until_lost(stage)


async def reconnect_storm(stage: Stage) -> None:
    """The socket is cut, and the venue refuses attempts for a while."""
    line = stage.world.line
    line.is_refused = True
    found = stage.world.connection()
    if found is not None:
        found.abort()
    await _until_lost(stage)
    await asyncio.sleep(stage.world.random.uniform(3.0, 20.0))
    line.is_refused = False
    stage.ends()


async def _until_lost(stage: Stage) -> None:
    """Wait until the end of the socket has reached us."""
    await stage.world.line.lost.wait()
    stage.shows()
    stage.ends()


# -- F4, F5, F6, F9, F14: frames are wrong, missing, repeated or late --


def frames(kind: type[FrameFault], *, least: int, most: int, share: float = 1.0) -> Play:
    """Return the play in which some frames of the target's stream are touched."""

    async def play(stage: Stage) -> None:
        count = stage.world.random.randint(least, most)
        await _frames(stage, kind, count=count, share=share, seconds=TOUCH_S)

    return play


async def _frames(
    stage: Stage, kind: type[FrameFault], *, count: int, seconds: float, share: float = 1.0
) -> None:
    world, injection = stage.world, stage.injection
    channels = [each for each in injection.channels if each in ("book", "trades")]
    entry = Entry(
        id=injection.id,
        kind=kind.__name__,
        venue=world.settings.exchange,
        symbol=injection.symbol or None,
        channel=channels[0] if len(channels) == 1 else None,
        clock=world.clock,
    )
    fault = kind(entry, count, world.random, share)
    gate = world.gate()
    if gate is None:
        stage.ends()
        return
    gate.faults.append(fault)
    is_silence = count == 0
    # What is done to a snapshot shows in other ways than what is done to a change.
    fault.spares_snapshots = not is_silence
    watcher = None if is_silence else _watch(stage, entry)
    done = asyncio.Event()
    fault.on_idle = done.set
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), seconds)
    if is_silence and entry.first_ns is not None:
        first_s = (entry.first_ns - STARTED_NS) / _NS_PER_S
        stage.shows(first_s + world.settings.down.delay_s)
    if not fault.idle:
        gate.end(fault)
    stage.ends()
    if watcher is not None:
        await asyncio.sleep(5.0)
        world.line.watchers.discard(watcher)


def _watch(stage: Stage, entry: Entry) -> Watcher:
    """Note when the first frame of the stream arrives that was sent after the first touched one.

    It is that frame itself, or the one that shows that it is missing. A stream that is not
    followed at that moment (its book is being renewed) shows nothing.
    """
    world, injection = stage.world, stage.injection

    def arrived(payload: bytes, sent_at: float) -> None:
        first_ns = entry.first_ns
        if first_ns is None or STARTED_NS + round(sent_at * _NS_PER_S) < first_ns:
            return
        if not is_of(world, payload, injection):
            return
        world.line.watchers.discard(arrived)
        session = world.line.session
        is_followed = session is not None and session.guard.live == len(world.line.shard.symbols)
        if is_followed or injection.channels == ("trades",):
            stage.shows()

    world.line.watchers.add(arrived)
    return arrived


async def unreadable(stage: Stage) -> None:
    """Frames that are no JSON, or not of any known shape, come between the others."""
    world = stage.world
    found = world.connection()
    if found is not None:
        variants = ("invalid_json", "truncated", "not_a_number")
        found.send(WireFrame(garbage(world.random.choice(variants), 0)))

    def arrived(payload: bytes, sent_at: float) -> None:
        try:
            world.exchange.decode(payload)
        except DecodeError:
            stage.shows()

    world.line.watchers.add(arrived)
    await asyncio.sleep(1.0)
    world.line.watchers.discard(arrived)
    stage.ends()


# -- F7, F8: time --


async def latency_step(stage: Stage) -> None:
    """Everything takes 100 to 300 ms longer."""
    more_s = stage.world.random.uniform(0.1, 0.3)
    await _slow(stage, lambda passed: more_s, 20.0)


async def latency_ramp(stage: Stage) -> None:
    """Everything takes longer and longer, by 1 to 5 ms a second, up to 160 ms."""
    rate = stage.world.random.uniform(0.001, 0.005)
    stage.injection.excess_ns_per_s = round(rate * _NS_PER_S)
    await _slow(stage, lambda passed: min(rate * passed, 0.16), 0.16 / rate + 5.0)


async def _slow(stage: Stage, extra: Callable[[float], float], seconds: float) -> None:
    world, down = stage.world, stage.world.way.down
    start = world.loop.time()
    down.extra = lambda now: extra(now - start)
    stage.shows(start + world.settings.down.delay_s + extra(0.0))
    await asyncio.sleep(seconds)
    down.extra = None
    stage.ends()


def jitter(factor: float) -> Play:
    """Return the play in which the noise of the network is so many times as large."""

    async def play(stage: Stage) -> None:
        world = stage.world
        world.way.down.noise_factor = factor
        stage.shows(world.loop.time() + world.settings.down.delay_s)
        await asyncio.sleep(25.0)
        world.way.down.noise_factor = 1.0
        stage.ends()

    return play


# -- F10, F15: our own pipeline --


async def slow_kafka(stage: Stage) -> None:
    """What was read waits for Kafka for longer and longer."""
    world = stage.world
    world.line.stuck_since = world.clock.mono_ns()
    stage.shows()
    await asyncio.sleep(world.random.uniform(10.0, 20.0))
    world.line.stuck_since = None
    stage.ends()


async def full_queue(stage: Stage) -> None:
    """The queue is full again and again: the socket is not read for most of the time."""
    world = stage.world
    end = world.loop.time() + world.random.uniform(8.0, 16.0)
    stage.shows()
    while world.loop.time() < end:
        world.line.pause()
        await asyncio.sleep(world.random.uniform(0.3, 0.9))
        world.line.resume()
        await asyncio.sleep(world.random.uniform(0.1, 0.4))
    stage.ends()


async def dropped_frames(stage: Stage) -> None:
    """Frames were read and not kept, and the log says so."""
    world = stage.world
    world.line.drop(world.random.randint(1, 50), "larger than the broker takes")
    stage.shows()
    await asyncio.sleep(1.0)
    stage.ends()


async def broker_restart(stage: Stage) -> None:
    """Kafka is away: the log stands still; afterwards its last record comes twice."""
    await _outage(stage, restarts=False)


async def broker_and_processor_restart(stage: Stage) -> None:
    """Kafka is away, and the processor begins anew from the log and its checkpoints."""
    await _outage(stage, restarts=True)


async def _outage(stage: Stage, *, restarts: bool) -> None:
    world = stage.world
    world.held_back = True
    world.line.stuck_since = world.clock.mono_ns()
    stage.shows()
    await asyncio.sleep(world.random.uniform(8.0, 25.0))
    world.line.stuck_since = None
    if restarts:
        world.restart_pipeline()
    world.release()
    stage.ends()


# -- F12, F13: prices and clocks --


async def frozen_price(stage: Stage) -> None:
    """A symbol's best prices stand still for 5 to 10 minutes, while its book and trades go on."""
    market = stage.world.venue.markets[stage.injection.symbol]
    freeze((market,), still=True)
    _watch_next(stage)
    await asyncio.sleep(stage.world.random.uniform(300.0, 600.0))
    freeze((market,), still=False)
    stage.ends()


async def price_offset(stage: Stage) -> None:
    """A symbol is quoted and traded 30 basis points beside the price of other venues."""
    world = stage.world
    market = world.venue.markets[stage.injection.symbol]
    share = world.random.choice((-30e-4, 30e-4))
    move((market,), share)
    _watch_next(stage)
    await asyncio.sleep(world.random.uniform(30.0, 90.0))
    move((market,), -share)
    stage.ends()


def _watch_next(stage: Stage) -> None:
    """Note when the next message of the symbol's book arrives that is sent from now on."""
    world, sent_from = stage.world, stage.world.loop.time()

    def arrived(payload: bytes, sent_at: float) -> None:
        if sent_at >= sent_from and is_of(world, payload, stage.injection):
            world.line.watchers.discard(arrived)
            stage.shows()

    world.line.watchers.add(arrived)


async def clock_step(stage: Stage) -> None:
    """The venue's clock is half a second wrong."""
    world = stage.world
    world.venue_clock.set_wrong(offset_s=world.random.choice((-0.5, 0.5)))
    stage.shows()
    await asyncio.sleep(40.0)
    world.venue_clock.set_wrong()
    stage.ends()


async def clock_drift(stage: Stage) -> None:
    """The venue's clock drifts by 200 millionths."""
    world = stage.world
    world.venue_clock.set_wrong(drift=200e-6)
    stage.shows()
    await asyncio.sleep(1200.0)
    world.venue_clock.set_wrong()
    stage.ends()
