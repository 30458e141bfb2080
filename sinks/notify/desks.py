"""The partitions of `alerts` that Kafka has given this process: taken up, watched, given back.

Giving back ends every delivery under way before the group may give the partition to another
notifier, so that one which takes over in order tells nothing twice.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from core.blocks import BlockError, announced
from core.notify.receipts import Receipt
from infra.runtime import logs
from infra.runtime.log_identity import log_ids
from sinks.notify.desk import Desk
from sinks.notify.ledger import Ledger

log = logs.logger(__name__)

RETRY_S: Final = 0.5
"""Pause before Kafka is asked again where to go on, s."""

Make = Callable[..., Desk]
"""Makes the desk of a partition from its log, receipts and bounds."""


class Desks(ConsumerRebalanceListener):  # type: ignore[misc]
    """All desks; `changed` is called when one has come. `failure` is a mistake of ours."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        admin: AIOKafkaAdminClient,
        client: AIOKafkaClient,
        ledger: Ledger,
        group: str,
        *,
        make: Make,
        changed: Callable[[], None],
        revoke_s: float,
    ) -> None:
        self.desks: dict[TopicPartition, Desk] = {}
        self.joined = False
        self.failure: BaseException | None = None
        self._consumer = consumer
        self._admin = admin
        self._client = client
        self._ledger = ledger
        self._group = group
        self._make = make
        self._changed = changed
        self._revoke_s = revoke_s
        self._taking_up: set[asyncio.Task[None]] = set()

    @property
    def taking_up(self) -> bool:
        """Whether a partition is assigned whose past is not known yet."""
        return bool(self._taking_up)

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Take up partitions, in the background: the group waits for this call."""
        self.joined = True
        self._take_up(assigned)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Give up partitions; when this returns, nothing more is told of them."""
        await self.give_up_all(self._revoke_s)

    async def restart(self, partitions: Collection[TopicPartition]) -> None:
        """Give up partitions and take them up anew: their log is not what it was."""
        await self._give_up(partitions, self._revoke_s)
        self._take_up(self._consumer.assignment().intersection(partitions))

    async def give_up_all(self, timeout_s: float) -> None:
        """Let deliveries under way end while the time lasts, and begin no more."""
        for task in self._taking_up:
            task.cancel()
        await self._give_up(list(self.desks), timeout_s)

    async def _give_up(self, partitions: Iterable[TopicPartition], timeout_s: float) -> None:
        given = [desk for each in partitions if (desk := self.desks.pop(each, None)) is not None]
        await asyncio.gather(*(desk.close(timeout_s) for desk in given))

    def _take_up(self, partitions: Collection[TopicPartition]) -> None:
        # At once and without waiting: else the client reads from where it thinks it should.
        for partition in partitions:
            self._consumer.pause(partition)
            self._consumer.seek(partition, 0)
        if partitions:
            task = asyncio.create_task(self._ask_where(list(partitions)))
            self._taking_up.add(task)
            task.add_done_callback(self._note_end)

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
        receipts = await asyncio.gather(
            *(self._ledger.load(partition.partition) for partition in partitions)
        )
        for partition, known in zip(partitions, receipts, strict=True):
            start, end = starts[partition], ends[partition]
            committed = _committed(commits.get(partition), identities[partition.topic], end)
            self._begin(partition, identities[partition.topic], known, committed, start, end)

    def _begin(
        self,
        partition: TopicPartition,
        log_id: str,
        receipts: list[Receipt],
        committed: int,
        log_start: int,
        log_end: int,
    ) -> None:
        if partition not in self._consumer.assignment():
            return
        desk = self._make(
            partition, log_id, receipts, committed=committed, log_start=log_start, log_end=log_end
        )
        self.desks[partition] = desk
        self._consumer.seek(partition, log_start)
        self._consumer.resume(partition)
        log.info(
            "partition_taken_up",
            partition=str(partition),
            settled_before=committed,
            log_start=log_start,
            log_end=log_end,
            receipts=len(receipts),
        )
        self._changed()

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._taking_up.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.failure = self.failure or task.exception()


def _committed(commit: Any, log_id: str, log_end: int) -> int:
    """Return before which offset all is settled.

    Nobody is told what is long over: without a commit that is all there is. Of a topic that was
    made anew everything is new.
    """
    if commit is None or commit.offset < 0:
        return log_end
    try:
        announcement = announced(commit.metadata)
    except BlockError:
        return int(commit.offset)
    if announcement is not None and announcement.log_id != log_id:
        return 0
    return int(commit.offset)
