"""A simulator in this process, and clients written from the protocols alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zlib import crc32

import aiohttp

from simulator.server import Simulator
from simulator.settings import (
    BinanceSettings,
    DeribitSettings,
    KrakenSettings,
    MarketSettings,
    Settings,
)

DEADLINE_S = 30.0
TOP = 8  # levels a side that are compared at every frame
Level = tuple[str, str]
Ladder = dict[str, list[Level]]
Trade = dict[str, Any]

SETTINGS = Settings(
    deribit=DeribitSettings(symbols=2, rate=150.0, connections_max=100),
    binance=BinanceSettings(symbols=2, rate=40.0, attempts_max=1000),
    kraken=KrakenSettings(symbols=2, rate=150.0, attempts_max=1000),
    market=MarketSettings(levels=60, trade_share=0.4),
)


class World:
    """A running simulator and an HTTP client for it."""

    def __init__(self, simulator: Simulator, http: aiohttp.ClientSession) -> None:
        self.simulator = simulator
        self.http = http

    def ws(self, venue: str) -> str:
        return str(self.simulator.addresses[venue]["websocket_url"])

    def rest(self, venue: str) -> str:
        return str(self.simulator.addresses[venue]["rest_api"])

    async def get(self, url: str) -> Any:
        async with self.http.get(url) as answer:
            assert answer.status == 200, await answer.text()
            return json.loads(await answer.text(), parse_float=Decimal)

    async def trades(self, venue: str, symbol: str) -> list[Trade]:
        params = {"venue": venue, "symbol": symbol}
        url = f"{self.simulator.control_url}/truth/trades"
        async with self.http.get(url, params=params) as answer:
            assert answer.status == 200
            return [json.loads(line) for line in (await answer.text()).splitlines()]

    async def books(
        self, venue: str, symbol: str, at: Iterable[int], depth: int = TOP
    ) -> list[Ladder | None]:
        body = {"venue": venue, "symbol": symbol, "depth": depth, "at": list(at)}
        url = f"{self.simulator.control_url}/truth/books"
        async with self.http.post(url, json=body) as answer:
            assert answer.status == 200, await answer.text()
            return [
                book and {side: [(p, s) for p, s in levels] for side, levels in book.items()}
                for book in await answer.json()
            ]

    async def states(self, venue: str, symbol: str, ts_ms: int) -> list[int]:
        """Return the sequence numbers of the states of one millisecond."""
        query = f"venue={venue}&symbol={symbol}&since_ns={ts_ms}000000&until_ns={ts_ms}999999"
        states = await self.get(f"{self.simulator.control_url}/truth/states?{query}")
        return [int(state["sequence"]) for state in states]

    async def inject(self, **body: object) -> dict[str, Any]:
        url = f"{self.simulator.control_url}/inject"
        async with self.http.post(url, json=body) as answer:
            assert answer.status == 200, await answer.text()
            entry: dict[str, Any] = await answer.json()
            return entry

    async def ledger(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = await self.get(f"{self.simulator.control_url}/truth/ledger")
        return entries

    async def ended(self, number: int) -> dict[str, Any]:
        """Return a ledger entry once its fault has ended."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                entry = next(each for each in await self.ledger() if each["id"] == number)
                if entry["end_ns"] is not None:
                    return entry
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def connect(self, venue: str, path: str = "") -> AsyncIterator["Socket"]:
        async with self.http.ws_connect(
            self.ws(venue) + path, autoping=False, max_msg_size=0
        ) as ws:
            yield Socket(ws)


@asynccontextmanager
async def simulating(folder: Path, settings: Settings = SETTINGS) -> AsyncIterator[World]:
    """Run a simulator for the time of a test."""
    async with (
        Simulator(replace(settings, folder=folder)) as simulator,
        aiohttp.ClientSession() as http,
    ):
        yield World(simulator, http)


