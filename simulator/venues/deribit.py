"""Deribit: JSON-RPC over WebSocket and HTTP, chained books, credits, heartbeats with test requests.

Channels: `book.{i}.{raw|100ms|agg2}`, `trades.{i}.{raw|100ms|agg2}`,
`ticker.{i}.{raw|100ms|agg2}`. `raw` needs no login here. Change ids come from one counter of the
venue, so they grow by more than one; there are no private methods.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar

from aiohttp import WSCloseCode, web

from simulator.clock import Clock
from simulator.connection import Connection
from simulator.market import Market, Trade
from simulator.prices import FairPrices
from simulator.settings import DeribitSettings, Settings
from simulator.truth import Truth
from simulator.truth_reader import last
from simulator.venue import MarketChannel, Venue, compact, parse
from simulator.venues import deribit_data as data
from simulator.venues.credits import Budget
from simulator.venues.deribit_channels import BookChannel, TickerChannel, TradesChannel
from simulator.wire import control

INTERVALS = {"raw": 0.0, "100ms": 0.1, "agg2": 1.0}  # seconds
CHANNELS: dict[str, type[BookChannel | TradesChannel | TickerChannel]] = {
    "book": BookChannel,
    "trades": TradesChannel,
    "ticker": TickerChannel,
}
DEPTHS = (1, 5, 10, 20, 50, 100, 1000, 10_000)
TRADES_MAX = 1000  # of one answer
AHEAD_MS_MAX = 5  # how far timestamps may run ahead of the clock to stay distinct
VERSION = '{"version":"1.2.26"}'
HEARTBEAT = control('{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}')
TEST_REQUEST = control('{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}')

Params = Mapping[str, object]


class RpcError(Exception):
    """A JSON-RPC error to be sent to the client."""

    def __init__(self, code: int, text: str, reason: object = None) -> None:
        """`reason` becomes the error's `data`."""
        super().__init__(text)
        self.code = code
        self.text = text
        self.reason = reason


def invalid(param: str, reason: str) -> RpcError:
    """Return the error of a wrong parameter."""
    return RpcError(-32602, "Invalid params", {"reason": reason, "param": param})


class DeribitConnection(Connection):
    """A socket with its credits and its heartbeat."""

    budget: Budget
    heartbeat_s = 0.0  # 0: off
    heartbeat_due = 0.0
    test_due = False  # a test request is unanswered


