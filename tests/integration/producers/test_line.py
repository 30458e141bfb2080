"""One line against real sockets on this machine; its records go into memory instead of Kafka."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from core.connection import SessionSettings
from core.exchanges import exchanges
from core.frames import CloseReason, Frame, FrameKind, TickStatus
from core.pacing import TokenBucket
from core.protocol import Shard
from infra.local.process import free_port
from infra.runtime.metrics import Metrics
from producers.access import Access, LineSettings
from producers.line import Line, LineState
from producers.metrics import LineMetrics, ProducerMetrics
from producers.pacer import Pacer
from producers.recorder import Parcel, Recorder, RecorderSettings
from producers.rest import RestClient
from schemas.codec import decode_frame_batch

DEADLINE_S = 30.0
MS = 1_000_000
S = 1_000 * MS
Behaviour = Callable[[ServerConnection], Awaitable[None]]

SETTINGS = LineSettings(
    session=SessionSettings(silence_ns=600 * S),
    frame_bytes_max=1 << 20,
    compression=False,
    connect_timeout_s=10.0,
    close_timeout_s=2.0,
    tick_s=0.02,
    backoff_initial_ns=5 * MS,
    backoff_cap_ns=20 * MS,
    backoff_reset_ns=60 * S,
)
RECORDER = RecorderSettings(
    batch_frames=10, batch_bytes=1 << 20, batch_age_s=0.005, queue_frames=50, queue_bytes=1 << 26
)


class Shelf:
    """Takes parcels as Kafka would: acknowledges them at once, or when it is `back`."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.epochs: list[int] = []
        self.is_away = False
        self._waiting: list[Parcel] = []

    def put(self, parcel: Parcel) -> None:
        batch = decode_frame_batch(parcel.value)
        self.frames += batch.frames
        if batch.address.epoch not in self.epochs:
            self.epochs.append(batch.address.epoch)
        self._waiting.append(parcel)
        if not self.is_away:
            # Never within `put`: Kafka answers later.
            asyncio.get_running_loop().call_soon(self.back)

    def back(self) -> None:
        """Acknowledge what waits."""
        self.is_away = False
        waiting, self._waiting = self._waiting, []
        for parcel in waiting:
            parcel.settle(parcel, "")

    def of(self, kind: FrameKind) -> list[Frame]:
        return [frame for frame in self.frames if frame.kind is kind]

    def closings(self) -> list[CloseReason]:
        closes = self.of(FrameKind.CLOSE)
        return [msgspec.json.decode(frame.payload, type=CloseReason) for frame in closes]

    def ticks(self) -> list[TickStatus]:
        ticks = self.of(FrameKind.TICK)
        return [msgspec.json.decode(frame.payload, type=TickStatus) for frame in ticks]

    def waits(self) -> list[float]:
        """Return the time between each end of a socket and the next attempt, s."""
        ends = [frame.ts_mono for frame in self.of(FrameKind.CLOSE)]
        begins = [frame.ts_mono for frame in self.of(FrameKind.OPENING)][1:]
        return [(begin - end) / S for end, begin in zip(ends, begins, strict=False)]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - some conditions have no event
                await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    url: str, *, exchange: str = "kraken", **more: Any
) -> AsyncIterator[tuple[Line, Shelf]]:
    """Run a line; end it if the test has not."""
    metrics = ProducerMetrics(Metrics("test"))
    pacer = Pacer(TokenBucket(1000.0, 100))
    shelf = Shelf()
    rest = RestClient(exchange, pacer, timeout_s=5.0, bytes_max=1 << 20, metrics=metrics)
    async with rest:
        access = Access(exchanges()[exchange], url, "http://127.0.0.1:9", pacer, rest)
        shard = Shard(exchange, f"{exchange}-0", ("AAA",), 10)
        line = Line(
            access,
            shard,
            msgspec.structs.replace(SETTINGS, **more),
            LineMetrics(metrics, exchange, shard.name, "A"),
            Recorder(exchange, shard.name, "A", shelf, RECORDER),
        )
        task = asyncio.create_task(line.run())
        yield line, shelf
        line.stop()
        shelf.back()
        await asyncio.wait_for(task, DEADLINE_S)
    assert line.state is LineState.ENDED


@asynccontextmanager
async def venue(behaviour: Behaviour, **options: object) -> AsyncIterator[str]:
    """Serve sockets that behave so; yield the address."""
    arguments = {"ping_interval": None, "compression": None, "close_timeout": 0.5, **options}
    async with serve(behaviour, "127.0.0.1", 0, **arguments) as server:  # type: ignore[arg-type]
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def stay(peer: ServerConnection) -> None:
    """Say nothing."""
    await peer.wait_closed()


async def test_line_socket_that_ends_is_followed_by_another_in_a_new_epoch() -> None:
    async def leave(peer: ServerConnection) -> None:
        await peer.close(1012, "restart")

    async with venue(leave) as url, running(url) as (_, shelf):
        await shelf.until(lambda: len(shelf.epochs) >= 4)

    assert shelf.epochs == sorted(shelf.epochs)
    assert shelf.closings()[0] == CloseReason(1012, "restart", "exchange")
    first = [frame.kind for frame in shelf.frames if frame.kind is not FrameKind.TICK]
    assert first[:3] == [FrameKind.OPENING, FrameKind.PLAN, FrameKind.OPEN]
    assert shelf.of(FrameKind.OPENING)[0].where == url


