"""Bytes into a socket, in any pieces: what is heard must not depend on how they were cut."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.server import ServerProtocol

from producers.websocket import WebSocket

LIMIT = 100_000


class Ear:
    """Keeps what a socket tells, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []

    def on_open(self, wall: int, mono: int) -> None:
        self.heard.append(("open", b""))

    def on_message(self, payload: bytes, wall: int, mono: int) -> None:
        self.heard.append(("text", payload))

    def on_binary(self, payload: bytes, wall: int, mono: int) -> None:
        self.heard.append(("binary", payload))

    def on_ping(self, payload: bytes, wall: int, mono: int) -> None:
        self.heard.append(("ping", payload))

    def on_pong(self, payload: bytes, wall: int, mono: int) -> None:
        self.heard.append(("pong", payload))

    def on_too_large(self, reason: str) -> None:
        self.heard.append(("too large", b""))

    def on_read(self) -> None:
        """Nothing is kept of it."""


class Wire(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self.ended

    def abort(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.ended = True


async def hear(stream: bytes, cuts: list[int]) -> tuple[Ear, Wire]:
    """Open a socket and let it read its handshake and a stream, cut at these places."""
    ear, wire = Ear(), Wire()
    made = WebSocket(
        "ws://venue/", ear, frame_bytes_max=LIMIT, compression=False, close_timeout_s=60.0
    )
    made.connection_made(wire)
    server = ServerProtocol()
    server.receive_data(wire.written)
    (request,) = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]
    assert server.state is State.OPEN
    whole = b"".join(server.data_to_send()) + stream
    wire.written = b""
    places = [0, *sorted(cut % (len(whole) + 1) for cut in cuts), len(whole)]
    for begin, end in pairwise(places):
        if end > begin:
            made.data_received(whole[begin:end])
    made.connection_lost(None)
    return ear, wire


def frame(opcode: Opcode, payload: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=False)


@st.composite
def messages(draw: st.DrawFn) -> tuple[list[tuple[str, bytes]], bytes]:
    """Return what will be heard, and the bytes that say it."""
    size = st.sampled_from([0, 1, 2, 125, 126, 127, 4000, 65_535, 65_536])
    kinds = st.sampled_from(["text", "text", "text", "binary", "ping", "pong", "pieces"])
    heard, stream = [], b""
    for kind in draw(st.lists(kinds, max_size=12)):
        payload = b"x" * draw(size)
        if kind == "pieces":
            # A control frame may come between the pieces of a message.
            heard += [("ping", b"p"), ("text", payload + b"end")]
            stream += frame(Opcode.TEXT, payload, fin=False) + frame(Opcode.PING, b"p")
            stream += frame(Opcode.CONT, b"end")
            continue
        payload = payload[:125] if kind in ("ping", "pong") else payload
        heard.append((kind, payload))
        stream += frame(Opcode[kind.upper()], payload)
    return heard, stream


@settings(max_examples=150)
@given(said=messages(), cuts=st.lists(st.integers(0, 1 << 20), max_size=12))
def test_socket_hears_the_same_however_the_bytes_are_cut(
    said: tuple[list[tuple[str, bytes]], bytes], cuts: list[int]
) -> None:
    ear, wire = asyncio.run(hear(said[1], cuts))

    assert ear.heard == [("open", b""), *said[0]]
    assert wire.written.count(b"\x8a") >= sum(kind == "ping" for kind, _ in said[0])
    assert not wire.ended


def test_socket_hears_bytes_that_come_one_by_one() -> None:
    stream = frame(Opcode.TEXT, b"a" * 300) + frame(Opcode.PING, b"b") + frame(Opcode.TEXT, b"")
    ear, _ = asyncio.run(hear(stream, list(range(1000))))

    assert ear.heard == [("open", b""), ("text", b"a" * 300), ("ping", b"b"), ("text", b"")]


@pytest.mark.parametrize(
    "breach",
    [
        b"\x81\x83abcdxyz",  # masked by the server
        b"\xc1\x01a",  # a reserved bit
        b"\x83\x00",  # a reserved opcode
        b"\x80\x01a",  # a continuation of nothing
        b"\x09\x00",  # a ping in pieces
        frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.TEXT, b"b"),
        b"\x81\x7f" + (LIMIT + 1).to_bytes(8, "big"),
        b"\x81\x7f" + b"\xff" * 8,
    ],
)
@pytest.mark.parametrize("cuts", [[], list(range(1000))])
def test_socket_breach_of_the_protocol_ends_it_and_nothing_after_it_is_heard(
    breach: bytes, cuts: list[int]
) -> None:
    stream = frame(Opcode.TEXT, b"before") + breach + frame(Opcode.TEXT, b"after")
    ear, wire = asyncio.run(hear(stream, cuts))

    assert ear.heard[:2] == [("open", b""), ("text", b"before")]
    assert ("text", b"after") not in ear.heard
    # A close frame that names the breach: 1002, or 1009 for a message too large.
    assert wire.written[:1] == b"\x88"


def test_socket_close_frame_of_the_exchange_is_the_last_word() -> None:
    stream = frame(Opcode.CLOSE, (1000).to_bytes(2, "big")) + frame(Opcode.TEXT, b"after")
    ear, wire = asyncio.run(hear(stream, []))

    assert ear.heard == [("open", b"")]
    assert wire.written[:1] == b"\x88"
