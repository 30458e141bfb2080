"""Real workers on a real Kafka: what they publish is what one engine would have published."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from processors.worker import EX_SOFTWARE
from schemas.codec import decode_dead_letter
from schemas.topics import DEAD_LETTERS, event_topic
from tests.integration.processors.raw_log import Log, Raw, Worker, expected, merged, raw_records
from tests.integration.services import Kafka
from tests.processors.market import NS, SYMBOLS, Connection, batches

pytestmark = pytest.mark.timeout(500)


def three_venues(seconds: float) -> list[Raw]:
    """Every venue on partition 0, one more shard on partition 1, in order of time."""
    start = (int(time.time()) - 1200) * NS
    connections = [
        raw_records(batches(Connection(name, epoch=start), seconds=seconds), 0) for name in SYMBOLS
    ]
    other = Connection("deribit", epoch=start, shard="deribit-1", gap_at_s=int(seconds / 2))
    return merged(*connections, raw_records(batches(other, seconds=seconds), 1))


@pytest.fixture(scope="module")
def long_log() -> list[Raw]:
    """Long enough that a worker is still busy when it is killed."""
    return three_venues(seconds=400)


async def test_worker_over_three_venues_publishes_what_the_engine_gives(
    kafka: Kafka, tmp_path: Path
) -> None:
    log = Log(kafka.bootstrap, tmp_path, *SYMBOLS)
    await log.create()
    records = three_venues(seconds=60)

    with Worker(log, "worker") as worker:
        await log.write(records)
        worker.wait_ready()
        await log.wait_committed()
        live = worker.get("/live")
        metrics = worker.get("/metrics")[1]
        code = worker.terminate()

    assert await log.published() == expected(records)
    assert (live[0], code) == (200, 0)
    assert 'md_processor_events_total{exchange="kraken",kind="trades"}' in metrics


async def test_worker_killed_under_load_and_restarted_publishes_the_same_facts(
    kafka: Kafka, tmp_path: Path, long_log: list[Raw]
) -> None:
    log = Log(kafka.bootstrap, tmp_path, *SYMBOLS)
    await log.create()

    with Worker(log, "first", processor__instance_id="w1") as first:
        first.wait_ready()
        writing = asyncio.create_task(log.write(long_log))
        await log.wait_committed(at_least=len(long_log) // 4)
        first.kill()
        await writing
    committed, end = await log.progress()
    with Worker(log, "second", processor__instance_id="w1") as second:
        await log.wait_committed()
        warm = second.warm()
        code = second.terminate()

    assert 0 < committed < end
    assert 0 < sum(event["records"] for event in warm) < committed
    assert await log.published() == expected(long_log)
    assert code == 0


async def test_worker_killed_under_load_is_taken_over_by_another(
    kafka: Kafka, tmp_path: Path, long_log: list[Raw]
) -> None:
    log = Log(kafka.bootstrap, tmp_path, *SYMBOLS)
    await log.create()

    with Worker(log, "first") as first, Worker(log, "second") as second:
        first.wait_ready()
        second.wait_ready()
        writing = asyncio.create_task(log.write(long_log))
        await log.wait_committed(at_least=len(long_log) // 4)
        first.kill()
        committed, end = await log.progress()
        await writing
        await log.wait_committed()
        code = second.terminate()

    assert committed < end
    assert second.warm()[-1]["records"] > 0
    assert await log.published() == expected(long_log)
    assert code == 0


async def test_worker_that_joins_under_load_shares_the_partitions(
    kafka: Kafka, tmp_path: Path, long_log: list[Raw]
) -> None:
    log = Log(kafka.bootstrap, tmp_path, *SYMBOLS)
    await log.create()

    with Worker(log, "first") as first:
        first.wait_ready()
        writing = asyncio.create_task(log.write(long_log))
        await log.wait_committed(at_least=len(long_log) // 8)
        with Worker(log, "second") as second:
            second.wait_ready()
            await writing
            await log.wait_committed()
            shares = [
                len(worker.events("partitions_assigned")[-1]["partitions"])
                for worker in (first, second)
            ]
            codes = [second.terminate(), first.terminate()]

    assert await log.published() == expected(long_log)
    assert (shares, codes) == ([4, 4], [0, 0])


async def test_worker_that_was_frozen_and_replaced_changes_nothing_when_it_wakes(
    kafka: Kafka, tmp_path: Path, long_log: list[Raw]
) -> None:
    """A zombie may publish again what its successor published, byte for byte."""
    log = Log(kafka.bootstrap, tmp_path, *SYMBOLS)
    await log.create()

    with Worker(log, "first") as first, Worker(log, "second") as second:
        first.wait_ready()
        second.wait_ready()
        writing = asyncio.create_task(log.write(long_log))
        await log.wait_committed(at_least=len(long_log) // 4)
        first.pause()
        await writing
        await log.wait_committed()
        first.resume()
        second.wait_until(
            lambda: len(second.events("partitions_assigned")) > 2 or first.ended(), timeout=90
        )
        second.terminate()

    assert await log.published() == expected(long_log)


SABOTAGE = """
import processors.engine as engine
feed = engine.PartitionEngine.feed
def failing(self, record):
    if record.offset == 7:
        raise RuntimeError("a mistake of ours")
    return feed(self, record)
