"""The partitions that Kafka has given this process: taken up, and given back.

What is done with a partition is said by the two classes that stand on this one. Giving back ends
every delivery under way before the group may give the partition to another member.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from infra.runtime import logs
from infra.runtime.log_identity import log_ids

log = logs.logger(__name__)

RETRY_S: Final = 0.5
"""Pause before Kafka is asked again where to go on, s."""


class Known(msgspec.Struct, frozen=True):
    """What Kafka knows of a partition: its log, where that begins and ends, what was committed.

    `committed` and `metadata` are the group's; None and empty where it has committed nothing.
    """

    log_id: str
    log_start: int
    log_end: int
    committed: int | None
    metadata: str


class Assignment(ConsumerRebalanceListener, ABC):  # type: ignore[misc]
    """Told by the consumer what it has and loses.

    `joined` is set once the group has let us in; `failure` is the error of a task, which is a
    mistake of ours. A rebalance waits for what is under way for `revoke_s`.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        client: AIOKafkaClient,
        group: str,
        *,
        revoke_s: float,
    ) -> None:
        self.joined = False
        self.failure: BaseException | None = None
        self._consumer = consumer
        self._admin = admin
        self._client = client
        self._group = group
        self._revoke_s = revoke_s
        self._taking_up: set[asyncio.Task[None]] = set()

    @property
    def taking_up(self) -> bool:
        """Whether a partition is assigned of which Kafka has not told yet where to go on."""
        return bool(self._taking_up)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Take up partitions, in the background: the group waits for this call."""
        self.joined = True
        self._take_up(assigned)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Give up partitions; when this returns, nothing more is begun for them."""
        await self.give_up_all(self._revoke_s)

    async def restart(self, partitions: Collection[TopicPartition]) -> None:
        """Give up partitions and take them up anew: their log is not what it was."""
        await self._give_up(partitions, self._revoke_s)
        # The group may have taken them meanwhile.
        self._take_up(self._consumer.assignment().intersection(partitions))

    async def give_up_all(self, timeout_s: float) -> None:
        """Let what is under way end while the time lasts, and begin no more."""
        for task in self._taking_up:
            task.cancel()
        await self._give_up(self._held(), timeout_s)

    @abstractmethod
    def _held(self) -> list[TopicPartition]:
        """Return the partitions that were taken up."""

    @abstractmethod
    async def _give_up(self, partitions: Iterable[TopicPartition], timeout_s: float) -> None:
        """End what is done for these, those among them that are held."""

    @abstractmethod
    async def _start(self, known: dict[TopicPartition, Known]) -> None:
        """Begin with these, which are paused."""

    def _take_up(self, partitions: Collection[TopicPartition]) -> None:
        # At once and without waiting: else the client reads from where it thinks it should.
        for partition in partitions:
            self._consumer.pause(partition)
            self._consumer.seek(partition, 0)
        if partitions:
            task = asyncio.create_task(self._ask_where(list(partitions)))
            self._taking_up.add(task)
            task.add_done_callback(self._taking_up.discard)
            task.add_done_callback(self._note_failure)

    async def _ask_where(self, partitions: list[TopicPartition]) -> None:
        while True:
            try:
                await self._start(await self._ask(partitions))
            except KafkaError as error:
                log.warning("kafka_does_not_tell_where", error=repr(error)[:300])
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _ask(self, partitions: list[TopicPartition]) -> dict[TopicPartition, Known]:
        identities = await log_ids(self._client, {partition.topic for partition in partitions})
        commits = await self._admin.list_consumer_group_offsets(self._group, partitions=partitions)
        starts = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        return {
            each: _known(identities[each.topic], starts[each], ends[each], commits.get(each))
            for each in partitions
        }

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()


def _known(log_id: str, start: int, end: int, commit: Any) -> Known:
    if commit is None or commit.offset < 0:
        return Known(log_id, start, end, None, "")
    return Known(log_id, start, end, commit.offset, commit.metadata)
