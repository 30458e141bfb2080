"""What all venues share: markets and their timeline, channels and subscribers, sockets and limits.

A venue is driven from outside: `run` makes the market events that are due, `tend` does what
protocols do by the clock. It opens no port itself; `simulator.server` serves its `app`.
"""

import asyncio
import itertools
import json
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Collection
from heapq import heappop, heappush
from pathlib import Path
from random import Random
from typing import ClassVar

from aiohttp import WSCloseCode, WSMsgType, web

from simulator.clock import Clock
from simulator.connection import Connection
from simulator.instruments import catalogue
from simulator.market import Market, Trade
from simulator.prices import FairPrices, basis_of
from simulator.settings import MarketSettings, Settings, VenueSettings
from simulator.truth import Truth, folder_of
from simulator.truth_reader import history, last
from simulator.wire import PONG, Frame, control, message

SLOT_S = 0.1  # events are spread so that each symbol's share falls evenly on slots of this length
MESSAGE_BYTES_MAX = 1 << 20  # of a client's message
OPENING_EVENTS = 40  # made before a new market opens, so that it has a few past trades

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MarketChannel(ABC):
    """One stream of one market; exists while it has subscribers."""

    kind: ClassVar[str]  # book, trades or ticker
    counts_deliveries: ClassVar[bool] = False

    def __init__(self, venue: "Venue", market: Market, name: str) -> None:
        """Start without subscribers at the market as it stands."""
        self.venue = venue
        self.market = market
        self.name = name
        self.members: dict[Connection, None] = {}

    def join(self, connection: Connection) -> None:
        """Add a subscriber; its ack has been sent."""
        self.members[connection] = None

    def leave(self, connection: Connection) -> None:
        """Remove a subscriber; its ack has not been sent."""
        self.members.pop(connection, None)

    @abstractmethod
    def event(self) -> None:
        """The market had an event."""

    def flush(self) -> None:
        """The time asked for with `Venue.schedule` has come."""
        raise NotImplementedError(f"{type(self).__name__} schedules nothing")

    def frame(self, text: str, trades: list[Trade] | None = None) -> Frame:
        """Return a data frame of this channel."""
        sequences: tuple[int, ...] = ()
        sequence = self.market.sequence
        if trades:
            sequence = trades[-1].sequence
            if self.counts_deliveries:
                sequences = tuple(trade.sequence for trade in trades)
        return Frame(message(text.encode()), self.kind, self.market, sequence, sequences)

    def broadcast(self, frame: Frame, members: Collection[Connection] | None = None) -> None:
        """Send a frame to the given subscribers, or to all of them."""
        receivers = self.members if members is None else members
        self.venue.sent[self.kind] += len(receivers)
        for connection in receivers:
            connection.send(frame)