engine.PartitionEngine.feed = failing
import sys, streamgauge
sys.argv = ["streamgauge", "process"]
streamgauge.main()
"""


async def test_mistake_of_ours_ends_the_process_and_the_next_begins_with_its_record(
    kafka: Kafka, tmp_path: Path
) -> None:
    log = Log(kafka.bootstrap, tmp_path, "deribit", partitions=1)
    await log.create()
    connection = Connection("deribit", epoch=(int(time.time()) - 1200) * NS)
    records = raw_records(batches(connection, seconds=60), 0)
    await log.write(records)

    with Worker(log, "first", program=SABOTAGE) as first:
        code = first.wait()
    committed, _ = await log.progress()
    with Worker(log, "second") as second:
        await log.wait_committed()
        second.terminate()

    (said,) = first.events("process_ends")
    assert code == EX_SOFTWARE
    assert "at 7" in said["reason"]
    assert "a mistake of ours" in said["exception"]
    assert committed <= 7
    assert await log.published() == expected(records)


async def test_worker_ended_by_sigterm_under_load_loses_and_changes_nothing(
    kafka: Kafka, tmp_path: Path, long_log: list[Raw]
) -> None:
    log = Log(kafka.bootstrap, tmp_path, *SYMBOLS)
    await log.create()

    with Worker(log, "first") as first:
        first.wait_ready()
        writing = asyncio.create_task(log.write(long_log))
        await log.wait_committed(at_least=len(long_log) // 4)
        first_code = first.terminate()
        await writing
    committed, end = await log.progress()
    with Worker(log, "second") as second:
        await log.wait_committed()
        second_code = second.terminate()

    assert (first_code, second_code) == (0, 0)
    assert 0 < committed < end
    assert await log.published() == expected(long_log)


async def test_worker_meets_unusable_records_and_writes_letters(
    kafka: Kafka, tmp_path: Path
) -> None:
    log = Log(kafka.bootstrap, tmp_path, "deribit", "kraken")
    await log.create()
    records = [raw for raw in three_venues(seconds=20) if raw.exchange == "deribit"]
    foreign = [raw for raw in three_venues(seconds=5) if raw.exchange == "kraken"]
    poison = [
        Raw("deribit", 0, b"deribit-0", b"not avro", records[5].ts_ms),
        Raw("deribit", 0, b"deribit-0", b"", records[5].ts_ms),
        Raw("deribit", 0, b"deribit-0", records[5].value[:-7], records[5].ts_ms),
        foreign[0]._replace(exchange="deribit"),
    ]

    with Worker(log, "worker") as worker:
        await log.write([*records[:6], *poison, *records[6:]])
        await log.wait_committed()
        metrics = worker.get("/metrics")[1]
        worker.terminate()

    letters = [
        decode_dead_letter(record.value)
        for record in await log.read(event_topic(DEAD_LETTERS, log.prefix))
    ]
    whole = expected([*records[:6], *poison, *records[6:]])
    assert await log.published() == whole
    assert [raw.value for raw in poison] == [letter.value or b"" for letter in letters]
    assert all(letter.reason and letter.log_id and letter.ts for letter in letters)
    assert {f"{log.prefix}raw.deribit"} == {letter.topic for letter in letters}
    assert 'md_processor_dead_letter_records_total{exchange="deribit"} 4.0' in metrics


async def test_output_that_kafka_refuses_ends_the_process_before_the_commit(
    kafka: Kafka, tmp_path: Path
) -> None:
    log = Log(kafka.bootstrap, tmp_path, "deribit")
    await log.create()
    records = [raw for raw in three_venues(seconds=60) if raw.exchange == "deribit"]
    await log.write(records)

    await log.limit(event_topic("stability", log.prefix), max_message_bytes=100)
    with Worker(log, "first") as first:
        code = first.wait()
    committed, _ = await log.progress()
    await log.limit(event_topic("stability", log.prefix), max_message_bytes=1 << 20)
    with Worker(log, "second") as second:
        await log.wait_committed()
        second.terminate()

    assert code == EX_SOFTWARE
    assert first.events("process_ends")
    assert committed == 0
    assert await log.published() == expected(records)


async def test_worker_that_commits_nothing_although_work_waits_is_not_live(
    kafka: Kafka, tmp_path: Path
) -> None:
    """Without its topic an output waits for two minutes: a worker that stands still."""
    log = Log(kafka.bootstrap, tmp_path, "deribit")
    await log.create()

    with Worker(log, "worker", processor__stalled_after_s=3) as worker:
        worker.wait_ready()
        live = worker.get("/live")[0]
        await log.delete(event_topic("trades", log.prefix))
        await log.write([raw for raw in three_venues(10) if raw.exchange == "deribit"])
        worker.wait_until(lambda: worker.get("/live")[0] == 503)
        said = worker.get("/live")[1]

    assert live == 200
    assert "nothing is committed" in said


async def test_faust_command_runs_the_worker(kafka: Kafka, tmp_path: Path) -> None:
    log = Log(kafka.bootstrap, tmp_path, *SYMBOLS)
    await log.create()
    records = three_venues(seconds=20)

    with Worker(log, "worker", faust=True) as worker:
        await log.write(records)
        await log.wait_committed()
        ready = worker.get("/ready")[0]
        code = worker.terminate()

    assert await log.published() == expected(records)
    assert (ready, code) == (200, 0)
    assert "uvloop" in worker.output


@pytest.mark.parametrize("faust", [False, True])
@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("processor__warmup_s", 70, "twice producer.snapshot_interval_s"),
        ("processor__book_levels", 0, "whole number, 1 to 10000"),
        ("exchanges__nasdaq__symbols", "any", "deribit"),
        ("kafka__security_protocol", "SASL_SSL", "text, because"),
    ],
)
def test_wrong_setting_is_refused_before_connecting(
    tmp_path: Path, faust: bool, key: str, value: object, allowed: str
) -> None:
    log = Log("127.0.0.1:1", tmp_path, "deribit")
    wrong: dict[str, Any] = {key: value}

    with Worker(log, "worker", faust=faust, **wrong) as worker:
        code = worker.wait()

    assert code == 2
    named = key.replace("__", ".").removesuffix(".symbols").removesuffix("security_protocol")
    assert named in worker.output
    assert allowed in worker.output
    assert "Traceback" not in worker.output


async def test_missing_topics_are_named(kafka: Kafka, tmp_path: Path) -> None:
    log = Log(kafka.bootstrap, tmp_path, "deribit")

    with Worker(log, "worker") as worker:
        code = worker.wait()

    assert code == 1
    assert f"{log.prefix}raw.deribit" in worker.output
    assert "streamgauge topics" in worker.output
