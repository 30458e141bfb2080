"""Kraken's REST: asset pairs, assets, depth, trades, time, status; and the data of channel
instrument.

A pair has three names: `XXBTZUSD` (REST), `XBTUSD` (alternative), `BTC/USD` (API v2).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from simulator.instruments import Instrument
from simulator.market import Market, Trade
from simulator.truth_reader import history
from simulator.venue import Venue, compact
from simulator.venues.kraken_channels import Texts
from simulator.wire import FixedTexts, rfc3339

DEPTH_MAX = 500
TRADES_MAX = 1000
FILLS_MAX = 100  # trades of one moment
OLD_NAMES = {"BTC": "XBT", "DOGE": "XDG"}  # before API v2
CLASSED = {"BTC", "DOGE", "ETH", "LTC", "XLM", "XRP", "ZEC"}  # coins with an X before their name
MONEY = {"USD", "EUR", "GBP", "AUD", "CAD"}  # with a Z before their name


class QueryError(Exception):
    """A refusal with Kraken's text."""


def asset_name(coin: str) -> str:
    """Return REST's name of an asset."""
    old = OLD_NAMES.get(coin, coin)
    return f"X{old}" if coin in CLASSED else f"Z{old}" if coin in MONEY else old


def alternative_name(instrument: Instrument) -> str:
    """Return the pair's short name."""
    return f"{OLD_NAMES.get(instrument.base, instrument.base)}{instrument.quote}"


def pair_name(instrument: Instrument) -> str:
    """Return REST's name of a pair: asset names joined when both are of the old kind."""
    if instrument.base in CLASSED - {"DOGE"} and instrument.quote in MONEY:
        return asset_name(instrument.base) + asset_name(instrument.quote)
    return alternative_name(instrument)


