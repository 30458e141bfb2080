"""Processors killed between detection and delivery: each incident of the raw log is told once."""

import asyncio
import time
from pathlib import Path

import pytest

from core.events import AlertBatch
from infra.cli.topics import make_topics
from infra.runtime.settings import load
from schemas.codec import decode_events
from schemas.topics import ALERTS
from tests.integration.notify.rig import ReceiverServer, until
from tests.integration.processors.raw_log import Log, Raw, Worker, expected, merged, raw_records
from tests.integration.services import Kafka
from tests.integration.sinks.rig import SESSION_MS, SinkProcess
from tests.processors.market import NS, Connection, batches

pytestmark = pytest.mark.timeout(500)

EPOCHS = 12
EPOCH_S = 30
FLOWS_S = 25


def broken_connections() -> list[Raw]:
    """Two sockets that end without a word and come back a few seconds later, again and again."""
    start = (int(time.time()) - 1200) * NS
    records = []
    for partition, name in enumerate(("kraken", "binance")):
        for number in range(EPOCHS):
            connection = Connection(name, epoch=start + number * EPOCH_S * NS)
            # The last batch has the word at the end.
            records.append(raw_records(batches(connection, seconds=FLOWS_S)[:-1], partition))
    return merged(*records)


async def test_processors_killed_under_load_have_each_incident_told_once(
    kafka: Kafka, tmp_path: Path
) -> None:
    records = broken_connections()
    log = Log(kafka.bootstrap, tmp_path, "kraken", "binance")
    await log.create()
    server = ReceiverServer("structured")
    await server.start()
    environment = {
        "STREAMGAUGE_CONFIG": str(log.config),
        "STREAMGAUGE__NOTIFY__GROUP": f"{log.prefix}notify",
        "STREAMGAUGE__NOTIFY__SESSION_TIMEOUT_MS": str(SESSION_MS),
        "STREAMGAUGE__NOTIFY__FLAP_OPENINGS": "0",
        "STREAMGAUGE__NOTIFY__RECEIVERS__HOOK__KIND": "webhook",
        "STREAMGAUGE__NOTIFY__RECEIVERS__HOOK__URL": server.url,
    }
    await make_topics(load(environ=environment))
    told = _incidents(records)

    notifier = SinkProcess(environment, "-m", "streamgauge", "notify")
    try:
        await notifier.ready()
        with Worker(log, "first", processor__instance_id="w1") as first:
            first.wait_ready()
            writing = asyncio.create_task(log.write(records))
            for share in (4, 2):
                await log.wait_committed(at_least=len(records) // share)
                first.kill()
                first = Worker(log, f"again{share}", processor__instance_id="w1")
            await writing
            with first:
                await log.wait_committed()
        await until(lambda: set(server.told) >= told, "every incident")
        await until(lambda: notifier.metric("md_notify_lag_records") == 0, "no lag")
    finally:
        print(notifier.end())  # noqa: T201 - shown where the test fails
        await server.stop()

    assert server.refused == []
    assert sorted(server.told) == sorted(told)
    assert len(told) == 2 * 2 * (EPOCHS - 1)


def _incidents(records: list[Raw]) -> set[tuple[str, str]]:
    """Return what one engine over the whole raw log says, as incident and phase."""
    found = set()
    for (kind, _), by_mark in expected(records).items():
        if kind != ALERTS:
            continue
        for value in (value for values in by_mark.values() for value in values):
            batch = decode_events(ALERTS, value)
            assert isinstance(batch, AlertBatch)
            (alert,) = batch.alerts
            found.add((alert.alert_id, alert.phase.name.lower()))
    return found
