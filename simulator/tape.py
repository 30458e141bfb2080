"""Tape mode: recorded frames played over a WebSocket at any speed, HTTP bodies served by URL path.

Reads files of the format `frames-tsv v1`: header lines `# key: value`, then one record per line in
four columns separated by TABs: receive time (ns, 0 unknown), kind (C, S, R, H), where, payload. It
sends the R lines as they are and understands none of them.
"""

import asyncio
import contextlib
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import urlsplit

from aiohttp import web

from simulator.settings import SettingsError

KINDS = ("C", "S", "R", "H")
SUBSCRIBE_S = 10.0  # wait for a client's first message when the recorded client sent one


@dataclass(frozen=True, slots=True)
class Line:
    """One record of a tape."""

    recv_ts_ns: int
    kind: str
    where: str
    payload: str


def read(path: Path) -> Iterator[Line]:
    """Yield the records of a file, gzip-compressed or not; SettingsError names a wrong line."""
    number = 0
    with opened(path) as file:
        for text in file:
            if text.startswith("#"):
                continue
            number += 1
            columns = text.rstrip("\r\n").split("\t", 3)
            if len(columns) != 4 or columns[1] not in KINDS or not columns[0].isdigit():
                raise SettingsError(
                    f"{path}: data line {number} is not frames-tsv v1:"
                    f" expected time, kind C|S|R|H, where, payload, got {text[:60]!r}"
                )
            yield Line(int(columns[0]), columns[1], columns[2], columns[3])


def opened(path: Path) -> IO[str]:
    """Open a text file; SettingsError when it cannot be."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        if packed:
            return gzip.open(path, "rt", encoding="utf-8", newline="\n")
        return path.open(encoding="utf-8", newline="\n")
    except OSError as error:
        raise SettingsError(f"tape {path}: {error.strerror}") from None


class Tape:
    """One file: how it begins, and its HTTP bodies."""

    def __init__(self, path: Path) -> None:
        """Read the file through once; frames are read again for each client."""
        self.path = path
        self.frames = 0
        self.waits = False  # the recorded client had sent something before the first frame
        self.bodies: dict[str, list[str]] = {}  # path and query -> bodies in their order
        for line in read(path):
            if line.kind == "R":
                self.frames += 1
            elif line.kind == "S" and not self.frames:
                self.waits = True
            elif line.kind == "H":
                url = urlsplit(line.where)
                target = url.path + (f"?{url.query}" if url.query else "")
                self.bodies.setdefault(target, []).append(line.payload)

    def body(self, target: str) -> str | None:
        """Return the next body recorded for a path and query, or for the path alone."""
        found = self.bodies.get(target)
        if found is None:
            path = target.partition("?")[0]
            found = next((self.bodies[key] for key in self.bodies if key.split("?")[0] == path), [])
        if not found:
            return None
        return found.pop(0) if len(found) > 1 else found[0]


class TapeServer:
    """Serves tapes on one port: a WebSocket under any path, bodies under their own.

    A path that ends with a tape's file name without its endings plays that tape; any other path
    plays the first one.
    """

    def __init__(self, paths: list[Path], *, speed: float = 1.0, port: int = 0) -> None:
        """`speed` 2 plays twice as fast as recorded, 0 without any pause."""
        if not paths:
            raise SettingsError("tape: at least one file is needed")
        if not 0 <= speed < float("inf"):
            raise SettingsError(f"speed must be 0 or more and finite, got {speed}")
        self.tapes = {path.name.split(".")[0]: Tape(path) for path in paths}
        self.port = port
        self._speed = speed
        app = web.Application()
        app.router.add_get("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> None:
        """Open the port."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the port and all sockets."""
        await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    def describe(self) -> dict[str, object]:
        """Return the addresses of all tapes."""
        return {
            "ready": True,
            "speed": self._speed,
            "rest_url": f"http://127.0.0.1:{self.port}",
            "tapes": {
                name: {
                    "websocket_url": f"ws://127.0.0.1:{self.port}/{name}",
                    "frames": tape.frames,
                    "bodies": sum(map(len, tape.bodies.values())),
                }
                for name, tape in self.tapes.items()
            },
        }

    def _tape(self, path: str) -> Tape:
        return self.tapes.get(path.rpartition("/")[2]) or next(iter(self.tapes.values()))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if web.WebSocketResponse().can_prepare(request).ok:
            return await self._play(request)
        for tape in self.tapes.values():
            body = tape.body(request.path_qs)
            if body is not None:
                return web.Response(text=body, content_type="application/json")
        return web.json_response({"error": f"no tape has {request.path_qs[:200]}"}, status=404)

    async def _play(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False, timeout=1.0)
        await socket.prepare(request)
        tape = self._tape(request.path)
        spoken = asyncio.Event()  # the client has sent something
        playing = asyncio.create_task(self._send(tape, socket, spoken))
        try:
            async for _ in socket:
                spoken.set()
        finally:
            playing.cancel()
            await asyncio.wait([playing])
        return socket

    async def _send(self, tape: Tape, socket: web.WebSocketResponse, spoken: asyncio.Event) -> None:
        if tape.waits:
            with contextlib.suppress(TimeoutError):  # a client that has nothing to say gets it too
                await asyncio.wait_for(spoken.wait(), SUBSCRIBE_S)
        loop = asyncio.get_running_loop()
        begun, first = loop.time(), 0
        for line in read(tape.path):
            if line.kind != "R":
                continue
            first = first or line.recv_ts_ns
            if self._speed and line.recv_ts_ns:
                due = begun + (line.recv_ts_ns - first) / 1e9 / self._speed
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
            if socket.closed:
                return
            await socket.send_str(line.payload)
