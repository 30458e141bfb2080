"""The client socket against real servers on this machine, well and badly behaved."""

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from core.frames import CloseReason
from producers import websocket
from producers.websocket import OpeningError, WebSocket

DEADLINE_S = 10.0
Behaviour = Callable[[ServerConnection], Awaitable[None]]


class Ear:
    """Keeps what a socket tells, in order."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.stamps: list[tuple[int, int]] = []
        self.reads = 0
        self.too_large = ""
        self._news = asyncio.Event()

    def on_open(self, wall: int, mono: int) -> None:
        self.heard.append(("open", b""))
        self.stamps.append((wall, mono))

    def on_message(self, payload: bytes, wall: int, mono: int) -> None:
        self.heard.append(("text", payload))
        self.stamps.append((wall, mono))

    def on_binary(self, payload: bytes, wall: int, mono: int) -> None:
        self.heard.append(("binary", payload))

    def on_ping(self, payload: bytes, wall: int, mono: int) -> None:
        self.heard.append(("ping", payload))

    def on_pong(self, payload: bytes, wall: int, mono: int) -> None:
        self.heard.append(("pong", payload))

    def on_too_large(self, reason: str) -> None:
        self.too_large = reason

    def on_read(self) -> None:
        self.reads += 1
        self._news.set()

    async def hear(self, count: int) -> None:
        """Wait until so much was heard, the opening included."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.heard) < count:
                self._news.clear()
                await self._news.wait()

    def texts(self) -> list[bytes]:
        return [payload for kind, payload in self.heard if kind == "text"]


@asynccontextmanager
async def venue(behaviour: Behaviour, **options: object) -> AsyncIterator[str]:
    """Serve sockets that behave so; yield the address."""
    server: Server
    arguments = {"ping_interval": None, "compression": None, **options}
    async with serve(behaviour, "127.0.0.1", 0, **arguments) as server:  # type: ignore[arg-type]
        port = server.sockets[0].getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws"


def socket(
    url: str, ear: Ear, *, size: int = 1 << 20, compression: bool = False, patience_s: float = 3.0
) -> WebSocket:
    return WebSocket(
        url, ear, frame_bytes_max=size, compression=compression, close_timeout_s=patience_s
    )


async def ended(made: WebSocket) -> CloseReason:
    return await asyncio.wait_for(made.closed, DEADLINE_S)


async def test_socket_messages_come_in_order_and_unchanged() -> None:
    messages = [f'{{"n":{n},"price":"0.0000100"}}' for n in range(500)]

    async def say(peer: ServerConnection) -> None:
        for message in messages:
            await peer.send(message)
        await peer.close(1012, "service restart")

    ear = Ear()
    async with venue(say) as url:
        made = socket(url, ear)
        await made.open(DEADLINE_S)
        reason = await ended(made)

    assert ear.heard[0] == ("open", b"")
    assert ear.texts() == [message.encode() for message in messages]
    assert reason == CloseReason(1012, "service restart", "exchange")
    assert ear.stamps == sorted(ear.stamps)


async def test_socket_messages_of_one_read_share_its_stamps() -> None:
    go = asyncio.Event()

    async def say(peer: ServerConnection) -> None:
        await go.wait()
        peer.transport.write(b"".join(bytes([0x81, 2]) + b"%02d" % n for n in range(50)))
        await peer.wait_closed()

    ear = Ear()
    async with venue(say) as url:
        made = socket(url, ear)
        await made.open(DEADLINE_S)
        before = ear.reads
        go.set()
        await ear.hear(51)
        made.close("done", planned=True)
        await ended(made)

    assert len(set(ear.stamps[1:])) <= ear.reads - before


