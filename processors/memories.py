"""What earlier workers wrote down of a stretch of the raw log: the last checkpoint of each stream.

Outputs are flushed before each commit, so that all checkpoints of committed raw records are found.
Held is one checkpoint a stream, however long the stretch is, with what the connection remembered at
the same tick: streams are judged by both.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition

from core.events import CheckpointBatch, Header, StreamCheckpoint
from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import KafkaSettings
from processors.reading import records, written_since
from schemas.codec import decode_checkpoints
from schemas.registry import CodecError

_AT_ONCE: Final = 20
"""Records decoded before others may run: the event loop serves health checks too."""

Stream = tuple[str, str, str, str]
"""Shard, line, channel, symbol."""


class Stretch(NamedTuple):
    """Raw records of one partition, from offset `first` to before `until`."""

    exchange: str
    partition: int
    first: int
    until: int


class Memories:
    """The last checkpoint of each stream among the raw records of `stretch`."""

    def __init__(self, stretch: Stretch) -> None:
        self._stretch = stretch
        self._last: dict[Stream, tuple[Header, StreamCheckpoint, list[StreamCheckpoint]]] = {}

    def __len__(self) -> int:
        return len(self._last)

    def add(self, batch: CheckpointBatch) -> None:
        """Take a record of `checkpoints`; one of other raw records changes nothing, nor a repeat.

        Of two the later of its stream's epochs and frames counts, not the one with the higher
        offset: an older raw topic of the same name had offsets too.
        """
        header, stretch = batch.header, self._stretch
        address = header.address
        place = address.exchange, header.raw_partition
        if place != stretch[:2] or not stretch.first <= header.raw_offset < stretch.until:
            return
        for checkpoint in batch.checkpoints:
            stream = address.shard, address.line, checkpoint.channel, checkpoint.symbol
            known = self._last.get(stream)
            if known is None or _age(header, checkpoint) > _age(*known[:2]):
                beside = [
                    each
                    for each in batch.checkpoints
                    if not each.symbol and each.number == checkpoint.number
                ]
                self._last[stream] = header, checkpoint, beside

    def by_offset(self) -> dict[int, CheckpointBatch]:
        """Return what is to be restored with each raw record."""
        found: dict[int, CheckpointBatch] = {}
        for header, checkpoint, beside in self._last.values():
            batch = found.setdefault(header.raw_offset, CheckpointBatch(header, []))
            for each in (*beside, checkpoint):
                if each not in batch.checkpoints:
                    batch.checkpoints.append(each)
        return found


async def recollect(
    kafka: KafkaSettings,
    partitions: Collection[TopicPartition],
    stretches: Iterable[Stretch],
    *,
    since_ms: int | None,
    wanted: Callable[[], bool] = lambda: True,
) -> dict[tuple[str, int], Memories] | None:
    """Read `partitions` of the topic `checkpoints`, up to where they end now.

    Returns the memories of each stretch by exchange and raw partition; None when `wanted`, which is
    asked in between, says no. No raw record of a stretch is older than `since_ms`.
    """
    memories = {stretch[:2]: Memories(stretch) for stretch in stretches}
    if not partitions:
        return memories
    # A client of its own: aiokafka may never stop one that was just given other partitions.
    consumer = AIOKafkaConsumer(**kafka_arguments(kafka), enable_auto_commit=False)
    await consumer.start()
    try:
        bounds = await written_since(consumer, partitions, since_ms)
        count = 0
        async for _, record in records(consumer, bounds):
            batch = _decoded(record)
            if batch is not None:
                place = batch.header.address.exchange, batch.header.raw_partition
                if place in memories:
                    memories[place].add(batch)
            count += 1
            if not count % _AT_ONCE:
                await asyncio.sleep(0)
                if not wanted():
                    return None
    finally:
        await consumer.stop()
    return memories


def _decoded(record: Any) -> CheckpointBatch | None:
    try:
        return decode_checkpoints(record.value)
    except CodecError:
        return None  # No engine wrote this; a replay names it.


def _age(header: Header, checkpoint: StreamCheckpoint) -> tuple[int, int]:
    return header.address.epoch, checkpoint.number