class KrakenRest:
    """The paths under /0/public."""

    def __init__(self, venue: Venue, texts: dict[str, Texts]) -> None:
        """Serve the venue's markets; `texts` by symbol."""
        self._venue = venue
        self._texts = texts

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Add all paths."""
        self._add(router, "Time", self._time)
        self._add(router, "SystemStatus", self._status)
        self._add(router, "Assets", self._assets)
        self._add(router, "AssetPairs", self._asset_pairs)
        self._add(router, "Depth", self._depth)
        self._add(router, "Trades", self._trades)

    def _add(
        self,
        router: web.UrlDispatcher,
        path: str,
        answer: Callable[[web.Request], Awaitable[str]],
    ) -> None:
        async def serve(request: web.Request) -> web.Response:
            try:
                text = f'{{"error":[],"result":{await answer(request)}}}'
            except QueryError as error:
                text = f'{{"error":["{error}"]}}'
            return web.Response(text=text, content_type="application/json")

        router.add_get(f"/0/public/{path}", serve)

    async def _time(self, request: web.Request) -> str:
        now = self._venue.clock.time_ns() // 1_000_000_000
        text = time.strftime("%a, %d %b %y %H:%M:%S +0000", time.gmtime(now))
        return f'{{"unixtime":{now},"rfc1123":"{text}"}}'

    async def _status(self, request: web.Request) -> str:
        stamp = rfc3339(self._venue.clock.time_ns() // 1_000_000_000 * 1_000_000).replace(
            ".000000", ""
        )
        return f'{{"status":"online","timestamp":"{stamp}"}}'

    async def _assets(self, request: web.Request) -> str:
        return compact(
            {
                asset_name(coin): {
                    "aclass": "currency",
                    "altname": OLD_NAMES.get(coin, coin),
                    "decimals": 10,
                    "display_decimals": 5,
                    "status": "enabled",
                }
                for coin in self._coins()
            }
        )

    async def _asset_pairs(self, request: web.Request) -> str:
        markets = list(self._venue.markets.values())
        if "pair" in request.query:
            markets = [self._market(name) for name in request.query["pair"].split(",")]
        listed = [market.instrument for market in markets]
        return compact({pair_name(instrument): pair_entry(instrument) for instrument in listed})

    async def _depth(self, request: web.Request) -> str:
        market = self._market(request.query.get("pair"))
        depth = natural(request, "count", 100)
        if not 1 <= depth <= DEPTH_MAX:
            raise QueryError("EGeneral:Invalid arguments:count")
        texts, sizes = self._texts[market.symbol], market.engine.sizes
        second = market.ts_event // 1_000_000_000
        bids, asks = (
            ",".join(f'["{texts.price[key]}","{texts.size[sizes[key]]}",{second}]' for key in keys)
            for keys in market.top(depth)
        )
        return f'{{"{pair_name(market.instrument)}":{{"asks":[{asks}],"bids":[{bids}]}}}}'

    async def _trades(self, request: web.Request) -> str:
        market = self._market(request.query.get("pair"))
        count = min(natural(request, "count", TRADES_MAX), TRADES_MAX)
        since = natural(request, "since", -1)
        held = market.history
        if since < 0:
            trades = list(held)[-count:]
        elif held and held[0].ts_event <= since:
            trades = whole_moments([trade for trade in held if trade.ts_event > since], count)
        else:
            folder, most = self._venue.folder(market.symbol), count + FILLS_MAX
            found = await asyncio.to_thread(history, folder, since + 1, most, "ts_event")
            trades = whole_moments(found, count)
        final = trades[-1].ts_event if trades else max(since, 0)
        listed = ",".join(self._trade(market, trade) for trade in trades)
        return f'{{"{pair_name(market.instrument)}":[{listed}],"last":"{final}"}}'

    def _trade(self, market: Market, trade: Trade) -> str:
        texts = self._texts[market.symbol]
        return (
            f'["{texts.price[trade.price]}","{texts.size[trade.size]}",'
            f"{FixedTexts(1, 9, 9)[trade.ts_event]},"
            f'"{"b" if trade.buy else "s"}","{"l" if trade.tag else "m"}","",{trade.sequence}]'
        )

    def _market(self, name: str | None) -> Market:
        for market in self._venue.markets.values():
            instrument = market.instrument
            if name in (pair_name(instrument), alternative_name(instrument), market.symbol):
                return market
        raise QueryError("EQuery:Unknown asset pair")

    def _coins(self) -> list[str]:
        listed = [market.instrument for market in self._venue.markets.values()]
        return sorted({each for entry in listed for each in (entry.base, entry.quote)})

    def reference(self) -> object:
        """Return the data of a snapshot of channel instrument."""
        return {
            "assets": [
                {
                    "id": coin,
                    "status": "enabled",
                    "precision": 10,
                    "precision_display": 5,
                    "borrowable": False,
                    "collateral_value": 0.0,
                    "margin_rate": 0.0,
                }
                for coin in self._coins()
            ],
            "pairs": [
                {
                    "symbol": market.symbol,
                    "base": market.instrument.base,
                    "quote": market.instrument.quote,
                    "status": "online",
                    "qty_precision": market.instrument.size_decimals,
                    "qty_increment": 10.0**-market.instrument.size_decimals,
                    "price_precision": market.instrument.price_decimals,
                    "price_increment": 10.0**-market.instrument.price_decimals,
                    "tick_size": 10.0**-market.instrument.price_decimals,
                    "cost_precision": 5,
                    "cost_min": 0.5,
                    "qty_min": 10.0**-market.instrument.size_decimals,
                    "marginable": False,
                    "has_index": True,
                }
                for market in self._venue.markets.values()
            ],
        }


def whole_moments(trades: list[Trade], count: int) -> list[Trade]:
    """Return the first `count` trades and those of the same moment, so that pages lose none."""
    end = min(count, len(trades))
    while 0 < end < len(trades) and trades[end].ts_event == trades[end - 1].ts_event:
        end += 1
    return trades[:end]


def natural(request: web.Request, name: str, default: int) -> int:
    """Return an unsigned parameter of a query."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise QueryError(f"EGeneral:Invalid arguments:{name}")
    return int(text)


def pair_entry(instrument: Instrument) -> dict[str, object]:
    """Return one entry of AssetPairs."""
    step = FixedTexts(1, instrument.price_decimals, instrument.price_decimals)[1]
    return {
        "altname": alternative_name(instrument),
        "wsname": f"{OLD_NAMES.get(instrument.base, instrument.base)}/{instrument.quote}",
        "aclass_base": "currency",
        "base": asset_name(instrument.base),
        "aclass_quote": "currency",
        "quote": asset_name(instrument.quote),
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": instrument.price_decimals,
        "lot_decimals": instrument.size_decimals,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.4]],
        "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "0.00005",
        "costmin": "0.5",
        "tick_size": step,
        "status": "online",
    }