async def test_socket_fragments_become_one_message_around_a_ping() -> None:
    async def say(peer: ServerConnection) -> None:
        peer.transport.write(
            bytes([0x01, 3]) + b"abc" + bytes([0x89, 2]) + b"hi" + bytes([0x80, 3]) + b"def"
        )
        peer.transport.write(bytes([0x82, 2]) + b"\x00\x01")
        await peer.wait_closed()

    ear = Ear()
    async with venue(say) as url:
        made = socket(url, ear)
        await made.open(DEADLINE_S)
        await ear.hear(4)
        made.close("done", planned=True)
        await ended(made)

    assert ear.heard[1:] == [("ping", b"hi"), ("text", b"abcdef"), ("binary", b"\x00\x01")]


async def test_socket_ping_of_the_exchange_is_answered_and_told() -> None:
    answered = asyncio.Event()

    async def say(peer: ServerConnection) -> None:
        await asyncio.wait_for(await peer.ping(b"20s"), DEADLINE_S)
        answered.set()
        await peer.wait_closed()

    ear = Ear()
    async with venue(say) as url:
        made = socket(url, ear)
        await made.open(DEADLINE_S)
        await asyncio.wait_for(answered.wait(), DEADLINE_S)
        made.close("done", planned=True)
        await ended(made)

    assert ("ping", b"20s") in ear.heard


async def test_socket_own_ping_comes_back() -> None:
    ear = Ear()
    async with venue(lambda peer: peer.wait_closed()) as url:
        made = socket(url, ear)
        await made.open(DEADLINE_S)
        made.ping(b"17")
        await ear.hear(2)
        made.close("done", planned=True)
        reason = await ended(made)

    assert ear.heard == [("open", b""), ("pong", b"17")]
    assert reason == CloseReason(1000, "done", "us", planned=True)


async def test_socket_what_is_sent_before_the_last_word_is_received() -> None:
    """A clean end loses nothing: the exchange's close frame comes after all it has sent."""
    closing = asyncio.Event()

    async def say(peer: ServerConnection) -> None:
        await closing.wait()
        # Written behind the server's back, as messages that were under way.
        peer.transport.write(b"".join(bytes([0x81, 3]) + b"%03d" % n for n in range(300)))
        await peer.wait_closed()

    ear = Ear()
    async with venue(say) as url:
        made = socket(url, ear)
        await made.open(DEADLINE_S)
        closing.set()
        await asyncio.sleep(0)
        made.close("done", planned=True)
        await ended(made)

    assert ear.texts() == [b"%03d" % n for n in range(300)]


async def test_socket_message_too_large_is_refused_and_named() -> None:
    async def say(peer: ServerConnection) -> None:
        await peer.send("small")
        await peer.send("x" * 2000)
        await peer.wait_closed()

    ear = Ear()
    async with venue(say) as url:
        made = socket(url, ear, size=1000)
        await made.open(DEADLINE_S)
        reason = await ended(made)

    assert ear.texts() == [b"small"]
    assert "2000" in ear.too_large
    assert (reason.code, reason.by) == (1009, "us")


async def test_socket_cut_connection_is_the_networks_doing() -> None:
    async def say(peer: ServerConnection) -> None:
        await peer.send("last")
        peer.transport.abort()

    ear = Ear()
    async with venue(say) as url:
        made = socket(url, ear)
        await made.open(DEADLINE_S)
        reason = await ended(made)

    assert (reason.code, reason.by) == (1006, "network")


async def test_socket_that_breaks_the_protocol_is_closed() -> None:
    async def say(peer: ServerConnection) -> None:
        peer.transport.write(b"\xff\xff\xff\xff")
        await peer.wait_closed()

    ear = Ear()
    async with venue(say) as url:
        made = socket(url, ear)
        await made.open(DEADLINE_S)
        reason = await ended(made)

    assert (reason.code, reason.by) == (1002, "us")


async def test_socket_peer_that_never_says_goodbye_is_cut_in_time() -> None:
    over = asyncio.Event()

    async def say(peer: ServerConnection) -> None:
        peer.transport.pause_reading()
        await over.wait()

    ear = Ear()
    loop = asyncio.get_running_loop()
    async with venue(say, close_timeout=0.1) as url:
        made = socket(url, ear, patience_s=0.5)
        await made.open(DEADLINE_S)
        started = loop.time()
        made.close("done", planned=True)
        reason = await ended(made)
        took = loop.time() - started
        over.set()

    assert reason.by == "us"
    assert 0.4 < took < DEADLINE_S / 2


