"""A world of one venue, one line and the pipeline that reads its log, in virtual time.

The venue is the simulator's, the session, frames, batches and pipeline are those of production.
Whoever runs a scenario asks the world to let time pass and changes what is to go wrong in it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b
from random import Random
from typing import Final

import msgspec

from core.events import Events, StreamCheckpoint
from core.exchanges import exchanges
from core.frames import Address, BatchBuilder, Frame, FrameBatch
from core.pipeline import PipelineSettings, ShardPipeline
from core.protocol import Shard
from core.stability.alerts import Alert, Phase
from infra.chaos.ledger import Observed
from infra.chaos.line import Line, Way
from infra.chaos.network import Path, PathSettings
from infra.chaos.virtual import STARTED_NS, VirtualClock, VirtualLoop, run
from simulator.connection import Connection
from simulator.faults import FaultGate
from simulator.prices import FairPrices
from simulator.settings import (
    BinanceSettings,
    DeribitSettings,
    KrakenSettings,
    MarketSettings,
    Settings,
)
from simulator.truth import NoTruth
from simulator.venue import Venue
from simulator.venues.binance import Binance
from simulator.venues.deribit import Deribit
from simulator.venues.kraken import Kraken

_NS_PER_S: Final = 1_000_000_000
TEND_S: Final = 0.2
"""How often the venue's protocol looks at the clock, s."""
RECENT_S: Final = 150
"""How much of the log a restarted processor reads again, s."""
BOOK_DEPTH: Final = 10
"""Kraken's checksums cover ten levels: whatever is wrong in a book of ten is in them."""
_HARMLESS_NS: Final = 1_000
"""A venue is woken this much late, so that rounding never wakes it early."""
SOCKET_PATHS: Final = {"deribit": "/ws/api/v2", "binance": "/ws", "kraken": "/v2"}
VENUES: Final = tuple(SOCKET_PATHS)
BUSY: Final = 4, 16.0
"""Symbols, and book events a second of all of them: a connection that is never still for long."""


class WorldSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a world is like; `rate` are book events per second and symbol."""

    exchange: str
    seed: str
    symbols: int = 3
    rate: float = 4.0
    trade_share: float = 0.25
    volatility: float = 1e-4
    down: PathSettings = PathSettings()
    up: PathSettings = PathSettings()


def drawn(
    exchange: str, seed: str, *, symbols: int = BUSY[0], rate: float = BUSY[1]
) -> WorldSettings:
    """Return a world whose market and network are drawn from its seed.

    `rate` is about how many book events a second all symbols have together.
    """
    draw = Random(seed)
    delay_s = draw.uniform(0.005, 0.12)
    noise_s = draw.uniform(0.0028, 0.0045)
    path = PathSettings(
        delay_s=delay_s,
        congestion_s=draw.uniform(0.5, 1.5) * noise_s,
        noise_s=noise_s,
    )
    return WorldSettings(
        exchange=exchange,
        seed=seed,
        symbols=symbols,
        rate=draw.uniform(0.85, 1.2) * rate / symbols,
        trade_share=draw.uniform(0.15, 0.25),
        volatility=draw.uniform(0.3e-4, 2e-4),
        down=path,
        up=path,
    )


class World:
    """See the module's docstring; made inside a running `VirtualLoop`."""

    def __init__(
        self,
        settings: WorldSettings,
        *,
        followed: int | None = None,
        prices: FairPrices | None = None,
    ) -> None:
        """Follow the first `followed` symbols of the venue, or all.

        `prices` are those that other worlds of the same loop have too, None when it is alone.
        """
        self.settings = settings
        self.loop = asyncio.get_running_loop()
        self.random = Random(f"{settings.seed}:scenario")
        self.clock = VirtualClock(self.loop)
        self.venue_clock = VirtualClock(self.loop)
        self.prices = prices or FairPrices(seed_number(settings.seed), settings.volatility)
        self.venue = _venue(settings, self.prices, self.venue_clock)
        self.exchange = exchanges()[settings.exchange]
        draw = Random(f"{settings.seed}:network")
        self.way = Way(Path(settings.down, draw, self.loop), Path(settings.up, draw, self.loop))
        self.symbols = tuple(self.venue.markets)
        self.alerts: list[Observed] = []
        self.open: dict[str, Alert] = {}
        self.held_back = False
        """Kafka is away: what is logged waits."""
        self.recorded: Callable[[FrameBatch], None] | None = None
        """Hears of every record, in the order of the log."""
        self.published: Callable[[FrameBatch, Events], None] | None = None
        """Hears of what the pipeline made of each record."""
        self.together: tuple[World, ...] = (self,)
        """The worlds of one virtual time and one fair price, this one among them."""
        self.frames = 0
        self.digest = blake2b(digest_size=16)
        """Over every frame and alert."""
        self._pipeline = self._new_pipeline()
        self._epoch = 0
        self._builder = BatchBuilder(Address(settings.exchange, self._shard_name, "A", 0))
        self._waiting: list[FrameBatch] = []
        self._recent: deque[tuple[float, FrameBatch, list[StreamCheckpoint]]] = deque()
        self.line = Line(
            self.exchange,
            self.shard(followed or len(self.symbols)),
            self.venue,
            self.way,
            self.clock,
            Random(f"{settings.seed}:line"),
            socket_path=SOCKET_PATHS[settings.exchange],
            log=self._log,
            begin_epoch=self._begin_epoch,
        )
        self._wake_venue()
        self._tend()
        self._tick_at = self.loop.time() + 1.0
        self.loop.call_at(self._tick_at, self._tick)
        self.line.start()

    @property
    def _shard_name(self) -> str:
        return f"{self.settings.exchange}-0"

    @property
    def pipeline(self) -> ShardPipeline:
        """The pipeline that reads the log."""
        return self._pipeline

    def shard(self, followed: int) -> Shard:
        """Return a plan that follows the first symbols of the venue."""
        name, symbols = self.settings.exchange, self.symbols[:followed]
        return Shard(name, self._shard_name, symbols, BOOK_DEPTH)

    # -- what scenarios ask --

    def now_ns(self) -> int:
        """Return the time of day, ns since the epoch."""
        return self.clock.time_ns()

    def connection(self) -> Connection | None:
        """Return the venue's side of the open socket."""
        live = [each for each in self.venue.connections.values() if not each.closing]
        return live[-1] if live and self.line.is_open else None

    def gate(self) -> FaultGate | None:
        """Return what frame faults stand in, None while there is no socket."""
        connection = self.connection()
        if connection is None:
            return None
        gate = connection.gate
        return gate if isinstance(gate, FaultGate) else FaultGate(connection, self.loop)

    def is_live(self) -> bool:
        """Say whether the socket is open and every book is LIVE."""
        session = self.line.session
        planned = len(self.line.shard.symbols)
        return self.line.is_open and session is not None and session.guard.live == planned

    def is_well(self) -> bool:
        """Say whether it is live and no incident is open."""
        return self.is_live() and not self.open

    def untroubled(self, symbols: Sequence[str]) -> tuple[str, ...]:
        """Return those of the symbols of which no incident is open."""
        troubled = {alert.symbol for alert in self.open.values()}
        return tuple(each for each in symbols if each not in troubled)

    async def until_ready(self, limit_s: float, symbols: Sequence[str]) -> bool:
        """Let time pass until the connection is well and one of the symbols is, whatever is still
        open of others; False when it is not after `limit_s`."""

        def is_ready() -> bool:
            is_well = all(alert.symbol for alert in self.open.values())
            return is_well and self.is_live() and bool(self.untroubled(symbols))

        return await self._until(is_ready, limit_s)

    async def until_well(self, limit_s: float) -> bool:
        """Let time pass until all is well; False when it is not after `limit_s`."""
        return await self._until(self.is_well, limit_s)

    async def _until(self, is_so: Callable[[], bool], limit_s: float) -> bool:
        end = self.loop.time() + limit_s
        while not is_so():
            if self.loop.time() >= end:
                return False
            await asyncio.sleep(1.0)
        return True

    def restart_pipeline(self) -> None:
        """Begin anew from the recent log and its checkpoints, as a restarted processor does."""
        pipeline = self._new_pipeline()
        for _, batch, checkpoints in self._recent:
            pipeline.restore(checkpoints)
            pipeline.feed(batch)
        self._pipeline = pipeline

    def release(self) -> None:
        """Kafka is back: hand on what waits, the last record that it had once more."""
        self.held_back = False
        waiting, self._waiting = self._waiting, []
        if self._recent:
            self._feed(self._recent[-1][1])
        for batch in waiting:
            self._feed(batch)

    # -- the venue --

    def _wake_venue(self) -> None:
        now = self.loop.time()
        self.venue.run(now, float("inf"))
        due = max(self.venue.next_due, now) + _HARMLESS_NS / _NS_PER_S
        self.loop.call_at(due, self._wake_venue)

    def _tend(self) -> None:
        now = self.loop.time()
        for connection in list(self.venue.connections.values()):
            if not connection.halted:
                self.venue.tend(connection, now)
        self.loop.call_at(now + TEND_S, self._tend)

    # -- the log --

    def _begin_epoch(self) -> None:
        self._cut()
        self._epoch = max(self._epoch + 1, self.clock.time_ns())
        address = Address(self.settings.exchange, self._shard_name, "A", self._epoch)
        self._builder = BatchBuilder(address)

    def _log(self, frame: Frame) -> None:
        self._builder.add(frame)

    def _tick(self) -> None:
        self._tick_at += 1.0
        self.loop.call_at(self._tick_at, self._tick)
        self.line.tick()
        self._cut()

    def _cut(self) -> None:
        """Close the record. How frames are cut into records changes nothing, so it is done once a
        second, which is cheap."""
        batch = self._builder.cut()
        if batch is None:
            return
        if self.recorded is not None:
            self.recorded(batch)
        if self.held_back:
            self._waiting.append(batch)
        else:
            self._feed(batch)

    def _feed(self, batch: FrameBatch) -> None:
        events = self._pipeline.feed(batch)
        self.frames += len(batch.frames)
        self.digest.update(batch.chain)
        for alert in events.alerts:
            self.hear(alert)
        if self.published is not None:
            self.published(batch, events)
        now = self.loop.time()
        self._recent.append((now, batch, events.checkpoints))
        while self._recent[0][0] < now - RECENT_S:
            self._recent.popleft()

    def hear(self, alert: Alert) -> None:
        """Take an alert about this venue."""
        self.digest.update(msgspec.msgpack.encode(alert))
        self.alerts.append(Observed(self.settings.exchange, self._shard_name, alert))
        if alert.phase is Phase.OPEN:
            self.open[alert.alert_id] = alert
        else:
            self.open.pop(alert.alert_id, None)

    def _new_pipeline(self) -> ShardPipeline:
        # Samples of books are no part of stability, and costly.
        settings = PipelineSettings(book_levels=1, book_interval_ns=3600 * _NS_PER_S)
        return ShardPipeline(self.exchange, settings)


