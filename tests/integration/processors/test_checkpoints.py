"""What is older than the warm-up: a restarted worker knows it from the checkpoints in the log."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.events import FaultBatch, FaultKind
from core.frames import BatchBuilder, FrameBatch
from schemas.codec import decode_events
from schemas.topics import CHECKPOINTS, EVENT_KINDS, MIDS, VENUES, event_topic
from tests.integration.processors.raw_log import (
    WARMUP_S,
    Log,
    Raw,
    Worker,
    expected,
    of_raw_topics,
    raw_records,
    replay,
)
from tests.integration.services import Kafka
from tests.processors.market import NS, SYMBOLS, Connection

pytestmark = pytest.mark.timeout(500)

SILENT = SYMBOLS["deribit"][1]
LAST_TRADE_S = 10
RESTART_S = 120
NEXT_TRADE_S = 125
END_S = 152
CHECKPOINT_S = 30


def quiet_market(start: int) -> list[Raw]:
    """A connection on which one symbol's trades do not arrive for longer than a warm-up."""
    connection = Connection("deribit", epoch=start)
    builder = BatchBuilder(connection.address)
    batches: list[FrameBatch] = []
    for frame in connection.frames():
        second = (frame.ts_recv - start) / NS
        if second > END_S:
            break
        is_trade = f"trades.{SILENT}".encode() in frame.payload
        if not is_trade or not LAST_TRADE_S < second < NEXT_TRADE_S:
            builder.add(frame)
        batch = builder.cut() if len(builder) == 20 else None
        batches += [batch] if batch is not None else []
    return raw_records(batches, 1)


async def trade_gaps(log: Log) -> list[tuple[str, int | None]]:
    """Symbol and size of every hole in trade ids that was published."""
    found: list[tuple[str, int | None]] = []
    for record in await log.read(event_topic("faults", log.prefix)):
        batch = decode_events("faults", record.value)
        assert isinstance(batch, FaultBatch)
        found += [(f.symbol, f.count) for f in batch.faults if f.kind is FaultKind.TRADE_GAP]
    return found


async def test_hole_in_trade_ids_older_than_the_warmup_is_seen_by_a_restarted_worker(
    kafka: Kafka, tmp_path: Path
) -> None:
    assert RESTART_S - LAST_TRADE_S > WARMUP_S
    # Every stream has a checkpoint just before second 150: also what is replayed in part.
    start = (int(time.time()) - 1200) // CHECKPOINT_S * CHECKPOINT_S * NS
    records = quiet_market(start)
    restart_ms, resumed_ms = (
        start // 1_000_000 + seconds * 1000 for seconds in (RESTART_S, NEXT_TRADE_S - 1)
    )
    before = [raw for raw in records if raw.ts_ms < restart_ms]
    log = Log(kafka.bootstrap, tmp_path, "deribit")
    await log.create()

    await log.write(before)
    with Worker(log, "first") as first:
        await log.wait_committed()
        first.kill()
    await log.write(records[len(before) :])
    with Worker(log, "second") as second:
        await log.wait_committed()
        (warm,) = second.warm()
        second.terminate()
    whole = replay(log)
    part = replay(log, "--from", datetime.fromtimestamp(resumed_ms / 1000, UTC).isoformat())

    ((symbol, count),) = await trade_gaps(log)
    assert (symbol, (count or 0) > 50) == (SILENT, True)
    assert await log.published() == expected(records)
    assert warm["first_offset"] > next(
        n for n, raw in enumerate(records) if raw.ts_ms > start // 1_000_000 + LAST_TRADE_S * 1000
    )
    assert (warm["streams"], warm["unreadable_checkpoints"]) == (7, 0)
    assert [(code, report["differences"]) for code, report in (whole, part)] == [(0, []), (0, [])]
    assert sum(raw["warmed_from"] for raw in of_raw_topics(part[1])) > warm["first_offset"]
    assert CHECKPOINTS in {row["topic"] for row in part[1]["partitions"]}


async def test_log_without_the_topic_of_checkpoints_can_be_replayed(
    kafka: Kafka, tmp_path: Path
) -> None:
    """Workers of an older version have read it."""
    log = Log(kafka.bootstrap, tmp_path, "deribit")
    await log.create()
    await log.write(quiet_market((int(time.time()) - 1200) * NS))
    with Worker(log, "worker") as worker:
        await log.wait_committed()
        worker.terminate()

    await log.delete(event_topic(CHECKPOINTS, log.prefix))
    await log.wait_gone(event_topic(CHECKPOINTS, log.prefix))
    code, report = replay(log)

    assert (code, report["differences"]) == (0, [])
    assert {row["topic"] for row in report["partitions"]} == {*EVENT_KINDS, MIDS} - {VENUES}
