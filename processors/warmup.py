"""Bringing an engine to where the group stands, from the recent raw log.

A snapshot in the log replaces a book whatever was held before, so an engine that has read the log
since before the last snapshots holds what one that never stopped holds. What is remembered for
longer was written down by whoever read those records first, and is given back where it was written.
What the engine would publish meanwhile was published then, and is dropped here.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import KafkaSettings
from processors.engine import Engine, RawRecord
from processors.memories import Stretch, recollect

_POLL_MS: Final = 500
_POLL_RECORDS: Final = 20
"""Records taken at once: the event loop serves health checks in between."""
_FETCH_BYTES: Final = 4 << 20


class WarmUp(msgspec.Struct, frozen=True):
    """What was re-read: from `first_offset`, `records` and `frames` in `seconds`.

    `streams` have a checkpoint there; of these `unreadable` say nothing to this version.
    """

    first_offset: int
    records: int
    frames: int
    streams: int
    unreadable: int
    seconds: float


async def warm_up(
    engine: Engine,
    kafka: KafkaSettings,
    *,
    checkpoints: Collection[TopicPartition],
    until: int,
    window_s: int,
    wanted: Callable[[], bool],
) -> WarmUp | None:
    """Feed `engine` silently with the last `window_s` of the log before offset `until`.

    Partitions of the topic `checkpoints` are read up to their ends; where there are none, the
    engine remembers what the window shows.

    The window ends with the record before `until`, however long ago that was written: after an
    outage of everything, trade ids go on from where they stood. `wanted` is asked between
    records; None is returned when it says no.
    """
    started = time.monotonic()
    partition = TopicPartition(engine.topic, engine.partition)
    consumer = AIOKafkaConsumer(
        **kafka_arguments(kafka),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=_FETCH_BYTES,
    )
    await consumer.start()
    try:
        consumer.assign([partition])
        first, since_ms = await _beginning(consumer, partition, until, window_s * 1000)
        stretch = Stretch(engine.source, engine.partition, first, until)
        memories = await recollect(
            kafka,
            checkpoints if first < until else (),
            [stretch],
            since_ms=since_ms,
            wanted=wanted,
        )
        if memories is None:
            return None
        remembered = memories[stretch[:2]]
        engine.restore(remembered.by_offset())
        consumer.seek(partition, first)
        records = frames = 0
        position = first
        while position < until:
            if not wanted():
                return None
            fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
            for record in fetched.get(partition, ()):
                if record.offset < until:
                    frames += engine.absorb(raw_record(record))
                    records += 1
            position = await consumer.position(partition)
            # getmany returns at once while it has records: let others run.
            await asyncio.sleep(0)
        engine.next_offset = until
        seconds = time.monotonic() - started
        streams, unreadable = len(remembered), engine.unreadable_checkpoints
        return WarmUp(first, records, frames, streams, unreadable, seconds)
    finally:
        await consumer.stop()


async def _beginning(
    consumer: AIOKafkaConsumer, partition: TopicPartition, until: int, window_ms: int
) -> tuple[int, int]:
    """Return the offset to begin with, and a time that no record since then is older than."""
    beginning: int = (await consumer.beginning_offsets([partition]))[partition]
    if beginning >= until:
        return until, 0
    consumer.seek(partition, until - 1)
    last = await consumer.getone()
    if last.offset >= until:
        return until, 0
    since = max(last.timestamp - window_ms, 0)
    found = (await consumer.offsets_for_times({partition: since}))[partition]
    # Timestamps need not grow: a record before may carry a later one.
    first = until - 1 if found is None else min(max(found.offset, beginning), until - 1)
    return first, since


def raw_record(record: object) -> RawRecord:
    """Return an aiokafka record as engines take it."""
    return RawRecord(record.offset, record.key, record.value, record.timestamp * 1_000_000)  # type: ignore[attr-defined]
