"""One client WebSocket: the protocol engine of `websockets` on an asyncio transport.

The engine is used directly (its documented Sans-I/O layer) and not its asyncio client, because
that one puts a queue between the socket read and the reader, and hides the exchange's pings.
Here both stamps are taken at the top of `data_received`, as soon as the event loop has the bytes:
messages that arrive in one read share them. Time spent in the kernel's buffer while the loop was
busy is not seen by them; `md_event_loop_delay_seconds` shows how much that can be. Whole text
messages, which is nearly all there is, are cut out here; all other frames go through the engine.
"""

import asyncio
import ssl
import time
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Final, Protocol, cast

from websockets.client import ClientProtocol
from websockets.exceptions import (
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    PayloadTooBig,
)
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from core.frames import CloseReason

NORMAL: Final = int(CloseCode.NORMAL_CLOSURE)
REASON_BYTES_MAX: Final = 123
"""RFC 6455, 5.5: what a close frame has room for after its code."""
USER_AGENT: Final = "streamgauge"
_NS_PER_S: Final = 1_000_000_000
_RETRY_AFTER_S_MAX: Final = 3600.0
_TEXT: Final = 0x81
"""First byte of a text message in one uncompressed frame (RFC 6455, 5.2)."""
_HEAD_END: Final = b"\r\n\r\n"


class Listener(Protocol):
    """Who hears of a socket; `wall` and `mono` are the stamps of the read, ns."""

    def on_open(self, wall: int, mono: int) -> None:
        """The handshake succeeded."""

    def on_message(self, payload: bytes, wall: int, mono: int) -> None:
        """A text message came."""

    def on_binary(self, payload: bytes, wall: int, mono: int) -> None:
        """A binary message came."""

    def on_ping(self, payload: bytes, wall: int, mono: int) -> None:
        """A ping came; it is answered already."""

    def on_pong(self, payload: bytes, wall: int, mono: int) -> None:
        """A pong came."""

    def on_too_large(self, reason: str) -> None:
        """A message larger than allowed was refused; the socket ends."""

    def on_read(self) -> None:
        """All messages of one read have been handed over."""


