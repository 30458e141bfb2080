"""The faults of the campaign as they are done to real sockets, Kafka and Faust workers.

Names are those of `infra.chaos.scenarios`, so that both modes are scored and reported alike. Frames
are changed by the simulator's injector, paths by the proxy, servers by signals.
"""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from core.stability.alerts import AlertKind
from infra.chaos.ledger import Injection, Target
from infra.chaos.live import Connection, LivePipeline

ROOT: Final = ("connection",)
POOL: Final = ("data",)
ALL: Final = ("deribit", "binance", "kraken")
NUMBERED: Final = ("deribit", "binance")
STAMPED: Final = ("binance", "kraken")
KRAKEN: Final = ("kraken",)
TOUCH_S: Final = 60.0
"""How long a fault of single frames waits for its frames at most."""

Act = Callable[[LivePipeline, Connection, Injection], Awaitable[None]]
ActOnAll = Callable[[LivePipeline], Awaitable[None]]
ActOnVenue = Callable[[LivePipeline, str], Awaitable[None]]


class Fault(msgspec.Struct, frozen=True):
    """A variant of a class of faults."""

    fault: str
    variant: str

    @property
    def name(self) -> str:
        """Return class and variant."""
        return f"{self.fault} {self.variant}"


class LiveFault(Fault, frozen=True):
    """A fault of one connection. Without `is_of_symbol` it is about the whole of it."""

    exchanges: tuple[str, ...]
    kind: AlertKind
    channels: tuple[str, ...]
    act: Act
    is_of_symbol: bool = False


class VenueFault(Fault, frozen=True):
    """A fault of a whole venue: every connection of it is to see it."""

    exchanges: tuple[str, ...]
    kind: AlertKind
    act: ActOnVenue


class ServerFault(Fault, frozen=True):
    """A fault of our own servers: every connection is to see it, and to blame nobody else."""

    act: ActOnAll


# -- the venue's frames --


def frames(kind: str, *, count: int) -> Act:
    """Return what touches `count` frames of one stream."""

    async def act(live: LivePipeline, connection: Connection, injection: Injection) -> None:
        entry = await live.inject(
            kind=kind,
            venue=injection.exchange,
            symbol=injection.symbol,
            channel=injection.channels[0],
            count=count,
            duration_s=TOUCH_S,
        )
        entry = await live.ended(entry["id"], TOUCH_S + 5.0)
        injection.ts_effect = entry["first_ns"]

    return act


