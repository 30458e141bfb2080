"""Openings that the log numbers beyond our clock.

An epoch is the clock's time when a socket is opened, so it grows over restarts as long as the clock
does. After the clock was set back, or on a machine whose clock is behind, it would be below what
the log has, where every reader takes it for a repeat. Records stamped later than now give that
away; only then is the end of the log read.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from infra.runtime import logs
from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import KafkaSettings
from schemas.codec import decode_frame_batch
from schemas.registry import CodecError

log = logs.logger(__name__)

_NS_PER_MS: Final = 1_000_000
_POLL_MS: Final = 500
_RETRY_S: Final = 1.0


async def epochs_ahead(
    kafka: KafkaSettings, topic: str, partitions: Iterable[int]
) -> dict[tuple[str, str], int]:
    """Return the highest epoch by shard and line in what was recorded by a clock ahead of ours.

    That is none, as a rule. Kafka is asked until it answers.
    """
    places = [TopicPartition(topic, number) for number in partitions]
    while True:
        try:
            return await _epochs_ahead(kafka, places)
        except KafkaError as error:
            log.warning("kafka_unreachable", error=str(error), retry_in_s=_RETRY_S)
            await asyncio.sleep(_RETRY_S)


async def _epochs_ahead(
    kafka: KafkaSettings, places: Sequence[TopicPartition]
) -> dict[tuple[str, str], int]:
    consumer = AIOKafkaConsumer(**kafka_arguments(kafka), enable_auto_commit=False)
    try:
        await consumer.start()
        now_ms = time.time_ns() // _NS_PER_MS
        found = await consumer.offsets_for_times(dict.fromkeys(places, now_ms + 1))
        starts = {place: at.offset for place, at in found.items() if at is not None}
        if not starts:
            return {}
        log.warning("clock_behind_log", partitions=[str(place) for place in starts])
        return await _highest(consumer, starts)
    finally:
        await consumer.stop()


async def _highest(
    consumer: AIOKafkaConsumer, starts: dict[TopicPartition, int]
) -> dict[tuple[str, str], int]:
    """Return the highest epochs from these offsets on."""
    ends = await consumer.end_offsets(list(starts))
    consumer.assign(list(starts))
    for place, offset in starts.items():
        consumer.seek(place, offset)
    highest: dict[tuple[str, str], int] = {}
    while [place for place, end in ends.items() if await consumer.position(place) < end]:
        for records in (await consumer.getmany(timeout_ms=_POLL_MS)).values():
            for record in records:
                try:
                    address = decode_frame_batch(record.value).address
                except CodecError:
                    continue
                key = address.shard, address.line
                highest[key] = max(address.epoch, highest.get(key, 0))
    return highest
