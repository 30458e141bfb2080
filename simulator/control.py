"""The control port: the truth, the ledger and the injector over HTTP.

Reads the truth in threads, so a long question does not stop the venues. Refuses requests of web
pages and foreign host names: the port is for programs on this machine.
"""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from aiohttp import web

from simulator import truth_reader
from simulator.injector import InjectionError, Injector
from simulator.truth import Truth
from simulator.venue import Handler, Venue

PATHS = {
    "GET /truth/status": "counters of every venue and socket",
    "GET /truth/trades?venue=V&symbol=S[&since=SEQUENCE]": "the trades, a JSON line each",
    "GET /truth/states?venue=V&symbol=S[&since_ns=T&until_ns=T]": "the book's numbers and times",
    "POST /truth/books": "books at numbers: venue, symbol, at (a list), depth (25)",
    "GET /truth/ledger": "the faults so far",
    "POST /inject": "begin a fault: kind, venue, and more as docs/simulator.md says",
}
"""What the port answers, and with what; `GET /` shows it."""
POINTS_MAX = 100_000  # sequence numbers in one question
DEPTH_MAX = 10_000
STATES_MAX = 100_000
BODY_BYTES_MAX = 16 << 20
LINES_PER_CHUNK = 1000


class QuestionError(Exception):
    """A question that cannot be answered: becomes HTTP 400 with the text."""