class Socket:
    """One WebSocket with a deadline on every wait; pings are answered unless `deaf`."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.deaf = False

    async def send(self, body: object) -> None:
        await self.ws.send_str(body if isinstance(body, str) else json.dumps(body))

    async def receive(self, timeout: float = DEADLINE_S) -> str | None:
        """Return the next text, None when the socket is closed."""
        while True:
            message = await self.ws.receive(timeout)
            if message.type is aiohttp.WSMsgType.TEXT:
                return str(message.data)
            if message.type is aiohttp.WSMsgType.PING and not self.deaf:
                await self.ws.pong(message.data)
            elif message.type in (
                aiohttp.WSMsgType.CLOSE,
                aiohttp.WSMsgType.CLOSED,
                aiohttp.WSMsgType.CLOSING,
                aiohttp.WSMsgType.ERROR,
            ):
                return None

    async def until(self, wanted: Callable[[Any], bool], timeout: float = DEADLINE_S) -> list[str]:
        """Return all texts up to the first whose JSON is wanted."""
        texts: list[str] = []
        async with asyncio.timeout(timeout):
            while True:
                text = await self.receive(timeout)
                assert text is not None, f"closed with {self.ws.close_code} before what was awaited"
                texts.append(text)
                if wanted(json.loads(text)):
                    return texts

    async def ask(self, body: dict[str, Any], key: str = "id") -> tuple[dict[str, Any], list[str]]:
        """Send a request; return its answer and all texts that came before it."""
        await self.send(body)
        texts = await self.until(lambda found: found.get(key) == body[key])
        answer: dict[str, Any] = json.loads(texts[-1])
        return answer, texts[:-1]

    async def closed(self, timeout: float = DEADLINE_S) -> int | None:
        """Read to the end and return the close code."""
        async with asyncio.timeout(timeout):
            while await self.receive(timeout) is not None:
                pass
        return self.ws.close_code


def plain(number: object) -> str:
    """Return a number in plain decimals without trailing zeros."""
    text = f"{Decimal(str(number)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


class Book:
    """A book of texts, and its top after every frame by sequence number."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[Decimal, str]] = {"bids": {}, "asks": {}}
        self.sequence = 0
        self.tops: dict[int, Ladder] = {}

    def clear(self) -> None:
        for side in self.sides.values():
            side.clear()

    def set(self, side: str, price: object, size: object) -> None:
        if Decimal(str(size)):
            self.sides[side][Decimal(str(price))] = str(size)
        else:
            self.sides[side].pop(Decimal(str(price)), None)

    def prices(self, side: str) -> list[Decimal]:
        return sorted(self.sides[side], reverse=side == "bids")

    def top(self, depth: int = TOP) -> Ladder:
        return {
            side: [(plain(price), plain(levels[price])) for price in self.prices(side)[:depth]]
            for side, levels in self.sides.items()
        }

    def note(self, sequence: int) -> None:
        self.sequence = sequence
        self.tops[sequence] = self.top()


async def differences(world: World, venue: str, symbol: str, book: Book) -> list[int]:
    """Return the sequence numbers at which a client's book was not the true one."""
    true = await world.books(venue, symbol, book.tops)
    return [
        sequence
        for (sequence, held), expected in zip(book.tops.items(), true, strict=True)
        if held != expected
    ]


def by_sequence(trades: Iterable[Trade]) -> dict[int, Trade]:
    return {trade["sequence"]: trade for trade in trades}


class DeribitReader:
    """Keeps books by channel and trades by symbol; a gap in a chain is an assertion error."""

    def __init__(self) -> None:
        self.books: dict[str, Book] = {}
        self.trades: dict[str, list[Trade]] = {}

    def read(self, text: str) -> None:
        frame = json.loads(text, parse_float=Decimal)
        if frame.get("method") != "subscription":
            return
        channel, data = frame["params"]["channel"], frame["params"]["data"]
        kind, symbol, _ = channel.split(".")
        if kind == "book":
            self._book(self.books.setdefault(channel, Book()), data)
        elif kind == "trades":
            for each in data:
                self.trades.setdefault(symbol, []).append(
                    {
                        "trade_id": each["trade_id"],
                        "sequence": each["trade_seq"],
                        "price": plain(each["price"]),
                        "size": plain(each["amount"]),
                        "side": each["direction"],
                        "ts_event_ns": each["timestamp"] * 1_000_000,
                    }
                )

    @staticmethod
    def _book(book: Book, data: dict[str, Any]) -> None:
        if data["type"] == "snapshot":
            book.clear()
        else:
            assert data["prev_change_id"] == book.sequence
        for side in ("bids", "asks"):
            for action, price, size in data[side]:
                held = price in book.sides[side]
                assert action == ("delete" if not size else "change" if held else "new")
                book.set(side, price, size)
        assert data["change_id"] >= book.sequence
        book.note(data["change_id"])