class Deribit(Venue):
    """The venue."""

    name: ClassVar[str] = "deribit"
    socket_paths: ClassVar[tuple[str, ...]] = ("/ws/api/v2",)
    first_sequence: ClassVar[int] = 169_600_000_000
    first_trade: ClassVar[int] = 296_000_000
    connection_class: ClassVar[type[Connection]] = DeribitConnection

    def __init__(
        self,
        settings: Settings,
        own: DeribitSettings,
        truth: Truth,
        prices: FairPrices,
        clock: Clock | None = None,
    ) -> None:
        """Continue the counters of every market that the folder has ever held."""
        self._limits = own
        self._change_id = self.first_sequence
        self._trade_id = 440_000_000
        self._budgets: dict[str, Budget] = {}  # of HTTP clients, by address
        self.texts: dict[str, data.Texts] = {}
        super().__init__(settings, own, truth, prices, clock)
        self._methods: dict[str, Callable[[Params], Awaitable[str]]] = {
            "public/test": self._test,
            "public/hello": self._test,
            "public/get_time": self._get_time,
            "public/status": self._status,
            "public/get_currencies": self._get_currencies,
            "public/get_instruments": self._get_instruments,
            "public/get_order_book": self._get_order_book,
            "public/ticker": self._ticker,
            "public/get_last_trades_by_instrument": self._get_last_trades,
        }

    # Numbering

    def number_opening(self, now_ns: int) -> None:
        """Start above every id that this folder has seen."""
        root = self.truth.root / self.name
        for folder in root.iterdir() if root.is_dir() else ():
            before = last(folder)
            self._change_id = max(self._change_id, before.sequence)
            self._trade_id = max(self._trade_id, before.tag)
        for market in self.markets.values():
            self.texts[market.symbol] = data.Texts(market.instrument)
            self._change_id += 1
            market.sequence = self._change_id
            market.ts_event = now_ns // 1_000_000 * 1_000_000

    def number(self, market: Market, now_ns: int) -> None:
        """Give the next change id, and a time in whole milliseconds that never goes backwards.

        Two states share a millisecond only when a market is too quick for the clock, so a ticker
        and a book of one timestamp are of one state.
        """
        self._change_id += len(market.changes) + 1
        market.sequence = self._change_id
        now_ms, last_ms = now_ns // 1_000_000, market.ts_event // 1_000_000
        ahead = last_ms + 1 if last_ms - now_ms < AHEAD_MS_MAX else last_ms
        market.ts_event = max(now_ms, ahead) * 1_000_000

    def tags(self, market: Market) -> list[int]:
        """Return the trade ids."""
        first = self._trade_id + 1
        self._trade_id += len(market.engine.fills)
        return list(range(first, self._trade_id + 1))

    # Sockets

    def make_channel(self, name: str) -> MarketChannel | None:
        """Return the channel of a name such as `book.BTC-PERPETUAL.raw`."""
        kind, _, rest = name.partition(".")
        symbol, _, interval = rest.rpartition(".")
        made, market = CHANNELS.get(kind), self.markets.get(symbol)
        if made is None or market is None or interval not in INTERVALS:
            return None
        return made(self, market, name, self.texts[symbol], INTERVALS[interval])

    def greet(self, connection: Connection) -> None:
        """Give the newcomer its credits."""
        assert isinstance(connection, DeribitConnection)
        connection.budget = Budget(self._limits, self.clock.monotonic())

    def tend(self, connection: Connection, now: float) -> None:
        """Send heartbeats; close the socket whose test request was not answered in an interval."""
        assert isinstance(connection, DeribitConnection)
        if not connection.heartbeat_s or now < connection.heartbeat_due or connection.closing:
            return
        if connection.test_due:
            self.counts["unanswered_tests"] += 1
            connection.end(WSCloseCode.OK, "test_request unanswered")
            return
        connection.heartbeat_due = now + connection.heartbeat_s
        connection.test_due = True
        connection.send(HEARTBEAT)
        connection.send(TEST_REQUEST)

    def announce(self, connection: Connection) -> None:
        """Say nothing: only a subscriber of platform_state, which is not served, would hear it."""

    async def receive(self, connection: Connection, text: str) -> None:
        """Answer one request."""
        assert isinstance(connection, DeribitConnection)
        arrived = self._time_us()
        try:
            request = parse(text)
        except ValueError:
            self._answer(connection, None, RpcError(-32700, "Parse error"), arrived)
            return
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            self._answer(connection, None, RpcError(-32600, "Invalid request"), arrived)
            return
        method, params, number = request["method"], request.get("params", {}), request.get("id")
        if not connection.budget.take(method, self.clock.monotonic()):
            self._answer(connection, number, RpcError(10028, "too_many_requests"), arrived)
            connection.end(WSCloseCode.POLICY_VIOLATION, "too_many_requests")
            return
        try:
            if not isinstance(params, dict):
                raise invalid("params", "must be an object")
            if method in ("public/subscribe", "public/unsubscribe", "public/unsubscribe_all"):
                self._change_subscriptions(connection, number, method, params, arrived)
                return
            if method == "public/test":
                connection.test_due = False
            if method in ("public/set_heartbeat", "public/disable_heartbeat"):
                result = self._set_heartbeat(connection, method, params)
            else:
                result = await self._call(method, params)
        except RpcError as error:
            self._answer(connection, number, error, arrived)
        else:
            self._answer(connection, number, result, arrived)

    def _time_us(self) -> int:
        return self.clock.time_ns() // 1000

    def _answer(
        self, connection: Connection, number: object, result: str | RpcError, arrived: int
    ) -> None:
        connection.send(control(rpc_text(number, result, arrived, self._time_us())))

    def _set_heartbeat(self, connection: DeribitConnection, method: str, params: Params) -> str:
        connection.test_due = False
        connection.heartbeat_s = 0.0
        if method == "public/set_heartbeat":
            interval = params.get("interval")
            if not isinstance(interval, int | float) or isinstance(interval, bool):
                raise invalid("interval", "must be a number")
            if not self._limits.heartbeat_s_min <= interval <= 86_400:
                raise invalid("interval", f"must be {self._limits.heartbeat_s_min:g} or more")
            connection.heartbeat_s = float(interval)
            now = asyncio.get_running_loop().time()
            connection.heartbeat_due = now + connection.heartbeat_s
        return '"ok"'

    def _change_subscriptions(
        self,
        connection: Connection,
        number: object,
        method: str,
        params: Params,
        arrived: int,
    ) -> None:
        if method == "public/unsubscribe_all":
            for held in [each for each in self.channels.values() if connection in each.members]:
                self.unsubscribe(connection, held)
            self._answer(connection, number, '"ok"', arrived)
            return
        names = params.get("channels")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise invalid("channels", "must be a list of strings")
        # The ack lists channels in an order of its own, and those that do not exist not at all.
        ordered = sorted(set(names), reverse=True)
        if method == "public/unsubscribe":
            left = [name for name in ordered if name in self.channels]
            left = [name for name in left if connection in self.channels[name].members]
            for name in left:
                self.unsubscribe(connection, self.channels[name])
            self._answer(connection, number, compact(left), arrived)
            return
        found = [channel for name in ordered if (channel := self.find_channel(name)) is not None]
        listed = compact([channel.name for channel in found])
        self._answer(connection, number, listed, arrived)
        for channel in found:
            if connection not in channel.members:
                self.subscribe(connection, channel)

    # Methods

    async def _call(self, method: str, params: Params) -> str:
        called = self._methods.get(method)
        if called is None:
            raise RpcError(-32601, "Method not found")
        return await called(params)

    async def _test(self, params: Params) -> str:
        return VERSION

    async def _get_time(self, params: Params) -> str:
        return str(self.clock.time_ns() // 1_000_000)

    async def _status(self, params: Params) -> str:
        return '{"locked":"false","locked_indices":[]}'

    async def _get_currencies(self, params: Params) -> str:
        coins = sorted({market.instrument.base for market in self.markets.values()} | {"USDC"})
        return compact(
            [
                {"currency": coin, "currency_long": coin, "coin_type": coin, "withdrawal_fee": 0.0}
                for coin in coins
            ]
        )

    async def _get_instruments(self, params: Params) -> str:
        currency, kind = params.get("currency", "any"), params.get("kind", "any")
        entries = [
            data.instrument_entry(market.instrument, number)
            for number, market in enumerate(self.markets.values())
        ]
        if params.get("expired") in (True, "true"):
            entries = []
        return compact(
            [
                entry
                for entry in entries
                if currency in ("any", entry["base_currency"], entry["settlement_currency"])
                and kind in ("any", entry["kind"])
            ]
        )

    async def _get_order_book(self, params: Params) -> str:
        market = self._market(params)
        depth = integer(params, "depth", 5)
        if depth not in DEPTHS:
            raise invalid("depth", f"must be one of {', '.join(map(str, DEPTHS))}")
        texts = self.texts[market.symbol]
        fields = data.ticker_fields(market, texts)
        levels = data.price_levels(market, texts, depth)
        return f'{{{fields},"change_id":{market.sequence},{levels}}}'

    async def _ticker(self, params: Params) -> str:
        market = self._market(params)
        return f"{{{data.ticker_fields(market, self.texts[market.symbol])}}}"

    async def _get_last_trades(self, params: Params) -> str:
        market = self._market(params)
        count = integer(params, "count", 10)
        if not 1 <= count <= TRADES_MAX:
            raise invalid("count", f"must be between 1 and {TRADES_MAX}")
        newest = min(integer(params, "end_seq", market.trade_sequence), market.trade_sequence)
        oldest = max(integer(params, "start_seq", newest - count + 1), self.first_trade + 1)
        ascending = params.get("sorting") == "asc"
        first = oldest if ascending else max(oldest, newest - count + 1)
        wanted = min(count, newest - first + 1)
        found: list[Trade] = []
        if wanted > 0:
            found = await self.past_trades(market, first, wanted)
        more = newest - oldest + 1 > len(found)
        if not ascending:
            found.reverse()
        texts = self.texts[market.symbol]
        listed = ",".join(data.trade(market, texts, trade) for trade in found)
        return f'{{"trades":[{listed}],"has_more":{"true" if more else "false"}}}'

    def _market(self, params: Params) -> Market:
        market = self.markets.get(str(params.get("instrument_name")))
        if market is None:
            raise invalid("instrument_name", "unknown instrument")
        return market

    # HTTP

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Serve every method under /api/v2."""
        router.add_get("/api/v2/{scope}/{method}", self._serve_method)

    async def _serve_method(self, request: web.Request) -> web.Response:
        arrived = self._time_us()
        method = f"{request.match_info['scope']}/{request.match_info['method']}"
        budget = self._budgets.setdefault(
            request.remote or "", Budget(self._limits, self.clock.monotonic())
        )
        try:
            if not budget.take(method, self.clock.monotonic()):
                raise RpcError(10028, "too_many_requests")
            result: str | RpcError = await self._call(method, request.query)
        except RpcError as error:
            result = error
        refused = isinstance(result, RpcError) and result.code == 10028
        return web.Response(
            text=rpc_text(None, result, arrived, self._time_us(), numbered=False),
            status=429 if refused else 400 if isinstance(result, RpcError) else 200,
            content_type="application/json",
        )

    def too_many_body(self) -> object:
        """Return Deribit's error."""
        return {"jsonrpc": "2.0", "error": {"code": 10028, "message": "too_many_requests"}}


def integer(params: Params, name: str, default: int) -> int:
    """Return an integer parameter, also from the text of a query."""
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise invalid(name, "must be an integer")
    try:
        return int(value)
    except ValueError:
        raise invalid(name, "must be an integer") from None


def rpc_text(
    number: object, result: str | RpcError, arrived: int, answered: int, *, numbered: bool = True
) -> str:
    """Return a response; `result` is JSON text, the times are us since 1970."""
    if isinstance(result, RpcError):
        error = {"code": result.code, "message": result.text, "data": result.reason}
        body = f'"error":{compact(error)}'
    else:
        body = f'"result":{result}'
    identity = f'"id":{compact(number)},' if numbered else ""
    return (
        f'{{"jsonrpc":"2.0",{identity}{body},"usIn":{arrived},"usOut":{answered},'
        f'"usDiff":{answered - arrived},"testnet":false}}'
    )