class Control:
    """The application of the control port."""

    def __init__(
        self, venues: Mapping[str, Venue], injector: Injector, truth: Truth, seed: int
    ) -> None:
        """Answer about these venues."""
        self._venues = venues
        self._injector = injector
        self._truth = truth
        self._seed = seed
        self._started = time.monotonic()
        self.skipped_s = 0.0  # simulated time left out because the process could not keep up
        self.app = web.Application(middlewares=[guard], client_max_size=BODY_BYTES_MAX)
        self.app.router.add_get("/", self._paths)
        self.app.router.add_get("/truth/trades", self._trades)
        self.app.router.add_post("/truth/books", self._books)
        self.app.router.add_get("/truth/states", self._states)
        self.app.router.add_get("/truth/ledger", self._ledger)
        self.app.router.add_get("/truth/status", self._status)
        self.app.router.add_post("/inject", self._inject)

    async def _paths(self, request: web.Request) -> web.Response:
        return web.json_response(PATHS)

    async def _trades(self, request: web.Request) -> web.StreamResponse:
        """All trades of a symbol as JSON lines, oldest first."""
        folder = self._folder(request.query)
        since = whole(request.query.get("since", "0"), "since", 1 << 62)
        self._truth.flush()
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        chunks = trade_chunks(folder, since)
        while chunk := await asyncio.to_thread(next, chunks, b""):
            await response.write(chunk)
        await response.write_eof()
        return response

    async def _books(self, request: web.Request) -> web.Response:
        """The book at each of the sequence numbers, null where there was no such state."""
        try:
            body = await request.json()
        except (ValueError, RecursionError):
            raise QuestionError("the body must be JSON") from None
        if not isinstance(body, dict):
            raise QuestionError("the body must be an object with venue, symbol, depth and at")
        folder = self._folder(body)
        depth = whole(body.get("depth", 25), "depth", DEPTH_MAX)
        at = body.get("at")
        if not isinstance(at, list) or len(at) > POINTS_MAX:
            raise QuestionError(f"at must be a list of at most {POINTS_MAX} sequence numbers")
        points = [whole(point, "at", 1 << 62) for point in at]
        found = await asyncio.to_thread(truth_reader.books, folder, points, depth)
        return web.json_response(found)

    async def _states(self, request: web.Request) -> web.Response:
        """The sequence numbers and times (ns) of a symbol's states between two times."""
        folder = self._folder(request.query)
        since = whole(request.query.get("since_ns", "0"), "since_ns", 1 << 62)
        until = whole(request.query.get("until_ns", str(1 << 62)), "until_ns", 1 << 62)
        found = await asyncio.to_thread(truth_reader.states, folder, since, until, STATES_MAX)
        return web.json_response([{"sequence": each[0], "ts_event_ns": each[1]} for each in found])

    async def _ledger(self, request: web.Request) -> web.Response:
        return web.json_response(self._injector.ledger())

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(self.status())

    def status(self) -> dict[str, object]:
        """Return the counters of every venue."""
        return {
            "seed": self._seed,
            "seconds": round(time.monotonic() - self._started, 3),
            "skipped_s": round(self.skipped_s, 3),
            "faults": self._injector.injected,
            "venues": {name: venue_status(venue) for name, venue in self._venues.items()},
        }

    async def _inject(self, request: web.Request) -> web.Response:
        """Begin a fault; the answer is its entry in the ledger."""
        try:
            body = await request.json()
        except (ValueError, RecursionError):
            raise QuestionError("the body must be JSON") from None
        if not isinstance(body, dict):
            raise QuestionError("the body must be an object with at least `kind` and `venue`")
        try:
            entry = self._injector.inject(body)
        except InjectionError as error:
            raise QuestionError(str(error)) from None
        return web.json_response(entry.as_dict())

    def _folder(self, query: Mapping[str, object]) -> Path:
        name, symbol = query.get("venue"), query.get("symbol")
        if name is None or symbol is None:
            raise QuestionError("needs `venue` and `symbol`")
        venue = self._venues.get(str(name))
        if venue is None:
            raise QuestionError(f"venue must be one of {', '.join(self._venues)}")
        folder = venue.folder(str(symbol))
        if not folder.is_dir():
            raise QuestionError(f"{name} has no symbol {str(symbol)[:50]!r}")
        return folder


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse browsers and foreign hosts; answer what cannot be answered with HTTP 400."""
    host = request.host.rpartition(":")[0] or request.host
    if "Origin" in request.headers or host not in ("127.0.0.1", "localhost"):
        return web.json_response({"error": "only programs on this machine"}, status=403)
    try:
        return await handler(request)
    except QuestionError as refusal:
        return web.json_response({"error": str(refusal)}, status=400)


def trade_chunks(folder: Path, since: int) -> Iterator[bytes]:
    """Yield the trades from sequence `since` on as JSON lines, many at a time."""
    lines: list[str] = []
    for trade, delivered, units in truth_reader.trades(folder):
        if trade.sequence < since:
            continue
        lines.append(
            json.dumps(
                {
                    "trade_id": str(
                        trade.tag if folder.parent.name == "deribit" else trade.sequence
                    ),
                    "sequence": trade.sequence,
                    "price": units.price(trade.price),
                    "size": units.size(trade.size),
                    "side": "buy" if trade.buy else "sell",
                    "ts_event_ns": trade.ts_event,
                    "delivered": delivered,
                },
                separators=(",", ":"),
            )
        )
        if len(lines) == LINES_PER_CHUNK:
            yield ("\n".join(lines) + "\n").encode()
            lines.clear()
    if lines:
        yield ("\n".join(lines) + "\n").encode()


def venue_status(venue: Venue) -> dict[str, object]:
    """Return the counters of one venue."""
    subscriptions = sum(len(channel.members) for channel in venue.channels.values())
    return {
        "symbols": len(venue.markets),
        "events": venue.counts["events"],
        "trades": venue.counts["trades"],
        "frames_sent": dict(venue.sent),
        "sockets": len(venue.connections),
        "sockets_opened": venue.counts["sockets"],
        "subscriptions": subscriptions,
        "http_429": venue.counts["http_429"],
        "too_slow": venue.counts["too_slow"],
        "unanswered": venue.counts["unanswered_pings"] + venue.counts["unanswered_tests"],
        "connections": [
            {
                "connection": connection.name,
                "peer": connection.peer,
                "symbols": sorted(
                    {
                        channel.market.symbol
                        for channel in venue.channels.values()
                        if connection in channel.members
                    }
                ),
                "frames_sent": connection.frames_sent,
                "faults_active": connection.gate is not None or connection.halted,
            }
            for connection in venue.connections.values()
        ],
    }


def whole(value: object, name: str, most: int) -> int:
    """Return a whole number between 0 and `most`, given as such or as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 20:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise QuestionError(f"{name} must hold whole numbers between 0 and {most}")
    return value
