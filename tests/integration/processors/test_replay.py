"""Replay equals live: recomputed from the raw log, byte for byte, or the difference is named."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import decode_events
from schemas.topics import OUTPUT_KINDS, event_topic
from tests.integration.processors.raw_log import (
    Log,
    Raw,
    Worker,
    expected,
    merged,
    of_raw_topics,
    raw_records,
    replay,
    run,
)
from tests.integration.services import Kafka
from tests.processors.market import NS, SYMBOLS, Connection, batches

pytestmark = pytest.mark.timeout(500)


def two_runs(seconds: float) -> list[Raw]:
    """Two openings of every venue's socket and both lines of one, with a fault here and there."""
    start = (int(time.time()) - 1200) * NS
    later = start + int((seconds + 5) * NS)
    connections = [
        raw_records(batches(Connection(name, epoch=epoch, gap_at_s=9), seconds=seconds), number % 2)
        for number, name in enumerate(SYMBOLS)
        for epoch in (start, later)
    ]
    line = Connection("binance", epoch=start + 7, line="B")
    return merged(*connections, raw_records(batches(line, seconds=seconds), 1))


async def live(log: Log, records: list[Raw], **settings: Any) -> None:
    """Create, write, process and end."""
    await log.create()
    await log.write(records)
    with Worker(log, "worker", **settings) as worker:
        await log.wait_committed()
        worker.terminate()


