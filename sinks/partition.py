"""One assigned partition: records in, blocks out, in order.

RESUMING finds out where to go on; RUNNING gathers and delivers; then STOPPED (it needs a person:
the log is not what it was, or the table does not take rows), or ENDED (it was revoked, or all is
stored and the process ends). While one block is being delivered the next is gathered: so blocks
are small when there is little to do, and large when there is much. A block whose rows are refused
is gathered anew as `core.refusals` says, from where it began.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final

from aiokafka import ConsumerRecord, TopicPartition

from core.blocks import (
    Announcement,
    BlockBuilder,
    BlockError,
    Limits,
    Marks,
    Progress,
    Resumption,
    restored_marks,
    resumption,
)
from core.events import EventBatch
from core.letters import DeadLetter
from core.refusals import Refused, isolation
from core.rows import COLUMNS, Place
from infra.runtime import logs
from schemas.codec import decode_dead_letter, decode_events
from schemas.topics import DEAD_LETTERS
from sinks.commits import RevokedError
from sinks.delivery import Delivery, Parcel, RefusedError, RowsRefusedError
from sinks.letters import REFUSED, letter_for
from sinks.store import Store, Stored

log = logs.logger(__name__)

WAITING_MAX: Final = 2
"""Closed blocks of one partition that may wait for delivery."""
_NS: Final = 1_000_000_000


class State(Enum):
    """What a partition is doing."""

    RESUMING = "resuming"
    RUNNING = "running"
    STOPPED = "stopped"
    ENDED = "ended"


class PartitionSink:
    """Feed it with records from `position` on, while it is `hungry`; await `run` beside that."""

    def __init__(
        self,
        kind: str,
        partition: TopicPartition,
        log_id: str,
        *,
        store: Store,
        delivery: Delivery,
        limits: Limits,
        letter_bytes: int,
    ) -> None:
        self.partition = partition
        self.place = Place(log_id, partition.topic, partition.partition)
        self.state = State.RESUMING
        self.trouble = ""
        """What keeps it from going on, "" for nothing."""
        self.stored: int | None = None
        """Offset before which everything is stored."""
        self.progressed_at = time.monotonic()
        self._kind = kind
        self._store = store
        self._delivery = delivery
        self._limits = limits
        self._letter_bytes = letter_bytes
        self._builder = BlockBuilder(kind, self.place, first=0, marks=Marks())
        self._marks = Marks()
        self._letters: list[DeadLetter] = []
        self._check_until = 0
        self._closed: deque[Parcel] = deque()
        self._delivering: Parcel | None = None
        self._suspects: Refused = ()
        self._marks_stored = self._marks.text()
        """The marks before the first block that is not stored."""
        self._read_again_to = 0
        """Records from here on that come too early were fetched before the last block was cut."""
        self._changed = asyncio.Event()
        self._finishing = False

    @property
    def hungry(self) -> bool:
        """Whether it takes records now."""
        return self.state is State.RUNNING and len(self._closed) < WAITING_MAX

    @property
    def must_feed(self) -> bool:
        """Whether it needs records to finish an announced block, however full the memory is."""
        return self.hungry and self._builder.end is not None

    @property
    def held_rows(self) -> int:
        """Rows in memory."""
        return len(self._builder.rows) + sum(len(parcel.block.rows) for parcel in self._parcels)

    @property
    def held_bytes(self) -> int:
        """Bytes of the records whose rows are in memory."""
        return self._builder.size_bytes + sum(parcel.size_bytes for parcel in self._parcels)

    @property
    def _parcels(self) -> list[Parcel]:
        return [*self._closed] if self._delivering is None else [*self._closed, self._delivering]

    async def resume(
        self,
        *,
        committed: int | None,
        announcement: Announcement | None,
        log_start: int,
        log_end: int,
    ) -> int | None:
        """Find out where to go on and return the offset to read from, None where nothing can be.

        What the database says of the partition is asked until it answers.
        """
        ask = self._delivery.until_answered
        what = str(self.partition)
        try:
            stored: Stored | None = await ask(
                what, self._note_trouble, self._store.last_block, self.place
            )
            result = resumption(
                Progress(
                    log_id=self.place.log_id,
                    committed=committed,
                    announcement=announcement,
                    stored=None if stored is None else stored.end,
                    log_start=log_start,
                    log_end=log_end,
                )
            )
        except BlockError as error:
            self.stop(str(error))
            return None
        self._marks = Marks() if stored is None else stored.marks
        await self._look_behind(result, 0 if stored is None else stored.end, log_start)
        self._begin(result, log_start)
        return self._builder.next

    async def _look_behind(self, result: Resumption, stored: int, log_start: int) -> None:
        """Find rows that no block accounts for, so that they are not stored again."""
        if not result.check:
            return
        ask, what = self._delivery.until_answered, str(self.partition)
        self._check_until = result.end or await ask(
            what, self._note_trouble, self._store.rows_end, self._kind, self.place, result.first
        )
        if stored < log_start:
            marks = await ask(
                *(what, self._note_trouble, self._store.marks_of_rows),
                *(self._kind, self.place, stored, log_start),
            )
            self._marks = Marks([*self._marks, *marks])

    def _begin(self, result: Resumption, log_start: int) -> None:
        if result.reason:
            log.warning("progress_disagrees", partition=str(self.partition), reason=result.reason)
        self.stored = result.first
        self._marks_stored = self._marks.text()
        self._suspects = result.refused
        self._builder = BlockBuilder(
            self._kind,
            self.place,
            first=result.first,
            marks=self._marks,
            end=result.end,
            refused=result.refused,
        )
        self.miss(log_start)
        self.state = State.RUNNING
        self._close_if_due()

    def miss(self, log_start: int) -> None:
        """Note that the log begins at `log_start`: what was before it and not read is lost."""
        lost = self._builder.miss(log_start, time.monotonic_ns())
        if lost:
            log.error(
                "offsets_lost_to_retention",
                partition=str(self.partition),
                offsets=lost,
                log_start=log_start,
            )
            self._close_if_due()

    def feed(self, records: Sequence[ConsumerRecord]) -> None:
        """Take records in order; whole ones, so a block may end a record beyond its limit."""
        if records and self._builder.next < self._read_again_to <= records[0].offset:
            return
        now = time.monotonic_ns()
        for record in records:
            if not self._builder.takes(record.offset):
                self._close()
            self._take(record, now)
            self._close_if_due(now)
        self._changed.set()

    def _take(self, record: ConsumerRecord, now: int) -> None:
        builder, offset = self._builder, record.offset
        size = len(record.value or b"")
        try:
            batch = self._decoded(record.value)
            new = builder.add(offset, size, batch, now)
        except ValueError as error:
            # A CodecError, or a value for which the table has no place.
            self._write_letter(record, f"{error}")
            builder.give_up(offset, size, now)
        else:
            if new and offset in builder.refused:
                self._write_letter(record, REFUSED + builder.refused[offset])

    def _write_letter(self, record: ConsumerRecord, reason: str) -> None:
        log.warning(
            "dead_letter", partition=str(self.partition), offset=record.offset, reason=reason[:200]
        )
        self._letters.append(letter_for(record, self.place, reason, max_bytes=self._letter_bytes))

    def _decoded(self, value: bytes | None) -> EventBatch | DeadLetter:
        if self._kind == "dead_letters":
            return decode_dead_letter(value)
        return decode_events(self._kind, value)

    def _close_if_due(self, now: int | None = None) -> None:
        if self._builder.due(self._limits, time.monotonic_ns() if now is None else now):
            self._close()

    def _close(self) -> None:
        block, size_bytes = self._builder.close(), self._builder.size_bytes
        check = block.first < self._check_until
        self._closed.append(Parcel(self.partition, block, self._letters, check, size_bytes))
        self._letters = []
        self._builder = BlockBuilder(self._kind, self.place, first=block.end, marks=self._marks)
        self._changed.set()

    async def run(self, read_from: Callable[[int], None]) -> None:
        """Deliver blocks until the partition is stopped, revoked or finished.

        `read_from` makes the consumer read again from an offset.
        """
        try:
            while (parcel := await self._next()) is not None:
                self._delivering = parcel
                try:
                    await self._delivery.store(parcel, self._note_trouble)
                except RowsRefusedError as error:
                    await self._cut(parcel, error, read_from)
                    continue
                self.stored, self._suspects = parcel.block.end, ()
                self._marks_stored = parcel.block.marks
                self.progressed_at = time.monotonic()
                if not self._closed:
                    # Otherwise the announcement of the next block commits this one's end.
                    await self._delivery.commit(parcel)
                self._delivering = None
        except RefusedError as error:
            assert self._delivering is not None
            block = self._delivering.block
            self.stop(
                f"ClickHouse refuses block {block.first}-{block.end}: {error}. Make the table what "
                "`streamgauge migrate` makes it, or take away what was added; then restart the sink"
            )
        except RevokedError as error:
            log.info("partition_revoked", partition=str(self.partition), reason=str(error))
        if self.state is State.RUNNING:
            self.state = State.ENDED

    async def _cut(
        self, parcel: Parcel, error: RowsRefusedError, read_from: Callable[[int], None]
    ) -> None:
        """Gather the refused block anew, shorter or without records that seem to be at fault.

        Raises:
            RefusedError: it seems to be the table.
        """
        block, rows = parcel.block, parcel.block.rows
        result = None
        # A letter about a letter would be refused as well.
        if self._kind != DEAD_LETTERS:
            offsets = rows.columns[COLUMNS[rows.kind].index("offset")]
            result = isolation(
                offsets,
                end=block.end,
                refused=block.refused,
                suspects=self._suspects,
                reason=f"{error}",
            )
        if result is None:
            await self._delivery.withdraw(parcel)
            raise RefusedError(f"{error}") from error
        log.warning(
            "block_refused",
            partition=str(self.partition),
            block=f"{block.first}-{block.end}",
            next_end=result.end,
            suspects=[offset for offset, _ in result.suspects],
            error=f"{error}",
        )
        self.trouble = f"ClickHouse refuses some rows from offset {block.first} on: {error}"
        self._suspects = result.suspects
        self._check_until = max(self._check_until, block.end)
        self._read_again_to = self._builder.next
        self._marks = restored_marks(self._marks_stored)
        self._closed.clear()
        self._letters, self._delivering = [], None
        self._builder = BlockBuilder(
            self._kind,
            self.place,
            first=block.first,
            marks=self._marks,
            end=result.end,
            refused=result.refused,
            beyond=result.beyond,
        )
        read_from(block.first)

    def finish(self) -> None:
        """Ask `run` to deliver what was gathered, and end."""
        self._finishing = True
        self._changed.set()

    async def _next(self) -> Parcel | None:
        """Return the next closed block; wait for one to be due. None at the end."""
        while not self._closed:
            self._changed.clear()
            builder, now = self._builder, time.monotonic_ns()
            if builder.due(self._limits, now):
                self._close()
            elif self._finishing:
                # An announced block that is not whole is left to whoever comes next.
                if builder.next == builder.first or builder.end is not None or builder.undecided:
                    return None
                self._close()
            else:
                await self._change(self._due_in(builder, now))
        return self._closed.popleft()

    def _due_in(self, builder: BlockBuilder, now: int) -> float | None:
        if builder.opened is None or builder.end is not None or builder.undecided:
            return None
        return max(0, builder.opened + self._limits.age_ns - now) / _NS

    async def _change(self, timeout_s: float | None) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _note_trouble(self, trouble: str) -> None:
        self.trouble = trouble

    def stop(self, reason: str) -> None:
        """Give the partition up until a person has looked."""
        self.state = State.STOPPED
        self.trouble = reason
        log.error("partition_stopped", partition=str(self.partition), reason=reason)
