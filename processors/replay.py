"""Recomputing the event topics from the raw topics, and comparing byte for byte.

The same engines as in a worker, from the log's own beginning or from a warm-up before a chosen
time. Compared is what the workers have committed: that much is published, whatever they do now.
What engines remember from before the warm-up they have from the checkpoints in it, as a worker has.
Records are streamed; what is held is a digest and some marks per stream. Kafka is only read, unless
the recomputed events are to be written under another prefix.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import Settings
from processors.broker import Broker
from processors.digests import (
    Difference,
    Mark,
    Place,
    StreamDigest,
    Window,
    first_difference,
    record_digest,
    windows,
)
from processors.engine import Engine, Fed
from processors.engines import makers
from processors.memories import Stretch, recollect
from processors.ranges import RawRange
from processors.reading import records, written_since
from processors.warmup import raw_record
from schemas.codec import decode_output
from schemas.registry import CodecError
from schemas.topics import CHECKPOINTS, MIDS, OUTPUT_KINDS, VENUES, event_topic

_TELL_RECORDS: Final = 500
"""Raw records between two words about the progress."""
_FETCH_BYTES: Final = 4 << 20

Take = Callable[[Place, Mark, bytes], None]
Sink = Callable[[str, int, bytes, bytes], Any]
Tell = Callable[[int, int], None]


class Comparison(msgspec.Struct):
    """Both sides' digests, and the first difference of each stream that has one."""

    computed: dict[Place, StreamDigest]
    stored: dict[Place, StreamDigest]
    differences: list[Difference]
    frames: int
    seconds: float


class Replay:
    """Recomputes `ranges`; `tell(done, total)` hears of raw records read."""

    def __init__(self, settings: Settings, ranges: list[RawRange], tell: Tell) -> None:
        self._settings = settings
        self._makers = makers(settings)
        self._ranges = {TopicPartition(r.topic, r.partition): r for r in ranges}
        self._tell = tell
        self._frames = 0
        self._partitions: dict[str, int] = {}

    async def compare(self, sink: Sink | None = None) -> Comparison:
        """Compute, read what is stored, and find the first differences.

        `sink(kind, partition, key, value)` is awaited for every recomputed record.
        """
        started = time.monotonic()
        computed: dict[Place, StreamDigest] = {}
        stored: dict[Place, StreamDigest] = {}
        self._partitions = await _partitions(self._settings)
        async with self._consumer() as consumer:
            await self._compute(consumer, _into(computed), sink)
        frames = self._frames
        async with self._consumer() as consumer:
            await self._read(consumer, _into(stored))
        parted = windows(computed, stored)
        differences = await self._differences(parted) if parted else []
        return Comparison(computed, stored, differences, frames, time.monotonic() - started)

    async def _differences(self, parted: Mapping[Place, Window]) -> list[Difference]:
        """Go over both sides once more, looking only where they part."""
        sides: list[dict[Place, dict[Mark, bytes]]] = [{}, {}]
        for side, go in zip(sides, (self._compute, self._read), strict=True):
            async with self._consumer() as consumer:
                await go(consumer, _only(parted, side))
        found = [
            first_difference(place, sides[0].get(place, {}), sides[1].get(place, {}))
            for place in parted
        ]
        return [difference for difference in found if difference is not None]

    async def _compute(
        self, consumer: AIOKafkaConsumer, take: Take, sink: Sink | None = None
    ) -> None:
        engines = {tp: self._engine(tp) for tp in self._ranges}
        await self._restore(engines)
        total = sum(r.end - r.start for r in self._ranges.values())
        done = 0
        bounds = {tp: (r.start, r.end) for tp, r in self._ranges.items()}
        async for tp, record in records(consumer, bounds):
            done += 1
            engine = engines[tp]
            if record.offset < self._ranges[tp].first:
                engine.absorb(raw_record(record))
                continue
            fed = engine.feed(raw_record(record))
            self._frames += fed.frames
            for place, mark, key, value in _placed(fed, self._partitions):
                take(place, mark, value)
                if sink is not None:
                    await sink(place.kind, place.partition, key, value)
            if not done % _TELL_RECORDS:
                self._tell(done, total)
        self._tell(total, total)

    async def _read(self, consumer: AIOKafkaConsumer, take: Take) -> None:
        engines = [(self._engine(tp), r) for tp, r in self._ranges.items()]
        ranges = {(engine.source, r.partition): r for engine, r in engines}
        kinds: dict[TopicPartition, str] = {}
        for kind, count in self._partitions.items():
            topic = event_topic(kind, self._settings.topics.prefix)
            kinds |= {TopicPartition(topic, number): kind for number in range(count)}
        bounds = await written_since(consumer, kinds, self._since_ms())
        async for tp, record in records(consumer, bounds):
            kind = kinds[tp]
            try:
                header = decode_output(kind, record.value).header
            except CodecError:
                # No engine wrote this; it stands among the records of nobody.
                take(Place(kind, tp.partition, _FOREIGN), (0, record.offset), record.value or b"")
                continue
            raw = ranges.get((header.source, header.raw_partition))
            if raw is not None and raw.first <= header.raw_offset < raw.end:
                take(Place(kind, tp.partition, header.stream), header.mark, record.value)

    def _engine(self, tp: TopicPartition) -> Engine:
        return self._makers[tp.topic](tp.topic, tp.partition, "")

    async def _restore(self, engines: Mapping[TopicPartition, Engine]) -> None:
        """Let engines that begin in the middle remember what was written down on the way."""
        stretches = {
            tp: Stretch(engines[tp].source, tp.partition, r.start, r.first)
            for tp, r in self._ranges.items()
            if r.start < r.first
        }
        if not stretches:
            return
        topic = event_topic(CHECKPOINTS, self._settings.topics.prefix)
        count = self._partitions.get(CHECKPOINTS, 0)
        since_ms = self._since_ms()
        if since_ms is not None:
            since_ms -= self._settings.processor.warmup_s * 1000
        partitions = [TopicPartition(topic, number) for number in range(count)]
        kafka = self._settings.kafka
        memories = await recollect(kafka, partitions, stretches.values(), since_ms=since_ms)
        assert memories is not None
        for tp, stretch in stretches.items():
            engines[tp].restore(memories[stretch[:2]].by_offset())

    def _since_ms(self) -> int | None:
        """Return a time before all that is compared, None for the log's beginning."""
        since = [r.since_ms for r in self._ranges.values()]
        known = [ms for ms in since if ms is not None]
        return min(known) if known and len(known) == len(since) else None

    def _consumer(self) -> "_Started":
        return _Started(
            AIOKafkaConsumer(
                **kafka_arguments(self._settings.kafka),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                max_partition_fetch_bytes=_FETCH_BYTES,
            )
        )


