"""Our images: who runs in them, what they refuse, that they keep data and end in order."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from infra.local.kafka import ask_cluster
from infra.local.process import HOST, free_port
from tests.containers.waiting import wait_until

IMAGES = ("streamgauge", "streamgauge-kafka", "streamgauge-clickhouse")
STOP_SECONDS = 30
SIGTERM_CODES = {"streamgauge": 0, "streamgauge-clickhouse": 0, "streamgauge-kafka": 128 + 15}
"""What each answers to SIGTERM: Java ends in order too, and reports the signal."""


@contextmanager
def container(engine: Any, image: str, *command: str, **options: Any) -> Iterator[Any]:
    started = engine.containers.run(image, list(command) or None, detach=True, **options)
    try:
        yield started
    finally:
        started.remove(force=True, v=True)


def healthy(started: Any) -> bool:
    started.reload()
    return bool(started.attrs["State"]["Health"]["Status"] == "healthy")


@pytest.mark.parametrize("image", IMAGES)
def test_image_runs_without_root_and_keeps_no_secret_of_its_build(engine: Any, image: str) -> None:
    script = "id -u; ls /etc/pip.conf /run/secrets 2>/dev/null || true"

    said = engine.containers.run(image, ["-c", script], entrypoint="sh", remove=True)

    assert said == b"10001\n"


def test_clickhouse_without_a_password_is_refused(engine: Any) -> None:
    with container(engine, "streamgauge-clickhouse") as started:
        code = started.wait(timeout=STOP_SECONDS)["StatusCode"]

        assert (code, b"CLICKHOUSE_PASSWORD" in started.logs()) == (2, True)


def test_stage_with_a_wrong_setting_is_refused(engine: Any) -> None:
    settings = {"STREAMGAUGE__SINK__BLOCK_ROWS": "many"}

    with container(engine, "streamgauge", "sink", environment=settings) as started:
        code = started.wait(timeout=STOP_SECONDS)["StatusCode"]

        assert (code, b"sink.block_rows" in started.logs()) == (2, True)


def test_kafka_keeps_its_cluster_over_a_restart(engine: Any) -> None:
    port = free_port()
    answer: Callable[[], str | None] = lambda: ask_cluster(HOST, port)  # noqa: E731
    with container(engine, "streamgauge-kafka", ports={"9092/tcp": (HOST, port)}) as started:
        first = wait_until("Kafka", answer)
        wait_until("Kafka's health check", lambda: healthy(started))

        started.stop(timeout=STOP_SECONDS)
        ended = started.wait()["StatusCode"]
        started.start()

        assert ended == SIGTERM_CODES["streamgauge-kafka"]
        assert wait_until("Kafka again", answer) == first


def test_clickhouse_keeps_its_rows_over_a_restart(engine: Any) -> None:
    import clickhouse_connect

    port = free_port()
    options = {
        "ports": {"8123/tcp": (HOST, port)},
        "environment": {"CLICKHOUSE_PASSWORD": "secret"},
    }
    with container(engine, "streamgauge-clickhouse", **options) as started:
        wait_until("ClickHouse", lambda: healthy(started))
        client = clickhouse_connect.get_client(host=HOST, port=port, password="secret")
        client.command("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
        client.insert("t", [[1], [2]], column_names=["a"])

        started.stop(timeout=STOP_SECONDS)
        ended = started.wait()["StatusCode"]
        started.start()
        wait_until("ClickHouse again", lambda: healthy(started))

        assert ended == SIGTERM_CODES["streamgauge-clickhouse"]
        assert client.query("SELECT a FROM t ORDER BY a").result_rows == [(1,), (2,)]
        client.close()
