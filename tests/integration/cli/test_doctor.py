"""`streamgauge doctor` against real servers, healthy and not."""

import json
from collections.abc import AsyncIterator
from email.utils import formatdate
from typing import Any

import pytest
from aiohttp import web

from infra.cli.checks import Status
from infra.cli.checks.clock import check_exchange_clock
from infra.local.process import free_port
from tests.integration.cli.conftest import Command
from tests.integration.services import Kafka


def diagnosis(streamgauge: Command, environ: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Return the exit code, and the findings by the name of their check."""
    result = streamgauge("doctor", "--json", **environ)
    answer = json.loads(result.stdout)
    assert answer["ok"] is (result.returncode == 0), result.stderr
    return result.returncode, {finding["check"]: finding for finding in answer["findings"]}


def test_doctor_without_servers_fails_and_says_what_to_start(streamgauge: Command) -> None:
    environ = {
        "STREAMGAUGE__KAFKA__BOOTSTRAP": f"127.0.0.1:{free_port()}",
        "STREAMGAUGE__CLICKHOUSE__PORT": str(free_port()),
    }

    code, findings = diagnosis(streamgauge, environ)

    assert code == 1
    assert findings["settings"]["status"] == "ok"
    for server in ("kafka", "clickhouse"):
        assert findings[server]["status"] == "failed"
        assert f"streamgauge {server}" in findings[server]["advice"]
    plain = streamgauge("doctor", **environ)
    assert plain.returncode == 1
    assert plain.stderr == ""
    assert "\x1b" not in plain.stdout


def test_doctor_finds_servers_without_topics_and_tables(
    streamgauge: Command, kafka: Kafka, environ: dict[str, str]
) -> None:
    environ |= {
        "STREAMGAUGE__KAFKA__BOOTSTRAP": kafka.bootstrap,
        "STREAMGAUGE__TOPICS__PREFIX": "doctor-finds-nothing.",
    }

    code, findings = diagnosis(streamgauge, environ)

    assert code == 1
    assert findings["kafka"]["status"] == "ok"
    assert findings["clickhouse"]["status"] == "ok"
    assert "doctor-finds-nothing.trades" in findings["topics"]["found"]
    assert "streamgauge topics" in findings["topics"]["advice"]
    assert "streamgauge migrate" in findings["tables"]["advice"]
    assert findings["clock (ClickHouse)"]["status"] in ("ok", "warning", "failed")


def test_doctor_finds_nothing_wrong_after_topics_and_migrate(
    streamgauge: Command, kafka: Kafka, environ: dict[str, str]
) -> None:
    environ |= {
        "STREAMGAUGE__KAFKA__BOOTSTRAP": kafka.bootstrap,
        "STREAMGAUGE__TOPICS__PREFIX": "doctor-finds-all.",
    }
    for command in ("topics", "migrate"):
        result = streamgauge(command, **environ)
        assert result.returncode == 0, result.stderr

    _, findings = diagnosis(streamgauge, environ)

    assert findings["topics"]["status"] == "ok"
    assert findings["tables"]["status"] == "ok"


def test_doctor_reports_wrong_settings_as_a_finding(streamgauge: Command) -> None:
    code, findings = diagnosis(streamgauge, {"STREAMGAUGE__SINK__BLOCK_ROWS": "0"})

    assert code == 1
    assert "sink.block_rows" in findings["settings"]["found"]


def test_doctor_shows_settings_in_force_without_secrets(streamgauge: Command) -> None:
    result = streamgauge(
        "doctor", "--settings", "--json", STREAMGAUGE__CLICKHOUSE__PASSWORD="hunter2"
    )

    assert json.loads(result.stdout)["clickhouse"]["password"] == "***"
    assert "hunter2" not in result.stdout


class Venue:
    """An HTTP server whose clock is `ahead` s ahead of ours."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        import time

        date = formatdate(time.time() + self.ahead, usegmt=True)
        return web.Response(status=404, headers={"Date": date})


@pytest.fixture
async def venue() -> AsyncIterator[Venue]:
    venue = Venue()
    app = web.Application()
    app.router.add_route("*", "/", venue.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    venue.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield venue
    await runner.cleanup()


@pytest.mark.parametrize(
    ("ahead", "status"), [(0.0, Status.OK), (30.0, Status.FAILED), (-30.0, Status.FAILED)]
)
async def test_exchange_clock_is_judged_by_its_date(
    venue: Venue, ahead: float, status: Status
) -> None:
    venue.ahead = ahead

    assert (await check_exchange_clock("kraken", venue.url)).status is status


async def test_exchange_that_is_away_is_a_finding() -> None:
    finding = await check_exchange_clock("kraken", f"http://127.0.0.1:{free_port()}")

    assert finding.status is Status.FAILED
    assert "exchanges.kraken.rest_url" in finding.advice
