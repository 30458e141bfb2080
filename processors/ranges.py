"""Which part of each raw partition a replay recomputes and compares.

It asks Kafka for offsets and reads no record but one per partition.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import Settings
from processors.broker import Broker
from processors.engines import makers


class RawRange(msgspec.Struct, frozen=True, kw_only=True):
    """Offsets of one raw partition, or of one of `mids`.

    It is read from `start`, and compared from `first` to before `end`.

    What lies between `start` and `first` warms the engine up. `unprocessed` records after the
    workers' commit are left out. `since_ms` is a time before all that is compared, None for the
    log's beginning.
    """

    topic: str
    partition: int
    start: int
    first: int
    end: int
    unprocessed: int
    since_ms: int | None


async def raw_ranges(
    settings: Settings, *, from_ms: int | None = None, to_ms: int | None = None
) -> list[RawRange]:
    """Return the ranges between two times of the raw records; None is the log's own end.

    Raises:
        KafkaError: no broker answers.
    """
    consumer = AIOKafkaConsumer(**kafka_arguments(settings.kafka))
    async with Broker(settings.kafka, settings.processor.app_id) as broker:
        # Committed before the ends of the event topics are read: all of it is published.
        committed = await broker.committed()
        counts = await broker.partition_counts(makers(settings))
    span = _Span(from_ms, to_ms, settings.processor.warmup_s * 1000)
    await consumer.start()
    try:
        return [
            await _range(consumer, TopicPartition(topic, number), committed, span)
            for topic, count in counts.items()
            for number in range(count)
        ]
    finally:
        await consumer.stop()


class _Span(NamedTuple):
    from_ms: int | None
    to_ms: int | None
    warmup_ms: int


async def _range(
    consumer: AIOKafkaConsumer,
    tp: TopicPartition,
    committed: Mapping[TopicPartition, OffsetAndMetadata],
    span: _Span,
) -> RawRange:
    beginning = (await consumer.beginning_offsets([tp]))[tp]
    written = (await consumer.end_offsets([tp]))[tp]
    # A group that never committed anything has processed nothing that could be excused.
    processed = committed[tp].offset if tp in committed else beginning if committed else written
    end = await _offset_at(consumer, tp, span.to_ms, written)
    start = first = beginning
    if span.from_ms is not None:
        first = await _offset_at(consumer, tp, span.from_ms, written)
        start = await _offset_at(consumer, tp, span.from_ms - span.warmup_ms, written)
    if start == beginning > 0 and start < written:
        # Older records are deleted: what follows them is warm-up, as it was for no worker.
        consumer.assign([tp])
        consumer.seek(tp, beginning)
        oldest = (await consumer.getone()).timestamp
        first = max(first, await _offset_at(consumer, tp, oldest + span.warmup_ms, written))
    first = min(first, max(end, start))
    return RawRange(
        topic=tp.topic,
        partition=tp.partition,
        start=start,
        first=first,
        end=max(min(end, processed), first),
        unprocessed=max(end - max(processed, first), 0),
        since_ms=span.from_ms,
    )


async def _offset_at(
    consumer: AIOKafkaConsumer, tp: TopicPartition, ms: int | None, written: int
) -> int:
    """Return the first offset at or after a time, the end when there is none."""
    if ms is None:
        return written
    found = (await consumer.offsets_for_times({tp: max(ms, 0)}))[tp]
    return written if found is None else int(found.offset)
