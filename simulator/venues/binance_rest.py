"""Binance spot's REST: depth, exchange information, time, trades, with weights per minute.

Answers are made from the same markets as the streams, so `lastUpdateId` joins them exactly.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import groupby

from aiohttp import web

from simulator.instruments import Instrument
from simulator.market import Market, Trade
from simulator.truth_reader import history
from simulator.venue import Venue
from simulator.venues.binance_channels import Texts, aggregate_fields
from simulator.wire import FixedTexts

DEPTH_MAX = 5000
TRADES_MAX = 1000
FILLS_PER_AGGREGATE = 4  # trades read from disk for each aggregate trade asked for

Answer = Callable[[web.Request], Awaitable[str]]


class RestError(Exception):
    """A refusal with Binance's code and text."""

    def __init__(self, code: int, text: str) -> None:
        """Become HTTP 400."""
        super().__init__(text)
        self.code = code


class BinanceRest:
    """The paths under /api/v3 and the weight that each client address has used."""

    def __init__(self, venue: Venue, texts: dict[str, Texts], weight_per_minute_max: int) -> None:
        """`texts` by symbol; `weight_per_minute_max` is per client address."""
        self._venue = venue
        self._texts = texts
        self._weight_max = weight_per_minute_max
        self._used: dict[str, tuple[int, int]] = {}  # address -> minute, weight

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add all paths with their weights."""
        self._add(router, "ping", self._ping, lambda request: 1)
        self._add(router, "time", self._time, lambda request: 1)
        self._add(router, "exchangeInfo", self._exchange_info, lambda request: 20)
        self._add(router, "depth", self._depth, depth_weight)
        self._add(router, "trades", self._trades, lambda request: 25)
        self._add(router, "historicalTrades", self._historical_trades, lambda request: 25)
        self._add(router, "aggTrades", self._aggregate_trades, lambda request: 4)

    def _add(
        self,
        router: web.UrlDispatcher,
        path: str,
        answer: Answer,
        weigh: Callable[[web.Request], int],
    ) -> None:
        async def serve(request: web.Request) -> web.Response:
            try:
                weight = weigh(request)
                used, left_s = self._use(request.remote or "", weight)
                if used > self._weight_max:
                    return self._venue.too_many(left_s)
                text, status = await answer(request), 200
            except RestError as error:
                used = self._use(request.remote or "", 0)[0]
                text, status = f'{{"code":{error.code},"msg":"{error}"}}', 400
            headers = {"X-MBX-USED-WEIGHT": str(used), "X-MBX-USED-WEIGHT-1M": str(used)}
            return web.Response(
                text=text, status=status, headers=headers, content_type="application/json"
            )

        router.add_get(f"/api/v3/{path}", serve)

    def _use(self, address: str, weight: int) -> tuple[int, float]:
        """Return the weight used in this minute and the seconds until the next one."""
        now = self._venue.clock.time_ns() / 1e9
        minute = int(now // 60)
        used_minute, used = self._used.get(address, (minute, 0))
        used = weight + (used if used_minute == minute else 0)
        self._used[address] = minute, used
        return used, (minute + 1) * 60 - now

    async def _ping(self, request: web.Request) -> str:
        return "{}"

    async def _time(self, request: web.Request) -> str:
        return f'{{"serverTime":{self._venue.clock.time_ns() // 1_000_000}}}'

    async def _exchange_info(self, request: web.Request) -> str:
        markets = self._venue.markets
        asked = request.query.get("symbol")
        if asked is not None:
            markets = {asked: self._market(request)}
        symbols = ",".join(symbol_entry(market.instrument) for market in markets.values())
        ts_ms = self._venue.clock.time_ns() // 1_000_000
        return (
            f'{{"timezone":"UTC","serverTime":{ts_ms},"rateLimits":['
            '{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,'
            f'"limit":{self._weight_max}}}],"exchangeFilters":[],"symbols":[{symbols}]}}'
        )

    async def _depth(self, request: web.Request) -> str:
        market = self._market(request)
        texts = self._texts[market.symbol]
        sizes = market.engine.sizes
        bids, asks = market.top(min(limit(request, 100), DEPTH_MAX))
        return (
            f'{{"lastUpdateId":{market.sequence},"bids":[{texts.levels(sizes, bids)}],'
            f'"asks":[{texts.levels(sizes, asks)}]}}'
        )

    async def _trades(self, request: web.Request) -> str:
        market = self._market(request)
        count = min(limit(request, 500), TRADES_MAX)
        return self._listed(market, list(market.history)[-count:])

    async def _historical_trades(self, request: web.Request) -> str:
        market = self._market(request)
        count = min(limit(request, 500), TRADES_MAX)
        first = number(request, "fromId")
        if first is None:
            return self._listed(market, list(market.history)[-count:])
        return self._listed(market, await self._venue.past_trades(market, first, count))

    async def _aggregate_trades(self, request: web.Request) -> str:
        market = self._market(request)
        count = min(limit(request, 500), TRADES_MAX)
        first = number(request, "fromId")
        if first is not None:
            groups = await self._aggregates_from(market, first, count)
        else:
            since, until = number(request, "startTime"), number(request, "endTime")
            chosen = [
                trade
                for trade in market.history
                if (since is None or trade.ts_event >= since * 1_000_000)
                and (until is None or trade.ts_event < (until + 1) * 1_000_000)
            ]
            groups = grouped(chosen)
            groups = groups[:count] if since is not None else groups[-count:]
        texts = self._texts[market.symbol]
        return "[" + ",".join(f"{{{aggregate_fields(texts, group)}}}" for group in groups) + "]"

    async def _aggregates_from(self, market: Market, first: int, count: int) -> list[list[Trade]]:
        held = market.history
        if held and held[0].tag < first:  # a group that begins the memory may lack its start
            return grouped([trade for trade in held if trade.tag >= first])[:count]
        wanted = count * FILLS_PER_AGGREGATE
        folder = self._venue.folder(market.symbol)
        trades = await asyncio.to_thread(history, folder, first, wanted, "tag")
        groups = grouped(trades)
        return groups[:-1][:count] if len(trades) == wanted else groups[:count]

    def _listed(self, market: Market, trades: list[Trade]) -> str:
        texts = self._texts[market.symbol]
        return (
            "[" + ",".join(trade_entry(market.instrument, texts, trade) for trade in trades) + "]"
        )

    def _market(self, request: web.Request) -> Market:
        symbol = request.query.get("symbol")
        if symbol is None:
            raise RestError(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null.")
        market = self._venue.markets.get(symbol)
        if market is None:
            raise RestError(-1121, "Invalid symbol.")
        return market


def depth_weight(request: web.Request) -> int:
    """Return the weight of a depth request."""
    asked = limit(request, 100)
    return 5 if asked <= 100 else 25 if asked <= 500 else 50 if asked <= 1000 else 250


def limit(request: web.Request, default: int) -> int:
    """Return the parameter `limit`."""
    asked = number(request, "limit")
    return asked or default


def number(request: web.Request, name: str) -> int | None:
    """Return an unsigned parameter, None when it was not sent."""
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise RestError(
            -1100,
            f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.",
        )
    return int(text)


def grouped(trades: list[Trade]) -> list[list[Trade]]:
    """Return runs of trades with one aggregate id."""
    return [list(group) for _, group in groupby(trades, key=lambda trade: trade.tag)]


def trade_entry(instrument: Instrument, texts: Texts, trade: Trade) -> str:
    """Return one trade of a list."""
    value = trade.price * instrument.tick * trade.size * instrument.lot
    quote = FixedTexts(1, instrument.price_decimals + instrument.size_decimals, 16)[value][:-8]
    return (
        f'{{"id":{trade.sequence},"price":"{texts.price[trade.price]}",'
        f'"qty":"{texts.size[trade.size]}","quoteQty":"{quote}",'
        f'"time":{trade.ts_event // 1_000_000},'
        f'"isBuyerMaker":{"false" if trade.buy else "true"},"isBestMatch":true}}'
    )


def symbol_entry(instrument: Instrument) -> str:
    """Return one symbol of the exchange information."""
    tick = FixedTexts(instrument.tick, instrument.price_decimals, 8)[1]
    step = FixedTexts(instrument.lot, instrument.size_decimals, 8)[1]
    return (
        f'{{"symbol":"{instrument.symbol}","status":"TRADING","baseAsset":"{instrument.base}",'
        f'"baseAssetPrecision":8,"quoteAsset":"{instrument.quote}","quotePrecision":8,'
        '"quoteAssetPrecision":8,"orderTypes":["LIMIT","MARKET"],"icebergAllowed":true,'
        '"isSpotTradingAllowed":true,"isMarginTradingAllowed":false,"filters":['
        f'{{"filterType":"PRICE_FILTER","minPrice":"{tick}","maxPrice":"1000000.00000000",'
        f'"tickSize":"{tick}"}},{{"filterType":"LOT_SIZE","minQty":"{step}",'
        f'"maxQty":"90000000.00000000","stepSize":"{step}"}}],"permissions":["SPOT"]}}'
    )
