"""Which servers the integration tests get, and that they answer."""

from pathlib import Path

import clickhouse_connect
import pytest
from aiokafka import AIOKafkaProducer

from infra.local.clickhouse.process import ClickHouseServer
from tests.integration.services import ClickHouse, Kafka, clickhouse_service, kafka_service


async def test_kafka_answers_a_client(kafka: Kafka) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)

    await producer.start()
    await producer.stop()


async def test_database_is_empty_and_writable(clickhouse: ClickHouse, database: str) -> None:
    client = clickhouse_connect.get_client(
        host=clickhouse.host,
        port=clickhouse.port,
        username=clickhouse.user,
        password=clickhouse.password,
        database=database,
    )

    assert client.query("SHOW TABLES").result_rows == []
    client.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    assert client.command("SELECT currentDatabase()") == database


def test_addresses_in_the_environment_come_first(
    server: ClickHouseServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMGAUGE_TEST_KAFKA", "broker:9092")
    monkeypatch.setenv(
        "STREAMGAUGE_TEST_CLICKHOUSE", f"http://u:p%40ss@{server.host}:{server.port}"
    )

    with kafka_service(tmp_path) as kafka, clickhouse_service(tmp_path) as clickhouse:
        assert kafka == Kafka("broker:9092")
        assert clickhouse == ClickHouse(server.host, server.port, "u", "p@ss")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("service", [kafka_service, clickhouse_service])
def test_unknown_backend_is_refused(
    service: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STREAMGAUGE_TEST_KAFKA", raising=False)
    monkeypatch.delenv("STREAMGAUGE_TEST_CLICKHOUSE", raising=False)
    monkeypatch.setenv("STREAMGAUGE_TEST_BACKEND", "clouds")

    with pytest.raises(ValueError, match="use local or containers"), service(tmp_path):
        pass
