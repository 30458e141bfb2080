"""Parcels to Kafka: in order, each until it is acknowledged, whatever happens to the broker.

One idempotent aiokafka producer is shared. Each partition has a courier that hands over one Kafka
batch at a time and waits for its acknowledgement: a batch is stored whole or not at all, so a
failure can never leave a hole in front of records that were stored. A producer that has failed a
batch for good is replaced, because aiokafka has used up that batch's sequence numbers and every
later batch of the partition would be refused; the batch itself is sent again by the new one. A
batch that had been stored after all is then there twice, which every reader sees by its numbers.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.partitioner import DefaultPartitioner

from core.backoff import Backoff
from infra.runtime import logs
from producers.kafka import make_producer
from producers.metrics import ProducerMetrics
from producers.recorder import Parcel

log = logs.logger(__name__)

_NS_PER_S: Final = 1_000_000_000
_NS_PER_MS: Final = 1_000_000
_BACKOFF_INITIAL_NS: Final = 100_000_000
_BACKOFF_CAP_NS: Final = 5_000_000_000
_RECORD_OVERHEAD_BYTES: Final = 128
"""More than Kafka adds to one record in a batch."""
_CLOSE_S: Final = 5.0
_LATE_S: Final = 5.0
"""An acknowledgement that takes longer is worth a line in the log, s."""


class TopicMissingError(Exception):
    """Raw topics do not exist; the text is their names."""


class DeliverySettings(msgspec.Struct, frozen=True):
    """`batch_bytes` bounds one Kafka batch of a partition; `arguments` are aiokafka's."""

    arguments: Mapping[str, Any]
    linger_s: float
    batch_bytes: int


