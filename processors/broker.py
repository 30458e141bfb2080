"""What Kafka says of the raw topics, asked past Faust.

Faust's own picture of its progress is not enough: a consumer that has silently stopped sees no
lag. This client belongs to no group and changes nothing.
"""

from collections.abc import Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient

from infra.runtime.connections import kafka_arguments
from infra.runtime.log_identity import log_ids
from infra.runtime.settings import KafkaSettings
from processors.progress import Partition, Position


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

    async def missing(self, topics: Iterable[str]) -> list[str]:
        """Return those of `topics` that do not exist."""
        assert self._admin is not None
        there = set(await self._admin.list_topics())
        return [topic for topic in topics if topic not in there]

    async def log_id(self, topic: str) -> str:
        """Return the identity of the log that `topic` is now."""
        assert self._client is not None
        return (await log_ids(self._client, [topic]))[topic]

    async def positions(self, partitions: Iterable[Partition]) -> dict[Partition, Position]:
        """Return where the group stands; before its first commit, at the beginning."""
        assert self._admin is not None
        assert self._consumer is not None
        asked = [TopicPartition(*partition) for partition in partitions]
        if not asked:
            return {}
        ends = await self._consumer.end_offsets(asked)
        starts = await self._consumer.beginning_offsets(asked)
        committed = await self._admin.list_consumer_group_offsets(self._group)
        found: dict[Partition, Position] = {}
        for partition in asked:
            offset = committed[partition].offset if partition in committed else -1
            name = (partition.topic, partition.partition)
            found[name] = Position(max(offset, starts[partition]), ends[partition])
        return found
