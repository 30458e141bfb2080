"""One line of a producer in virtual time: it carries out what `core.connection` asks for, and logs.

The same frames in the same order as `producers.line` writes them; what is left out is what no
frame shows (metrics, pacing between lines). The queue towards Kafka is not there either: faults
of our own pipeline set what a tick would say of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final, cast

import msgspec
from aiohttp import web

from core.actions import Action, Close, Fetch, Ping, Record, Send
from core.backoff import Backoff
from core.connection import Session, SessionSettings
from core.frames import CloseReason, Dropped, Frame, FrameKind, TickStatus
from core.pacing import NEVER
from core.protocol import Exchange, Shard
from infra.chaos.network import Path
from infra.chaos.socket import Request, Socket
from infra.chaos.virtual import VirtualClock
from simulator.venue import Venue
from simulator.wire import PING, PONG, TEXT

_NS_PER_S: Final = 1_000_000_000
BACKOFF_INITIAL_NS: Final = 500_000_000
BACKOFF_CAP_NS: Final = 30 * _NS_PER_S
BACKOFF_RESET_NS: Final = 60 * _NS_PER_S
"""As the producer's settings have them by default."""
NORMAL: Final = 1000
_TIMER_S_MIN: Final = 0.001


class Way(msgspec.Struct, frozen=True):
    """The network between a line and its venue."""

    down: Path
    up: Path


