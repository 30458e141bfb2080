"""The desks of all partitions of `alerts` that Kafka has given this process.

A notifier that takes over in order tells nothing twice: deliveries under way end before.
"""

import asyncio
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient

from core.blocks import BlockError, announced
from core.notify.receipts import Receipt
from infra.runtime import logs
from sinks.assignment import Assignment, Known
from sinks.notify.desk import Desk
from sinks.notify.ledger import Ledger

log = logs.logger(__name__)

Make = Callable[..., Desk]
"""Makes the desk of a partition from its log, receipts and bounds."""


class Desks(Assignment):
    """`changed` is called when a desk has come."""

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
        super().__init__(consumer, admin, client, group, revoke_s=revoke_s)
        self.desks: dict[TopicPartition, Desk] = {}
        self._ledger = ledger
        self._make = make
        self._changed = changed

    def _held(self) -> list[TopicPartition]:
        return list(self.desks)

    async def _give_up(self, partitions: Iterable[TopicPartition], timeout_s: float) -> None:
        given = [desk for each in partitions if (desk := self.desks.pop(each, None)) is not None]
        await asyncio.gather(*(desk.close(timeout_s) for desk in given))

    async def _start(self, known: dict[TopicPartition, Known]) -> None:
        receipts = await asyncio.gather(*(self._ledger.load(each.partition) for each in known))
        for (partition, of_it), told in zip(known.items(), receipts, strict=True):
            self._begin(partition, of_it, told)

    def _begin(self, partition: TopicPartition, known: Known, receipts: list[Receipt]) -> None:
        if partition not in self._consumer.assignment():
            return
        committed = _settled_before(known)
        self.desks[partition] = self._make(
            partition,
            known.log_id,
            receipts,
            committed=committed,
            log_start=known.log_start,
            log_end=known.log_end,
        )
        self._consumer.seek(partition, known.log_start)
        self._consumer.resume(partition)
        log.info(
            "partition_taken_up",
            partition=str(partition),
            settled_before=committed,
            log_start=known.log_start,
            log_end=known.log_end,
            receipts=len(receipts),
        )
        self._changed()


def _settled_before(known: Known) -> int:
    """Return before which offset all is settled.

    Nobody is told what is long over: without a commit that is all there is. Of a topic that was
    made anew everything is new.
    """
    if known.committed is None:
        return known.log_end
    try:
        announcement = announced(known.metadata)
    except BlockError:
        return known.committed
    if announcement is not None and announcement.log_id != known.log_id:
        return 0
    return known.committed