async def symbol_silence(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """One symbol's frames vanish."""
    seconds = live.random.uniform(20.0, 30.0)
    entry = await live.inject(
        kind="silence", venue=injection.exchange, symbol=injection.symbol, duration_s=seconds
    )
    entry = await live.ended(entry["id"], seconds + 5.0)
    injection.ts_effect = entry["first_ns"]


async def frozen(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """Market data stops, heartbeats go on."""
    name, _ = await live.socket(connection)
    seconds = live.random.uniform(8.0, 14.0)
    entry = await live.inject(
        kind="silence", venue=injection.exchange, connection=name, duration_s=seconds
    )
    entry = await live.ended(entry["id"], seconds + 5.0)
    injection.ts_effect = entry["first_ns"]


async def unreadable(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """A frame that is no JSON."""
    name, _ = await live.socket(connection)
    variant = live.random.choice(("invalid_json", "truncated", "not_a_number"))
    injection.ts_effect = time.time_ns()
    await live.inject(kind="garbage", venue=injection.exchange, connection=name, variant=variant)


async def closed(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """The venue closes the socket."""
    name, _ = await live.socket(connection)
    injection.ts_effect = time.time_ns()
    await live.inject(kind="disconnect", venue=injection.exchange, connection=name, mode="clean")


# -- the path --


async def aborted(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """The socket is cut without a word."""
    _, route = await live.socket(connection)
    injection.ts_effect = time.time_ns()
    route.cut()


async def storm(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """The socket is cut, and attempts are refused for a while."""
    _, route = await live.socket(connection)
    proxy = live.proxies[injection.exchange]
    proxy.is_refusing = True
    try:
        injection.ts_effect = time.time_ns()
        route.cut()
        await asyncio.sleep(live.random.uniform(3.0, 12.0))
    finally:
        proxy.is_refusing = False


async def silent_path(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """Nothing comes from the venue any more; what we send arrives."""
    _, route = await live.socket(connection)
    injection.ts_effect = time.time_ns()
    route.down.hold()
    await asyncio.sleep(live.random.uniform(8.0, 14.0))
    route.down.release()


async def half_open(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """Nothing passes in either direction, and both sides think that the socket is open."""
    _, route = await live.socket(connection)
    injection.ts_effect = time.time_ns()
    route.down.hold()
    route.up.hold()
    await asyncio.sleep(live.random.uniform(8.0, 14.0))
    route.up.release()
    route.down.release()


async def step(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """Everything takes 100 to 300 ms longer."""
    _, route = await live.socket(connection)
    more_s = live.random.uniform(0.1, 0.3)
    injection.ts_effect = time.time_ns()
    route.down.extra = lambda now: more_s
    await asyncio.sleep(20.0)
    route.down.extra = None


async def ramp(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """Everything takes longer and longer, by 2 to 5 ms a second."""
    _, route = await live.socket(connection)
    rate = live.random.uniform(0.002, 0.005)
    injection.excess_ns_per_s = round(rate * 1e9)
    start = asyncio.get_running_loop().time()
    injection.ts_effect = time.time_ns()
    route.down.extra = lambda now: min(rate * (now - start), 0.16)
    await asyncio.sleep(0.16 / rate + 5.0)
    route.down.extra = None


async def noise(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """The time that the path takes varies by up to 120 ms."""
    _, route = await live.socket(connection)
    injection.ts_effect = time.time_ns()
    route.down.extra = lambda now: live.random.uniform(0.0, 0.12)
    await asyncio.sleep(25.0)
    route.down.extra = None


# -- prices and clocks --


async def frozen_price(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """A symbol's best prices stand still, while its book and trades go on."""
    await _mispriced(live, injection, kind="frozen_price", seconds=live.random.uniform(150, 240))


async def price_offset(live: LivePipeline, connection: Connection, injection: Injection) -> None:
    """A symbol is quoted and traded 30 basis points beside the price of other venues."""
    bp, seconds = live.random.choice((-30.0, 30.0)), live.random.uniform(30.0, 60.0)
    await _mispriced(live, injection, kind="price_offset", seconds=seconds, offset_bp=bp)


async def _mispriced(
    live: LivePipeline, injection: Injection, *, kind: str, seconds: float, **more: float
) -> None:
    body = {"venue": injection.exchange, "symbol": injection.symbol, "duration_s": seconds}
    entry = await live.inject(kind=kind, **body, **more)
    entry = await live.ended(entry["id"], seconds + 5.0)
    injection.ts_effect = entry["start_ns"]


async def clock_step(live: LivePipeline, exchange: str) -> None:
    """The venue's clock is half a second wrong."""
    offset_s = live.random.choice((-0.5, 0.5))
    entry = await live.inject(kind="clock_step", venue=exchange, offset_s=offset_s, duration_s=40.0)
    await live.ended(entry["id"], 45.0)


# -- our own servers --


async def slow_kafka(live: LivePipeline) -> None:
    """Kafka stands still: what was read waits for longer and longer."""
    pid = live.kafka.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(14.0)
    finally:
        os.kill(pid, signal.SIGCONT)


async def broker(live: LivePipeline) -> None:
    """Kafka is killed, and comes back."""
    live.kafka.kill()
    await asyncio.sleep(8.0)
    await asyncio.to_thread(live.kafka.start)


async def broker_and_processor(live: LivePipeline) -> None:
    """Kafka and the worker are killed, and come back."""
    assert live.processor is not None
    live.kafka.kill()
    live.processor.kill()
    await asyncio.sleep(8.0)
    await asyncio.to_thread(live.kafka.start)
    await asyncio.to_thread(live.processor.start)


_K = AlertKind
FAULTS: Final = (
    LiveFault("F1", "symbol", ALL, _K.STREAM_SILENCE, ("book", "trades"), symbol_silence, True),
    LiveFault("F1", "connection", ALL, _K.SILENCE, ROOT, silent_path),
    LiveFault("F2", "half-open", ALL, _K.SILENCE, ROOT, half_open),
    LiveFault("F3", "heartbeats only", KRAKEN, _K.DATA_SILENCE, POOL, frozen),
    LiveFault("F4", "one change", NUMBERED, _K.GAP, ("book",), frames("drop", count=1), True),
    LiveFault("F4", "trades", ALL, _K.GAP, ("trades",), frames("drop", count=1), True),
    LiveFault(
        *("F5", "one change", NUMBERED, _K.DUPLICATES, ("book",)),
        frames("duplicate", count=1),
        True,
    ),
    LiveFault(
        *("F5", "trades", ALL, _K.DUPLICATES, ("trades",)), frames("duplicate", count=2), True
    ),
    LiveFault(
        *("F6", "one change", NUMBERED, _K.REORDERING, ("book",)), frames("reorder", count=1), True
    ),
    LiveFault(*("F6", "trades", ALL, _K.REORDERING, ("trades",)), frames("reorder", count=1), True),
    LiveFault("F7", "step", ALL, _K.LATENCY, POOL, step),
    LiveFault("F7", "ramp", ALL, _K.LATENCY, POOL, ramp),
    LiveFault("F8", "x10", STAMPED, _K.JITTER, POOL, noise),
    LiveFault(
        *("F9", "checksum", KRAKEN, _K.CHECKSUM, ("book",)),
        frames("corrupt_checksum", count=1),
        True,
    ),
    LiveFault(
        *("F9", "digit", KRAKEN, _K.CHECKSUM, ("book",)), frames("corrupt_digit", count=1), True
    ),
    LiveFault("F11", "closed", ALL, _K.DISCONNECTED, ROOT, closed),
    LiveFault("F11", "aborted", ALL, _K.DISCONNECTED, ROOT, aborted),
    LiveFault("F11", "storm", ALL, _K.DISCONNECTED, ROOT, storm),
    LiveFault("F14", "unreadable", ALL, _K.SCHEMA, ROOT, unreadable),
)
PRICE_FAULTS: Final = (
    LiveFault("F12", "frozen price", ALL, _K.FROZEN_PRICE, ("book",), frozen_price, True),
    LiveFault("F12", "offset", ALL, _K.DIVERGENCE, ("book",), price_offset, True),
)
"""They show only beside other venues that are well."""
VENUE_FAULTS: Final = (VenueFault("F13", "step", ALL, _K.CLOCK, clock_step),)
SERVER_FAULTS: Final = (
    ServerFault("F10", "slow Kafka", slow_kafka),
    ServerFault("F15", "broker", broker),
    ServerFault("F15", "broker, processor", broker_and_processor),
)


def injection_of(
    live: LivePipeline, fault: LiveFault, connection: Connection, number: int, symbol: str = ""
) -> Injection:
    """Return the ledger's entry of a fault that begins now, of `symbol` or of one that is drawn."""
    if fault.is_of_symbol:
        symbol = symbol or live.random.choice(live.shards[connection].symbols)
    target = Target((fault.kind,), fault.channels, symbol)
    return _entry(fault, connection, number, target, time.time_ns())


def injection_of_all(
    fault: VenueFault | ServerFault, connection: Connection, number: int
) -> Injection:
    """Return one connection's entry of a fault of its venue, or of our servers, that begins now."""
    now = time.time_ns()
    kind = fault.kind if isinstance(fault, VenueFault) else AlertKind.PIPELINE
    entry = _entry(fault, connection, number, Target((kind,), ROOT), now)
    entry.ts_effect = now
    return entry


def _entry(
    fault: Fault,
    connection: Connection,
    number: int,
    target: Target,
    now: int,
) -> Injection:
    return Injection(
        id=number,
        fault=fault.fault,
        variant=fault.variant,
        exchange=connection[0],
        shard=connection[1],
        channels=target.channels,
        symbol=target.symbol,
        target=target,
        ts_start=now,
    )