class Line:
    """See the module's docstring. `log` takes frames; `begin_epoch` is told of a new opening.

    `arrived` hears of every frame received, with the time at which it was sent, while it is set.
    """

    def __init__(
        self,
        exchange: Exchange,
        shard: Shard,
        venue: Venue,
        way: Way,
        clock: VirtualClock,
        random: Random,
        *,
        socket_path: str,
        log: Callable[[Frame], None],
        begin_epoch: Callable[[], None],
    ) -> None:
        self.exchange = exchange
        self.shard = shard
        self.session: Session | None = None
        self.is_open = False
        self.is_refused = False
        """The venue's port is closed."""
        self.lost = asyncio.Event()
        """The socket is gone; cleared when another one opens."""
        self.stuck_since: int | None = None
        """Since when frames wait for Kafka, monotonic ns."""
        self.watchers: set[Callable[[bytes, float], None]] = set()
        """Hear of each text that arrives, and the loop's time at which it was sent."""
        self._venue = venue
        self._way = way
        self._clock = clock
        self._random = random
        self._socket_path = socket_path
        self._log = log
        self._begin_epoch = begin_epoch
        self._loop = asyncio.get_running_loop()
        self._pages = pages(venue)
        self._socket: Socket | None = None
        self._fetches: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._backoff = Backoff(BACKOFF_INITIAL_NS, BACKOFF_CAP_NS)
        self._opened_at = 0
        self._frames = 0
        self._stuck_from = 0
        """Frames logged when they began to wait."""
        self._paused_at: int | None = None
        self._paused_ns = 0
        """Of pauses that have ended, since the last tick."""
        self._unread: list[tuple[int, bytes, float]] = []

    # -- life --

    def start(self) -> None:
        """Open the first socket."""
        self._begin_epoch()
        self._note(FrameKind.OPENING, where="ws://venue" + self._socket_path)
        session = Session(self.exchange, self.shard, SessionSettings(), self._random.random)
        self.session = session
        self._opened_at = 0
        self._do(session.opening())
        self._socket = Socket(
            self._venue,
            self._socket_path,
            self._way.down,
            self._way.up,
            self,
            is_refused=lambda: self.is_refused,
        )

    def reopen(self, shard: Shard) -> None:
        """Close the socket as planned and open another one with this plan."""
        self.shard = shard
        if self._socket is not None:
            self._socket.end(CloseReason(NORMAL, "stopping", "us", planned=True))

    def on_open(self) -> None:
        """The handshake succeeded."""
        mono = self._clock.mono_ns()
        self.is_open = True
        self.lost.clear()
        self._opened_at = mono
        self._note(FrameKind.OPEN)
        if self.session is not None:
            self._do(self.session.opened(mono))

    def on_end(self, reason: CloseReason) -> None:
        """The socket is gone, or never opened: say so in the log and try again."""
        open_ns = self._clock.mono_ns() - self._opened_at
        self.is_open = False
        self.lost.set()
        self.session = None
        self._socket = None
        self._unread.clear()
        for fetch in self._fetches:
            fetch.cancel()
        self._disarm()
        self._note(FrameKind.CLOSE, msgspec.json.encode(reason))
        if self._opened_at and open_ns >= BACKOFF_RESET_NS:
            self._backoff.reset()
        wait = self._backoff.wait(self._random.random()) / _NS_PER_S
        self._loop.call_later(wait, self.start)

    # -- what comes --

    def on_frame(self, opcode: int, payload: bytes, sent_at: float) -> None:
        """Log what came, and let the session have it."""
        if self._paused_at is not None:
            self._unread.append((opcode, payload, sent_at))
            return
        session, mono = self.session, self._clock.mono_ns()
        if opcode == TEXT:
            for watcher in tuple(self.watchers):
                watcher(payload, sent_at)
            self._note(FrameKind.RECEIVED, payload)
            if session is not None:
                self._do(session.received(payload, mono))
        elif opcode == PING:
            self._note(FrameKind.PING, payload)
            if self._socket is not None:
                self._socket.pong(payload)
            if session is not None:
                session.pinged(mono)
        elif opcode == PONG:
            if session is not None:
                self._do(session.ponged(payload, mono))
        else:
            self._note(FrameKind.RECEIVED_BINARY, payload)

    # -- back-pressure --

    def pause(self) -> None:
        """Read no more: the queue is full."""
        self._paused_at = self._clock.mono_ns()
        if self.session is not None:
            self.session.paused()

    def resume(self) -> None:
        """Read again, first what came meanwhile."""
        self._paused_ns = self._take_pause()
        self._paused_at = None
        if self.session is not None:
            self._do(self.session.resumed(self._clock.mono_ns()))
        unread, self._unread = self._unread, []
        for opcode, payload, sent_at in unread:
            self.on_frame(opcode, payload, sent_at)

    def _take_pause(self) -> int:
        """Return how long was paused since the last call."""
        paused, self._paused_ns = self._paused_ns, 0
        if self._paused_at is not None:
            mono = self._clock.mono_ns()
            paused, self._paused_at = paused + mono - self._paused_at, mono
        return paused

    def drop(self, count: int, reason: str) -> None:
        """Say in the log that frames are missing from it, and heal what is read from it."""
        self._note(FrameKind.DROPPED, msgspec.json.encode(Dropped(count, reason)))
        if self.session is not None and self.is_open:
            self._do(self.session.dropped(self._clock.mono_ns()))

    # -- time --

    def tick(self) -> None:
        """Write the time and the producer's own state into the log, unless its queue is full."""
        if self._paused_at is not None:
            return
        stuck, mono = self.stuck_since, self._clock.mono_ns()
        if stuck is None:
            self._stuck_from = self._frames
        status = TickStatus(
            connected=self.is_open,
            queue_frames=self._frames - self._stuck_from,
            queue_age_ns=0 if stuck is None else mono - stuck,
            paused_ns=self._take_pause(),
        )
        self._note(FrameKind.TICK, msgspec.json.encode(status))

    def _arm(self, session: Session) -> None:
        self._disarm()
        self._timer_at = session.deadline
        wait = (session.deadline - self._clock.mono_ns()) / _NS_PER_S
        self._timer = self._loop.call_later(max(wait, _TIMER_S_MIN), self._wake)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = NEVER

    def _wake(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        if self.session is not None:
            self._do(self.session.advance(self._clock.mono_ns()))

    # -- what the session asks --

    def _do(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Record):
                self._note(action.kind, action.payload)
            elif isinstance(action, Fetch):
                self._fetch(action)
            elif self._socket is None:
                continue
            elif isinstance(action, Send):
                self._socket.send(action.text)
                self._note(FrameKind.SENT, action.text.encode())
            elif isinstance(action, Ping):
                self._socket.ping(action.payload)
            elif isinstance(action, Close):
                code = 0 if action.abort else NORMAL
                self._socket.end(CloseReason(code, action.reason, "us", action.planned))
        if self.session is not None and self.session.deadline < self._timer_at:
            self._arm(self.session)

    def _fetch(self, action: Fetch) -> None:
        if self.session is not None:
            task = self._loop.create_task(self._fetch_now(self.session, action))
            self._fetches.add(task)
            task.add_done_callback(self._fetches.discard)

    async def _fetch_now(self, session: Session, action: Fetch) -> None:
        url = "http://venue" + action.path
        self._note(FrameKind.REQUEST, where=url)
        session.fetch_started(action.symbol, url, self._clock.mono_ns())
        body = await self._get(action.path)
        now = self._clock.mono_ns()
        if body is None:
            reason = "no answer in 10 s"
            self._note(FrameKind.REQUEST_FAILED, msgspec.json.encode({"reason": reason}), url)
            self._do(session.fetch_failed(action.symbol, reason, now))
        else:
            self._note(FrameKind.RESPONSE, body, url)
            self._do(session.fetched(action.symbol, url, body, now))

    async def _get(self, path: str) -> bytes | None:
        """Return a page; None when the way is cut or the venue refuses connections."""
        way = self._way
        if way.up.is_cut or way.down.is_cut or self.is_refused:
            await asyncio.sleep(10.0)
            return None
        await asyncio.sleep(way.up.delay_s(self._loop.time()))
        request = Request(path)
        answer = await self._pages[request.path](cast(web.Request, request))
        await asyncio.sleep(way.down.delay_s(self._loop.time()))
        assert isinstance(answer, web.Response)
        return (answer.text or "").encode()

    def _note(self, kind: FrameKind, payload: bytes = b"", where: str = "") -> None:
        self._frames += 1
        clock = self._clock
        self._log(Frame(kind, clock.time_ns(), clock.mono_ns(), where, payload))


Page = Callable[[web.Request], Awaitable[web.StreamResponse]]


def pages(venue: Venue) -> dict[str, Page]:
    """Return what answers each REST path of a venue that has no parts to fill in."""
    return {
        route.resource.canonical: route.handler
        for route in venue.app.router.routes()
        if route.resource is not None
    }
