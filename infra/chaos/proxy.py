"""A TCP proxy between a producer and a venue: the network path that the campaign can hurt.

It passes bytes on in order and changes none. A path can be held (nothing passes, the socket stays
open), slowed by a time that may change, or cut without a word. Nothing is known of WebSocket here.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, Self

HOST: Final = "127.0.0.1"
_CHUNK: Final = 1 << 16
_QUEUE: Final = 1000
"""Chunks on their way in one direction; a sender that is faster has to wait, as on a full path."""

Extra = Callable[[float], float]
"""From the loop's time to the seconds that a chunk is kept."""


class Direction:
    """One direction of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.extra: Extra | None = None
        self._reader = reader
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._passes = asyncio.Event()
        self._passes.set()
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUE)
        self._last_due = 0.0

    def hold(self) -> None:
        """Let nothing pass; the sender sees a path that takes its bytes for a while."""
        self._passes.clear()

    def release(self) -> None:
        """Let pass what was held, and go on."""
        self._passes.set()

    async def run(self) -> None:
        """Pass bytes on until one side ends."""
        sending = asyncio.create_task(self._send())
        try:
            while chunk := await self._reader.read(_CHUNK):
                now = self._loop.time()
                due = now + self.extra(now) if self.extra is not None else now
                # Whatever the delay does, bytes of a connection never overtake one another.
                self._last_due = max(self._last_due, due)
                await self._queue.put((self._last_due, chunk))
            await self._queue.put((self._last_due, b""))
            await sending
        finally:
            sending.cancel()

    async def _send(self) -> None:
        while True:
            due, chunk = await self._queue.get()
            wait = due - self._loop.time()
            if wait > 0:
                await asyncio.sleep(wait)
            await self._passes.wait()
            if not chunk:
                return
            self._writer.write(chunk)
            await self._writer.drain()


class Path:
    """One connection through the proxy; `down` is from the venue to the producer."""

    def __init__(self, up: Direction, down: Direction, ends: tuple[asyncio.StreamWriter, ...]):
        self.up = up
        self.down = down
        self._ends = ends

    async def run(self) -> None:
        """Pass on both ways until either ends."""
        both = [asyncio.create_task(way.run()) for way in (self.up, self.down)]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
            for end in self._ends:
                end.close()

    def cut(self) -> None:
        """Reset both sides without a word."""
        for end in self._ends:
            end.transport.abort()


class Proxy:
    """A port in front of a venue's; use it as an asynchronous context.

    `paths` are the open ones, by the address (`host:port`) that the venue sees as its peer.
    """

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.paths: dict[str, Path] = {}
        self.is_refusing = False
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Open the port."""
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the port, and every path."""
        assert self._server is not None
        self._server.close()
        for path in list(self.paths.values()):
            path.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            if self.is_refusing:
                writer.transport.abort()
                return
            await self._carry(reader, writer)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            venue_reader, venue_writer = await asyncio.open_connection(HOST, self._target_port)
        except OSError:
            writer.transport.abort()
            return
        path = Path(
            Direction(reader, venue_writer), Direction(venue_reader, writer), (writer, venue_writer)
        )
        host, port = venue_writer.get_extra_info("sockname")[:2]
        name = f"{host}:{port}"
        self.paths[name] = path
        try:
            await path.run()
        finally:
            del self.paths[name]