async def test_line_waits_double_and_begin_anew_after_a_clean_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("producers.line.random.random", lambda: 1.0)
    sockets = 0

    async def leave(peer: ServerConnection) -> None:
        nonlocal sockets
        sockets += 1
        if sockets == 6:
            await asyncio.sleep(1.5)

    waits: dict[str, Any] = {
        "backoff_initial_ns": 50 * MS,
        "backoff_cap_ns": 60 * S,
        "backoff_reset_ns": 1 * S,
    }
    async with venue(leave) as url, running(url, **waits) as (_, shelf):
        await shelf.until(lambda: len(shelf.waits()) >= 6)

    found = shelf.waits()
    assert all(
        wait >= expected * 0.99
        for wait, expected in zip(found, (0.05, 0.1, 0.2, 0.4, 0.8), strict=False)
    )
    # It would have been 1.6 s without the clean while.
    assert found[5] < 1.5


async def test_line_waits_no_longer_than_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producers.line.random.random", lambda: 1.0)
    nobody = f"ws://127.0.0.1:{free_port()}/"
    async with running(nobody) as (_, shelf):
        # Without a cap the twelfth wait alone would take 10 s.
        await asyncio.wait_for(shelf.until(lambda: len(shelf.waits()) >= 12), 9)

    assert {closing.by for closing in shelf.closings()[:12]} == {"handshake"}


async def test_line_ticks_between_sockets_too() -> None:
    nobody = f"ws://127.0.0.1:{free_port()}/"
    waits: dict[str, Any] = {"backoff_initial_ns": 600 * S, "backoff_cap_ns": 600 * S}
    async with running(nobody, **waits) as (line, shelf):
        await shelf.until(lambda: len(shelf.ticks()) >= 5)
        assert line.state is LineState.WAITING

    assert not any(tick.connected for tick in shelf.ticks())


async def test_line_busy_venue_is_left_alone_for_as_long_as_it_asks() -> None:
    async def refuse(peer: ServerConnection, request: Request) -> Response:
        headers = Headers({"Retry-After": "1", "Content-Length": "0"})
        return Response(HTTPStatus.TOO_MANY_REQUESTS, "Too Many Requests", headers)

    async with venue(stay, process_request=refuse) as url, running(url) as (_, shelf):
        await shelf.until(lambda: len(shelf.waits()) >= 1)

    assert shelf.closings()[0].code == 429
    assert shelf.waits()[0] >= 0.99


async def test_line_pings_of_both_sides_are_in_the_log() -> None:
    async def ping(peer: ServerConnection) -> None:
        await peer.ping(b"20s")
        await peer.wait_closed()

    session = msgspec.structs.replace(SETTINGS.session, ping_interval_ns=20 * MS)
    async with venue(ping) as url, running(url, exchange="binance", session=session) as (_, shelf):
        await shelf.until(lambda: bool(shelf.of(FrameKind.PONG)))

    assert [frame.payload for frame in shelf.of(FrameKind.PING)] == [b"20s"]
    assert all(int(frame.payload) > 0 for frame in shelf.of(FrameKind.PONG))


async def test_line_full_queue_reads_the_socket_slower_and_loses_nothing() -> None:
    count = 3000

    async def flood(peer: ServerConnection) -> None:
        for number in range(count):
            await peer.send(f"{number:06}" + " " * 5000)
        await peer.wait_closed()

    async with venue(flood) as url, running(url) as (_, shelf):
        shelf.is_away = True
        await shelf.until(lambda: len(shelf.of(FrameKind.RECEIVED)) >= 20)
        # What one read of the socket brings comes on top of the limit; no more does.
        await asyncio.sleep(0.3)
        held = len(shelf.frames)
        assert held < 500
        await asyncio.sleep(0.3)
        assert len(shelf.frames) == held
        shelf.back()
        await shelf.until(lambda: len(shelf.of(FrameKind.RECEIVED)) >= count)
        await shelf.until(lambda: shelf.ticks()[-1].paused_ns == 0)

    numbers = [int(frame.payload[:6]) for frame in shelf.of(FrameKind.RECEIVED)]
    assert numbers == list(range(count))
    assert sum(tick.paused_ns for tick in shelf.ticks()) >= 0.5 * S


async def test_line_stopped_gives_its_channels_up_and_closes() -> None:
    said: list[str] = []

    async def listen(peer: ServerConnection) -> None:
        async for text in peer:
            message = msgspec.json.decode(text)
            said.append(message["method"])
            if message["method"] == "unsubscribe":
                answer = {"method": "unsubscribe", "req_id": message["req_id"], "success": True}
                await peer.send(msgspec.json.encode(answer).decode())

    async with venue(listen) as url, running(url) as (line, shelf):
        await shelf.until(lambda: "subscribe" in said)
        line.stop()
        await shelf.until(lambda: line.state is LineState.ENDED)

    assert said.count("unsubscribe") == 2
    assert shelf.closings() == [CloseReason(1000, "stopping", "us", planned=True)]
    assert shelf.frames[-1].kind is FrameKind.CLOSE


async def test_line_stopped_while_it_waits_ends_at_once() -> None:
    nobody = f"ws://127.0.0.1:{free_port()}/"
    waits: dict[str, Any] = {"backoff_initial_ns": 600 * S, "backoff_cap_ns": 600 * S}
    async with running(nobody, **waits) as (line, shelf):
        await shelf.until(lambda: line.state is LineState.WAITING and bool(shelf.closings()))
        line.stop()
        await shelf.until(lambda: line.state is LineState.ENDED)

    assert len(shelf.epochs) == 1
