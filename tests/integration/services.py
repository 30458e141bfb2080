"""The servers behind the integration tests: by address, in containers, or the local default.

All three run the same tests, so nothing here may be used to tell them apart.
STREAMGAUGE_TEST_KAFKA (host:port) and STREAMGAUGE_TEST_CLICKHOUSE (http://user:password@host:port)
name servers that run already. STREAMGAUGE_TEST_BACKEND=containers starts the images named by
STREAMGAUGE_TEST_KAFKA_IMAGE and STREAMGAUGE_TEST_CLICKHOUSE_IMAGE on a Docker engine of this
machine, each on a port of 127.0.0.1; `make test-containers` names the images of infra/docker.
"""

import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from infra.local.clickhouse.process import ClickHouseServer
from infra.local.kafka import KafkaServer, ask_cluster
from infra.local.process import HOST, free_port

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

KAFKA_IMAGE = "apache/kafka:4.3.1"
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:26.9"
CONTAINER_START_SECONDS = 120.0
CONTAINER_LOG_BYTES = 3000
KAFKA_PORT = 9092
CLICKHOUSE_PORT = 8123


@dataclass(frozen=True)
class Kafka:
    """Where the broker is."""

    bootstrap: str


@dataclass(frozen=True)
class ClickHouse:
    """Where the database is and who may use it."""

    host: str
    port: int
    user: str
    password: str


@contextmanager
def kafka_service(folder: Path) -> Iterator[Kafka]:
    """A broker that answers, for as long as the context is open."""
    address = os.environ.get("STREAMGAUGE_TEST_KAFKA")
    if address:
        yield Kafka(address)
    elif _in_containers():
        with _kafka_container() as kafka:
            yield kafka
    else:
        with KafkaServer(folder) as server:
            yield Kafka(server.bootstrap)


@contextmanager
def clickhouse_service(folder: Path) -> Iterator[ClickHouse]:
    """A database that answers, for as long as the context is open."""
    address = os.environ.get("STREAMGAUGE_TEST_CLICKHOUSE")
    if address:
        yield _parse_clickhouse(address)
    elif _in_containers():
        with _clickhouse_container() as clickhouse:
            yield clickhouse
    else:
        with ClickHouseServer(folder) as server:
            yield ClickHouse(server.host, server.port, server.user, server.password)


def _in_containers() -> bool:
    backend = os.environ.get("STREAMGAUGE_TEST_BACKEND", "local")
    if backend not in ("local", "containers"):
        raise ValueError(f"STREAMGAUGE_TEST_BACKEND is {backend!r}: use local or containers")
    return backend == "containers"


def _parse_clickhouse(address: str) -> ClickHouse:
    parts = urlsplit(address if "//" in address else f"//{address}")
    if not parts.hostname:
        raise ValueError(f"STREAMGAUGE_TEST_CLICKHOUSE is {address!r}: use http://host:port")
    return ClickHouse(
        parts.hostname,
        parts.port or CLICKHOUSE_PORT,
        unquote(parts.username or "default"),
        unquote(parts.password or ""),
    )


@contextmanager
def _kafka_container() -> Iterator[Kafka]:
    # Clients go to the advertised address, so the port must be known before the start.
    port = free_port()
    settings = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        # The broker talks to itself too, as to finish a transaction, and inside its container the
        # address of the clients leads nowhere.
        "KAFKA_LISTENERS": f"PLAINTEXT://:{KAFKA_PORT},BROKER://:9094,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://{HOST}:{port},BROKER://localhost:9094",
        "KAFKA_INTER_BROKER_LISTENER_NAME": "BROKER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": (
            "CONTROLLER:PLAINTEXT,BROKER:PLAINTEXT,PLAINTEXT:PLAINTEXT"
        ),
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_MESSAGE_MAX_BYTES": str((4 << 20) + (1 << 16)),
        "KAFKA_REPLICA_FETCH_MAX_BYTES": str((4 << 20) + (1 << 16)),
    }
    image = os.environ.get("STREAMGAUGE_TEST_KAFKA_IMAGE", KAFKA_IMAGE)
    with _container(image, KAFKA_PORT, port, settings) as container:
        _wait_until("Kafka", container, lambda: ask_cluster(HOST, port) is not None)
        yield Kafka(f"{HOST}:{port}")


@contextmanager
def _clickhouse_container() -> Iterator[ClickHouse]:
    port, user, password = free_port(), "default", "integration"
    image = os.environ.get("STREAMGAUGE_TEST_CLICKHOUSE_IMAGE", CLICKHOUSE_IMAGE)
    settings = {"CLICKHOUSE_USER": user, "CLICKHOUSE_PASSWORD": password}
    with _container(image, CLICKHOUSE_PORT, port, settings) as container:
        _wait_until("ClickHouse", container, lambda: _pings(f"http://{HOST}:{port}/ping"))
        yield ClickHouse(HOST, port, user, password)


@contextmanager
def _container(
    image: str, inner_port: int, port: int, settings: dict[str, str]
) -> Iterator["DockerContainer"]:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    # The container that would clean up after a killed test run is an image more to fetch, and it
    # listens on every address of this machine.
    testcontainers_config.ryuk_disabled = True
    container = DockerContainer(image)
    # A port alone would be published on every address; the annotation knows no other form.
    container.ports[str(inner_port)] = (HOST, port)  # type: ignore[assignment]
    for name, value in settings.items():
        container = container.with_env(name, value)
    with container:
        yield container


def _pings(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _wait_until(name: str, container: "DockerContainer", answers: Callable[[], bool]) -> None:
    deadline = time.monotonic() + CONTAINER_START_SECONDS
    started = container.get_wrapped_container()
    while not answers():
        started.reload()
        if started.status == "running" and time.monotonic() < deadline:
            time.sleep(0.2)
            continue
        log = started.logs()[-CONTAINER_LOG_BYTES:].decode(errors="replace")
        raise TimeoutError(
            f"the {name} container is {started.status} and does not answer; its log ends:\n{log}"
        )
