"""A broker that dies under a busy worker and comes back: the worker waits and goes on."""

import asyncio
import time
from pathlib import Path

import pytest

from infra.local.kafka import KafkaServer
from infra.local.process import free_port
from tests.integration.processors.raw_log import Log, Worker, expected, merged, raw_records
from tests.processors.market import NS, SYMBOLS, Connection, batches


@pytest.mark.timeout(500)
async def test_worker_outlives_a_killed_broker(tmp_path: Path) -> None:
    """The broker is one of its own, because it is killed."""
    start = (int(time.time()) - 1200) * NS
    records = merged(
        *(raw_records(batches(Connection(n, epoch=start), seconds=300), 0) for n in SYMBOLS)
    )
    server = KafkaServer(tmp_path / "kafka", free_port())
    with server:
        log = Log(server.bootstrap, tmp_path, *SYMBOLS)
        await log.create()
        with Worker(log, "worker") as worker:
            worker.wait_ready()
            await log.write(records)
            await log.wait_committed(at_least=len(records) // 4)
            server.kill()
            live = worker.get("/live")[0]
            await asyncio.to_thread(server.start)
            await log.wait_committed()
            code = worker.terminate()

        assert (live, code) == (200, 0)
        assert await log.published() == expected(records)
