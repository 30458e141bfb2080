"""The injector: faults on demand and by a seeded schedule, and the ledger of what was done.

It decides what happens to whom; how a frame is changed is in `simulator.faults`. Every fault is
in the ledger from its start, with the frames it touched, and in the ledger's file once it has
ended.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from random import Random

from aiohttp import WSCloseCode

from simulator.connection import Connection
from simulator.faults import (
    GARBAGE,
    CorruptChecksum,
    CorruptDigit,
    Delay,
    Drop,
    Duplicate,
    Entry,
    FaultGate,
    FrameFault,
    Reorder,
    garbage,
)
from simulator.market import Market
from simulator.venue import MarketChannel, Venue
from simulator.wire import Frame

log = logging.getLogger(__name__)

FRAME_FAULTS: dict[str, type[FrameFault]] = {
    "silence": Drop,
    "drop": Drop,
    "duplicate": Duplicate,
    "reorder": Reorder,
    "corrupt_digit": CorruptDigit,
    "corrupt_checksum": CorruptChecksum,
}
SOCKET_KINDS = ("disconnect", "half_open", "delay", "garbage", *FRAME_FAULTS)
VENUE_KINDS = ("refuse", "http_429", "shutdown", "clock_step")
PRICE_KINDS = ("frozen_price", "price_offset")
KINDS = (*SOCKET_KINDS, *VENUE_KINDS, *PRICE_KINDS)
RANDOM_KINDS = tuple(kind for kind in KINDS if kind != "clock_step")
"""Times that go back put what is told by them alone out of order, the truth among it: a clock is
set only where that is asked for."""
CHANNELS = ("book", "trades", "ticker")
CHECKSUM = ("kraken", "book")  # the venue and channel whose frames carry checksums
DURATION_S_MAX = 3600.0
COUNT_MAX = 100_000
GARBAGE_BYTES_MAX = 64 << 20
OFFSET_BP_MAX = 1000.0
OFFSET_S_MAX = 3600.0

End = Callable[[], Awaitable[None] | None]  # what ends a fault, at once or in a while
Listen = Callable[[str, bool], Awaitable[None]]  # venue, whether its port is to be open


class InjectionError(ValueError):
    """A fault that cannot be injected: the text says why."""


class Request:
    """A fault as asked for, checked."""

    def __init__(self, body: Mapping[str, object], venues: Mapping[str, Venue]) -> None:
        """Raise InjectionError for anything that is not understood."""
        self.kind = choice(body, "kind", KINDS)
        self.venue = venues[choice(body, "venue", tuple(venues))]
        self.symbol = optional(body, "symbol", tuple(self.venue.markets))
        self.channel = optional(body, "channel", CHANNELS)
        self.connection = body.get("connection")
        self.duration_s = number(body, "duration_s", 5.0, DURATION_S_MAX)
        self.delay_s = number(body, "delay_s", 0.5, DURATION_S_MAX)
        self.offset_s = number(body, "offset_s", 0.5, OFFSET_S_MAX, least=-OFFSET_S_MAX)
        self.offset_bp = number(body, "offset_bp", 30.0, OFFSET_BP_MAX, least=-OFFSET_BP_MAX)
        default = 0 if self.kind == "silence" else 1
        self.count = int(number(body, "count", default, COUNT_MAX))
        self.share = number(body, "share", 1.0, 1.0)
        self.mode = optional(body, "mode", ("clean", "abort")) or "clean"
        self.code = int(number(body, "code", WSCloseCode.SERVICE_RESTART, 4999))
        self.variant = optional(body, "variant", GARBAGE) or GARBAGE[0]
        self.bytes = int(number(body, "bytes", 4 << 20, GARBAGE_BYTES_MAX))
        known = (*self.__dict__, "duration_s")
        unknown = [key for key in body if key not in known]
        if unknown:
            raise InjectionError(f"unknown key {unknown[0]!r}, allowed {', '.join(known)}")
        if self.kind == "corrupt_checksum":
            if self.venue.name != CHECKSUM[0]:
                raise InjectionError("corrupt_checksum: only kraken sends checksums")
            if self.channel not in (None, CHECKSUM[1]):
                raise InjectionError("corrupt_checksum: only the channel book has checksums")
            self.channel = CHECKSUM[1]


class Injector:
    """Injects faults into the sockets, ports and prices of some venues."""

    def __init__(
        self, venues: Mapping[str, Venue], *, seed: int, file: Path, listen: Listen
    ) -> None:
        """Continue the ledger in `file`; `listen` opens and closes a venue's port."""
        self._venues = venues
        self._random = Random(f"{seed}:faults")
        self._file = file
        self._listen = listen
        self._active: dict[int, Entry] = {}
        self._ends: dict[int, End] = {}
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        file.parent.mkdir(parents=True, exist_ok=True)
        lines = file.read_text().splitlines() if file.exists() else []
        self._next = 1 + max((int(json.loads(line)["id"]) for line in lines), default=0)
        self.injected = 0

    def inject(self, body: Mapping[str, object]) -> Entry:
        """Begin a fault; InjectionError when it is not understood or there is no such socket."""
        request = Request(body, self._venues)
        entry = Entry(
            id=self._next,
            kind=request.kind,
            venue=request.venue.name,
            clock=request.venue.clock,
            symbol=request.symbol,
            channel=request.channel,
        )
        if request.kind in VENUE_KINDS:
            self._begin_at_venue(entry, request)
        elif request.kind in PRICE_KINDS:
            self._begin_at_prices(entry, request)
        else:
            connection = self._choose(request)
            entry.connection, entry.peer = connection.name, connection.peer
            self._begin_at_socket(entry, request, connection)
        self._next += 1
        self.injected += 1
        return entry

    def ledger(self) -> list[dict[str, object]]:
        """Return all entries, of earlier sessions too, in the order of their ids."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        entries: list[dict[str, object]] = [json.loads(line) for line in lines]
        entries += [entry.as_dict() for entry in self._active.values()]
        return sorted(entries, key=lambda entry: int(str(entry["id"])))

    async def close(self) -> None:
        """End every fault that is active."""
        for number in list(self._active):
            self._end(number)
        while self._tasks:
            await asyncio.gather(*self._tasks)

    # Faults of a venue

    def _begin_at_venue(self, entry: Entry, request: Request) -> None:
        venue = request.venue
        entry.parameters = {"duration_s": request.duration_s}
        if request.kind == "http_429":
            until = asyncio.get_running_loop().time() + request.duration_s
            venue.too_many_until = max(venue.too_many_until, until)
            self._begin(entry, request.duration_s, lambda: None)
        elif request.kind == "clock_step":
            self._refuse_twice(request, f"the clock of {venue.name} is wrong already")
            entry.parameters["offset_s"] = request.offset_s
            venue.clock.set_wrong(offset_s=request.offset_s)
            self._begin(entry, request.duration_s, venue.clock.set_wrong)
        elif request.kind == "refuse":
            self._refuse_twice(request, f"{venue.name} refuses connections already")
            # Sockets that are open would hide a closed port.
            entry.parameters["disconnected"] = list(venue.connections)
            self._run(self._listen(venue.name, False))
            for connection in list(venue.connections.values()):
                connection.abort()
            self._begin(entry, request.duration_s, lambda: self._listen(venue.name, True))
        else:
            entry.parameters["announced"] = list(venue.connections)
            for connection in venue.connections.values():
                venue.announce(connection)
            self._begin(entry, request.duration_s, lambda: self._close_sockets(venue))

    def _refuse_twice(self, request: Request, why: str) -> None:
        if any(
            each.kind == request.kind and each.venue == request.venue.name
            for each in self._active.values()
        ):
            raise InjectionError(why)

    def _close_sockets(self, venue: Venue) -> None:
        for connection in list(venue.connections.values()):
            self._run(connection.close(WSCloseCode.SERVICE_RESTART, "shutdown"))

    # Faults of prices

    def _begin_at_prices(self, entry: Entry, request: Request) -> None:
        """Make the prices of one market, or of all of the venue, wrong: every socket sees it."""
        markets = request.venue.markets
        chosen = [markets[request.symbol]] if request.symbol else list(markets.values())
        entry.parameters = {"duration_s": request.duration_s}
        if request.kind == "frozen_price":
            if any(market.flow.is_frozen for market in chosen):
                raise InjectionError(f"the price stands still already at {request.venue.name}")
            freeze(chosen, still=True)
            self._begin(entry, request.duration_s, lambda: freeze(chosen, still=False))
        else:
            share = request.offset_bp * 1e-4
            entry.parameters["offset_bp"] = request.offset_bp
            move(chosen, share)
            self._begin(entry, request.duration_s, lambda: move(chosen, -share))

    # Faults of a socket

    def _choose(self, request: Request) -> Connection:
        """Return the socket named, or one that is subscribed to what the fault is about."""
        venue = request.venue
        if request.connection is not None:
            named = venue.connections.get(str(request.connection))
            if named is None:
                raise InjectionError(f"no socket {request.connection!r} is open at {venue.name}")
            return named
        subscribed = {
            connection.name: connection
            for channel in venue.channels.values()
            for connection in channel.members
            if request.symbol in (None, channel.market.symbol)
            and request.channel in (None, channel.kind)
            and not connection.halted
            and not connection.closing
        }
        if not subscribed:
            raise InjectionError(f"no socket of {venue.name} is subscribed to what this is about")
        return subscribed[self._random.choice(sorted(subscribed))]

    def _begin_at_socket(self, entry: Entry, request: Request, connection: Connection) -> None:
        kind = request.kind
        if kind == "disconnect":
            entry.parameters = {"mode": request.mode}
            if request.mode == "abort":
                connection.abort()
            else:
                entry.parameters["code"] = request.code
                self._run(connection.close(request.code, "injected"))
            self._begin(entry, 0.0, lambda: None)
        elif kind == "half_open":
            entry.parameters = {"duration_s": request.duration_s}
            connection.halt()
            self._begin(entry, request.duration_s, connection.abort)
        elif kind == "garbage":
            entry.parameters = {"variant": request.variant, "count": request.count}
            for _ in range(request.count):
                connection.send(Frame(garbage(request.variant, request.bytes)))
            entry.affected_count = request.count
            self._begin(entry, 0.0, lambda: None)
        else:
            entry.parameters = {"duration_s": request.duration_s}
            gate = connection.gate
            if not isinstance(gate, FaultGate):
                gate = FaultGate(connection, asyncio.get_running_loop())
            if kind == "delay":
                entry.parameters["delay_s"] = request.delay_s
                fault: FrameFault = Delay(entry, request.delay_s, gate)
            else:
                entry.parameters |= {"count": request.count, "share": request.share}
                fault = FRAME_FAULTS[kind](entry, request.count, self._random, request.share)
            fault.on_idle = lambda: self._end(entry.id)
            gate.faults.append(fault)
            self._begin(entry, request.duration_s, lambda: gate.end(fault))

    # Beginning and end

    def _begin(self, entry: Entry, duration_s: float, end: End) -> None:
        self._active[entry.id] = entry
        self._ends[entry.id] = end
        if duration_s:
            loop = asyncio.get_running_loop()
            self._timers[entry.id] = loop.call_later(duration_s, self._end, entry.id)
        else:
            self._end(entry.id)

    def _end(self, number: int) -> None:
        end = self._ends.pop(number, None)
        if end is None:
            return  # it ended by itself before its time was over
        timer = self._timers.pop(number, None)
        if timer is not None:
            timer.cancel()
        work = end()
        if work is None:
            self._record(number)
        else:
            self._run(self._record_after(number, work))

    async def _record_after(self, number: int, work: Awaitable[None]) -> None:
        try:
            await work
        except OSError as error:
            self._active[number].parameters["error"] = str(error)
            log.error("fault %d did not end cleanly: %s", number, error)
        self._record(number)

    def _record(self, number: int) -> None:
        entry = self._active.pop(number)
        entry.end_ns = max(entry.start_ns, entry.clock.true_ns())
        with self._file.open("a") as file:
            file.write(json.dumps(entry.as_dict(), separators=(",", ":")) + "\n")

    def _run(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The random schedule

    async def follow_schedule(self, faults_per_minute: float, kinds: tuple[str, ...]) -> None:
        """Inject random faults at a mean rate until cancelled; `kinds` empty means all but a
        clock that is set."""
        draw = self._random
        possible = possible_kinds(kinds or RANDOM_KINDS, self._venues)
        while True:
            await asyncio.sleep(draw.expovariate(faults_per_minute / 60))
            body = self.random_request(possible)
            with contextlib.suppress(InjectionError):  # nobody there to be hurt: next time
                self.inject(body)

    def random_request(self, kinds: tuple[str, ...]) -> dict[str, object]:
        """Return a fault of one of these kinds, as it would be asked for."""
        draw = self._random
        kind = draw.choice(kinds)
        with_checksum = kind == "corrupt_checksum"
        venue = CHECKSUM[0] if with_checksum else draw.choice(sorted(self._venues))
        body: dict[str, object] = {"kind": kind, "venue": venue}
        body["duration_s"] = round(draw.uniform(0.5, 8.0), 3)
        if kind in FRAME_FAULTS:
            held = sorted(
                {
                    (channel.market.symbol, channel.kind)
                    for channel in self._channels(venue)
                    if channel.kind == CHECKSUM[1] or not with_checksum
                }
            )
            if held:
                body["symbol"], body["channel"] = draw.choice(held)
            if kind != "silence":
                body["count"] = draw.randint(1, 3)
        elif kind == "disconnect":
            body["mode"] = draw.choice(("clean", "abort"))
        elif kind == "price_offset":
            body["offset_bp"] = round(draw.uniform(-100.0, 100.0), 1)
        elif kind == "delay":
            body["delay_s"] = round(draw.uniform(0.05, 2.0), 3)
        elif kind == "garbage":
            body["variant"] = draw.choice(GARBAGE)
        return body

    def _channels(self, venue: str) -> list[MarketChannel]:
        return list(self._venues[venue].channels.values())


def freeze(markets: Iterable[Market], *, still: bool) -> None:
    """Let best prices stand still while their books and trades go on, or let them go again."""
    for market in markets:
        market.flow.is_frozen = still


def move(markets: Iterable[Market], share: float) -> None:
    """Move prices away from the common one by a share of it."""
    for market in markets:
        market.offset += share


def possible_kinds(kinds: Iterable[str], venues: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds that can happen at one of these venues at least."""
    has_checksums = CHECKSUM[0] in venues
    return tuple(kind for kind in kinds if kind != "corrupt_checksum" or has_checksums)


def choice(body: Mapping[str, object], key: str, allowed: tuple[str, ...]) -> str:
    """Return a text that must be one of those allowed."""
    value = body.get(key)
    if value is None:
        raise InjectionError(f"needs `{key}`, one of {', '.join(allowed[:20])}")
    if not isinstance(value, str) or value not in allowed:
        shown = ", ".join(allowed[:20])
        raise InjectionError(f"{key} must be one of {shown}, got {str(value)[:50]!r}")
    return value


def optional(body: Mapping[str, object], key: str, allowed: tuple[str, ...]) -> str | None:
    """Return a text that must be one of those allowed, None when it was not given."""
    return None if body.get(key) is None else choice(body, key, allowed)


def number(
    body: Mapping[str, object], key: str, default: float, most: float, *, least: float = 0.0
) -> float:
    """Return a number between `least` and `most`."""
    value = body.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InjectionError(f"{key} must be between {least:g} and {most:g}, got {str(value)[:50]}")
    return value
