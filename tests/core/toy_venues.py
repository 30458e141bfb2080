"""Venues small enough to hold in the hand: what a session hears back, and the true books.

They speak just enough of each protocol for the session and the guard, without sockets and without
a clock of their own. Nothing of `core` is used to make what they say.
"""

import json
import zlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

LEVELS = 12


class ToyVenue:
    """Books of `LEVELS` levels a side whose sizes change.

    `sizes` is the truth, `served` how many snapshots of each book were given out.
    """

    name = ""

    def __init__(self, symbols: tuple[str, ...]) -> None:
        self.sizes = {symbol: {"bids": [1] * LEVELS, "asks": [1] * LEVELS} for symbol in symbols}
        self.ids = dict.fromkeys(symbols, 100)
        self.subscribed: set[str] = set()
        self.served = dict.fromkeys(symbols, 0)
        self.turn = 0

    def change(self, symbol: str) -> bytes:
        """Change one level of a book; return the frame that says so."""
        self.turn += 1
        side = "bids" if self.turn % 2 else "asks"
        place = self.turn % LEVELS
        self.sizes[symbol][side][place] = 2 + self.turn % 97
        self.ids[symbol] += 1
        return self.delta(symbol, side, place)

    def ladder(self, symbol: str, side: str) -> list[tuple[str, str]]:
        """Return (price, size), best first."""
        return [
            (self.price(side, place), self.size(size))
            for place, size in enumerate(self.sizes[symbol][side])
        ]

    def price(self, side: str, place: int) -> str:
        """Return the price of a level."""
        return f"{100 - place if side == 'bids' else 101 + place}.5"

    def size(self, size: int) -> str:
        """Return a size as the venue prints it."""
        return f"{size}.00"

    def delta(self, symbol: str, side: str, place: int) -> bytes:
        raise NotImplementedError

    def take(self, text: str) -> list[bytes]:
        """Return the answers to a message."""
        raise NotImplementedError

    def fetch(self, path: str) -> bytes:
        """Return the body of a page."""
        raise NotImplementedError(path)

    def time(self, now: int) -> bytes:
        """Answer a REST request for the time, with ours in ns."""
        raise NotImplementedError


class ToyDeribit(ToyVenue):
    name = "deribit"

    def take(self, text: str) -> list[bytes]:
        message = json.loads(text)
        method, params = message["method"], message["params"]
        if method in ("public/subscribe", "public/unsubscribe"):
            answers = [self._answer(message["id"], params["channels"])]
            for channel in params["channels"]:
                kind, symbol, _ = channel.split(".")
                if kind == "book" and method == "public/subscribe":
                    self.subscribed.add(symbol)
                    self.served[symbol] += 1
                    answers.append(self._book(symbol, "snapshot", *self._whole(symbol)))
                elif kind == "book":
                    self.subscribed.discard(symbol)
            return answers
        return [self._answer(message["id"], "ok")]

    def delta(self, symbol: str, side: str, place: int) -> bytes:
        level = [["change", float(self.price(side, place)), self.sizes[symbol][side][place]]]
        bids, asks = (level, []) if side == "bids" else ([], level)
        return self._book(symbol, "change", bids, asks, self.ids[symbol] - 1)

    def _whole(self, symbol: str) -> tuple[list[Any], list[Any]]:
        bids, asks = (
            [["new", float(p), float(s)] for p, s in self.ladder(symbol, side)]
            for side in ("bids", "asks")
        )
        return bids, asks

    def _book(
        self, symbol: str, kind: str, bids: list[Any], asks: list[Any], prev: int | None = None
    ) -> bytes:
        data = {
            "type": kind,
            "timestamp": 1,
            "instrument_name": symbol,
            "change_id": self.ids[symbol],
            "bids": bids,
            "asks": asks,
        }
        if prev is not None:
            data["prev_change_id"] = prev
        params = {"channel": f"book.{symbol}.100ms", "data": data}
        return _frame({"jsonrpc": "2.0", "method": "subscription", "params": params})

    def _answer(self, request_id: int, result: object) -> bytes:
        return _frame({"jsonrpc": "2.0", "id": request_id, "result": result})


class ToyBinance(ToyVenue):
    name = "binance"

    def take(self, text: str) -> list[bytes]:
        message = json.loads(text)
        books = {each.split("@")[0].upper() for each in message["params"] if "@depth" in each}
        if message["method"] == "SUBSCRIBE":
            self.subscribed |= books
        else:
            self.subscribed -= books
        return [_frame({"result": None, "id": message["id"]})]

    def delta(self, symbol: str, side: str, place: int) -> bytes:
        level = [[self.price(side, place), self.size(self.sizes[symbol][side][place])]]
        bids, asks = (level, []) if side == "bids" else ([], level)
        last = self.ids[symbol]
        return _frame(
            {"e": "depthUpdate", "E": 1, "s": symbol, "U": last, "u": last, "b": bids, "a": asks}
        )

    def time(self, now: int) -> bytes:
        """Answer `/api/v3/time`."""
        return _frame({"serverTime": now // 1_000_000})

    def fetch(self, path: str) -> bytes:
        symbol = parse_qs(urlsplit(path).query)["symbol"][0]
        self.served[symbol] += 1
        sides = {side: self.ladder(symbol, side) for side in ("bids", "asks")}
        return _frame({"lastUpdateId": self.ids[symbol], **sides})


class ToyKraken(ToyVenue):
    name = "kraken"

    def take(self, text: str) -> list[bytes]:
        message = json.loads(text)
        if message["method"] == "ping":
            return [_frame({"method": "pong", "req_id": message["req_id"]})]
        params, answers = message["params"], []
        for symbol in params["symbol"]:
            result = {"channel": params["channel"], "symbol": symbol}
            answers.append(
                _frame(
                    {
                        "method": message["method"],
                        "req_id": message["req_id"],
                        "success": True,
                        "result": result,
                    }
                )
            )
            if params["channel"] != "book":
                continue
            if message["method"] == "subscribe":
                self.subscribed.add(symbol)
                self.served[symbol] += 1
                sides = [self.ladder(symbol, side) for side in ("bids", "asks")]
                answers.append(self._book(symbol, "snapshot", *sides))
            else:
                self.subscribed.discard(symbol)
        return answers

    def delta(self, symbol: str, side: str, place: int) -> bytes:
        level = [(self.price(side, place), self.size(self.sizes[symbol][side][place]))]
        bids, asks = (level, []) if side == "bids" else ([], level)
        return self._book(symbol, "update", bids, asks)

    def _book(
        self, symbol: str, kind: str, bids: list[tuple[str, str]], asks: list[tuple[str, str]]
    ) -> bytes:
        sides = ",".join(
            f'"{name}":[' + ",".join(f'{{"price":{p},"qty":{s}}}' for p, s in levels) + "]"
            for name, levels in (("bids", bids), ("asks", asks))
        )
        data = f'{{"symbol":"{symbol}",{sides},"checksum":{self._checksum(symbol)}}}'
        return f'{{"channel":"book","type":"{kind}","data":[{data}]}}'.encode()

    def _checksum(self, symbol: str) -> int:
        digits = [
            text.replace(".", "").lstrip("0")
            for side in ("asks", "bids")
            for level in self.ladder(symbol, side)[:10]
            for text in level
        ]
        return zlib.crc32("".join(digits).encode())


def _frame(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


VENUES = {venue.name: venue for venue in (ToyDeribit, ToyBinance, ToyKraken)}