_FOREIGN: Final = ("", "", "")


class _Started:
    """Starts a client and stops it."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def __aenter__(self) -> Any:
        await self._client.start()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.stop()


async def _partitions(settings: Settings) -> dict[str, int]:
    """Return the number of partitions of each kind's topic, 0 where it does not exist.

    Of newer kinds those are left out whose topic nobody has made: workers that do not write them
    have read the log, and the rest can be compared all the same.
    """
    topics = {event_topic(kind, settings.topics.prefix): kind for kind in OUTPUT_KINDS}
    async with Broker(settings.kafka, settings.processor.app_id) as broker:
        counts = await broker.partition_counts(topics)
    return {
        kind: counts.get(topic, 0)
        for topic, kind in topics.items()
        if kind not in (CHECKPOINTS, MIDS, VENUES) or topic in counts
    }


def _placed(fed: Fed, partitions: Mapping[str, int]) -> list[tuple[Place, Mark, bytes, bytes]]:
    if fed.events is None:
        return []
    return [
        (Place(kind, _partition(key, partitions[kind]), stream), mark, key, value)
        for (kind, key, value), (stream, mark) in zip(fed.outputs, fed.marks, strict=True)
        if kind in partitions
    ]


def _partition(key: bytes, count: int) -> int:
    """Return where a worker's producer puts `key`."""
    everywhere = list(range(count))
    return int(DefaultPartitioner()(key, everywhere, everywhere)) if count else 0


def _into(streams: dict[Place, StreamDigest]) -> Take:
    def take(place: Place, mark: Mark, value: bytes) -> None:
        digest = streams.get(place)
        if digest is None:
            digest = streams[place] = StreamDigest()
        digest.add(mark, value)

    return take


def _only(parted: Mapping[Place, Window], found: dict[Place, dict[Mark, bytes]]) -> Take:
    def take(place: Place, mark: Mark, value: bytes) -> None:
        if place in parted and mark in parted[place]:
            # Of repeats the first counts, as in the chains.
            found.setdefault(place, {}).setdefault(mark, record_digest(mark, value))

    return take