class Venue(ABC):
    """One exchange: its markets, its sockets and its REST paths (`app`)."""

    name: ClassVar[str]
    socket_paths: ClassVar[tuple[str, ...]]
    first_sequence: ClassVar[int] = 0  # below the first sequence number of a new market
    first_trade: ClassVar[int] = 0
    connection_class: ClassVar[type[Connection]] = Connection

    def __init__(
        self,
        settings: Settings,
        own: VenueSettings,
        truth: Truth,
        prices: FairPrices,
        clock: Clock | None = None,
    ) -> None:
        """List the instruments and continue the numbering and the prices that the truth holds."""
        self.truth = truth
        self.clock = clock or Clock()
        self.prices = prices
        self.activity = 1.0  # multiplies the rates of all markets
        self.market_settings: MarketSettings = settings.market
        self.markets: dict[str, Market] = {}
        self.channels: dict[str, MarketChannel] = {}  # those that have subscribers
        self._listening: dict[Market, list[MarketChannel]] = {}  # the same, by market
        self.connections: dict[str, Connection] = {}
        self.sent: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.too_many_until = 0.0  # loop time until which every request gets HTTP 429
        self.app = web.Application(middlewares=[self._admit])
        self._own = own
        self._limits_by_peer: dict[str, deque[float]] = {}
        self._numbers = itertools.count(1)
        self._order = itertools.count()
        self._timeline: list[tuple[float, int, Market | MarketChannel]] = []
        self._random = Random(f"{settings.seed}:{self.name}")
        self._rates: list[tuple[Market, float]] = []  # events per slot
        self._phases: dict[Market, float] = {}
        self._slot = 0
        self.now = 0.0  # time of the timeline entry being made, seconds since the start
        self._open_markets(settings.seed)
        for path in self.socket_paths:
            self.app.router.add_get(path, self._serve_socket)
        self.add_routes(self.app.router)

    # Markets and their timeline

    def _open_markets(self, seed: int) -> None:
        listed = catalogue(self.name, self._own.symbols)
        weights = [1 / (rank + 1) ** self.market_settings.skew for rank in range(len(listed))]
        for instrument, weight in zip(listed, weights, strict=True):
            rate = self._own.rate * weight / sum(weights)
            before = last(self.folder(instrument.symbol))
            basis = basis_of(seed, instrument)
            if before.trades:
                level = before.trades[-1].price / instrument.start / (1.0 + basis)
                self.prices.resume(instrument, level, before.sequence)
            market = Market(
                instrument,
                self.market_settings,
                seed=f"{seed}:{self.name}:{instrument.symbol}:{before.sequence}",
                events_per_s=rate,
                level=self.prices.level(instrument, self.now),
                basis=basis,
            )
            market.history.extend(before.trades)
            market.trade_sequence = before.trade_sequence or self.first_trade
            market.tag = before.tag
            market.sequence = before.sequence or self.first_sequence
            self.markets[market.symbol] = market
            self._listening[market] = []
            self._rates.append((market, rate * SLOT_S))
            self._phases[market] = self._random.random() * SLOT_S
        self.number_opening(self.clock.time_ns())
        for market in self.markets.values():
            self.truth.open(market)
            if not market.history:
                for _ in range(OPENING_EVENTS):
                    self._step(market)

    def folder(self, symbol: str) -> Path:
        """Return where the truth of a symbol lies."""
        return folder_of(self.truth.root, self.name, symbol)

    def schedule(self, due: float, target: "Market | MarketChannel") -> None:
        """Ask for a market event, or for a channel's `flush`, at a time of the timeline."""
        heappush(self._timeline, (due, next(self._order), target))

    def schedule_boundary(self, channel: MarketChannel, interval: float) -> None:
        """Ask for a flush at the end of the running interval, which starts at a market's phase."""
        phase = self._phases[channel.market]
        self.schedule(phase + interval * (int((self.now - phase) / interval + 1e-9) + 1), channel)

    def run(self, now: float, deadline: float) -> None:
        """Make everything due at `now` (seconds since the start), unless `deadline` comes before.

        `deadline` is in the monotonic clock's seconds.
        """
        while self._slot * SLOT_S <= now:
            self._plan()
        timeline = self._timeline
        while timeline and timeline[0][0] <= now and self.clock.monotonic() < deadline:
            due, _, target = heappop(timeline)
            self.now = due
            if isinstance(target, Market):
                self._step(target)
            elif target.members:
                target.flush()
        if not timeline or timeline[0][0] > now:
            self.now = now

    @property
    def next_due(self) -> float:
        """Return when something is due next."""
        slot = self._slot * SLOT_S
        return min(slot, self._timeline[0][0]) if self._timeline else slot

    def _plan(self) -> None:
        """Spread the events of the next slot over its length."""
        start = self._slot * SLOT_S
        self._slot += 1
        market_settings = self.market_settings
        burst = start % market_settings.burst_period_s < market_settings.burst_length_s
        factor = self.activity * (market_settings.burst_factor if burst else 1.0)
        draw = self._random.random
        for market, rate in self._rates:
            for _ in range(int(rate * factor + draw())):
                self.schedule(start + self._phases[market] + draw() * SLOT_S, market)

    def _step(self, market: Market) -> None:
        if not market.step(self.prices.level(market.instrument, self.now)):
            return
        self.number(market, self.clock.time_ns())
        market.record_trades(self.tags(market))
        self.truth.append(market)
        self.counts["events"] += 1
        self.counts["trades"] += len(market.trades)
        for channel in self._listening[market]:
            channel.event()

    @abstractmethod
    def number_opening(self, now_ns: int) -> None:
        """Give every market the number and time of its opening book."""

    @abstractmethod
    def number(self, market: Market, now_ns: int) -> None:
        """Give the market's new state its sequence number and time."""

    def tags(self, market: Market) -> list[int]:
        """Return the tag of each fill of the last event."""
        return [0] * len(market.engine.fills)

    async def past_trades(self, market: Market, first: int, count: int) -> list[Trade]:
        """Return up to `count` trades from sequence `first` on, from memory or from the truth."""
        held = market.history
        if held and held[0].sequence <= first:
            skip = first - held[0].sequence
            return list(itertools.islice(held, skip, skip + count))
        return await asyncio.to_thread(history, self.folder(market.symbol), first, count)

    # Subscriptions

    @abstractmethod
    def make_channel(self, name: str) -> MarketChannel | None:
        """Return a new channel of this name, None when the venue has none."""

    def find_channel(self, name: str) -> MarketChannel | None:
        """Return the channel of a name, opening it when needed; None when the venue has none."""
        channel = self.channels.get(name)
        return channel if channel is not None else self.make_channel(name)

    def subscribe(self, connection: Connection, channel: MarketChannel) -> None:
        """Make a connection a member; the ack must have been sent."""
        if channel.name not in self.channels:
            self.channels[channel.name] = channel
            self._listening[channel.market].append(channel)
        channel.join(connection)

    def unsubscribe(self, connection: Connection, channel: MarketChannel) -> None:
        """End a membership; the ack must be sent afterwards."""
        channel.leave(connection)
        if not channel.members and self.channels.get(channel.name) is channel:
            del self.channels[channel.name]
            self._listening[channel.market].remove(channel)

    # Sockets

    @abstractmethod
    def greet(self, connection: Connection) -> None:
        """Do what the venue does when a socket opens."""

    @abstractmethod
    async def receive(self, connection: Connection, text: str) -> None:
        """Answer one message of a client; whatever it holds, never raise."""

    @abstractmethod
    def tend(self, connection: Connection, now: float) -> None:
        """Do what the protocol does by the clock; `now` is the event loop's time."""

    @abstractmethod
    def announce(self, connection: Connection) -> None:
        """Tell a client that the venue is about to shut down, where the protocol can."""

    def heard(self, connection: Connection, kind: WSMsgType) -> bool:
        """Count a message of a client, pings and pongs included; False closes the socket."""
        return True

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        if not web.WebSocketResponse().can_prepare(request).ok:
            return web.Response(status=426, text="this path wants a WebSocket handshake\n")
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        socket = web.WebSocketResponse(
            autoping=False, compress=False, max_msg_size=MESSAGE_BYTES_MAX, timeout=1.0
        )
        await socket.prepare(request)
        connection = self.accept(request, socket)
        try:
            self.greet(connection)
            async for received in socket:
                if not await self.hear(connection, received.type, received.data):
                    break
        finally:
            self.forget(connection)
        return socket

    def accept(self, request: web.Request, socket: web.WebSocketResponse) -> Connection:
        """Take a socket whose handshake is done; `greet` is next, and `forget` when it ends."""
        connection = self.connection_class(
            f"{self.name}-{next(self._numbers)}",
            request,
            socket,
            truth=self.truth,
            outbox_bytes_max=self._own.outbox_bytes_max,
        )
        self.connections[connection.name] = connection
        self.counts["sockets"] += 1
        return connection

    async def hear(self, connection: Connection, kind: WSMsgType, data: str | bytes) -> bool:
        """Take one message of a client; False when the socket was closed for it."""
        if connection.halted or connection.closing:
            return True
        connection.heard_at = asyncio.get_running_loop().time()
        if not self.heard(connection, kind):
            connection.end(WSCloseCode.POLICY_VIOLATION, "too many messages")
            return False
        if kind is WSMsgType.TEXT or kind is WSMsgType.BINARY:
            text = data if isinstance(data, str) else data.decode("utf-8", "replace")
            await self.receive(connection, text)
        elif kind is WSMsgType.PING:
            payload = data.encode() if isinstance(data, str) else bytes(data)
            connection.send(Frame(message(payload, PONG)))
        return True

    def forget(self, connection: Connection) -> None:
        """End what a socket that is gone had."""
        connection.closing = True
        del self.connections[connection.name]
        for channel in [held for held in self.channels.values() if connection in held.members]:
            self.unsubscribe(connection, channel)
        if connection.gate is not None:
            connection.gate.close()
        self.counts["too_slow"] += connection.too_slow

    # Limits

    def _refusal(self, request: web.Request) -> web.Response | None:
        now = asyncio.get_running_loop().time()
        attempts = self._limits_by_peer.setdefault(request.remote or "", deque())
        while attempts and attempts[0] <= now - self._own.attempts_window_s:
            attempts.popleft()
        if len(attempts) >= self._own.attempts_max:
            return self.too_many(attempts[0] + self._own.attempts_window_s - now)
        attempts.append(now)
        if len(self.connections) >= self._own.connections_max:
            return self.too_many(1.0)
        return None

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        left = self.too_many_until - asyncio.get_running_loop().time()
        if left > 0:
            return self.too_many(left)
        return await handler(request)

    def too_many(self, retry_after_s: float) -> web.Response:
        """Return HTTP 429 with the seconds to wait, at least one."""
        self.counts["http_429"] += 1
        return web.json_response(
            self.too_many_body(),
            status=429,
            headers={"Retry-After": str(max(1, round(retry_after_s)))},
        )

    def too_many_body(self) -> object:
        """Return the JSON body of an HTTP 429."""
        return {"error": "too many requests"}

    @abstractmethod
    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add the venue's REST paths."""


def parse(text: str) -> object:
    """Return the JSON value of a client's message; ValueError when it is none."""
    try:
        value: object = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def compact(body: object) -> str:
    """Return a value as JSON without spaces."""
    return json.dumps(body, separators=(",", ":"))


def reply(body: object) -> Frame:
    """Return a control frame with a JSON body."""
    return control(compact(body))