async def test_socket_paused_reads_nothing_until_resumed() -> None:
    async def say(peer: ServerConnection) -> None:
        for number in range(2000):
            await peer.send(f"{number:05} " + "x" * 5000)
        await peer.wait_closed()

    ear = Ear()
    async with venue(say) as url:
        made = socket(url, ear)
        await made.open(DEADLINE_S)
        made.pause()
        await asyncio.sleep(0)
        held = len(ear.texts())
        await asyncio.sleep(0.2)
        assert len(ear.texts()) == held
        made.resume()
        await ear.hear(2001)
        made.close("done", planned=True)
        await ended(made)

    assert [text[:5] for text in ear.texts()] == [b"%05d" % n for n in range(2000)]


async def test_socket_compressed_messages_are_read_when_asked_for() -> None:
    async def say(peer: ServerConnection) -> None:
        await peer.send("ab" * 1000)
        await peer.wait_closed()

    ear = Ear()
    async with venue(say, compression="deflate") as url:
        made = socket(url, ear, compression=True)
        await made.open(DEADLINE_S)
        await ear.hear(2)
        made.close("done", planned=True)
        await ended(made)

    assert ear.texts() == [b"ab" * 1000]


async def test_socket_refused_handshake_says_how_long_to_wait() -> None:
    async def refuse(peer: ServerConnection, request: Request) -> Response:
        headers = Headers({"Retry-After": "42", "Content-Length": "0"})
        return Response(HTTPStatus.TOO_MANY_REQUESTS, "Too Many Requests", headers)

    async with venue(lambda peer: peer.wait_closed(), process_request=refuse) as url:
        made = socket(url, Ear())
        with pytest.raises(OpeningError) as raised:
            await made.open(DEADLINE_S)
        await ended(made)

    assert raised.value.retry_after_s == 42.0
    assert raised.value.reason == CloseReason(429, "HTTP 429 Too Many Requests", "handshake")


async def test_socket_nobody_listening_cannot_be_opened() -> None:
    async with venue(lambda peer: peer.wait_closed()) as url:
        pass
    with pytest.raises(OpeningError) as raised:
        await socket(url, Ear()).open(DEADLINE_S)

    assert raised.value.reason.by == "handshake"


async def test_socket_handshake_without_answer_ends_in_time() -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        made = socket(f"ws://127.0.0.1:{port}/", Ear())
        with pytest.raises(OpeningError, match=r"not open after 0\.2 s"):
            await made.open(0.2)
        await ended(made)


async def test_socket_server_that_is_no_websocket_is_an_opening_error() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail ready\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        made = socket(f"ws://127.0.0.1:{port}/", Ear())
        with pytest.raises(OpeningError):
            await made.open(DEADLINE_S)
        await ended(made)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl for a certificate")
async def test_socket_over_tls_trusts_the_systems_authorities_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    await asyncio.to_thread(make_certificate, certificate, key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def say(peer: ServerConnection) -> None:
        for number in range(200):
            await peer.send(f"{number:04}" * 500)
        await peer.wait_closed()

    ear = Ear()
    async with venue(say, ssl=context) as url:
        url = url.replace("ws://127.0.0.1", "wss://localhost")
        websocket._tls.cache_clear()
        with pytest.raises(OpeningError, match="certificate verify failed"):
            await socket(url, Ear()).open(DEADLINE_S)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        websocket._tls.cache_clear()
        made = socket(url, ear)
        await made.open(DEADLINE_S)
        await ear.hear(201)
        made.close("done", planned=True)
        reason = await ended(made)
    websocket._tls.cache_clear()

    assert reason.planned
    assert ear.texts() == [b"%04d" % n * 500 for n in range(200)]


def make_certificate(certificate: Path, key: Path) -> None:
    """Make a certificate for this machine that its own owner has signed."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
