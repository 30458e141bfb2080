"""One line: the sockets that carry a shard, one after the other, and everything in its log.

It opens, reopens and closes sockets, carries out what `core.connection` asks for, and writes the
lifecycle, request and tick frames. Everything happens in callbacks of the event loop: no queue
stands between a socket read and the record that holds the frame.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from enum import Enum
from typing import Final

import msgspec

from core.actions import Action, Close, Fetch, Ping, Record, Send, Tell
from core.backoff import Backoff
from core.connection import Session
from core.frames import CloseReason, Frame, FrameKind, Resync, TickStatus
from core.pacing import NEVER
from core.protocol import Shard
from infra.runtime import logs
from producers.access import Access, LineSettings
from producers.metrics import LineMetrics
from producers.pause import PauseClock
from producers.recorder import Recorder
from producers.rest import RestError
from producers.websocket import OpeningError, WebSocket

log = logs.logger(__name__)

_NS_PER_S: Final = 1_000_000_000
_BUSY_S: Final = 5.0
"""Wait of all lines when the exchange refuses sockets (429) and does not say for how long, s."""
_BUSY_STATUS: Final = 429
_TIMER_S_MIN: Final = 0.001
_READING_NS: Final = 100_000
"""Longest time between two clocks read one after the other, ns; else they are read again."""
_READINGS: Final = 5
"""Times that they are read at most."""


class LineState(Enum):
    """What a line is doing; only OPENING is a line that is not where it should be."""

    OPENING = "opening a socket"
    OPEN = "open"
    WAITING = "waiting before the next attempt"
    ENDED = "ended"


class Line:
    """See the module's docstring."""

    def __init__(
        self,
        access: Access,
        shard: Shard,
        settings: LineSettings,
        metrics: LineMetrics,
        recorder: Recorder,
    ) -> None:
        self.shard = shard
        self.state = LineState.OPENING
        self._access = access
        self._settings = settings
        self._metrics = metrics
        self._recorder = recorder
        recorder.on_room = self._on_room
        recorder.on_dropped = self._on_dropped
        self._loop = asyncio.get_running_loop()
        self._session: Session | None = None
        self._socket: WebSocket | None = None
        self._fetches: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = NEVER
        self._tick_at = 0.0
        self._ticker: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        self._pause_clock = PauseClock()
        self._opened_at = 0
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    # -- life --

    async def run(self) -> None:
        """Keep a socket open until `stop`."""
        self._task = asyncio.current_task()
        backoff = Backoff(self._settings.backoff_initial_ns, self._settings.backoff_cap_ns)
        try:
            while not self._stopping:
                await self._wait_for_room()
                self.state = LineState.OPENING
                await self._access.sockets.turn()
                self._opened_at = 0
                await self._attempt()
                if self._was_good():
                    backoff.reset()
                if not self._stopping:
                    wait = backoff.wait(random.random()) / _NS_PER_S
                    self.state = LineState.WAITING
                    log.info("reconnecting", shard=self.shard.name, in_s=round(wait, 3))
                    await asyncio.sleep(wait)
        except asyncio.CancelledError:
            if not self._stopping:
                raise
        finally:
            self.state = LineState.ENDED
            if self._ticker is not None:
                self._ticker.cancel()
            self._recorder.cut()

    def stop(self) -> None:
        """Give up all channels, close and end; `run` returns soon."""
        self._stopping = True
        if self._session is not None and self.state is LineState.OPEN:
            # A socket that is not read would never see the exchange's last word.
            self._on_room()
            self._do(self._session.farewell(time.monotonic_ns()))
        elif self._task is not None:
            self._task.cancel()

    async def _wait_for_room(self) -> None:
        self.state = LineState.WAITING
        while self._recorder.is_full():
            self._room.clear()
            await self._room.wait()

    def _was_good(self) -> bool:
        open_ns = time.monotonic_ns() - self._opened_at
        return bool(self._opened_at) and open_ns >= self._settings.backoff_reset_ns

    async def _attempt(self) -> None:
        """Open a socket, stay with it until it ends, and say in the log why it ended."""
        access, settings, recorder = self._access, self._settings, self._recorder
        recorder.begin_epoch()
        recorder.note(FrameKind.OPENING, where=access.websocket_url)
        session = Session(access.exchange, self.shard, settings.session, random.random)
        self._session = session
        self._do(session.opening())
        self._start_ticking()
        self._socket = socket = WebSocket(
            access.websocket_url,
            self,
            frame_bytes_max=settings.frame_bytes_max,
            compression=settings.compression,
            close_timeout_s=settings.close_timeout_s,
        )
        reason = CloseReason(0, "stopping", "us", planned=True)
        try:
            await socket.open(settings.connect_timeout_s)
            reason = await asyncio.shield(socket.closed)
        except OpeningError as error:
            reason = error.reason
            self._metrics.attempt("failed")
            if error.retry_after_s or reason.code == _BUSY_STATUS:
                access.sockets.block(error.retry_after_s or _BUSY_S)
        finally:
            self._ended(session, reason)

    def _ended(self, session: Session, reason: CloseReason) -> None:
        was_open = self.state is LineState.OPEN
        self.state = LineState.WAITING
        self._session = None
        # The answer of a request must not reach a book of a socket that is gone.
        for fetch in self._fetches:
            fetch.cancel()
        self._disarm()
        self._resume()
        if self._socket is not None and not self._socket.closed.done():
            self._socket.abort("stopping", planned=True)
        self._socket = None
        self._recorder.note(FrameKind.CLOSE, msgspec.json.encode(reason))
        self._recorder.cut()
        self._count_undecoded(session)
        if was_open:
            self._metrics.closed(reason.by)
        event = log.info if reason.planned else log.warning
        event(
            "socket_closed" if was_open else "socket_refused",
            shard=self.shard.name,
            code=reason.code,
            reason=reason.reason,
            by=reason.by,
        )

    # -- what the socket tells --

    def on_open(self, wall: int, mono: int) -> None:
        """The handshake succeeded."""
        self.state = LineState.OPEN
        self._opened_at = mono
        self._metrics.attempt("open")
        log.info("socket_open", shard=self.shard.name, url=self._access.websocket_url)
        self._recorder.add(Frame(FrameKind.OPEN, wall, mono, "", b""))
        if self._session is not None:
            self._perform(self._session.opened(mono), wall, mono)

    def on_message(self, payload: bytes, wall: int, mono: int) -> None:
        """A text message came."""
        self._recorder.add(Frame(FrameKind.RECEIVED, wall, mono, "", payload))
        session = self._session
        if session is not None:
            actions = session.received(payload, mono)
            if actions:
                self._perform(actions, wall, mono)

    def on_binary(self, payload: bytes, wall: int, mono: int) -> None:
        """A binary message came; no exchange of ours sends any."""
        self._recorder.add(Frame(FrameKind.RECEIVED_BINARY, wall, mono, "", payload))

    def on_ping(self, payload: bytes, wall: int, mono: int) -> None:
        """A ping came; it is answered already."""
        self._recorder.add(Frame(FrameKind.PING, wall, mono, "", payload))
        if self._session is not None:
            self._session.pinged(mono)

    def on_pong(self, payload: bytes, wall: int, mono: int) -> None:
        """A pong came."""
        if self._session is not None:
            self._perform(self._session.ponged(payload, mono), wall, mono)

    def on_too_large(self, reason: str) -> None:
        """A message larger than allowed was refused."""
        self._recorder.drop(1, reason)

    def on_read(self) -> None:
        """All messages of one read are in the log."""
        if self._session is not None and self._session.deadline < self._timer_at:
            self._arm(self._session)
        if self._recorder.is_full() and not self._pause_clock.is_running and not self._stopping:
            self._pause()

    # -- what the session asks --

    def _do(self, actions: Sequence[Action]) -> None:
        if actions:
            self._perform(actions, time.time_ns(), time.monotonic_ns())
        if self._session is not None and self._session.deadline < self._timer_at:
            self._arm(self._session)

    def _perform(self, actions: Sequence[Action], wall: int, mono: int) -> None:
        """Carry out actions in order; their frames carry the stamps of what they answer."""
        socket = self._socket
        for action in actions:
            if isinstance(action, Record):
                self._note(action, wall, mono)
            elif isinstance(action, Fetch):
                self._fetch(action)
            elif isinstance(action, Tell):
                told = msgspec.structs.asdict(action)
                log.warning(told.pop("event"), shard=self.shard.name, **told)
            elif socket is None:
                continue
            elif isinstance(action, Send):
                if socket.send(action.text):
                    payload = action.text.encode()
                    self._recorder.add(Frame(FrameKind.SENT, wall, mono, "", payload))
            elif isinstance(action, Ping):
                socket.ping(action.payload)
            elif isinstance(action, Close):
                if action.abort:
                    socket.abort(action.reason, planned=action.planned)
                else:
                    socket.close(action.reason, planned=action.planned)

    def _note(self, action: Record, wall: int, mono: int) -> None:
        self._recorder.add(Frame(action.kind, wall, mono, "", action.payload))
        if action.kind is FrameKind.PONG:
            self._metrics.rtt.observe(int(action.payload) / _NS_PER_S)
        elif action.kind is FrameKind.RESYNC:
            fault = msgspec.json.decode(action.payload, type=Resync)
            self._metrics.resync(fault.reason)
            log.warning("resync", shard=self.shard.name, **msgspec.structs.asdict(fault))

    def _fetch(self, action: Fetch) -> None:
        if self._session is not None:
            task = asyncio.create_task(self._fetch_now(self._session, action))
            self._fetches.add(task)
            task.add_done_callback(self._fetches.discard)

    async def _fetch_now(self, session: Session, action: Fetch) -> None:
        url = self._access.rest_url + action.path

        def started() -> None:
            self._recorder.note(FrameKind.REQUEST, where=url)
            session.fetch_started(action.symbol, url, time.monotonic_ns())

        try:
            body = await self._access.rest.get(url, started, urgent=action.urgent)
        except RestError as error:
            failure = msgspec.json.encode({"reason": str(error)})
            self._recorder.note(FrameKind.REQUEST_FAILED, failure, url)
            now = time.monotonic_ns()
            self._do(
                session.fetch_failed(action.symbol, str(error), now, not_before=error.not_before)
            )
        else:
            self._recorder.note(FrameKind.RESPONSE, body, url)
            self._do(session.fetched(action.symbol, url, body, time.monotonic_ns()))

    # -- time --

    def _arm(self, session: Session) -> None:
        self._disarm()
        self._timer_at = session.deadline
        wait = (session.deadline - time.monotonic_ns()) / _NS_PER_S
        self._timer = self._loop.call_later(max(wait, _TIMER_S_MIN), self._wake)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = NEVER

    def _wake(self) -> None:
        self._timer = None
        self._timer_at = NEVER
        if self._session is not None:
            self._do(self._session.advance(time.monotonic_ns()))

    def _start_ticking(self) -> None:
        if self._ticker is None:
            self._tick_at = self._loop.time() + self._settings.tick_s
            self._ticker = self._loop.call_at(self._tick_at, self._tick)

    def _tick(self) -> None:
        """Write the time into the log: between sockets too, so that silence is seen there."""
        late = max(self._loop.time() - self._tick_at, 0.0)
        self._tick_at += self._settings.tick_s * (1 + late // self._settings.tick_s)
        self._ticker = self._loop.call_at(self._tick_at, self._tick)
        recorder = self._recorder
        wall, mono = _same_moment()
        # A full queue takes no ticks: a broker that is away for days must not fill our memory.
        if not recorder.is_full():
            paused_ns = self._pause_clock.take(mono)
            self._metrics.paused.inc(paused_ns / _NS_PER_S)
            status = TickStatus(
                connected=self.state is LineState.OPEN,
                queue_frames=recorder.queue_frames,
                queue_age_ns=recorder.queue_age_ns(mono),
                paused_ns=paused_ns,
                late_ns=round(late * _NS_PER_S),
            )
            payload = msgspec.json.encode(status)
            recorder.add(Frame(FrameKind.TICK, wall, mono, "", payload))
        metrics = self._metrics
        metrics.copy(recorder.frames, recorder.payload_bytes, recorder.batches, recorder.dropped)
        metrics.queue_frames.set(recorder.queue_frames)
        metrics.live_books.set(self._session.guard.live if self._session is not None else 0)
        if self._session is not None:
            self._count_undecoded(self._session)

    def _count_undecoded(self, session: Session) -> None:
        self._metrics.undecoded(session.undecoded)
        session.undecoded = 0

    # -- back-pressure --

    def _pause(self) -> None:
        if self._socket is not None and self._session is not None:
            self._pause_clock.start(time.monotonic_ns())
            self._socket.pause()
            self._session.paused()
            log.warning("socket_paused", shard=self.shard.name, queue=self._recorder.queue_frames)

    def _on_dropped(self) -> None:
        if self._session is not None and self.state is LineState.OPEN:
            self._do(self._session.dropped(time.monotonic_ns()))

    def _on_room(self) -> None:
        self._room.set()
        self._resume()

    def _resume(self) -> None:
        if not self._pause_clock.is_running:
            return
        mono = time.monotonic_ns()
        self._pause_clock.stop(mono)
        if self._socket is not None and self._session is not None:
            self._socket.resume()
            self._do(self._session.resumed(mono))
            log.info("socket_resumed", shard=self.shard.name)


def _same_moment() -> tuple[int, int]:
    """Return the wall clock and the monotonic clock of one moment, ns.

    A process that is put to sleep between two readings would see its wall clock set.
    """
    wall = mono = 0
    for _ in range(_READINGS):
        mono = time.monotonic_ns()
        wall = time.time_ns()
        if time.monotonic_ns() - mono < _READING_NS:
            break
    return wall, mono
