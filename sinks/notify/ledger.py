"""Compacted topics: receipts of what was told, read once for each partition, and silences.

A receipt stands on the partition that its alert's has, so whoever takes over a partition reads
what its predecessor told of it, and nothing else.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from core.notify.receipts import Receipt, receipt_key
from core.notify.silences import Once, Silence
from infra.runtime import logs
from schemas.notify import decode_receipt, decode_silence, encode_receipt
from schemas.registry import CodecError

log = logs.logger(__name__)

POLL_MS: Final = 200
_NS: Final = 1_000_000_000
_DAY_NS: Final = 86_400 * _NS


class Ledger:
    """Reads and writes receipts. `arguments` are those of any Kafka client."""

    def __init__(self, arguments: dict[str, Any], topic: str) -> None:
        self._arguments = arguments
        self._topic = topic
        self._partitions = 1
        self._producer: AIOKafkaProducer | None = None

    async def start(self) -> None:
        """Connect."""
        self._producer = AIOKafkaProducer(**self._arguments, acks="all", enable_idempotence=True)
        await self._producer.start()
        self._partitions = len(await self._producer.partitions_for(self._topic))

    async def close(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def load(self, partition: int) -> list[Receipt]:
        """Return the newest receipts of the alerts of one partition.

        Raises:
            KafkaError: Kafka does not answer.
        """
        found: dict[bytes, Receipt] = {}
        place = TopicPartition(self._topic, partition % self._partitions)
        async for record in _whole(self._arguments, [place]):
            if record.value is None:
                found.pop(record.key, None)
                continue
            try:
                receipt = decode_receipt(record.value)
            except CodecError as error:
                log.error("receipt_unreadable", offset=record.offset, reason=str(error)[:200])
                continue
            if receipt.partition == partition:
                found[record.key] = receipt
        return list(found.values())

    async def write(self, receipt: Receipt) -> None:
        """Return when Kafka has the receipt.

        Raises:
            KafkaError: it may not have it; write it again.
        """
        await self._send(receipt.key, encode_receipt(receipt), receipt.partition)

    async def forget(self, alert_id: str, receivers: Iterable[str], partition: int) -> None:
        """Let an incident's receipts go; what is not heard of any more needs none.

        Raises:
            KafkaError: Kafka may not have taken it, which costs a little room.
        """
        for name in receivers:
            await self._send(receipt_key(name, alert_id), None, partition)

    async def _send(self, key: bytes, value: bytes | None, partition: int) -> None:
        assert self._producer is not None, "started before it is used"
        await self._producer.send_and_wait(
            self._topic, value, key=key, partition=partition % self._partitions
        )


class SilenceBoard:
    """The silences made at run time, kept up to date while `follow` runs."""

    def __init__(self, arguments: dict[str, Any], topic: str) -> None:
        self._arguments = arguments
        self._topic = topic
        self._silences: dict[bytes, Silence] = {}
        self.silences: tuple[Silence, ...] = ()
        self.loaded = asyncio.Event()
        """Set when all that was on the topic at the start is known."""

    async def follow(self) -> None:
        """Read the topic for ever.

        Raises:
            KafkaError: Kafka does not answer.
        """
        places = [
            TopicPartition(self._topic, number)
            for number in await _partitions(self._arguments, self._topic)
        ]
        consumer = AIOKafkaConsumer(**self._arguments, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            while True:
                if not self.loaded.is_set() and await _has_reached(consumer, ends):
                    self.loaded.set()
                for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                    for record in records:
                        self._take(record)
                self.silences = tuple(self._silences.values())
        finally:
            await consumer.stop()

    def _take(self, record: Any) -> None:
        take_silence(self._silences, record)


def take_silence(known: dict[bytes, Silence], record: Any) -> None:
    """Note what a record of `silences` says in `known`, by key."""
    if record.value is None:
        known.pop(record.key, None)
        return
    try:
        known[record.key] = decode_silence(record.value)
    except CodecError as error:
        log.error("silence_unreadable", offset=record.offset, reason=str(error)[:200])


async def load_silences(arguments: dict[str, Any], topic: str) -> list[Silence]:
    """Return the silences on the topic, as they are now.

    Raises:
        KafkaError: Kafka does not answer.
    """
    known: dict[bytes, Silence] = {}
    places = [TopicPartition(topic, number) for number in await _partitions(arguments, topic)]
    async for record in _whole(arguments, places):
        take_silence(known, record)
    return list(known.values())


def long_past(silence: Silence, now: int, kept_ns: int = _DAY_NS) -> bool:
    """Say whether a silence has ended long enough ago to be forgotten."""
    return isinstance(silence.window, Once) and silence.window.ends < now - kept_ns


async def _partitions(arguments: dict[str, Any], topic: str) -> list[int]:
    consumer = AIOKafkaConsumer(topic, **arguments, enable_auto_commit=False)
    await consumer.start()
    try:
        return sorted(consumer.partitions_for_topic(topic) or ())
    finally:
        await consumer.stop()


async def _whole(arguments: dict[str, Any], places: list[TopicPartition]) -> Any:
    """Yield all records there are now, in the order of each partition."""
    consumer = AIOKafkaConsumer(**arguments, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        while not await _has_reached(consumer, ends):
            for records in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                for record in records:
                    yield record
    finally:
        await consumer.stop()


async def _has_reached(consumer: AIOKafkaConsumer, ends: dict[TopicPartition, int]) -> bool:
    # Positions, not records: a compacted topic may end with offsets that hold none.
    for place, end in ends.items():
        if await consumer.position(place) < end:
            return False
    return True
