"""Health over a real socket: what an orchestrator and Prometheus see."""

import socket
from collections.abc import AsyncIterator

import aiohttp
import pytest

from infra.runtime.health import Health, HealthServer, Verdict
from infra.runtime.metrics import Metrics
from infra.runtime.settings import SettingsError


@pytest.fixture
async def server() -> AsyncIterator[HealthServer]:
    metrics = Metrics("test")
    metrics.gauge("md_queue_frames", "Waiting.").set(4)
    server = HealthServer(Health("test"), metrics, host="127.0.0.1", port=0)
    await server.start()
    yield server
    await server.stop()


async def ask(server: HealthServer, path: str) -> tuple[int, dict[str, object]]:
    async with aiohttp.ClientSession() as session, session.get(server.url + path) as answer:
        return answer.status, await answer.json()


async def test_health_without_checks_is_well(server: HealthServer) -> None:
    expected = {"process": "test", "ok": True, "checks": {}}

    assert await ask(server, "/live") == (200, expected)
    assert await ask(server, "/ready") == (200, expected)


async def test_failed_ready_check_leaves_the_process_live(server: HealthServer) -> None:
    connected = False
    server.health.add_ready("kafka", lambda: Verdict(ok=connected, detail="connecting"))
    server.health.add_live("loop", lambda: Verdict(ok=True))

    assert await ask(server, "/ready") == (
        503,
        {
            "process": "test",
            "ok": False,
            "checks": {
                "loop": {"ok": True, "detail": ""},
                "kafka": {"ok": False, "detail": "connecting"},
            },
        },
    )
    assert (await ask(server, "/live"))[0] == 200
    connected = True
    assert (await ask(server, "/ready"))[0] == 200


async def test_process_that_is_not_live_is_not_ready_either(server: HealthServer) -> None:
    server.health.add_live("commits", lambda: Verdict(ok=False, detail="none for 70 s"))

    assert (await ask(server, "/live"))[0] == 503
    assert (await ask(server, "/ready"))[0] == 503


async def test_metrics_are_served_as_prometheus_reads_them(server: HealthServer) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(server.url + "/metrics") as answer,
    ):
        text = await answer.text()

    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "\nmd_queue_frames 4.0\n" in text


async def test_metrics_have_every_check_for_rules_that_alert_on_them(server: HealthServer) -> None:
    server.health.add_ready("kafka", lambda: Verdict(ok=False, detail="connecting"))
    server.health.add_live("commits", lambda: Verdict(ok=True))
    async with (
        aiohttp.ClientSession() as session,
        session.get(server.url + "/metrics") as answer,
    ):
        text = await answer.text()

    assert 'md_check_state{check="commits",page="live"} 1.0\n' in text
    assert 'md_check_state{check="kafka",page="ready"} 0.0\n' in text


async def test_port_that_is_taken_is_a_settings_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = HealthServer(Health("test"), Metrics("test"), host="127.0.0.1", port=port)

        with pytest.raises(SettingsError, match=r"runtime\.health_port.*cannot listen"):
            await server.start()


async def test_stopped_server_gives_its_port_back(server: HealthServer) -> None:
    await server.stop()

    with socket.create_server(("127.0.0.1", server.port)):
        pass
