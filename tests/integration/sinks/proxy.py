"""A TCP proxy between a sink and its database: cut, held up, and answers that come to harm."""

import asyncio
from contextlib import suppress
from enum import Enum
from typing import Final

PIECE_BYTES: Final = 65_536
TORN_BYTES: Final = 20
"""What arrives of a torn answer: less than its status line and headers."""


class Answers(Enum):
    """What happens to what the database answers."""

    ARRIVE = "arrive"
    LOST = "lost"
    """Nothing arrives, and the connection breaks."""
    TORN = "torn"
    """Its beginning arrives, and the connection breaks."""
    LATE = "late"
    """It arrives `late_s` after it was given."""


class Proxy:
    """Forwards connections to a port; use it as an asynchronous context."""

    def __init__(self, host: str, port: int, *, late_s: float = 0.0) -> None:
        self.port = 0
        self.answers = Answers.ARRIVE
        self.harmed = 0
        """Pieces of answers that did not arrive whole and at once."""
        self.held = b""
        """What was asked since `hold`, of all connections."""
        self._late_s = late_s
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()

    async def __aenter__(self) -> "Proxy":
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()

    async def mend(self) -> None:
        """Accept connections, on the same port as before."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Break every connection and refuse new ones."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hold(self) -> None:
        """Keep what is asked from now on, as a network may that is slow."""
        self.held = b""
        self._open.clear()

    def release(self) -> None:
        """Send on what was kept, and everything that comes."""
        self._open.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._forward(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._target)
        try:
            questions = asyncio.create_task(self._ask(reader, there_writer))
            answers = asyncio.create_task(self._answer(there_reader, writer))
            try:
                await asyncio.wait([questions, answers], return_when=asyncio.FIRST_COMPLETED)
            finally:
                questions.cancel()
                answers.cancel()
        finally:
            there_writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE_BYTES):
            if not self._open.is_set():
                self.held += piece
                await self._open.wait()
            writer.write(piece)
            await writer.drain()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE_BYTES):
            self.harmed += self.answers is not Answers.ARRIVE
            if self.answers is Answers.LOST:
                return
            if self.answers is Answers.TORN:
                writer.write(piece[:TORN_BYTES])
                await writer.drain()
                return
            if self.answers is Answers.LATE:
                await asyncio.sleep(self._late_s)
            writer.write(piece)
            await writer.drain()
