"""One partition of `mids`: mids in, comparisons and alerts of venues out.

As `PartitionEngine` a plain class, whose state after a record depends on the log alone. Each
instrument has a comparison of its own; a partition has all venues of an instrument, in an order
that is the log's. Everything that is remembered is in each checkpoint, so one is enough, however
little is read again.
"""

from typing import Final
from zlib import crc32

from core.events import CheckpointBatch, Events, StreamCheckpoint
from core.frames import Address
from core.venues.arrivals import Arrival
from core.venues.comparison import CHECKPOINT, Comparison
from processors.engine import Fed, RawRecord, fed, letter
from schemas.codec import decode_mid
from schemas.registry import CodecError

CHECKPOINT_S: Final = 30
"""Seconds of the mids' own time between two checkpoints that one source asks for."""
SECOND_MAX: Final = 4_102_444_800
"""Latest second that is believed: the end of the year 2099."""


class VenueEngine:
    """All instruments of one partition of `mids`; `consumer` and so on as in `PartitionEngine`."""

    source: Final = ""
    """It reads no exchange's topic."""

    def __init__(
        self,
        *,
        topic: str,
        partition: int,
        consumer: str = "",
        log_id: str = "",
        letter_bytes: int,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.next_offset: int | None = None
        """What comes after the last record that was taken; None before the first."""
        self.unreadable_checkpoints = 0
        """Of those restored: written by a version that we do not understand."""
        self._letter = letter(topic, partition, consumer, log_id, letter_bytes)
        self._comparisons: dict[str, Comparison] = {}
        self._checkpoints: dict[int, CheckpointBatch] = {}

    def restore(self, checkpoints: dict[int, CheckpointBatch]) -> None:
        """Let records that are absorbed give back what was remembered; keys are their offsets."""
        self._checkpoints = checkpoints

    def feed(self, record: RawRecord) -> Fed:
        """Take the next record and return what is to be published for it."""
        self.next_offset = record.offset + 1
        try:
            events, late = self._events(record)
        except CodecError as error:
            return Fed([self._letter(record, str(error))], 0, None)
        return fed(events, self.partition, record.offset, late=late)

    def absorb(self, record: RawRecord) -> int:
        """Take a record for its effect on the state alone; return its frames: none."""
        self.next_offset = record.offset + 1
        try:
            self._events(record)
        except CodecError:
            return 0  # Whoever published what follows from this record wrote its letter.
        restored = self._checkpoints.pop(record.offset, None)
        for checkpoint in restored.checkpoints if restored is not None else ():
            # What the record did is part of what was remembered after it.
            if not self._comparison(checkpoint.symbol).recall(checkpoint.state):
                self.unreadable_checkpoints += 1
        return 0

    def _events(self, record: RawRecord) -> tuple[list[Events], int]:
        """Take a record; return what follows from it, and how many mids were left out."""
        batch = decode_mid(record.value)
        (mid,), header = batch.mids, batch.header
        if not mid.instrument or not 0 <= mid.second <= SECOND_MAX:
            raise CodecError(f"a mid of {mid.instrument[:64]!r} in second {mid.second} cannot be")
        address = header.address
        arrival = Arrival(address.exchange, address.shard, address.line, address.epoch, mid)
        comparison = self._comparison(mid.instrument)
        before, late = comparison.said(arrival), comparison.late
        shift = _shift(mid.instrument)
        closed = comparison.feed(arrival, header.mark)
        events = [each for second in closed for each in second.events(mid.instrument)]
        # Asked of each source: one that speaks alone closes nothing, and is to be remembered too.
        now = comparison.said(arrival)
        if now != before and (now + shift) // CHECKPOINT_S != (before + shift) // CHECKPOINT_S:
            events.append(_checkpoint(comparison, mid.second))
        return events, comparison.late - late

    def _comparison(self, instrument: str) -> Comparison:
        comparison = self._comparisons.get(instrument)
        if comparison is None:
            comparison = self._comparisons[instrument] = Comparison(instrument)
        return comparison


def _shift(instrument: str) -> int:
    """Return by how much the checkpoints of an instrument come earlier, so that not all come at
    once, s."""
    return crc32(instrument.encode()) % CHECKPOINT_S


def _checkpoint(comparison: Comparison, second: int) -> Events:
    number, state = comparison.checkpoint(second)
    made = StreamCheckpoint(number, 0, CHECKPOINT, comparison.instrument, state)
    address = Address("", comparison.instrument, "", 0)
    return Events(address, number, [], [], [], [], checkpoints=[made])
