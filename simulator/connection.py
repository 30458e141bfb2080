"""One socket of a client, as the venue sees it: an outbox, a gate for faults, and its end.

Frames are handed to the transport as ready bytes, joined per turn of the event loop, so a frame
is made once however many sockets get it. A socket that reads too slowly is aborted: memory stays
bounded.
"""

import asyncio
from typing import Protocol

from aiohttp import WSCloseCode, web

from simulator.truth import Truth
from simulator.wire import CLOSE, Frame, message


class Gate(Protocol):
    """What stands between a venue and one of its sockets while faults are active."""

    def push(self, frame: Frame) -> None:
        """Take a frame in the order of sending."""

    def close(self) -> None:
        """The socket is gone."""


class Connection:
    """An open socket. Venues subclass it with the state of their protocol."""

    def __init__(
        self,
        name: str,
        request: web.Request,
        socket: web.WebSocketResponse,
        *,
        truth: Truth,
        outbox_bytes_max: int,
    ) -> None:
        """Wrap a socket whose handshake is done."""
        assert request.transport is not None, "a prepared socket has a transport"
        self.name = name
        self.request = request
        self.socket = socket
        self.gate: Gate | None = None
        self.halted = False  # half open: nothing more is read or written
        self.closing = False
        self.too_slow = False
        self.frames_sent = 0
        loop = asyncio.get_running_loop()
        self.sent_at = self.heard_at = self.opened_at = loop.time()
        peer = request.transport.get_extra_info("peername")
        self.peer = f"{peer[0]}:{peer[1]}" if peer else ""
        self._loop = loop
        self._transport = request.transport
        self._truth = truth
        self._outbox_bytes_max = outbox_bytes_max
        self._outbox: list[bytes] = []

    def send(self, frame: Frame) -> None:
        """Send a frame, through the gate when there is one."""
        if self.gate is None:
            self.hand_over(frame)
        else:
            self.gate.push(frame)

    def hand_over(self, frame: Frame) -> None:
        """Put a frame on the wire: from here on its trades count as delivered."""
        if self.halted or self.closing or self._transport.is_closing():
            return
        if frame.trades and frame.market is not None:
            self._truth.deliver(frame.market, frame.trades)
        if not self._outbox:
            self._loop.call_soon(self._write)
        self._outbox.append(frame.wire)

    def halt(self) -> None:
        """Stop reading and writing but leave TCP open."""
        self.halted = True
        self._outbox.clear()
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def abort(self) -> None:
        """Cut the connection without a close frame."""
        self.closing = True
        self._transport.abort()

    async def close(self, code: int = WSCloseCode.GOING_AWAY, reason: str = "") -> None:
        """Send what is in the outbox, then a close frame, then end."""
        if self.closing:
            return
        self._write()
        self.closing = True
        if self.halted:
            self.abort()
        else:
            await self.socket.close(code=code, message=reason.encode())

    def end(self, code: int, reason: str) -> None:
        """Send a close frame after the outbox and cut the connection at once."""
        if self.closing:
            return
        self._outbox.append(message(code.to_bytes(2, "big") + reason.encode(), CLOSE))
        self._write()
        self.closing = True
        self._transport.close()

    def _write(self) -> None:
        if not self._outbox or self._transport.is_closing():
            self._outbox.clear()
            return
        self.frames_sent += len(self._outbox)
        self._transport.write(b"".join(self._outbox))
        self._outbox.clear()
        self.sent_at = self._loop.time()
        if self._transport.get_write_buffer_size() > self._outbox_bytes_max:
            self.too_slow = True
            self.abort()
