"""A WebSocket without a kernel: what a simulated venue takes for a socket of a client, and back.

The venue writes the wire's own bytes (RFC 6455), which arrive through a `network.Path`; what the
client says travels as messages. The handshake is taken as given.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol, cast

from aiohttp import WSMsgType, web

from core.frames import CloseReason
from infra.chaos.network import Path, Stream
from simulator.connection import Connection
from simulator.venue import Venue
from simulator.wire import BINARY, CLOSE, PING, PONG, TEXT, message

ABNORMAL: Final = 1006
CONNECT_TIMEOUT_S: Final = 10.0
"""As the producer's settings have it by default."""
CUT: Final = "the connection was cut without a close frame"


class Listener(Protocol):
    """Who hears of a socket."""

    def on_open(self) -> None:
        """The handshake succeeded."""

    def on_frame(self, opcode: int, payload: bytes, sent_at: float) -> None:
        """A frame came; `opcode` is the wire's first byte, `sent_at` the loop's time."""

    def on_end(self, reason: CloseReason) -> None:
        """The socket is gone, or never opened."""


class Socket:
    """The client's side. It is open from `Listener.on_open` to `Listener.on_end`."""

    def __init__(
        self,
        venue: Venue,
        path: str,
        down: Path,
        up: Path,
        listener: Listener,
        *,
        is_refused: Callable[[], bool],
    ) -> None:
        self._venue = venue
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._path = path
        self._is_refused = is_refused
        self._down = Stream(down, self._loop, self._arrived)
        self._up = Stream(up, self._loop, self._reached)
        self._connection: Connection | None = None
        self._is_open = False
        self._tasks: set[asyncio.Task[bool]] = set()
        self._up.send(b"")
        self._late = self._loop.call_later(CONNECT_TIMEOUT_S, self._too_late)

    # -- the client --

    def send(self, text: str) -> None:
        """Send a text message."""
        self._up.send(bytes((TEXT,)) + text.encode())

    def ping(self, payload: bytes) -> None:
        """Send a ping."""
        self._up.send(bytes((PING,)) + payload)

    def pong(self, payload: bytes) -> None:
        """Answer a ping."""
        self._up.send(bytes((PONG,)) + payload)

    def end(self, reason: CloseReason) -> None:
        """Close from our side; the venue hears of it if the way is open."""
        self._up.send(bytes((CLOSE,)))
        self._finish(reason)

    def _arrived(self, data: bytes, sent_at: float) -> None:
        """Take a segment of the venue."""
        if not data:
            self._finish(CloseReason(ABNORMAL, CUT, "network"))
            return
        if data[0] == 0:
            self._opened(is_open=data == _ACCEPTED)
            return
        start, size = 0, len(data)
        while start < size and not self._down.is_over:
            opcode, length = data[start], data[start + 1]
            body = start + 2
            if length == 126:
                body += 2
                length = int.from_bytes(data[start + 2 : body], "big")
            elif length == 127:
                body += 8
                length = int.from_bytes(data[start + 2 : body], "big")
            start = body + length
            payload = data[body:start]
            if opcode == CLOSE:
                code = int.from_bytes(payload[:2], "big")
                self._finish(CloseReason(code, payload[2:].decode(), "exchange"))
            else:
                self._listener.on_frame(opcode, payload, sent_at)

    def _opened(self, *, is_open: bool) -> None:
        if is_open:
            self._is_open = True
            self._listener.on_open()
        else:
            self._finish(CloseReason(0, "Connect call failed", "handshake"))

    def _too_late(self) -> None:
        if not self._is_open:
            reason = f"not open after {CONNECT_TIMEOUT_S:g} s"
            self.end(CloseReason(0, reason, "handshake"))

    def _finish(self, reason: CloseReason) -> None:
        self._late.cancel()
        if not self._down.is_over:
            self._down.is_over = True
            self._listener.on_end(reason)

    # -- the venue --

    def _reached(self, data: bytes, sent_at: float) -> None:
        """Take what reaches the venue."""
        connection = self._connection
        if connection is None:
            self._knocked()
        elif data[0] == CLOSE:
            self._forgotten()
        else:
            kind = _KINDS[data[0]]
            content = data[1:].decode() if kind is WSMsgType.TEXT else data[1:]
            task = self._loop.create_task(self._venue.hear(connection, kind, content))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _knocked(self) -> None:
        if self._is_refused():
            self._down.send(_REFUSED)
            self._up.is_over = True
            return
        transport = _Transport(self._down, self._forgotten)
        request = cast(web.Request, Request(self._path, transport))
        socket = cast(web.WebSocketResponse, _VenueSocket(transport))
        self._down.send(_ACCEPTED)
        self._connection = self._venue.accept(request, socket)
        self._venue.greet(self._connection)

    def _forgotten(self) -> None:
        """The venue's side has ended."""
        if not self._up.is_over and self._connection is not None:
            self._up.is_over = True
            self._venue.forget(self._connection)


_ACCEPTED: Final = b"\x00\x01"
_REFUSED: Final = b"\x00\x00"
_KINDS: Final = {
    TEXT: WSMsgType.TEXT,
    BINARY: WSMsgType.BINARY,
    PING: WSMsgType.PING,
    PONG: WSMsgType.PONG,
}


class Request:
    """What a venue asks of a request: its path and query, who sent it, and the transport."""

    def __init__(self, path: str, transport: "_Transport | None" = None) -> None:
        self.path, _, query = path.partition("?")
        self.query = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)
        self.match_info: dict[str, str] = {}
        self.remote = "127.0.0.1"
        self.transport = transport


class _Transport:
    """What a venue asks of a transport."""

    def __init__(self, down: Stream, ended: Callable[[], None]) -> None:
        self._down = down
        self._ended = ended
        self._is_closing = False

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return ("127.0.0.1", 1) if name == "peername" else None

    def is_closing(self) -> bool:
        return self._is_closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """A venue that reads nothing says so by being halted."""

    def write(self, data: bytes) -> None:
        self._down.send(data)

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._down.send(b"")
            self._ended()

    abort = close


class _VenueSocket:
    """What a venue asks of its end of the WebSocket."""

    def __init__(self, transport: _Transport) -> None:
        self._transport = transport

    async def close(self, *, code: int, message: bytes) -> bool:
        self._transport.write(_close_frame(code, message))
        self._transport.close()
        return True


def _close_frame(code: int, reason: bytes) -> bytes:
    return message(code.to_bytes(2, "big") + reason, CLOSE)
