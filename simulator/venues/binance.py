"""Binance spot: streams by URL or SUBSCRIBE, server pings, limits of messages, streams and
lifetime.

Streams: `<symbol>@depth[@100ms]`, `@trade`, `@aggTrade`, `@bookTicker`. Any other name is
acknowledged and stays silent, as the venue does with unknown symbols. REST is in `binance_rest`.
"""

from collections import deque
from itertools import pairwise
from typing import ClassVar

from aiohttp import WSCloseCode, WSMsgType, web

from simulator.clock import Clock
from simulator.connection import Connection
from simulator.market import Market
from simulator.prices import FairPrices
from simulator.settings import BinanceSettings, Settings
from simulator.truth import Truth
from simulator.venue import MarketChannel, Venue, parse, reply
from simulator.venues.binance_channels import (
    AggregateTradeStream,
    BinanceConnection,
    BookTickerStream,
    DepthStream,
    Texts,
    TradeStream,
)
from simulator.venues.binance_rest import BinanceRest
from simulator.wire import PING, Frame, control, fixed_texts, message

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
ANNOUNCED_S = 10.0  # how long before the end of a socket's life its shutdown is announced


class RequestError(Exception):
    """An error to be sent to the client."""

    def __init__(self, code: int, text: str) -> None:
        """Take Binance's code and text."""
        super().__init__(text)
        self.code = code


