"""Venues that speak, with the books and trades that are true: six wire formats, made by hand.

A speaker answers our messages and tells of changes and trades as its venue would. Nothing of
`core` is used to make what it says, so what is decoded can be held against `levels`.
"""

import json
import zlib
from decimal import Decimal
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

START_MS = 1_700_000_000_000
Pairs = list[tuple[int, int]]
"""Ticks and units of changed levels; no units remove the level."""


class Speaker:
    """One venue. `bids` and `asks` map ticks to units; `depth` is what a truncating one shows."""

    name = ""
    truncates = False
    loss_unit = ""
    price_decimals = 1
    size_decimals = 3

    def __init__(self, symbols: tuple[str, ...], *, depth: int = 10, seed: int = 1) -> None:
        self.symbols = symbols
        self.depth = depth
        self.random = Random(seed)
        self.ms = START_MS
        self.ids = {symbol: 1000 * place for place, symbol in enumerate(symbols, 1)}
        self.trade_ids = {symbol: 500 * place for place, symbol in enumerate(symbols, 1)}
        self.trades: list[list[Any]] = []
        """Symbol, id, sequence, price, size, side and time (ns) of every trade."""
        self.sides = {
            symbol: {
                "bids": {place * 1000 - back: 1 + back * 7 for back in range(1, depth + 3)},
                "asks": {place * 1000 + back: 2 + back * 5 for back in range(1, depth + 3)},
            }
            for place, symbol in enumerate(symbols, 1)
        }

    # -- the truth --

    def top(self, symbol: str, side: str) -> Pairs:
        """Return the levels of a side that a client holds, best first."""
        levels = sorted(self.sides[symbol][side].items(), reverse=side == "bids")
        return levels[: self.depth] if self.truncates else levels

    def levels(self, symbol: str, side: str) -> list[list[str]]:
        """Return the true levels that a client holds as normalised text, best first."""
        return [
            [_normal(self.price(tick)), _normal(self.size(units))]
            for tick, units in self.top(symbol, side)
        ]

    def sequence(self, symbol: str) -> int | None:
        """Return the venue's id of the book as it is now."""
        return self.ids[symbol]

    # -- numbers as the venue prints them --

    def price(self, tick: int) -> str:
        return _fixed(tick, self.price_decimals)

    def size(self, units: int) -> str:
        return _fixed(units, self.size_decimals)

    # -- what happens --

    def change(self, symbol: str, count: int = 3) -> bytes:
        """Change some levels of a book; return the frame that says so."""
        before = {side: dict(self.top(symbol, side)) for side in ("bids", "asks")}
        for _ in range(count):
            self._alter(symbol)
        bids, asks = (self._difference(symbol, side, before[side]) for side in ("bids", "asks"))
        prev = self.ids[symbol]
        self.ids[symbol] = last = prev + self.step(count)
        return self.delta(symbol, prev, last, bids, asks)

    def trade(self, symbol: str) -> bytes:
        """Let a trade happen; return the frame that says so."""
        self.trade_ids[symbol] += 1
        number = self.trade_ids[symbol]
        side = self.random.choice(("buy", "sell"))
        tick = self.top(symbol, "asks" if side == "buy" else "bids")[0][0]
        units = self.random.randint(1, 5000)
        price, size = _normal(self.price(tick)), _normal(self.size(units))
        self.trades.append(
            [symbol, *self.identity(symbol, number), price, size, side, self.ms * 1_000_000]
        )
        return self.printed(symbol, number, side, self.price(tick), self.size(units))

    def _alter(self, symbol: str) -> None:
        place = self.symbols.index(symbol) + 1
        side = self.random.choice(("bids", "asks"))
        levels = self.sides[symbol][side]
        back = self.random.randint(1, self.depth + 5)
        tick = place * 1000 + (back if side == "asks" else -back)
        if tick in levels and len(levels) > self.depth and self.random.random() < 0.4:
            del levels[tick]
        else:
            levels[tick] = self.random.randint(1, 90_000)

    def _difference(self, symbol: str, side: str, before: dict[int, int]) -> Pairs:
        """Return what must be said of a side; levels pushed out of range are not mentioned."""
        held, shown = self.sides[symbol][side], dict(self.top(symbol, side))
        gone = [(tick, 0) for tick in before if tick not in held]
        return gone + [pair for pair in shown.items() if before.get(pair[0]) != pair[1]]

    # -- what a venue says: each one its own --

    def step(self, count: int) -> int:
        """Return by how many ids a change moves on."""
        return 1

    def identity(self, symbol: str, number: int) -> tuple[str, int | None]:
        """Return the id and sequence of a trade."""
        return str(number), number

    def answers(self, text: str) -> list[bytes]:
        """Return what the venue says to a message of ours."""
        raise NotImplementedError

    def body(self, url: str) -> bytes:
        """Return the REST page at a URL."""
        raise NotImplementedError

    def heartbeats(self) -> list[tuple[bytes, str | None]]:
        """Return signs of life with the reply that each wants."""
        return []

    def delta(self, symbol: str, prev: int, last: int, bids: Pairs, asks: Pairs) -> bytes:
        raise NotImplementedError

    def printed(self, symbol: str, number: int, side: str, price: str, size: str) -> bytes:
        raise NotImplementedError


