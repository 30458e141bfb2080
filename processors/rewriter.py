"""Writing recomputed events to topics of their own, under another prefix.

It never writes to the topics that it was computed to be compared with.
"""

import asyncio
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import for_code

from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import Settings
from processors.broker import Broker
from schemas.cloudevents import headers_of
from schemas.topics import OUTPUT_KINDS, event_topic, planned


class OutputError(Exception):
    """The recomputed events cannot be written where they were asked to be."""


class Rewriter:
    """Writes recomputed events under another prefix; use it as an asynchronous context.

    Entering it makes the topics. Raises OutputError where they hold records already.
    """

    def __init__(self, settings: Settings, prefix: str) -> None:
        self._settings = settings
        self._prefix = prefix
        self._failed: BaseException | None = None
        self._producer = AIOKafkaProducer(
            **kafka_arguments(settings.kafka),
            enable_idempotence=True,
            compression_type="lz4",
            linger_ms=20,
            max_batch_size=256 << 10,
            max_request_size=settings.topics.max_message_bytes,
        )

    async def __aenter__(self) -> "Rewriter":
        await _empty_topics(self._settings, self._prefix)
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()
        if self._failed is not None:
            raise self._failed

    async def write(self, kind: str, partition: int, key: bytes, value: bytes) -> None:
        """Append one record to the partition that holds its like."""
        if self._failed is not None:
            raise self._failed
        sent = await self._producer.send(
            event_topic(kind, self._prefix),
            value,
            key=key,
            partition=partition,
            headers=headers_of(kind, value),
        )
        sent.add_done_callback(self._on_sent)

    def _on_sent(self, sent: "asyncio.Future[Any]") -> None:
        self._failed = self._failed or sent.exception()


async def _empty_topics(settings: Settings, prefix: str) -> None:
    """Make the topics with as many partitions as their originals; those there must be empty."""
    if prefix == settings.topics.prefix:
        raise OutputError(f"{prefix!r} is the prefix of the topics that are compared")
    async with Broker(settings.kafka, settings.processor.app_id) as broker:
        originals = await broker.partition_counts(_topics(settings.topics.prefix))
        there = await broker.partition_counts(_topics(prefix))
        tps = [(topic, number) for topic, count in there.items() for number in range(count)]
        for (topic, _), position in (await broker.positions(tps)).items():
            if position.end:
                raise OutputError(f"topic {topic} holds records already")
    wanted = msgspec.structs.asdict(settings.topics) | {"prefix": prefix}
    plans = {plan.name: plan for plan in planned([], **wanted)}
    missing = []
    for original, topic in zip(_topics(settings.topics.prefix), _topics(prefix), strict=True):
        if topic not in there:
            plan = plans[topic]
            count = originals.get(original, plan.partitions)
            missing.append(
                NewTopic(topic, count, plan.replication_factor, topic_configs=plan.config)
            )
    await _make(settings, missing)


async def _make(settings: Settings, topics: list[NewTopic]) -> None:
    admin = AIOKafkaAdminClient(**kafka_arguments(settings.kafka))
    await admin.start()
    try:
        response = await admin.create_topics(topics)
    finally:
        await admin.close()
    for topic, code, message in response.topic_errors:
        if code:
            raise OutputError(f"topic {topic} cannot be made: {message or for_code(code).__name__}")


def _topics(prefix: str) -> list[str]:
    return [event_topic(kind, prefix) for kind in OUTPUT_KINDS]