def _venue(settings: WorldSettings, prices: FairPrices, clock: VirtualClock) -> Venue:
    market = MarketSettings(
        levels=12,
        touched_min=1,
        touched_max=3,
        trade_share=settings.trade_share,
        volatility=settings.volatility,
    )
    whole = Settings(seed=seed_number(settings.seed), market=market)
    truth = NoTruth(whole)
    symbols, rate = settings.symbols, settings.rate * settings.symbols
    if settings.exchange == "deribit":
        return Deribit(whole, DeribitSettings(symbols=symbols, rate=rate), truth, prices, clock)
    if settings.exchange == "binance":
        return Binance(whole, BinanceSettings(symbols=symbols, rate=rate), truth, prices, clock)
    return Kraken(whole, KrakenSettings(symbols=symbols, rate=rate), truth, prices, clock)


def seed_number(seed: str) -> int:
    """Return a number for who wants one as a seed."""
    return int.from_bytes(blake2b(seed.encode(), digest_size=6).digest(), "big")


def rehearse(
    settings: WorldSettings,
    play: Callable[[World], Awaitable[None]],
    *,
    followed: int | None = None,
) -> World:
    """Make a world, play in it and return it when the play is over."""

    async def act() -> World:
        world = World(settings, followed=followed)
        await play(world)
        return world

    return run(act(), VirtualLoop())


def elapsed_s(ts: int) -> float:
    """Return how long a world had lasted at a time of day, s."""
    return (ts - STARTED_NS) / _NS_PER_S
