"""Posting over real sockets: what an answer means, and that no secret is ever said."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from core.notify.pace import Verdict
from core.stability.alerts import Severity
from infra.local.process import HOST, free_port
from infra.runtime.settings import Secret
from sinks.notify.formats import Request
from sinks.notify.options import Receiver
from sinks.notify.post import Answer, Post

TOKEN = "t0ken-s3cret"


def receiver(url: str) -> Receiver:
    return Receiver("x", "webhook", Secret(url), Secret(), Secret(TOKEN), Severity.INFO, False, 0.5)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A receiver that answers with the status in its path, and says all that it was told."""

    async def serve(request: web.Request) -> web.Response:
        status = request.match_info["status"]
        if status == "late":
            await asyncio.sleep(5)
        said = f"{request.url} {request.headers.get('Authorization')} {await request.text()}"
        headers = {"Retry-After": "7", "Location": "/200/s3cret"}
        return web.Response(status=int(status), text=said, headers=headers)

    app = web.Application()
    app.router.add_post("/{status}/{rest}", serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    yield f"http://{HOST}:{runner.addresses[0][1]}"
    await runner.cleanup()


async def post(address: str) -> Answer:
    async with Post() as sender:
        return await sender.send(receiver(address), Request(b"{}", {"Content-Type": "a/b"}))


@pytest.mark.parametrize(
    ("path", "verdict"),
    [
        ("200/s3cret", Verdict.TAKEN),
        ("307/s3cret", Verdict.REFUSED),
        ("404/s3cret", Verdict.REFUSED),
        ("429/s3cret", Verdict.AWAY),
        ("500/s3cret", Verdict.FAILED),
    ],
)
async def test_answer_means_what_its_status_says(url: str, path: str, verdict: Verdict) -> None:
    answer = await post(f"{url}/{path}")

    assert answer.verdict is verdict
    assert answer.reason == f"HTTP {path[:3]}: *** Bearer *** {{}}"
    assert answer.retry_after_s == 7


async def test_receiver_that_is_late_or_not_there_is_away(url: str) -> None:
    late = await post(f"{url}/late/s3cret")
    gone = await post(f"http://{HOST}:{free_port()}/s3cret")
    unknown = await post("http://no-such-host.invalid/s3cret")

    assert [each.verdict for each in (late, gone, unknown)] == [Verdict.AWAY] * 3
    assert late.reason.endswith("in 0.5 s")
    assert gone.reason.endswith("cannot be reached: Connection refused")
    assert unknown.reason.startswith("no-such-host.invalid:80 cannot be reached")
    assert not any("s3cret" in each.reason for each in (late, gone, unknown))
