"""What Kafka says of the raw topics, asked past Faust.

Faust's own picture of its progress is not enough: a consumer that has silently stopped sees no
lag. This client belongs to no group and changes nothing.
"""

import asyncio
from collections.abc import Iterable
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from infra.runtime.connections import kafka_arguments
from infra.runtime.log_identity import log_ids
from infra.runtime.settings import KafkaSettings
from processors.progress import Partition, Position

COORDINATOR_TRIES: Final = 25
COORDINATOR_PAUSE_S: Final = 0.2


class Broker:
    """Questions about topics and about the progress of `group`."""

    def __init__(self, kafka: KafkaSettings, group: str) -> None:
        self._kafka = kafka
        self._group = group
        self._admin: AIOKafkaAdminClient | None = None
        self._client: AIOKafkaClient | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaConnectionError: no broker answers.
        """
        arguments = kafka_arguments(self._kafka)
        self._admin = AIOKafkaAdminClient(**arguments)
        self._client = AIOKafkaClient(**arguments)
        self._consumer = AIOKafkaConsumer(**arguments)
        try:
            await self._admin.start()
            await self._client.bootstrap()
            await self._consumer.start()
        except BaseException:
            await self.stop()
            raise

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Disconnect."""
        admin, self._admin = self._admin, None
        client, self._client = self._client, None
        consumer, self._consumer = self._consumer, None
        if admin is not None:
            await admin.close()
        if client is not None:
            await client.close()
        if consumer is not None:
            await consumer.stop()

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """Return how many partitions each of `topics` has, without those that do not exist."""
        assert self._admin is not None
        described = await self._admin.describe_topics(list(topics))
        return {
            topic["topic"]: len(topic["partitions"])
            for topic in described
            if not topic["error_code"]
        }

    async def log_id(self, topic: str) -> str:
        """Return the identity of the log that `topic` is now."""
        assert self._client is not None
        return (await log_ids(self._client, [topic]))[topic]

    async def committed(self) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return all that the group has committed.

        Raises:
            KafkaError: the group's coordinator does not answer.
        """
        assert self._admin is not None
        found: dict[TopicPartition, OffsetAndMetadata]
        for left in reversed(range(COORDINATOR_TRIES)):
            try:
                found = await self._admin.list_consumer_group_offsets(self._group)
                break
            except KafkaError as error:
                # A new broker makes the topic of offsets when it is first asked for one.
                if not (error.retriable and left):
                    raise
                await asyncio.sleep(COORDINATOR_PAUSE_S)
        return found

    async def positions(self, partitions: Iterable[Partition]) -> dict[Partition, Position]:
        """Return where the group stands; before its first commit, at the beginning."""
        assert self._consumer is not None
        asked = [TopicPartition(*partition) for partition in partitions]
        if not asked:
            return {}
        ends = await self._consumer.end_offsets(asked)
        starts = await self._consumer.beginning_offsets(asked)
        committed = await self.committed()
        found: dict[Partition, Position] = {}
        for partition in asked:
            offset = committed[partition].offset if partition in committed else -1
            name = (partition.topic, partition.partition)
            found[name] = Position(max(offset, starts[partition]), ends[partition])
        return found