class BinanceSpeaker(Speaker):
    name = "binance"
    loss_unit = "update_ids"
    size_decimals = 8

    def step(self, count: int) -> int:
        return count

    def answers(self, text: str) -> list[bytes]:
        return [_json({"result": None, "id": json.loads(text)["id"]})]

    def body(self, url: str) -> bytes:
        symbol = parse_qs(urlsplit(url).query)["symbol"][0]
        sides = {side: self._texts(self.top(symbol, side)) for side in ("bids", "asks")}
        return _json({"lastUpdateId": self.ids[symbol], **sides})

    def delta(self, symbol: str, prev: int, last: int, bids: Pairs, asks: Pairs) -> bytes:
        event = {"e": "depthUpdate", "E": self.ms, "s": symbol, "U": prev + 1, "u": last}
        return _json({**event, "b": self._texts(bids), "a": self._texts(asks)})

    def printed(self, symbol: str, number: int, side: str, price: str, size: str) -> bytes:
        event = {"e": "trade", "E": self.ms + 1, "s": symbol, "t": number, "p": price, "q": size}
        return _json({**event, "T": self.ms, "m": side == "sell", "M": True})

    def _texts(self, pairs: Pairs) -> list[list[str]]:
        return [[self.price(tick), self.size(units)] for tick, units in pairs]


class BinanceUsdmSpeaker(BinanceSpeaker):
    name = "binance_usdm"
    loss_unit = ""
    size_decimals = 3

    def step(self, count: int) -> int:
        return count + self.random.randint(0, 40)

    def body(self, url: str) -> bytes:
        return _json({**json.loads(super().body(url)), "E": self.ms, "T": self.ms})

    def delta(self, symbol: str, prev: int, last: int, bids: Pairs, asks: Pairs) -> bytes:
        event = json.loads(super().delta(symbol, last - 2, last, bids, asks))
        return _json({**event, "T": self.ms, "pu": prev})

    def printed(self, symbol: str, number: int, side: str, price: str, size: str) -> bytes:
        event = json.loads(super().printed(symbol, number, side, price, size))
        return _json({**event, "X": "MARKET"})


