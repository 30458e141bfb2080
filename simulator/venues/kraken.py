"""Kraken spot, WebSocket API v2: acks per symbol, books with checksums, heartbeats when idle.

Channels: book (depth 10, 25, 100, 500, 1000), trade, instrument. A state of a book is named by its
timestamp in microseconds, unique and increasing per symbol. REST is in `kraken_rest`.
"""

from typing import ClassVar

from aiohttp import WSCloseCode, web

from simulator.clock import Clock
from simulator.connection import Connection
from simulator.market import Market
from simulator.prices import FairPrices
from simulator.settings import KrakenSettings, Settings
from simulator.truth import Truth
from simulator.venue import MarketChannel, Venue, parse, reply
from simulator.venues.kraken_channels import BookChannel, Texts, TradeChannel
from simulator.venues.kraken_rest import KrakenRest
from simulator.wire import control, fixed_texts, rfc3339

DEPTHS = (10, 25, 100, 500, 1000)
HEARTBEAT = control('{"channel":"heartbeat"}')
VERSION = "2.0.10"


class KrakenConnection(Connection):
    """A socket with the subscriptions it has."""

    held: dict[tuple[str, str], MarketChannel]  # (channel, symbol)
    instruments = False  # subscribed to the instrument channel


class RequestError(Exception):
    """An error to be sent to the client."""


