"""A TCP proxy between a sink and its database: cut, deaf, and answers that get lost."""

import asyncio
from contextlib import suppress

_PIECE = 65_536


class Proxy:
    """Forwards connections to a port; use it as an asynchronous context."""

    def __init__(self, host: str, port: int) -> None:
        self.port = 0
        self.lose_answers = False
        """Whether what the database answers is dropped, and the connection with it."""
        self.lost = 0
        """Answers that were dropped."""
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

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
            questions = asyncio.create_task(self._copy(reader, there_writer, answers=False))
            answers = asyncio.create_task(self._copy(there_reader, writer, answers=True))
            try:
                await asyncio.wait([questions, answers], return_when=asyncio.FIRST_COMPLETED)
            finally:
                questions.cancel()
                answers.cancel()
        finally:
            there_writer.close()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool
    ) -> None:
        while piece := await reader.read(_PIECE):
            if answers and self.lose_answers:
                self.lost += 1
                return
            writer.write(piece)
            await writer.drain()
