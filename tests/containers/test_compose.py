"""The pipeline as infra/docker/compose.yaml runs it: from simulated exchanges to rows."""

import json
import os
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from infra.local.process import HOST, free_port
from tests.containers.waiting import wait_until

FILE = Path(__file__).parents[2] / "infra" / "docker" / "compose.yaml"
COMMAND_SECONDS = 240
COMPARE = Path(__file__).with_name("compare.py")
COUNT = "SELECT count() FROM streamgauge."
STAGES = ("produce-simulated", "process", "sink")
EXCHANGES = {"trades": 3, "books": 3, "stability_1s": 3}
PASSWORD = "compose"
PROFILES = ("--profile", "own", "--profile", "simulated")


@dataclass
class Compose:
    """One project of its own, on free ports."""

    program: list[str]
    project: str
    environment: dict[str, str]

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            [*self.program, "-p", self.project, "-f", str(FILE), *PROFILES, *arguments],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def exit_code(self, service: str) -> int:
        """Exit code of the service's container, which must have ended."""
        name = self("ps", "-aq", service).strip()
        said = subprocess.run(
            ["docker", "inspect", name], capture_output=True, text=True, check=True
        ).stdout
        state = json.loads(said)[0]["State"]
        assert state["Status"] == "exited"
        return int(state["ExitCode"])


def program() -> list[str]:
    docker = shutil.which("docker")
    if (
        docker
        and not subprocess.run([docker, "compose", "version"], capture_output=True).returncode
    ):
        return [docker, "compose"]
    if single := shutil.which("docker-compose"):
        return [single]
    pytest.skip("needs docker compose")


@pytest.fixture
def compose() -> Iterator[Compose]:
    ports = {name: str(free_port()) for name in ("KAFKA_PORT", "CLICKHOUSE_PORT", "PRODUCE_PORT")}
    environment = ports | {"CLICKHOUSE_PASSWORD": PASSWORD, "RATE": "60"}
    started = Compose(program(), f"test{uuid.uuid4().hex[:12]}", environment)
    try:
        yield started
    finally:
        started("down", "--volumes", "--timeout", "5")


def exchanges(client: Client) -> dict[str, int]:
    """How many exchanges each table has rows of."""
    count = "SELECT uniqExact(exchange) FROM streamgauge."
    return {table: int(str(client.command(count + table))) for table in EXCHANGES}


def rows(client: Client) -> dict[str, int]:
    """How many rows each table has."""
    return {table: int(str(client.command(COUNT + table))) for table in EXCHANGES}


def connect(compose: Compose) -> Client:
    port = int(compose.environment["CLICKHOUSE_PORT"])
    return clickhouse_connect.get_client(host=HOST, port=port, password=PASSWORD)


def truth(compose: Compose) -> dict[str, Any]:
    """How the rows compare with what the simulated exchanges made and handed out."""
    place = ("run", "--rm", "--no-deps", "-T", "--entrypoint", "python", "produce-simulated")
    found: dict[str, Any] = json.loads(compose(*place, "-c", COMPARE.read_text(encoding="utf-8")))
    return found


def is_whole(found: dict[str, Any]) -> bool:
    wrong = ("trades_missing", "trades_doubled", "trades_wrong", "books_different")
    some = found["trades_expected"] > 0 and found["books_compared"] > 0
    return some and not any(found[name] for name in wrong)


@pytest.mark.timeout(900)
def test_pipeline_by_compose_loses_nothing_when_stopped_and_taken_down(compose: Compose) -> None:
    """The stages get their signal together, with records on the way between them."""
    compose("up", "--detach")
    client = connect(compose)
    try:
        wait_until("rows of every exchange", lambda: exchanges(client) == EXCHANGES)
    except TimeoutError as error:
        error.add_note(compose("logs", "--tail", "20"))
        raise
    produce = f"http://{HOST}:{compose.environment['PRODUCE_PORT']}"
    with urllib.request.urlopen(f"{produce}/live", timeout=5) as live:
        assert live.status == 200

    compose("stop", *STAGES)
    assert {name: compose.exit_code(name) for name in STAGES} == dict.fromkeys(STAGES, 0)
    compose("start", "process", "sink")
    try:
        wait_until("every trade", lambda: is_whole(truth(compose)))
    except TimeoutError as error:
        error.add_note(str(truth(compose)))
        raise
    outcome = json.loads(compose("exec", "-T", "sink", "streamgauge", "reconcile", "--json"))

    assert outcome["ok"]
    assert sum(each["rows"] for each in outcome["partitions"]) > 0
    compose("stop", "process", "sink")
    before = rows(client)
    client.close()
    compose("down")
    compose("up", "--detach", "kafka", "clickhouse")
    again = wait_until("ClickHouse again", lambda: reconnected(compose))
    assert again is not None
    assert rows(again) == before
    again.close()


def reconnected(compose: Compose) -> Client | None:
    try:
        return connect(compose)
    except (DatabaseError, OperationalError, OSError):
        return None
