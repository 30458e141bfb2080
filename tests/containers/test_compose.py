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

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from infra.local.process import HOST, free_port
from tests.containers.waiting import wait_until

FILE = Path(__file__).parents[2] / "infra" / "docker" / "compose.yaml"
COMMAND_SECONDS = 240
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


@pytest.mark.timeout(600)
def test_pipeline_by_compose_stores_every_exchange_and_ends_in_order(compose: Compose) -> None:
    compose("up", "--detach")
    client = clickhouse_connect.get_client(
        host=HOST, port=int(compose.environment["CLICKHOUSE_PORT"]), password=PASSWORD
    )
    try:
        wait_until("rows of every exchange", lambda: exchanges(client) == EXCHANGES)
    except TimeoutError as error:
        error.add_note(compose("logs", "--tail", "20"))
        raise
    produce = f"http://{HOST}:{compose.environment['PRODUCE_PORT']}"
    with urllib.request.urlopen(f"{produce}/live", timeout=5) as live:
        assert live.status == 200

    for service in ("produce-simulated", "process", "sink"):
        compose("stop", service)

    codes = {name: compose.exit_code(name) for name in ("produce-simulated", "process", "sink")}
    assert codes == dict.fromkeys(codes, 0)
    count = "SELECT count() - uniqExact(exchange, symbol, trade_id) FROM streamgauge.trades"
    assert client.command(count) == 0
    client.close()