class Delivery:
    """The shared producer and the couriers of all partitions."""

    def __init__(self, settings: DeliverySettings, metrics: ProducerMetrics) -> None:
        self.settings = settings
        self.metrics = metrics
        self._couriers: dict[tuple[str, int], PartitionCourier] = {}
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()
        self._retired: set[asyncio.Task[None]] = set()
        self._backoff = Backoff(_BACKOFF_INITIAL_NS, _BACKOFF_CAP_NS)

    @property
    def is_connected(self) -> bool:
        """Say whether there is a producer that has reached Kafka."""
        return self._producer is not None

    async def producer(self) -> AIOKafkaProducer:
        """Return the shared producer, as soon as Kafka can be reached."""
        async with self._connecting:
            while self._producer is None:
                fresh = make_producer(
                    self.settings.arguments, batch_bytes=self.settings.batch_bytes
                )
                try:
                    await fresh.start()
                except BaseException as error:
                    await fresh.stop()
                    if not isinstance(error, KafkaError):
                        raise
                    wait = self._backoff.wait(random.random()) / _NS_PER_S
                    log.warning("kafka_unreachable", error=_text(error), retry_in_s=round(wait, 2))
                    await asyncio.sleep(wait)
                else:
                    self._backoff.reset()
                    self._producer = fresh
            return self._producer

    def retire(self, producer: AIOKafkaProducer) -> None:
        """Replace a producer that has failed; what others have given it is still delivered."""
        if self._producer is producer:
            self._producer = None
            task = asyncio.create_task(_stop(producer))
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def courier(self, topic: str, key: str) -> "PartitionCourier":
        """Return the courier of the partition of a key, which stays the same from now on.

        Raises:
            TopicMissingError: the topic does not exist, or we may not see it.
        """
        producer = await self.producer()
        try:
            partitions = sorted(await producer.partitions_for(topic))
        except (UnknownTopicOrPartitionError, TopicAuthorizationFailedError) as error:
            raise TopicMissingError(topic) from error
        partition = DefaultPartitioner()(key.encode(), partitions, partitions)
        courier = self._couriers.get((topic, partition))
        if courier is None:
            courier = PartitionCourier(self, topic, partition)
            self._couriers[topic, partition] = courier
        return courier

    @property
    def waiting_frames(self) -> int:
        """Frames that Kafka has not acknowledged."""
        return sum(courier.waiting_frames for courier in self._couriers.values())

    def oldest_ns(self, mono: int) -> int:
        """Return since when the oldest parcel waits for its acknowledgement, ns."""
        ages = [courier.oldest_ns(mono) for courier in self._couriers.values()]
        return max(ages, default=0)

    @property
    def tasks(self) -> "list[asyncio.Task[None]]":
        """The work of all couriers."""
        return [courier.task for courier in self._couriers.values()]

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything is acknowledged; return whether it was in time."""
        emptied = [asyncio.create_task(each.empty.wait()) for each in self._couriers.values()]
        if not emptied:
            return True
        _, late = await asyncio.wait(emptied, timeout=timeout_s)
        for task in late:
            task.cancel()
        return not late

    async def stop(self) -> None:
        """End the couriers and disconnect; what is not acknowledged by now is given up."""
        for courier in self._couriers.values():
            await courier.stop()
        if self._producer is not None:
            self.retire(self._producer)
        if self._retired:
            # A broker that is away must not hold us.
            _, late = await asyncio.wait(self._retired, timeout=_CLOSE_S)
            for task in late:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task


class PartitionCourier:
    """The parcels of one partition."""

    def __init__(self, delivery: Delivery, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.empty = asyncio.Event()
        """Set while nothing waits."""
        self.empty.set()
        self._delivery = delivery
        self._waiting: deque[Parcel] = deque()
        self._bytes = 0
        self._arrived = asyncio.Event()
        self._backoff = Backoff(_BACKOFF_INITIAL_NS, _BACKOFF_CAP_NS)
        self._task = asyncio.create_task(self._run(), name=f"courier of {topic}-{partition}")

    @property
    def waiting_frames(self) -> int:
        """Frames that Kafka has not acknowledged."""
        return sum(parcel.frames for parcel in self._waiting)

    def oldest_ns(self, mono: int) -> int:
        """Return since when the first parcel waits, ns."""
        return mono - self._waiting[0].oldest_mono if self._waiting else 0

    @property
    def task(self) -> "asyncio.Task[None]":
        """The courier's work, which ends only by a mistake of ours."""
        return self._task

    def put(self, parcel: Parcel) -> None:
        """Take a parcel."""
        self._waiting.append(parcel)
        self._bytes += len(parcel.value)
        self.empty.clear()
        self._arrived.set()

    async def stop(self) -> None:
        """End; what waits is given up."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        settings = self._delivery.settings
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                if settings.linger_s and self._bytes < settings.batch_bytes:
                    await asyncio.sleep(settings.linger_s)
                await self._deliver(self._group())

    def _group(self) -> list[Parcel]:
        """Return the parcels of the next batch: the first ones, as many as fit."""
        group: list[Parcel] = []
        size = 0
        for parcel in self._waiting:
            size += len(parcel.value) + len(parcel.key) + _RECORD_OVERHEAD_BYTES
            if group and size > self._delivery.settings.batch_bytes:
                break
            group.append(parcel)
        return group

    async def _deliver(self, group: list[Parcel]) -> None:
        """Deliver the first parcels of the queue; return when each is settled."""
        while True:
            producer = await self._delivery.producer()
            try:
                await self._send(producer, group)
            except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
                self._delivery.retire(producer)
                if len(group) == 1:
                    size = len(group[0].value)
                    log.error("record_refused", topic=self.topic, bytes=size, error=_text(error))
                    self._settle(group, f"Kafka refuses a record of {size} bytes: {_text(error)}")
                    return
                # One of them is too large, or all together are.
                group = group[:1]
            except KafkaError as error:
                self._delivery.retire(producer)
                if isinstance(error, InvalidTimestampError):
                    _restamp(group)
                wait = self._backoff.wait(random.random()) / _NS_PER_S
                log.warning(
                    "delivery_failed",
                    topic=self.topic,
                    partition=self.partition,
                    error=_text(error),
                    retry_in_s=round(wait, 2),
                )
                await asyncio.sleep(wait)
            else:
                self._backoff.reset()
                self._settle(group, "")
                return

    async def _send(self, producer: AIOKafkaProducer, group: list[Parcel]) -> None:
        batch = producer.create_batch()
        for parcel in group:
            taken = batch.append(key=parcel.key, value=parcel.value, timestamp=parcel.timestamp_ms)
            assert taken is not None, "a batch has room for what was grouped for it"
        batch.close()
        acknowledged = await producer.send_batch(batch, self.topic, partition=self.partition)
        while not acknowledged.done():
            # An idempotent producer tries for as long as it takes; people should know that it does.
            await asyncio.wait([acknowledged], timeout=_LATE_S)
            if not acknowledged.done():
                age_s = round(self.oldest_ns(time.monotonic_ns()) / _NS_PER_S, 1)
                log.warning(
                    "kafka_late",
                    topic=self.topic,
                    partition=self.partition,
                    oldest_s=age_s,
                    frames=self.waiting_frames,
                )
        acknowledged.result()

    def _settle(self, group: list[Parcel], refused: str) -> None:
        mono = time.monotonic_ns()
        for parcel in group:
            self._waiting.popleft()
            self._bytes -= len(parcel.value)
            if not refused:
                self._delivery.metrics.acknowledged(mono - parcel.oldest_mono)
            parcel.settle(parcel, refused)
        if not self._waiting:
            self.empty.set()


async def _stop(producer: AIOKafkaProducer) -> None:
    """Close a producer once what it was given is delivered or has failed."""
    try:
        await producer.stop()
    except KafkaError as error:
        # Its sender had ended: what it was given has failed, and is sent by its successor.
        log.warning("producer_closed", error=_text(error))


def _restamp(group: list[Parcel]) -> None:
    """Let no record be of the future, which Kafka refuses: a clock that went wrong was put right.

    They would hold up all that come after them. Their frames keep the stamps of the socket read.
    """
    now_ms = time.time_ns() // _NS_PER_MS
    for parcel in group:
        parcel.timestamp_ms = min(parcel.timestamp_ms, now_ms)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