class Kraken(Venue):
    """The venue."""

    name: ClassVar[str] = "kraken"
    socket_paths: ClassVar[tuple[str, ...]] = ("/v2",)
    first_trade: ClassVar[int] = 10_218_000
    connection_class: ClassVar[type[Connection]] = KrakenConnection

    def __init__(
        self,
        settings: Settings,
        own: KrakenSettings,
        truth: Truth,
        prices: FairPrices,
        clock: Clock | None = None,
    ) -> None:
        """Continue each pair's trade ids; time numbers the books."""
        self._limits = own
        self.texts: dict[str, Texts] = {}
        self.rest = KrakenRest(self, self.texts)
        super().__init__(settings, own, truth, prices, clock)

    # Numbering

    def number_opening(self, now_ns: int) -> None:
        """Name the opening books."""
        for market in self.markets.values():
            instrument = market.instrument
            assert instrument.tick == instrument.lot == 1, "checksums need steps of one unit"
            decimals = instrument.price_decimals, instrument.size_decimals
            self.texts[market.symbol] = Texts(*fixed_texts(instrument, *decimals))
            self.number(market, now_ns)

    def number(self, market: Market, now_ns: int) -> None:
        """Name the state by its microsecond, later than the one before."""
        market.sequence = max(now_ns // 1000, market.sequence + 1)
        market.ts_event = market.sequence * 1000

    def tags(self, market: Market) -> list[int]:
        """Mark trades whose aggressor was a limit order."""
        return [int(market.flow.crossing)] * len(market.engine.fills)

    # Channels

    def make_channel(self, name: str) -> MarketChannel | None:
        """Return the channel of an internal name: `trade BTC/USD` or `book BTC/USD 10`."""
        kind, symbol, *rest = name.split(" ")
        market = self.markets.get(symbol)
        if market is None:
            return None
        texts = self.texts[symbol]
        if kind == "trade":
            return TradeChannel(self, market, name, texts)
        return BookChannel(self, market, name, texts, int(rest[0]))

    # Sockets

    def greet(self, connection: Connection) -> None:
        """Send the status."""
        assert isinstance(connection, KrakenConnection)
        connection.held = {}
        self._send_status(connection, "online")

    def announce(self, connection: Connection) -> None:
        """Say that maintenance begins."""
        self._send_status(connection, "maintenance")

    def _send_status(self, connection: Connection, system: str) -> None:
        status = {
            "version": VERSION,
            "system": system,
            "api_version": "v2",
            "connection_id": (1 << 60) + int(connection.name.rpartition("-")[2]),
            "upcoming_maintenance": [],
            "emergency": [],
        }
        connection.send(reply({"channel": "status", "type": "update", "data": [status]}))

    def tend(self, connection: Connection, now: float) -> None:
        """Send a heartbeat into silence; close a socket that never subscribes."""
        assert isinstance(connection, KrakenConnection)
        if connection.held or connection.instruments:
            if now - connection.sent_at >= self._limits.heartbeat_s:
                connection.send(HEARTBEAT)
        elif now - connection.heard_at >= self._limits.idle_s:
            connection.end(WSCloseCode.OK, "inactive")

    async def receive(self, connection: Connection, text: str) -> None:
        """Answer one request."""
        assert isinstance(connection, KrakenConnection)
        arrived = self.clock.time_ns() // 1000
        try:
            request = parse(text)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            self._answer(connection, {"error": "Malformed request", "success": False}, {}, arrived)
            return
        method = request.get("method")
        if method == "ping":
            self._answer(connection, {"method": "pong"}, request, arrived)
            return
        try:
            if method not in ("subscribe", "unsubscribe"):
                raise RequestError("Unsupported method")
            self._change(connection, method, request, arrived)
        except RequestError as error:
            body = {"error": str(error), "method": str(method)[:50], "success": False}
            self._answer(connection, body, request, arrived)

    def _answer(
        self,
        connection: Connection,
        body: dict[str, object],
        request: dict[str, object],
        arrived: int,
    ) -> None:
        number = request.get("req_id")
        if isinstance(number, int):
            body["req_id"] = number
        body["time_in"] = rfc3339(arrived)
        body["time_out"] = rfc3339(self.clock.time_ns() // 1000)
        connection.send(reply(body))

    def _change(
        self, connection: KrakenConnection, method: str, request: dict[str, object], arrived: int
    ) -> None:
        params = request.get("params")
        if not isinstance(params, dict):
            raise RequestError("Field(s) missing: params")
        kind, snapshot = params.get("channel"), params.get("snapshot", True)
        if kind == "instrument":
            self._change_instruments(connection, method, request, arrived)
            return
        if kind not in ("book", "trade"):
            raise RequestError("Channel not supported")
        if not isinstance(snapshot, bool):
            raise RequestError("Field 'snapshot' must be a boolean")
        depth = params.get("depth", DEPTHS[0])
        if kind == "book" and (isinstance(depth, bool) or depth not in DEPTHS):
            raise RequestError("Subscription depth not supported")
        symbols = params.get("symbol")
        if not isinstance(symbols, list) or not symbols:
            raise RequestError("Field 'symbol' must be a list")
        joined: list[MarketChannel] = []
        for symbol in symbols:
            name = f"{kind} {symbol} {depth}" if kind == "book" else f"{kind} {symbol}"
            body: dict[str, object] = {"method": method}
            try:
                if not isinstance(symbol, str) or symbol not in self.markets:
                    raise RequestError(f"Currency pair not supported {str(symbol)[:50]}")
                if method == "subscribe":
                    joined.append(self._hold(connection, kind, symbol, name))
                else:
                    self._release(connection, kind, symbol, name)
            except RequestError as error:
                body |= {"error": str(error), "success": False, "symbol": symbol}
            else:
                result: dict[str, object] = {"channel": kind, "symbol": symbol}
                if kind == "book":
                    result["depth"] = depth
                if method == "subscribe":
                    result["snapshot"] = snapshot
                body |= {"result": result, "success": True}
            self._answer(connection, body, request, arrived)
        for channel in joined:
            self._join(connection, channel, snapshot=snapshot)

    def _hold(
        self, connection: KrakenConnection, kind: str, symbol: str, name: str
    ) -> MarketChannel:
        """Note a subscription; frames name no depth, so a symbol has one book per socket."""
        if (kind, symbol) in connection.held:
            raise RequestError("Already subscribed")
        channel = self.find_channel(name)
        assert channel is not None, "the symbol is listed"
        connection.held[kind, symbol] = channel
        return channel

    def _release(self, connection: KrakenConnection, kind: str, symbol: str, name: str) -> None:
        channel = connection.held.get((kind, symbol))
        if channel is None or channel.name != name:
            raise RequestError("Subscription Not Found")
        del connection.held[kind, symbol]
        self.unsubscribe(connection, channel)

    def _join(self, connection: Connection, channel: MarketChannel, *, snapshot: bool) -> None:
        self.subscribe(connection, channel)
        if snapshot and isinstance(channel, BookChannel | TradeChannel):
            channel.snapshot(connection)

    def _change_instruments(
        self, connection: KrakenConnection, method: str, request: dict[str, object], arrived: int
    ) -> None:
        wanted = method == "subscribe"
        if connection.instruments == wanted:
            raise RequestError("Already subscribed" if wanted else "Subscription Not Found")
        connection.instruments = wanted
        body: dict[str, object] = {
            "method": method,
            "result": {"channel": "instrument"},
            "success": True,
        }
        self._answer(connection, body, request, arrived)
        if wanted:
            connection.send(
                reply({"channel": "instrument", "type": "snapshot", "data": self.rest.reference()})
            )

    # REST

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Serve /0/public."""
        self.rest.add_routes(router)

    def too_many_body(self) -> object:
        """Return Kraken's error."""
        return {"error": ["EAPI:Rate limit exceeded"]}