class OpeningError(Exception):
    """The socket could not be opened; `retry_after_s` is what the exchange asks to wait."""

    def __init__(self, reason: CloseReason, retry_after_s: float = 0.0) -> None:
        super().__init__(reason.reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class WebSocket(asyncio.Protocol):
    """Opened once, with `open`; it has ended when `closed` is done."""

    def __init__(
        self,
        url: str,
        listener: Listener,
        *,
        frame_bytes_max: int,
        compression: bool,
        close_timeout_s: float,
    ) -> None:
        self._uri = parse_uri(url)
        self._listener = listener
        self._frame_bytes_max = frame_bytes_max
        self._close_timeout = close_timeout_s
        self._engine = ClientProtocol(
            self._uri,
            max_size=frame_bytes_max,
            extensions=[ClientPerMessageDeflateFactory()] if compression else None,
        )
        self._loop = asyncio.get_running_loop()
        self._handshake: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._fragments: list[bytes] = []
        self._is_binary = False
        self._head = b""
        """The last bytes of the handshake's answer so far: its end may come in two reads."""
        self._cuts = False
        """Whether frames are cut here: the engine has had whole frames only."""
        self._tail = bytearray()
        """The beginning of a frame that has not come wholly yet."""
        self._tail_bytes = 0
        """How long the tail must be before it is looked at again, bytes."""
        self._ours: CloseReason | None = None
        self._closing: asyncio.TimerHandle | None = None
        self.closed: asyncio.Future[CloseReason] = self._loop.create_future()

    # -- opening --

    async def open(self, timeout_s: float) -> None:
        """Connect and shake hands.

        Raises:
            OpeningError: it did not work, or not in time.
        """
        tls = _tls() if self._uri.secure else None
        try:
            async with asyncio.timeout(timeout_s):
                await self._loop.create_connection(
                    lambda: self, self._uri.host, self._uri.port, ssl=tls
                )
                await self._handshake
        except TimeoutError:
            raise self._failed(f"not open after {timeout_s:g} s") from None
        except InvalidStatus as error:
            response = error.response
            retry_after = retry_after_s(response.headers.get("Retry-After", ""))
            status = f"HTTP {response.status_code} {response.reason_phrase}"
            raise self._failed(status, response.status_code, retry_after) from error
        except (OSError, InvalidHandshake, EOFError) as error:
            raise self._failed(str(error) or type(error).__name__) from error

    def _failed(self, text: str, code: int = 0, retry_after: float = 0.0) -> OpeningError:
        self.abort(text)
        return OpeningError(CloseReason(code, text[:200], "handshake"), retry_after)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the handshake's request."""
        # uvloop's transports are not instances of asyncio's classes.
        self._transport = cast(asyncio.Transport, transport)
        request = self._engine.connect()
        request.headers["User-Agent"] = USER_AGENT
        self._engine.send_request(request)
        self._flush()

    # -- receiving --

    def data_received(self, data: bytes) -> None:
        """Stamp what was read and hand over the messages in it."""
        wall, mono = time.time_ns(), time.monotonic_ns()
        if self._cuts:
            self._cut(data, wall, mono)
        elif self._engine.state is State.CONNECTING:
            self._shake(data, wall, mono)
        else:
            self._feed(data, wall, mono)
        if self._engine.close_expected():
            self._leaving()
        self._listener.on_read()

    def _shake(self, data: bytes, wall: int, mono: int) -> None:
        """Let the engine have the handshake's answer alone; what follows may be cut here."""
        known = len(self._head)
        seen = self._head + data
        end = seen.find(_HEAD_END) + len(_HEAD_END) - known
        if end < len(_HEAD_END) - known:
            self._head = seen[1 - len(_HEAD_END) :]
            self._feed(data, wall, mono)
            return
        self._feed(data[:end], wall, mono)
        self._cuts = self._engine.state is State.OPEN and not self._engine.extensions
        if end < len(data):
            (self._cut if self._cuts else self._feed)(data[end:], wall, mono)

    def _cut(self, data: bytes, wall: int, mono: int) -> None:
        """Hand over whole text messages; let the engine have all other frames, whole."""
        if self._tail:
            self._tail += data
            if len(self._tail) < self._tail_bytes:
                return
            data = bytes(self._tail)
            self._tail.clear()
        start, size = 0, len(data)
        while start < size:
            body, end = _extent(data, start)
            if end - body > self._frame_bytes_max or end < 0:
                break
            if end > size:
                self._tail += data[start:]
                self._tail_bytes = end - start
                return
            if data[start] == _TEXT and not self._fragments:
                self._listener.on_message(data[body:end], wall, mono)
            else:
                self._feed(data[start:end], wall, mono)
                if self._engine.state is not State.OPEN:
                    start = end
                    break
            start = end
        else:
            return
        # The end has begun, or a breach of the protocol: the engine knows what to do.
        self._cuts = False
        if start < size:
            self._feed(data[start:], wall, mono)

    def _feed(self, data: bytes, wall: int, mono: int) -> None:
        """Let the engine have bytes, and hand over what it makes of them."""
        self._engine.receive_data(data)
        events = self._engine.events_received()
        # Pongs and the answer to a close frame go out before anything else is done.
        self._flush()
        for event in events:
            if not isinstance(event, Frame):
                self._shaken(wall, mono)
            elif event.opcode is Opcode.TEXT and event.fin:
                self._listener.on_message(bytes(event.data), wall, mono)
            else:
                self._take(event, wall, mono)

    def _take(self, frame: Frame, wall: int, mono: int) -> None:
        """Take what is not a whole text message."""
        listener, payload = self._listener, bytes(frame.data)
        if frame.opcode is Opcode.PING:
            listener.on_ping(payload, wall, mono)
        elif frame.opcode is Opcode.PONG:
            listener.on_pong(payload, wall, mono)
        elif frame.opcode is not Opcode.CLOSE:
            if frame.opcode is not Opcode.CONT:
                self._is_binary = frame.opcode is Opcode.BINARY
            self._fragments.append(payload)
            if frame.fin:
                payload, self._fragments = b"".join(self._fragments), []
                take = listener.on_binary if self._is_binary else listener.on_message
                take(payload, wall, mono)

    def _shaken(self, wall: int, mono: int) -> None:
        if self._handshake.done():
            return
        error = self._engine.handshake_exc
        if error is None:
            self._handshake.set_result(None)
            self._listener.on_open(wall, mono)
        else:
            self._handshake.set_exception(error)

    def eof_received(self) -> None:
        """The exchange sends no more."""
        self._engine.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say why the socket is gone."""
        self._engine.receive_eof()
        if self._closing is not None:
            self._closing.cancel()
        if not self._handshake.done():
            error = self._engine.handshake_exc or exc or EOFError("closed during the handshake")
            self._handshake.set_exception(error)
            self._handshake.exception()  # `open` may have given up before
        if not self.closed.done():
            self.closed.set_result(self._reason(exc))

    def _reason(self, exc: Exception | None) -> CloseReason:
        engine = self._engine
        if self._ours is not None:
            return self._ours
        if engine.close_rcvd is not None:
            return CloseReason(engine.close_rcvd.code, engine.close_rcvd.reason[:200], "exchange")
        if engine.close_sent is not None:
            return CloseReason(engine.close_sent.code, engine.close_sent.reason[:200], "us")
        text = str(exc) if exc else "the connection was cut without a close frame"
        return CloseReason(int(CloseCode.ABNORMAL_CLOSURE), text[:200], "network")

    def _leaving(self) -> None:
        """The closing handshake has begun, or the exchange broke the protocol."""
        if self._closing is not None or self._transport is None:
            return
        self._closing = self._loop.call_later(self._close_timeout, self._transport.abort)
        error = self._engine.parser_exc
        if isinstance(error, PayloadTooBig):
            self._listener.on_too_large(str(error))

    # -- sending --

    def send(self, text: str) -> bool:
        """Send a text message; say whether the socket could take it."""
        if self._engine.state is not State.OPEN:
            return False
        self._engine.send_text(text.encode())
        self._flush()
        return True

    def ping(self, payload: bytes) -> None:
        """Send a ping, if the socket can take it."""
        if self._engine.state is State.OPEN:
            self._engine.send_ping(payload)
            self._flush()

    def close(self, reason: str, *, planned: bool) -> None:
        """Begin the closing handshake; what the exchange sent before its end is still received."""
        if self._engine.state is not State.OPEN:
            self.abort(reason)
            return
        self._ours = CloseReason(NORMAL, reason[:200], "us", planned)
        self._engine.send_close(NORMAL, reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore"))
        self._flush()
        self._leaving()

    def abort(self, reason: str, *, planned: bool = False) -> None:
        """Cut the connection."""
        if self._ours is None:
            self._ours = CloseReason(0, reason[:200], "us", planned)
        if self._transport is None:
            if not self.closed.done():
                self.closed.set_result(self._ours)
        else:
            self._transport.abort()

    def pause(self) -> None:
        """Read no more; the exchange is slowed down by TCP."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _flush(self) -> None:
        if self._transport is None:
            return
        for data in self._engine.data_to_send():
            if data:
                self._transport.write(data)
            elif self._transport.can_write_eof() and not self._transport.is_closing():
                self._transport.write_eof()
            else:
                self._transport.close()


def _extent(data: bytes, start: int) -> tuple[int, int]:
    """Return where a frame's payload begins and ends, as far as can be told; an end of -1: masked.

    Source: RFC 6455, 5.2. A server's frames are never masked (5.1).
    """
    if len(data) < start + 2:
        return start + 2, start + 2
    size = data[start + 1]
    body = start + 2
    if size >= 126:
        if size > 127:
            return body, -1
        body += 2 if size == 126 else 8
        if len(data) < body:
            return body, body
        size = int.from_bytes(data[start + 2 : body], "big")
    return body, body + size


@cache
def _tls() -> ssl.SSLContext:
    """Return how to encrypt: made once, because reading the authorities takes long."""
    return ssl.create_default_context()


def check_url(url: str) -> str:
    """Return what is wrong with a WebSocket address, an empty text if nothing."""
    try:
        uri = parse_uri(url)
        # A name that cannot be looked up would only show at the first attempt.
        uri.host.encode("idna")
    except (InvalidURI, ValueError) as error:
        return str(error)
    return ""


def retry_after_s(header: str, most_s: float = _RETRY_AFTER_S_MAX) -> float:
    """Return the seconds that a Retry-After header asks to wait, 0 for none, `most_s` at most.

    Source: RFC 9110, 10.2.3: a number of seconds or a date.
    """
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), most_s)
    try:
        at = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(at - time.time(), 0.0), most_s)
