"""The sinks of all partitions that Kafka has given this process.

A partition that is given back is finished if that is quick; else its block is left announced, to be
finished by whoever comes next.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient

from core.blocks import Announcement, BlockError, announced
from sinks.assignment import Assignment, Known
from sinks.partition import PartitionSink, State

REVOKE_S: Final = 3.0
"""Longest time that a rebalance waits for blocks under way, s."""

Make = Callable[[TopicPartition, str], PartitionSink]
"""Makes the sink of a partition of the log with this identity."""


class PartitionSinks(Assignment):
    """`sinks` holds those that know their log."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        client: AIOKafkaClient,
        group: str,
        make: Make,
    ) -> None:
        super().__init__(consumer, admin, client, group, revoke_s=REVOKE_S)
        self.sinks: dict[TopicPartition, PartitionSink] = {}
        self._make = make
        self._running: dict[TopicPartition, asyncio.Task[None]] = {}

    def _held(self) -> list[TopicPartition]:
        return list(self.sinks)

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

    async def _start(self, known: dict[TopicPartition, Known]) -> None:
        for partition, of_it in known.items():
            sink = self.sinks[partition] = self._make(partition, of_it.log_id)
            task = self._running[partition] = asyncio.create_task(self._run(sink, of_it))
            task.add_done_callback(self._note_failure)

    async def _run(self, sink: PartitionSink, known: Known) -> None:
        announcement: Announcement | None = None
        try:
            announcement = announced(known.metadata)
        except BlockError as error:
            sink.stop(str(error))
            return
        position = await sink.resume(
            committed=known.committed,
            announcement=announcement,
            log_start=known.log_start,
            log_end=known.log_end,
        )
        if position is not None:
            self._read_from(sink, position)
            await sink.run(lambda offset: self._read_from(sink, offset))

    def _read_from(self, sink: PartitionSink, position: int) -> None:
        # One that was given up lets its blocks go, and its successor knows where to read.
        if self.sinks.get(sink.partition) is sink:
            self._consumer.seek(sink.partition, position)
            self._consumer.resume(sink.partition)
