"""The REST client against a real HTTP server on this machine."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from core.pacing import TokenBucket
from infra.runtime.metrics import Metrics
from producers.metrics import ProducerMetrics
from producers.pacer import Pacer
from producers.rest import RestClient, RestError

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def page(answer: Answer) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/depth?symbol=A"
    await runner.cleanup()


def client(
    per_s: float = 1000.0, burst: int = 100, *, timeout_s: float = 5.0, size: int = 10_000
) -> RestClient:
    return RestClient(
        "binance",
        Pacer(TokenBucket(per_s, burst)),
        timeout_s=timeout_s,
        bytes_max=size,
        metrics=ProducerMetrics(Metrics("test")),
    )


async def test_rest_body_comes_unchanged_after_the_turn_has_come() -> None:
    order: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        order.append("asked")
        return web.Response(body=b'{"lastUpdateId":  1}')

    async with page(answer) as url, client() as rest:
        body = await rest.get(url, lambda: order.append("started"))

    assert body == b'{"lastUpdateId":  1}'
    assert order == ["started", "asked"]


async def test_rest_requests_keep_the_venues_pace_in_order() -> None:
    times: list[float] = []

    async def answer(request: web.Request) -> web.Response:
        times.append(time.monotonic())
        return web.Response(body=request.query["symbol"].encode())

    async with page(answer) as url, client(per_s=20.0, burst=2) as rest:
        asked = [rest.get(f"{url}{n}", lambda: None) for n in range(8)]
        bodies = await asyncio.gather(*asked)

    assert bodies == [b"A%d" % n for n in range(8)]
    assert times[-1] - times[0] >= 6 / 20 * 0.9


async def test_rest_busy_venue_is_left_alone_for_as_long_as_it_asks() -> None:
    times: list[float] = []

    async def answer(request: web.Request) -> web.Response:
        times.append(time.monotonic())
        if len(times) == 1:
            return web.Response(status=429, headers={"Retry-After": "1"}, body=b"slow down")
        return web.Response(body=b"ok")

    async with page(answer) as url, client() as rest:
        with pytest.raises(RestError, match="HTTP 429 Too Many Requests: slow down") as raised:
            await rest.get(url, lambda: None)
        assert raised.value.not_before > time.monotonic_ns()
        assert await rest.get(url, lambda: None) == b"ok"

    assert times[1] - times[0] >= 0.9


async def test_rest_ban_is_sat_out() -> None:
    """Binance: a banned address that asks again is banned for longer."""
    days_s = 2 * 86_400

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=418, headers={"Retry-After": str(days_s)}, body=b"banned")

    async with page(answer) as url, client() as rest:
        with pytest.raises(RestError, match="HTTP 418") as raised:
            await rest.get(url, lambda: None)

    assert raised.value.not_before >= time.monotonic_ns() + (days_s - 60) * 1_000_000_000


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_rest_other_errors_are_told_and_block_nobody(status: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, body=b"x" * 500)

    async with page(answer) as url, client() as rest:
        with pytest.raises(RestError, match=f"HTTP {status}") as raised:
            await rest.get(url, lambda: None)

    assert raised.value.not_before == 0
    assert len(str(raised.value)) < 200


async def test_rest_body_that_is_too_large_is_refused() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 20_000)

    async with page(answer) as url, client(size=10_000) as rest:
        with pytest.raises(RestError, match="more than 10000 bytes"):
            await rest.get(url, lambda: None)


async def test_rest_answer_that_never_comes_ends_in_time() -> None:
    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    async with page(answer) as url, client(timeout_s=0.2) as rest:
        with pytest.raises(RestError, match=r"no answer in 0\.2 s"):
            await rest.get(url, lambda: None)


async def test_rest_nobody_listening_is_an_error() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    async with page(answer) as url:
        pass
    async with client() as rest:
        with pytest.raises(RestError, match="Connect"):
            await rest.get(url, lambda: None)
