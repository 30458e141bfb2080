"""One raw partition's pipelines: records in, records of the event topics out.

A plain class, the same under Faust, in replay and in tests. Its state after a record depends on
the log alone, so that whoever reads the same records publishes the same bytes. It must not know
Faust or Kafka, read a clock or skip anything silently.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

import msgspec

from core.events import CheckpointBatch, Events, fact_number
from core.frames import FrameBatch
from core.letters import REASON_CHARACTERS, DeadLetter
from core.pipeline import PipelineSettings, ShardPipeline
from core.protocol import Exchange
from core.stability.alerts import Alert
from core.venues.mids import Mid
from schemas.codec import decode_frame_batch, encode_dead_letter, encode_events
from schemas.registry import CodecError
from schemas.topics import ALERTS, DEAD_LETTERS, MIDS

LETTER_VALUE_BYTES: Final = 1 << 20
"""Most bytes of an unusable record that its letter keeps; the rest is found by its offset."""
LETTER_KEY_BYTES: Final = 1 << 10

TS_MAX: Final = 4_102_444_800_000_000_000
"""Latest receive time that is believed, ns: the end of the year 2099."""
COUNTER_MAX: Final = 1 << 58
"""Largest frame number and monotonic time that are believed: nine years of ns."""


class RawRecord(NamedTuple):
    """A record of a raw topic; `ts` is its Kafka timestamp, ns."""

    offset: int
    key: bytes | None
    value: bytes | None
    ts: int


class Output(NamedTuple):
    """A record to publish: on the topic of `kind`, one of OUTPUT_KINDS or DEAD_LETTERS."""

    kind: str
    key: bytes
    value: bytes


class Fed(msgspec.Struct, frozen=True):
    """What one record gave: outputs, how many frames it had, and the facts in the outputs; None in
    place of a dead letter's. `marks` are the stream and the mark in the header of each output, and
    `late` counts mids that were left out, because they came too late or were far ahead."""

    outputs: list[Output]
    frames: int
    events: list[Events] | None
    marks: list[tuple[tuple[str, str, str], tuple[int, int]]] = []
    late: int = 0


class Engine(Protocol):
    """What reads one partition: `PartitionEngine` a raw one, `VenueEngine` one of `mids`."""

    topic: str
    partition: int
    next_offset: int | None
    unreadable_checkpoints: int

    @property
    def source(self) -> str:
        """The exchange whose raw topic is read, empty for `mids`: see `Header.source`."""
        ...

    def restore(self, checkpoints: dict[int, CheckpointBatch]) -> None:
        """Let records that are absorbed give back what was remembered; keys are their offsets."""
        ...

    def feed(self, record: RawRecord) -> Fed:
        """Take the next record and return what is to be published for it."""
        ...

    def absorb(self, record: RawRecord) -> int:
        """Take a record for its effect on the state alone; return its frames."""
        ...


class PartitionEngine:
    """All pipelines of one raw partition, one for each shard and line that it carries.

    `consumer` and `log_id` sign dead letters: who gave a record up, and in which log it stands.
    A letter keeps `letter_bytes` of a record's value.
    """

    def __init__(
        self,
        exchange: Exchange,
        settings: PipelineSettings,
        *,
        topic: str,
        partition: int,
        consumer: str = "",
        log_id: str = "",
        letter_bytes: int = LETTER_VALUE_BYTES,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.exchange = exchange
        self.next_offset: int | None = None
        """What comes after the last record that was taken; None before the first."""
        self.unreadable_checkpoints = 0
        """Of those restored: written by a version that we do not understand."""
        self._settings = settings
        self._letter = letter(topic, partition, consumer, log_id, letter_bytes)
        self._pipelines: dict[tuple[str, str], ShardPipeline] = {}
        self._checkpoints: dict[int, CheckpointBatch] = {}

    @property
    def source(self) -> str:
        """The exchange whose raw topic is read."""
        return self.exchange.name

    def restore(self, checkpoints: dict[int, CheckpointBatch]) -> None:
        """Let records that are absorbed give back what was remembered; keys are raw offsets."""
        self._checkpoints = checkpoints

    def feed(self, record: RawRecord) -> Fed:
        """Take the next record and return what is to be published for it."""
        self.next_offset = record.offset + 1
        try:
            batch = self._batch(record.value)
        except CodecError as error:
            return Fed([self._letter(record, str(error))], 0, None)
        events = self._pipeline(batch).feed(batch)
        return fed([events], self.partition, record.offset, frames=len(batch.frames))

    def absorb(self, record: RawRecord) -> int:
        """Take a record for its effect on the state alone; return its frames."""
        self.next_offset = record.offset + 1
        try:
            batch = self._batch(record.value)
        except CodecError:
            return 0  # Whoever published this record's facts wrote its letter.
        pipeline = self._pipeline(batch)
        restored = self._checkpoints.pop(record.offset, None)
        # A raw topic that was made anew has other records at the same offsets.
        if restored is not None and restored.header.address == batch.address:
            self.unreadable_checkpoints += pipeline.restore(restored.checkpoints)
        pipeline.feed(batch)
        return len(batch.frames)

    def _batch(self, value: bytes | None) -> FrameBatch:
        batch = decode_frame_batch(value)
        if batch.address.exchange != self.exchange.name:
            found = batch.address.exchange[:64]
            raise CodecError(f"expected frames of {self.exchange.name}, found {found!r}")
        _check_range(batch)
        return batch

    def _pipeline(self, batch: FrameBatch) -> ShardPipeline:
        name = batch.address.shard, batch.address.line
        pipeline = self._pipelines.get(name)
        if pipeline is None:
            pipeline = self._pipelines[name] = ShardPipeline(self.exchange, self._settings)
        return pipeline


def fed(made: list[Events], partition: int, offset: int, *, frames: int = 0, late: int = 0) -> Fed:
    """Return what is to be published of the facts of one record."""
    given = Fed([], frames, made, [], late)
    for events in made:
        address = events.address
        key = f"{address.exchange}/{address.shard}".encode()
        stream = address.exchange, address.shard, address.line
        # These are records of their own; of all other kinds there is one for the raw record.
        single: dict[str, Iterator[Alert | Mid]] = {
            ALERTS: iter(events.alerts),
            MIDS: iter(events.mids),
        }
        for kind, value in encode_events(events, partition, offset):
            number, place = events.number, key
            if kind in single:
                fact = next(single[kind])
                number = fact_number(fact)
                if isinstance(fact, Mid):
                    # So all venues of an instrument share a partition.
                    place = fact.instrument.encode()
            given.outputs.append(Output(kind, place, value))
            given.marks.append((stream, (address.epoch, number)))
    return given


def letter(
    topic: str, partition: int, consumer: str, log_id: str, letter_bytes: int
) -> Callable[[RawRecord, str], Output]:
    """Return what writes dead letters about records of one partition, given record and reason."""
    place = f"{topic}/{partition}".encode()

    def write(record: RawRecord, reason: str) -> Output:
        key, value = record.key, record.value
        written = DeadLetter(
            topic=topic,
            partition=partition,
            offset=record.offset,
            consumer=consumer,
            reason=reason[:REASON_CHARACTERS],
            ts=record.ts,
            key=None if key is None else bytes(key[:LETTER_KEY_BYTES]),
            value=None if value is None else bytes(value[:letter_bytes]),
            log_id=log_id,
        )
        return Output(DEAD_LETTERS, place, encode_dead_letter(written))

    return write


def _check_range(batch: FrameBatch) -> None:
    """Refuse numbers that no producer writes: their differences may not fit 64 bits."""
    if not 0 <= batch.number < COUNTER_MAX or not 0 <= batch.address.epoch <= TS_MAX:
        raise CodecError(f"frame {batch.number} of epoch {batch.address.epoch} cannot be")
    for frame in batch.frames:
        if not 0 <= frame.ts_recv <= TS_MAX or not 0 <= frame.ts_mono < COUNTER_MAX:
            raise CodecError(f"a frame received at {frame.ts_recv}, {frame.ts_mono} cannot be")