class Binance(Venue):
    """The venue."""

    name: ClassVar[str] = "binance"
    socket_paths: ClassVar[tuple[str, ...]] = ("/ws", "/ws/{streams:.+}", "/stream")
    first_sequence: ClassVar[int] = 50_093_000_000
    first_trade: ClassVar[int] = 3_735_000_000
    connection_class: ClassVar[type[Connection]] = BinanceConnection

    def __init__(
        self,
        settings: Settings,
        own: BinanceSettings,
        truth: Truth,
        prices: FairPrices,
        clock: Clock | None = None,
    ) -> None:
        """Continue each market's update, trade and aggregate ids."""
        self._limits = own
        self.texts: dict[str, Texts] = {}
        self.rest = BinanceRest(self, self.texts, own.weight_per_minute_max)
        super().__init__(settings, own, truth, prices, clock)

    # Numbering

    def number_opening(self, now_ns: int) -> None:
        """Name the opening books."""
        for market in self.markets.values():
            self.texts[market.symbol] = Texts(*fixed_texts(market.instrument, 8, 8))
            market.sequence += 1
            market.ts_event = now_ns // 1_000_000 * 1_000_000

    def number(self, market: Market, now_ns: int) -> None:
        """Count one update id per changed level; only the last one of an event is a state."""
        market.sequence += max(1, len(market.changes))
        market.ts_event = max(market.ts_event, now_ns // 1_000_000 * 1_000_000)

    def tags(self, market: Market) -> list[int]:
        """Return aggregate ids: one per aggressor and price."""
        keys = [fill.key for fill in market.engine.fills]
        tags = [market.tag + 1] * len(keys[:1])
        for earlier, later in pairwise(keys):
            tags.append(tags[-1] + (earlier != later))
        return tags

    # Streams

    def make_channel(self, name: str) -> MarketChannel | None:
        """Return the stream of a name such as `btcusdt@depth@100ms`."""
        symbol, _, stream = name.partition("@")
        market = self.markets.get(symbol.upper())
        if market is None or not symbol.islower():
            return None
        texts = self.texts[market.symbol]
        if stream in ("depth", "depth@1000ms"):
            return DepthStream(self, market, name, texts, 1.0)
        if stream == "depth@100ms":
            return DepthStream(self, market, name, texts, 0.1)
        if stream == "trade":
            return TradeStream(self, market, name, texts)
        if stream == "aggTrade":
            return AggregateTradeStream(self, market, name, texts)
        if stream == "bookTicker":
            return BookTickerStream(self, market, name, texts)
        return None

    # Sockets

    def greet(self, connection: Connection) -> None:
        """Subscribe to the streams in the URL."""
        assert isinstance(connection, BinanceConnection)
        connection.streams = {}
        connection.arrivals = deque()
        connection.ping_due = connection.opened_at + self._limits.ping_interval_s
        request = connection.request
        connection.combined = request.path == "/stream"
        names = request.match_info.get("streams") or request.query.get("streams", "")
        self._subscribe(connection, [name for name in names.split("/") if name])

    def heard(self, connection: Connection, kind: WSMsgType) -> bool:
        """Note the pong; refuse more messages in a second than the limit."""
        assert isinstance(connection, BinanceConnection)
        if kind is WSMsgType.PONG:
            connection.ping_at = 0.0
        arrivals = connection.arrivals
        arrivals.append(connection.heard_at)
        while arrivals[0] <= connection.heard_at - 1.0:
            arrivals.popleft()
        return len(arrivals) <= self._limits.messages_per_s_max

    def tend(self, connection: Connection, now: float) -> None:
        """Ping; end the socket that did not answer, or that is too old."""
        assert isinstance(connection, BinanceConnection)
        limits = self._limits
        age = now - connection.opened_at
        if connection.ping_at and now - connection.ping_at > limits.pong_timeout_s:
            self.counts["unanswered_pings"] += 1
            connection.end(WSCloseCode.POLICY_VIOLATION, "Pong timeout")
        elif age > limits.lifetime_s:
            connection.end(WSCloseCode.POLICY_VIOLATION, "Disconnected")
        elif not connection.announced and age > limits.lifetime_s - min(
            ANNOUNCED_S, limits.lifetime_s / 2
        ):
            self.announce(connection)
        if now >= connection.ping_due and not connection.closing:
            connection.ping_due = now + limits.ping_interval_s
            connection.ping_at = connection.ping_at or now
            payload = str(self.clock.time_ns() // 1_000_000).encode()
            connection.send(Frame(message(payload, PING)))

    def announce(self, connection: Connection) -> None:
        """Send the shutdown event, once."""
        assert isinstance(connection, BinanceConnection)
        if not connection.announced:
            connection.announced = True
            stamp = self.clock.time_ns() // 1_000_000
            connection.send(control(f'{{"e":"serverShutdown","E":{stamp}}}'))

    async def receive(self, connection: Connection, text: str) -> None:
        """Answer one request."""
        assert isinstance(connection, BinanceConnection)
        number: object = None
        try:
            try:
                request = parse(text)
            except ValueError as error:
                raise RequestError(3, f"Invalid JSON: {str(error)[:100]}") from None
            if not isinstance(request, dict):
                raise RequestError(2, "Invalid request: expected an object")
            number = valid_id(request.get("id"))
            self._do(connection, request, number)
        except RequestError as error:
            connection.send(reply({"error": {"code": error.code, "msg": str(error)}, "id": number}))

    def _do(
        self, connection: BinanceConnection, request: dict[str, object], number: object
    ) -> None:
        method, params = request.get("method"), request.get("params", [])
        if method not in METHODS:
            known = ", ".join(f"`{known}`" for known in METHODS)
            raise RequestError(
                2, f"Invalid request: unknown variant `{str(method)[:50]}`, expected one of {known}"
            )
        if not isinstance(params, list):
            raise RequestError(2, "Invalid request: params must be a list")
        if method == "LIST_SUBSCRIPTIONS":
            connection.send(reply({"result": list(connection.streams), "id": number}))
            return
        if method.endswith("PROPERTY"):
            self._property(connection, method, params, number)
            return
        if not params or not all(isinstance(name, str) for name in params):
            raise RequestError(2, "Invalid request: params must be a list of stream names")
        if method == "UNSUBSCRIBE":
            for name in params:
                connection.streams.pop(name, None)
                channel = self.channels.get(name)
                if channel is not None and connection in channel.members:
                    self.unsubscribe(connection, channel)
            connection.send(reply({"result": None, "id": number}))
            return
        asked = connection.streams.keys() | set(params)
        if len(asked) > self._limits.streams_max:
            raise RequestError(2, f"Invalid request: more than {self._limits.streams_max} streams")
        connection.send(reply({"result": None, "id": number}))
        self._subscribe(connection, params)

    def _property(
        self, connection: BinanceConnection, method: str, params: list[object], number: object
    ) -> None:
        if not params or params[0] != "combined":
            raise RequestError(0, "Unknown property")
        if method == "GET_PROPERTY":
            connection.send(reply({"result": connection.combined, "id": number}))
            return
        if len(params) != 2 or not isinstance(params[1], bool):
            raise RequestError(1, "Invalid value type: expected Boolean")
        held = [channel for name in connection.streams if (channel := self.channels.get(name))]
        for channel in held:
            channel.leave(connection)
        connection.combined = params[1]
        for channel in held:
            channel.join(connection)
        connection.send(reply({"result": None, "id": number}))

    def _subscribe(self, connection: BinanceConnection, names: list[str]) -> None:
        for name in names:
            if name in connection.streams:
                continue
            connection.streams[name] = None
            channel = self.find_channel(name)
            if channel is not None:
                self.subscribe(connection, channel)

    # REST

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Serve /api/v3."""
        self.rest.add_routes(router)

    def too_many_body(self) -> object:
        """Return Binance's error."""
        return {
            "code": -1003,
            "msg": "Too many requests; please use the websocket for live updates.",
        }


def valid_id(number: object) -> object:
    """Return a request's id; RequestError unless it is null, an unsigned integer or a string."""
    wrong = isinstance(number, bool) or not isinstance(number, int | str | None)
    if wrong or (isinstance(number, int) and number < 0):
        raise RequestError(2, "Invalid request: request ID must be an unsigned integer or a string")
    return number
