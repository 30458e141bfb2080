"""Fixtures that give every integration test its servers."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import clickhouse_connect
import pytest

from tests.integration.services import ClickHouse, Kafka, clickhouse_service, kafka_service

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below this folder, so that a run can leave it out."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """One broker for all tests: give every test topics and groups of its own."""
    with kafka_service(tmp_path_factory.mktemp("kafka")) as service:
        yield service


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """One ClickHouse for all tests: use the fixture `database`."""
    with clickhouse_service(tmp_path_factory.mktemp("clickhouse")) as service:
        yield service


@pytest.fixture
def database(clickhouse: ClickHouse) -> Iterator[str]:
    """The name of an empty database, dropped after the test."""
    name = f"test_{uuid.uuid4().hex}"
    client = clickhouse_connect.get_client(
        host=clickhouse.host,
        port=clickhouse.port,
        username=clickhouse.user,
        password=clickhouse.password,
        autogenerate_session_id=False,
    )
    client.command(f"CREATE DATABASE {name}")
    yield name
    client.command(f"DROP DATABASE IF EXISTS {name} SYNC")
    client.close()