class BinanceReader:
    """Joins diff depth to a REST snapshot; keeps trades by symbol."""

    def __init__(self) -> None:
        self.books: dict[str, Book] = {}
        self.waiting: dict[str, list[dict[str, Any]]] = {}
        self.trades: dict[str, list[Trade]] = {}
        self.tickers: dict[str, list[dict[str, Any]]] = {}

    def read(self, text: str) -> None:
        frame = json.loads(text)
        frame = frame.get("data", frame)
        kind, symbol = frame.get("e"), frame.get("s")
        if kind == "depthUpdate":
            if symbol in self.books:
                self._apply(self.books[symbol], frame)
            else:
                self.waiting.setdefault(symbol, []).append(frame)
        elif kind == "trade":
            self.trades.setdefault(symbol, []).append(
                {
                    "trade_id": str(frame["t"]),
                    "sequence": frame["t"],
                    "price": plain(frame["p"]),
                    "size": plain(frame["q"]),
                    "side": "sell" if frame["m"] else "buy",
                    "ts_event_ns": frame["T"] * 1_000_000,
                }
            )
        elif kind is None and "B" in frame:
            self.tickers.setdefault(symbol, []).append(frame)

    def snapshot(self, symbol: str, body: dict[str, Any]) -> None:
        book = self.books[symbol] = Book()
        for side in ("bids", "asks"):
            for price, size in body[side]:
                book.set(side, price, size)
        book.note(body["lastUpdateId"])
        for frame in self.waiting.pop(symbol, []):
            self._apply(book, frame)

    @staticmethod
    def _apply(book: Book, frame: dict[str, Any]) -> None:
        if frame["u"] <= book.sequence:
            return
        joined = len(book.tops) > 1
        assert frame["U"] == book.sequence + 1 if joined else frame["U"] <= book.sequence + 1
        for side, levels in (("bids", frame["b"]), ("asks", frame["a"])):
            for price, size in levels:
                book.set(side, price, size)
        book.note(frame["u"])


class KrakenReader:
    """Keeps truncated books by symbol, checks every checksum over the text; trades by symbol."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.books: dict[str, Book] = {}
        self.trades: dict[str, list[Trade]] = {}
        self.history: dict[str, list[Trade]] = {}
        self.heartbeats = 0

    def read(self, text: str) -> None:
        frame = json.loads(text, parse_float=str)
        channel = frame.get("channel")
        self.heartbeats += channel == "heartbeat"
        if channel == "book":
            for data in frame["data"]:
                self._book(self.books.setdefault(data["symbol"], Book()), frame["type"], data)
        elif channel == "trade":
            kept = self.history if frame["type"] == "snapshot" else self.trades
            for each in frame["data"]:
                kept.setdefault(each["symbol"], []).append(
                    {
                        "trade_id": str(each["trade_id"]),
                        "sequence": each["trade_id"],
                        "price": plain(each["price"]),
                        "size": plain(each["qty"]),
                        "side": each["side"],
                        "ts_event_ns": micros(each["timestamp"]) * 1000,
                    }
                )

    def _book(self, book: Book, kind: str, data: dict[str, Any]) -> None:
        if kind == "snapshot":
            book.clear()
        for side in ("bids", "asks"):
            for level in data[side]:
                book.set(side, level["price"], level["qty"])
            for price in book.prices(side)[self.depth :]:
                del book.sides[side][price]
        assert data["checksum"] == checksum(book)
        sequence = micros(data["timestamp"])
        assert kind == "snapshot" or sequence > book.sequence
        book.note(sequence)


def checksum(book: Book) -> int:
    digits = ""
    for side in ("asks", "bids"):
        for price in book.prices(side)[:10]:
            for text in (str(price), book.sides[side][price]):
                digits += text.replace(".", "").lstrip("0")
    return crc32(digits.encode())


def micros(text: str) -> int:
    """Return RFC 3339 with six decimals as microseconds since 1970."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond
