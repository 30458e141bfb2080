"""Excerpts of Kafka: where the records of a time stand, and those of them that are wanted.

Kafka is only read, and no excerpt is larger than BYTES_MAX.
"""

from collections.abc import Callable, Collection
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from processors.broker import Broker
from processors.bundle import LogRecord
from processors.reading import Bounds, records, written_since
from schemas.codec import decode_checkpoints
from schemas.registry import CodecError

BYTES_MAX: Final = 256 << 20
"""Most bytes of the records of one excerpt."""


class ExcerptError(Exception):
    """What is wanted is more than BYTES_MAX."""


class Written(NamedTuple):
    """What of a partition is there: from offset `beginning` to before `end`."""

    beginning: int
    end: int

    def __contains__(self, offset: object) -> bool:
        return isinstance(offset, int) and self.beginning <= offset < self.end


class Writer(NamedTuple):
    """Whose checkpoints are wanted: of raw offsets from `start` to before `first`.

    `exchange` and `line` are empty for the comparison of an instrument, which stands in `shard`.
    """

    exchange: str
    partition: int
    shard: str
    line: str
    start: int
    first: int


class Excerpts:
    """Reads with a consumer that has no group."""

    def __init__(self, consumer: AIOKafkaConsumer, broker: Broker) -> None:
        self._consumer = consumer
        self._broker = broker

    async def partitions(self, topic: str) -> list[TopicPartition]:
        """Return the partitions of a topic; none where it does not exist."""
        count = (await self._broker.partition_counts([topic])).get(topic, 0)
        return [TopicPartition(topic, number) for number in range(count)]

    async def log_id(self, topic: str) -> str:
        """Return the identity of the log that `topic` is now."""
        return await self._broker.log_id(topic)

    async def written(self, tp: TopicPartition) -> Written:
        """Return what of a partition is there now."""
        beginning = (await self._consumer.beginning_offsets([tp]))[tp]
        return Written(beginning, (await self._consumer.end_offsets([tp]))[tp])

    async def offset_at(self, tp: TopicPartition, ms: int, written: Written) -> int:
        """Return the first offset of a record of that time or later, the end where there is none.

        `ms` is compared with Kafka timestamps, ms since 1970.
        """
        found = (await self._consumer.offsets_for_times({tp: max(ms, 0)}))[tp]
        return written.end if found is None else int(found.offset)

    async def kept(self, bounds: Bounds, wanted: Callable[[LogRecord], bool]) -> list[LogRecord]:
        """Return the records inside `bounds` that are wanted; each partition in order.

        Raises:
            ExcerptError: they are more than BYTES_MAX.
        """
        found: list[LogRecord] = []
        size = 0
        async for _, record in records(self._consumer, bounds):
            read = log_record(record)
            if wanted(read):
                size += len(read.value or b"")
                if size > BYTES_MAX:
                    raise ExcerptError(f"it is of more than {BYTES_MAX >> 20} MiB of records")
                found.append(read)
        return found

    async def checkpoints(
        self, topic: str, writers: Collection[Writer], since_ms: int
    ) -> list[LogRecord]:
        """Return the records of a topic of checkpoints that are of one of the writers.

        No record that they wrote them of is older than `since_ms`.
        """
        bounds = await written_since(self._consumer, await self.partitions(topic), since_ms)
        return await self.kept(bounds, lambda r: any(_is_of(r.value, each) for each in writers))


def log_record(record: Any) -> LogRecord:
    """Return an aiokafka record as a bundle holds it."""
    return LogRecord(record.offset, record.timestamp, record.key, record.value)


def _is_of(value: bytes | None, writer: Writer) -> bool:
    try:
        header = decode_checkpoints(value).header
    except CodecError:
        return False
    address = header.address
    of = address.exchange, header.raw_partition, address.shard, address.line
    return of == writer[:4] and writer.start <= header.raw_offset < writer.first
