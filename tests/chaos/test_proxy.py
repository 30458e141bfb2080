"""The proxy: bytes pass unchanged and in order, whatever is done to their path."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from infra.chaos.proxy import HOST, Path, Proxy

SMALL = b"x"


@asynccontextmanager
async def _echo() -> AsyncIterator[tuple[Proxy, asyncio.StreamReader, asyncio.StreamWriter]]:
    """Run a server that says what it hears behind a proxy, and connect to it."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1 << 16):
            writer.write(chunk)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        yield proxy, reader, writer
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def _said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes) -> bytes:
    writer.write(data)
    return await asyncio.wait_for(reader.readexactly(len(data)), 10)


def _path(proxy: Proxy) -> Path:
    (path,) = proxy.paths.values()
    return path


async def test_proxy_passes_bytes_unchanged_in_both_directions() -> None:
    data = bytes(range(256)) * 4096
    async with _echo() as (_, reader, writer):
        assert await _said(reader, writer, data) == data


async def test_proxy_knows_a_path_by_the_address_that_the_venue_sees() -> None:
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.set_result("{}:{}".format(*writer.get_extra_info("peername")))
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(note, HOST, 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        _, writer = await asyncio.open_connection(HOST, proxy.port)
        peer = await asyncio.wait_for(seen, 10)
        assert list(proxy.paths) == [peer]
        await _close(writer)


async def test_path_that_is_held_passes_nothing_and_then_everything() -> None:
    async with _echo() as (proxy, reader, writer):
        await _said(reader, writer, SMALL)
        _path(proxy).down.hold()
        writer.write(b"held")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(4), 0.3)
        _path(proxy).down.release()

        assert await asyncio.wait_for(reader.readexactly(4), 10) == b"held"


async def test_path_that_is_slow_keeps_the_order_though_its_delay_falls() -> None:
    async with _echo() as (proxy, reader, writer):
        await _said(reader, writer, SMALL)
        loop = asyncio.get_running_loop()
        delays = iter((0.4, 0.0, 0.2, 0.0))
        _path(proxy).down.extra = lambda now: next(delays, 0.0)
        started = loop.time()
        for number in range(4):
            writer.write(b"%d" % number)
            await asyncio.sleep(0.03)

        assert await asyncio.wait_for(reader.readexactly(4), 10) == b"0123"
        assert loop.time() - started >= 0.4


async def test_path_that_is_cut_ends_both_sides() -> None:
    async with _echo() as (proxy, reader, writer):
        await _said(reader, writer, SMALL)
        _path(proxy).cut()

        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(1), 10)
        await asyncio.sleep(0.1)
        assert not proxy.paths


async def test_proxy_that_refuses_ends_a_connection_at_once() -> None:
    async with _echo() as (proxy, reader, writer):
        await _said(reader, writer, SMALL)
        proxy.is_refusing = True
        other, ended = await asyncio.open_connection(HOST, proxy.port)

        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(other.readexactly(1), 10)
        await _close(ended)
        assert await _said(reader, writer, SMALL) == SMALL
