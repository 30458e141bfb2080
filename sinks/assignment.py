"""The partitions that Kafka has given this process: taken up, watched, given back.

Giving back ends every delivery before the group may give the partition to another member: finished
if that is quick, else left announced, to be finished by whoever comes next.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from core.blocks import Announcement, BlockError, announced
from infra.runtime import logs
from infra.runtime.log_identity import log_ids
from sinks.partition import PartitionSink, State

log = logs.logger(__name__)

REVOKE_S: Final = 3.0
"""Longest time that a rebalance waits for blocks under way, s."""
RETRY_S: Final = 0.5
"""Pause before Kafka is asked again where to go on, s."""

Make = Callable[[TopicPartition, str], PartitionSink]
"""Makes the sink of a partition of the log with this identity."""


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """The sinks of all assigned partitions; told by the consumer what it has and loses.

    `sinks` holds those that know their log. `joined` is set once the group has let us in;
    `failure` is the error of a task, which is a mistake of ours.
    """

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        client: AIOKafkaClient,
        group: str,
        make: Make,
    ) -> None:
        self.sinks: dict[TopicPartition, PartitionSink] = {}
        self.joined = False
        self.failure: BaseException | None = None
        self._consumer = consumer
        self._admin = admin
        self._client = client
        self._group = group
        self._make = make
        self._taking_up: set[asyncio.Task[None]] = set()
        self._running: dict[TopicPartition, asyncio.Task[None]] = {}

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Take up partitions, in the background: the group waits for this call."""
        self.joined = True
        self._take_up(assigned)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Give up partitions; when this returns, nothing more is begun for them."""
        await self.give_up_all(REVOKE_S)

    async def restart(self, partitions: Collection[TopicPartition]) -> None:
        """Give up partitions and take them up anew: their log is not what it was."""
        await self._give_up(partitions, REVOKE_S)
        # The group may have taken them meanwhile.
        self._take_up(self._consumer.assignment().intersection(partitions))

    async def give_up_all(self, timeout_s: float) -> None:
        """Deliver what was gathered while the time lasts, and end."""
        for task in self._taking_up:
            task.cancel()
        await self._give_up(list(self.sinks), timeout_s)

    async def _give_up(self, partitions: Iterable[TopicPartition], timeout_s: float) -> None:
        tasks = []
        for partition in partitions:
            if partition not in self.sinks:
                continue
            sink, task = self.sinks.pop(partition), self._running.pop(partition)
            sink.finish()
            tasks.append(task)
            if sink.state is State.RESUMING:
                task.cancel()
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=timeout_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

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
                await self._start(partitions)
            except KafkaError as error:
                log.warning("kafka_does_not_tell_where", error=repr(error)[:300])
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _start(self, partitions: list[TopicPartition]) -> None:
        identities = await log_ids(self._client, {partition.topic for partition in partitions})
        commits = await self._admin.list_consumer_group_offsets(self._group, partitions=partitions)
        starts = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        for partition in partitions:
            sink = self._make(partition, identities[partition.topic])
            self.sinks[partition] = sink
            commit = commits.get(partition)
            known = commit is not None and commit.offset >= 0
            task = asyncio.create_task(
                self._run(
                    sink,
                    committed=commit.offset if known else None,
                    metadata=commit.metadata if known else "",
                    log_start=starts[partition],
                    log_end=ends[partition],
                )
            )
            self._running[partition] = task
            task.add_done_callback(self._note_failure)

    async def _run(
        self,
        sink: PartitionSink,
        *,
        committed: int | None,
        metadata: str,
        log_start: int,
        log_end: int,
    ) -> None:
        announcement: Announcement | None = None
        try:
            announcement = announced(metadata)
        except BlockError as error:
            sink.stop(str(error))
            return
        position = await sink.resume(
            committed=committed, announcement=announcement, log_start=log_start, log_end=log_end
        )
        if position is not None:
            self._read_from(sink, position)
            await sink.run(lambda offset: self._read_from(sink, offset))

    def _read_from(self, sink: PartitionSink, position: int) -> None:
        # One that was given up lets its blocks go, and its successor knows where to read.
        if self.sinks.get(sink.partition) is sink:
            self._consumer.seek(sink.partition, position)
            self._consumer.resume(sink.partition)

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()