class DeribitSpeaker(Speaker):
    name = "deribit"

    def step(self, count: int) -> int:
        return count + self.random.randint(0, 400)

    def identity(self, symbol: str, number: int) -> tuple[str, int | None]:
        return f"T-{number * 3}", number

    def size(self, units: int) -> str:
        """JSON writers may print 7e-3 for 0.007."""
        return f"{units}e-3" if units % 7 == 0 and units else super().size(units)

    def answers(self, text: str) -> list[bytes]:
        message = json.loads(text)
        method, params = message["method"], message["params"]
        if method not in ("public/subscribe", "public/unsubscribe"):
            return [self._answer(message["id"], "ok")]
        channels = params["channels"]
        answers = [self._answer(message["id"], channels[::-1])]
        if method == "public/subscribe":
            books = [each.split(".")[1] for each in channels if each.startswith("book.")]
            answers += [self._whole(symbol) for symbol in books]
        return answers

    def heartbeats(self) -> list[tuple[bytes, str | None]]:
        test = '{"jsonrpc":"2.0","id":0,"method":"public/test","params":{}}'
        return [
            (_json({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": kind}}), reply)
            for kind, reply in (("heartbeat", None), ("test_request", test))
        ]

    def delta(self, symbol: str, prev: int, last: int, bids: Pairs, asks: Pairs) -> bytes:
        return self._book(symbol, f'"type":"change","prev_change_id":{prev},', bids, asks)

    def printed(self, symbol: str, number: int, side: str, price: str, size: str) -> bytes:
        data = (
            f'[{{"trade_seq":{number},"trade_id":"T-{number * 3}","timestamp":{self.ms},'
            f'"price":{price},"instrument_name":"{symbol}","direction":"{side}",'
            f'"amount":{size}}}]'
        )
        return self._told(f"trades.{symbol}.100ms", data)

    def _whole(self, symbol: str) -> bytes:
        bids, asks = self.top(symbol, "bids"), self.top(symbol, "asks")
        return self._book(symbol, '"type":"snapshot",', bids, asks)

    def _book(self, symbol: str, kind: str, bids: Pairs, asks: Pairs) -> bytes:
        data = (
            f'{{{kind}"timestamp":{self.ms},"instrument_name":"{symbol}",'
            f'"change_id":{self.ids[symbol]},"bids":{self._actions(bids)},'
            f'"asks":{self._actions(asks)}}}'
        )
        return self._told(f"book.{symbol}.100ms", data)

    def _actions(self, pairs: Pairs) -> str:
        rows = [
            f'["{"change" if units else "delete"}",{self.price(tick)},{self.size(units)}]'
            for tick, units in pairs
        ]
        return f"[{','.join(rows)}]"

    def _told(self, channel: str, data: str) -> bytes:
        params = f'{{"channel":"{channel}","data":{data}}}'
        return f'{{"jsonrpc":"2.0","method":"subscription","params":{params}}}'.encode()

    def _answer(self, request_id: int, result: object) -> bytes:
        times = {"usIn": self.ms * 1000, "usOut": self.ms * 1000 + 9, "usDiff": 9}
        return _json({"jsonrpc": "2.0", "id": request_id, "result": result, **times})


class KrakenSpeaker(Speaker):
    name = "kraken"
    truncates = True
    size_decimals = 8

    def sequence(self, symbol: str) -> int | None:
        return None

    def answers(self, text: str) -> list[bytes]:
        message = json.loads(text)
        method, params = message["method"], message.get("params", {})
        if method == "ping":
            return [_json({"method": "pong", "req_id": message["req_id"]})]
        said: list[bytes] = []
        for symbol in params["symbol"]:
            answer = {"method": method, "req_id": message["req_id"], "success": True}
            said.append(_json({**answer, "result": {**params, "symbol": symbol}}))
            if method == "subscribe" and params["channel"] == "book":
                sides = self.top(symbol, "bids"), self.top(symbol, "asks")
                said.append(self._book(symbol, "snapshot", *sides))
        return said

    def heartbeats(self) -> list[tuple[bytes, str | None]]:
        return [(b'{"channel":"heartbeat"}', None)]

    def delta(self, symbol: str, prev: int, last: int, bids: Pairs, asks: Pairs) -> bytes:
        return self._book(symbol, "update", bids, asks)

    def printed(self, symbol: str, number: int, side: str, price: str, size: str) -> bytes:
        data = (
            f'{{"symbol":"{symbol}","side":"{side}","price":{price},"qty":{size},'
            f'"ord_type":"market","trade_id":{number},"timestamp":"{self._time()}"}}'
        )
        return f'{{"channel":"trade","type":"update","data":[{data}]}}'.encode()

    def checksum(self, symbol: str) -> int:
        """Return Kraken's checksum over the best ten levels a side."""
        digits = [
            text.replace(".", "").lstrip("0")
            for side in ("asks", "bids")
            for tick, units in self.top(symbol, side)[:10]
            for text in (self.price(tick), self.size(units))
        ]
        return zlib.crc32("".join(digits).encode())

    def _book(self, symbol: str, kind: str, bids: Pairs, asks: Pairs) -> bytes:
        sides = ",".join(
            f'"{side}":['
            + ",".join(f'{{"price":{self.price(t)},"qty":{self.size(u)}}}' for t, u in pairs)
            + "]"
            for side, pairs in (("bids", bids), ("asks", asks))
        )
        data = (
            f'{{"symbol":"{symbol}",{sides},"checksum":{self.checksum(symbol)},'
            f'"timestamp":"{self._time()}"}}'
        )
        return f'{{"channel":"book","type":"{kind}","data":[{data}]}}'.encode()

    def _time(self) -> str:
        seconds, ms = divmod(self.ms - START_MS, 1000)
        minutes, seconds = divmod(seconds + 20, 60)
        return f"2023-11-14T22:{13 + minutes:02}:{seconds:02}.{ms:03}000Z"


class KrakenV1Speaker(KrakenSpeaker):
    name = "kraken_v1"

    def identity(self, symbol: str, number: int) -> tuple[str, int | None]:
        return "", None

    def answers(self, text: str) -> list[bytes]:
        message = json.loads(text)
        said: list[bytes] = []
        for symbol in message["pair"]:
            answer = {"event": "subscriptionStatus", "pair": symbol, "reqid": message["reqid"]}
            status = {"status": f"{message['event']}d", "subscription": message["subscription"]}
            said.append(_json({**answer, **status}))
            if message["event"] == "subscribe" and message["subscription"]["name"] == "book":
                whole = {
                    "as": self._rows(self.top(symbol, "asks")),
                    "bs": self._rows(self.top(symbol, "bids")),
                }
                said.append(_json([1, whole, f"book-{self.depth}", symbol]))
        return said

    def heartbeats(self) -> list[tuple[bytes, str | None]]:
        return [(b'{"event":"heartbeat"}', None)]

    def delta(self, symbol: str, prev: int, last: int, bids: Pairs, asks: Pairs) -> bytes:
        sides = [{key: self._rows(p)} for key, p in (("a", asks), ("b", bids)) if p] or [{}]
        sides[-1] = {**sides[-1], "c": str(self.checksum(symbol))}  # type: ignore[dict-item]
        return _json([1, *sides, f"book-{self.depth}", symbol])

    def printed(self, symbol: str, number: int, side: str, price: str, size: str) -> bytes:
        return _json([2, [[price, size, self._seconds(), side[0], "m", ""]], "trade", symbol])

    def _rows(self, pairs: Pairs) -> list[list[str]]:
        return [[self.price(tick), self.size(units), self._seconds()] for tick, units in pairs]

    def _seconds(self) -> str:
        return f"{self.ms // 1000}.{self.ms % 1000:03}000"


class KrakenFuturesSpeaker(Speaker):
    name = "kraken_futures"
    loss_unit = "messages"

    def identity(self, symbol: str, number: int) -> tuple[str, int | None]:
        return f"uid-{symbol}-{number}", number

    def answers(self, text: str) -> list[bytes]:
        message = json.loads(text)
        feed, products = message["feed"], message.get("product_ids", [])
        said = {**message, "event": f"{message['event']}d"}
        answers = [_json(said)]
        if message["event"] == "subscribe" and feed == "book":
            answers += [self._whole(symbol) for symbol in products]
        return answers

    def heartbeats(self) -> list[tuple[bytes, str | None]]:
        return [(_json({"feed": "heartbeat", "time": self.ms}), None)]

    def change(self, symbol: str, count: int = 3) -> bytes:
        """One level per frame."""
        return super().change(symbol, 1)

    def delta(self, symbol: str, prev: int, last: int, bids: Pairs, asks: Pairs) -> bytes:
        ((tick, units),) = bids or asks or [self.top(symbol, "bids")[0]]
        side = "sell" if asks else "buy"
        return (
            f'{{"feed":"book","product_id":"{symbol}","side":"{side}","seq":{last},'
            f'"price":{self.price(tick)},"qty":{self.size(units)},"timestamp":{self.ms}}}'
        ).encode()

    def printed(self, symbol: str, number: int, side: str, price: str, size: str) -> bytes:
        return (
            f'{{"feed":"trade","product_id":"{symbol}","uid":"uid-{symbol}-{number}",'
            f'"side":"{side}","type":"fill","seq":{number},"time":{self.ms},'
            f'"qty":{size},"price":{price}}}'
        ).encode()

    def _whole(self, symbol: str) -> bytes:
        sides = ",".join(
            f'"{side}":['
            + ",".join(
                f'{{"price":{self.price(t)},"qty":{self.size(u)}}}'
                for t, u in self.top(symbol, side)
            )
            + "]"
            for side in ("bids", "asks")
        )
        return (
            f'{{"feed":"book_snapshot","product_id":"{symbol}","timestamp":{self.ms},'
            f'"seq":{self.ids[symbol]},"tickSize":null,{sides}}}'
        ).encode()


SPEAKERS = {
    speaker.name: speaker
    for speaker in (
        BinanceSpeaker,
        BinanceUsdmSpeaker,
        DeribitSpeaker,
        KrakenSpeaker,
        KrakenV1Speaker,
        KrakenFuturesSpeaker,
    )
}


def _fixed(value: int, decimals: int) -> str:
    digits = str(value).rjust(decimals + 1, "0")
    return f"{digits[:-decimals]}.{digits[-decimals:]}"


def _normal(text: str) -> str:
    plain = format(Decimal(text), "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