async def test_replay_of_a_run_with_a_crash_is_equal(kafka: Kafka, tmp_path: Path) -> None:
    log = Log(kafka.bootstrap, tmp_path, *SYMBOLS)
    await log.create()
    records = two_runs(seconds=100)
    with Worker(log, "first") as first:
        first.wait_ready()
        writing = asyncio.create_task(log.write(records))
        await log.wait_committed(at_least=len(records) // 4)
        first.kill()
        await writing
    with Worker(log, "second") as second:
        await log.wait_committed()
        second.terminate()

    code, report = replay(log)

    assert (code, report["equal"], report["differences"]) == (0, True, [])
    assert {row["topic"] for row in report["partitions"]} == set(OUTPUT_KINDS)
    computed = sum(row["computed_records"] for row in report["partitions"])
    both = expected(records) | await log.expected_of_mids()
    assert computed == sum(len(marks) for marks in both.values())
    assert await log.published(of_mids=True) == await log.expected_of_mids()
    assert computed == sum(row["stored_records"] for row in report["partitions"])
    assert {raw["unprocessed"] for raw in report["raw"]} == {0}


async def test_replay_names_the_first_record_that_differs(kafka: Kafka, tmp_path: Path) -> None:
    log = Log(kafka.bootstrap, tmp_path, "deribit")
    records = [raw for raw in two_runs(seconds=30) if raw.exchange == "deribit"]
    await live(log, records)
    books = sorted(
        mark
        for (kind, _), marks in (await log.published()).items()
        if kind == "books"
        for mark in marks
    )

    code, report = replay(log, processor__book_levels=5)

    assert (code, report["equal"]) == (1, False)
    assert {row["topic"] for row in report["partitions"] if not row["equal"]} == {"books"}
    (difference,) = report["differences"]
    assert (difference["epoch"], difference["number"]) == books[0]
    assert (difference["topic"], difference["shard"]) == ("books", "deribit-0")
    assert difference["what"] == "other bytes in Kafka"


async def test_replay_leaves_out_what_is_not_committed_yet(kafka: Kafka, tmp_path: Path) -> None:
    log = Log(kafka.bootstrap, tmp_path, "deribit")
    records = [raw for raw in two_runs(seconds=30) if raw.exchange == "deribit"]
    await live(log, records[:-2])
    # The rest is published by a worker of another group: to ours it is not committed.
    ours, log.group = log.group, f"{log.prefix}other"
    await log.write(records[-2:])
    with Worker(log, "other", processor__app_id=log.group) as worker:
        await log.wait_committed()
        worker.terminate()
    log.group = ours

    code, report = replay(log)

    assert (code, report["equal"]) == (0, True)
    assert sum(raw["unprocessed"] for raw in of_raw_topics(report)) == 2
    assert sum(row["repeats"] for row in report["partitions"]) > 0


async def test_replay_names_a_record_that_nobody_computed(kafka: Kafka, tmp_path: Path) -> None:
    log = Log(kafka.bootstrap, tmp_path, "deribit")
    await live(log, [raw for raw in two_runs(seconds=30) if raw.exchange == "deribit"])
    topic = event_topic("trades", log.prefix)
    first = (await log.read(topic))[0]
    mark = decode_events("trades", first.value).header.mark

    await log.append(topic, first.partition, first.value.replace(b"deribit-0", b"deribit-9", 1))
    code, report = replay(log)

    assert (code, report["equal"]) == (1, False)
    (difference,) = report["differences"]
    assert (difference["epoch"], difference["number"]) == mark
    assert (difference["shard"], difference["what"]) == ("deribit-9", "in Kafka, but not computed")


async def test_replay_of_nothing_is_no_success(kafka: Kafka, tmp_path: Path) -> None:
    log = Log(kafka.bootstrap, tmp_path, "deribit")
    await log.create()

    done = run(log)

    assert done.returncode == 1
    assert "no processed raw records" in done.stderr


async def test_replay_of_one_time_range_compares_that_range_only(
    kafka: Kafka, tmp_path: Path
) -> None:
    log = Log(kafka.bootstrap, tmp_path, *SYMBOLS)
    records = two_runs(seconds=100)
    await live(log, records)
    middle = records[0].ts_ms + 80_000
    since, until = (
        datetime.fromtimestamp(ms / 1000, UTC).isoformat() for ms in (middle, middle + 10_000)
    )

    code, report = replay(log, "--from", since, "--to", until)

    inside = [raw for raw in records if middle <= raw.ts_ms < middle + 10_000]
    assert (code, report["equal"]) == (0, True)
    ranges = of_raw_topics(report)
    assert sum(raw["end_offset"] - raw["first_offset"] for raw in ranges) == len(inside)
    assert all(
        raw["warmed_from"] < raw["first_offset"]
        for raw in ranges
        if raw["end_offset"] > raw["first_offset"]
    )


async def test_replay_writes_the_recomputed_topics(kafka: Kafka, tmp_path: Path) -> None:
    log = Log(kafka.bootstrap, tmp_path, *SYMBOLS)
    await live(log, two_runs(seconds=30))
    prefix = f"{log.prefix}again."

    code, _ = replay(log, "--output", prefix)
    stored = await log.published() | await log.published(of_mids=True)
    log.prefix, original = prefix, log.prefix
    recomputed = await log.published() | await log.published(of_mids=True)
    log.prefix = original
    refused = run(log, "--output", prefix)

    assert code == 0
    assert recomputed == stored
    assert refused.returncode == 1
    assert "holds records already" in refused.stderr


TOO_LITTLE = """
import processors.worker as worker
worker.check_warmup = lambda settings: None
import sys, streamgauge
sys.argv = ["streamgauge", "process"]
streamgauge.main()
"""


async def test_replay_sees_a_worker_that_warmed_up_too_little(kafka: Kafka, tmp_path: Path) -> None:
    """The promise of the warm-up can be broken, and a replay shows it."""
    log = Log(kafka.bootstrap, tmp_path, "binance")
    records = [raw for raw in two_runs(seconds=100) if raw.exchange == "binance"]
    half = len(records) // 3
    await live(log, records[:half])
    await log.write(records[half:])
    with Worker(log, "second", program=TOO_LITTLE, processor__warmup_s=3) as worker:
        await log.wait_committed()
        worker.terminate()

    code, report = replay(log)

    assert (code, report["equal"]) == (1, False)
    assert report["differences"]
