"""Blocks: how the records of one partition become inserts that are stored exactly once.

A block is a range of offsets, first to before end; the blocks of a partition tile its offsets.
States of a block: open (gathering records) -> announced (its range is durable in the metadata of
the committed offset) -> stored (every table acknowledged) -> committed (the offset is its end).
A process that dies leaves at most one announced block behind; whoever comes next gathers exactly
that range again, so that the same rows meet the same deduplication token. Rows are never stored
before their range is announced, so no two processes store one offset in different blocks.
Nothing here reads a clock, Kafka or ClickHouse.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Final, Protocol

import msgspec

from core.events import EventBatch
from core.letters import DeadLetter
from core.refusals import Refused, refused_text, restored_refused
from core.rows import Place, RowBuffer

VERSION: Final = "v1"
"""Part of tokens and metadata; it changes when the rows of a block would."""

Stream = tuple[str, str, str]
Mark = tuple[int, int]

BLOCK_COLUMNS: Final = (
    "log_id",
    "topic",
    "partition",
    "first_offset",
    "end_offset",
    "records",
    "facts",
    "rows",
    "duplicates",
    "dead_letters",
    "missing",
    "marks",
)
"""Columns of table `blocks` that a sink writes, in the order of `Block.accounting`."""


class BlockError(ValueError):
    """What is stored about a partition's progress cannot be understood or cannot be true."""


class Limits(msgspec.Struct, frozen=True):
    """What closes a block, whichever is first: `rows`, `size_bytes` of records, `age_ns`."""

    rows: int
    size_bytes: int
    age_ns: int


class Announcement(msgspec.Struct, frozen=True):
    """What the metadata of a committed offset says: the log, and the end of the block begun.

    `end` is None when no block was begun after the commit. `refused` records are left out of it.
    """

    log_id: str
    end: int | None
    refused: Refused = ()

    def text(self) -> str:
        """Return the metadata: some 70 characters, 200 more for each record that is left out."""
        end = "" if self.end is None else f";end={self.end}"
        refused = f";refused={refused_text(self.refused)}" if self.refused else ""
        return f"{VERSION};log={self.log_id}{end}{refused}"


def announced(metadata: str) -> Announcement | None:
    """Return the announcement in the metadata of a commit, None if a stranger committed.

    Raises:
        BlockError: the announcement of a version that this code does not know, or malformed:
            to go on would be to guess what another process had begun to store.
    """
    version, _, rest = metadata.partition(";")
    if not version.startswith("v"):
        return None
    fields = dict(pair.partition("=")[::2] for pair in rest.split(";"))
    end = fields.get("end")
    if version != VERSION or "log" not in fields or (end is not None and not _is_offset(end)):
        raise BlockError(f"unknown commit metadata {metadata[:120]!r}; expected {VERSION};log=…")
    try:
        refused = restored_refused(fields.get("refused", ""))
    except ValueError as error:
        raise BlockError(f"unknown commit metadata {metadata[:120]!r}: {error}") from error
    return Announcement(fields["log"], None if end is None else int(end), refused)


class Recorded(Protocol):
    """What repeats are recognised by: the stream of a record and its place in that stream."""

    @property
    def stream(self) -> Stream | None:
        """Whose records are in order, None for a record that is never a repeat."""

    @property
    def mark(self) -> Mark:
        """Grows from record to record of one stream."""


class Marks:
    """The last record of each stream: what is not beyond it is a repeat."""

    def __init__(self, marks: Iterable[tuple[Stream, Mark]] = ()) -> None:
        self._marks: dict[Stream, Mark] = dict(marks)

    def __iter__(self) -> Iterator[tuple[Stream, Mark]]:
        return iter(self._marks.items())

    def repeats(self, record: Recorded) -> bool:
        """Say whether `record`, or a later one of its stream, was seen before."""
        stream = record.stream
        last = None if stream is None else self._marks.get(stream)
        return last is not None and record.mark <= last

    def advance(self, record: Recorded) -> None:
        """Remember `record` as the last of its stream."""
        if (stream := record.stream) is not None:
            self._marks[stream] = record.mark

    def text(self) -> str:
        """Return the marks as JSON: a list of [a, b, c, epoch, number], sorted by stream."""
        return json.dumps(
            [[*stream, *mark] for stream, mark in sorted(self._marks.items())],
            separators=(",", ":"),
        )


def restored_marks(text: str) -> Marks:
    """Return the marks in `text`, as `Marks.text` writes it.

    Raises:
        BlockError: not such a text.
    """
    try:
        rows = msgspec.json.decode(text, type=list[tuple[str, str, str, int, int]])
    except msgspec.MsgspecError as error:
        raise BlockError(f"marks that cannot be read: {error}") from error
    return Marks(((a, b, c), (epoch, number)) for a, b, c, epoch, number in rows)


class Block(msgspec.Struct, frozen=True):
    """A closed block: its range, its rows and its account.

    Every fact read is a row or a duplicate: `facts == len(rows) + duplicates`. `dead_letters`
    are records, those of `refused` among them, whose facts do not count. `missing` offsets were
    deleted from the log before they could be read.
    """

    place: Place
    first: int
    end: int
    rows: RowBuffer
    records: int
    facts: int
    duplicates: int
    dead_letters: int
    missing: int
    marks: str
    refused: Refused = ()

    def token(self, table: str, spare: int = 0) -> str:
        """Return the deduplication token of this block's insert into `table`.

        A `spare` one is for when the tokens before it are spent: known, without their rows.
        """
        place = self.place
        token = (
            f"{VERSION}|{place.log_id}|{place.topic}|{place.partition}"
            f"|{self.first}-{self.end}|{table}"
        )
        return f"{token}|{spare}" if spare else token

    def accounting(self) -> tuple[str | int, ...]:
        """Return the row of table `blocks`, in the order of `BLOCK_COLUMNS`."""
        return (
            self.place.log_id,
            self.place.topic,
            self.place.partition,
            self.first,
            self.end,
            self.records,
            self.facts,
            len(self.rows),
            self.duplicates,
            self.dead_letters,
            self.missing,
            self.marks,
        )


class BlockBuilder:
    """Gathers the records of one partition into one block.

    Given `end`, the block is announced: it takes exactly the offsets before it, whatever the
    limits say. Otherwise it is due when a limit is reached. `marks` are those of the partition
    and move with every record, also with the `refused` ones, which are left out as dead letters.
    It is not due without a row of offset `beyond` or later.
    """

    def __init__(
        self,
        kind: str,
        place: Place,
        *,
        first: int,
        marks: Marks,
        end: int | None = None,
        refused: Refused = (),
        beyond: int = 0,
    ) -> None:
        self.first = first
        self.next = first
        """The offset after the last one taken."""
        self.end = end
        self.rows = RowBuffer(kind, place)
        self.size_bytes = 0
        self.opened: int | None = None
        """`now` of the first record, ns; None while empty."""
        self.refused = dict(refused)
        """Offset to reason."""
        self.undecided = beyond > first
        """Whether a row beyond the suspects is missing that could show that they are at fault."""
        self._beyond = beyond
        self._place = place
        self._marks = marks
        self._records = self._facts = self._duplicates = self._dead_letters = self._missing = 0

    @property
    def records(self) -> int:
        """Records taken so far."""
        return self._records

    def takes(self, offset: int) -> bool:
        """Say whether the record at `offset` belongs to this block."""
        return self.end is None or offset < self.end

    def due(self, limits: Limits, now: int) -> bool:
        """Say whether the block is to be closed at `now`."""
        if self.end is not None:
            return self.next >= self.end
        if self.next == self.first or self.undecided:
            return False
        return (
            len(self.rows) >= limits.rows
            or self.size_bytes >= limits.size_bytes
            or (self.opened is not None and now - self.opened >= limits.age_ns)
        )

    def add(self, offset: int, size_bytes: int, batch: EventBatch | DeadLetter, now: int) -> bool:
        """Take the record at `offset` and say whether it was new rather than a repeat.

        A new one that is among `refused` becomes a dead letter.

        Raises:
            ValueError: a value has no place in the table; nothing was taken, `give_up` next.
        """
        record: Recorded = batch if isinstance(batch, DeadLetter) else batch.header
        repeated = self._marks.repeats(record)
        facts = len(batch)
        if repeated:
            self._duplicates += facts
        elif offset in self.refused:
            # What has no place in the table at all is told so here as well.
            RowBuffer(self.rows.kind, self._place).append(batch, offset)
            self._marks.advance(record)
            self._dead_letters += 1
            facts = 0
        else:
            self.rows.append(batch, offset)
            self._marks.advance(record)
            self.undecided = self.undecided and offset < self._beyond
        self._facts += facts
        self._take(offset, size_bytes, now)
        return not repeated

    def give_up(self, offset: int, size_bytes: int, now: int) -> None:
        """Take the record at `offset` as one that became a dead letter."""
        self._dead_letters += 1
        self._take(offset, size_bytes, now)

    def miss(self, log_start: int, now: int) -> int:
        """Note that the log now begins at `log_start` and return how many offsets were lost."""
        reach = log_start if self.end is None else min(log_start, self.end)
        lost = max(0, reach - self.next)
        if lost:
            self._missing += lost
            self.next = reach
            self.opened = now if self.opened is None else self.opened
        return lost

    def close(self) -> Block:
        """Return the block: up to its announced end, else up to the last record taken."""
        return Block(
            place=self._place,
            first=self.first,
            end=self.next if self.end is None else self.end,
            rows=self.rows,
            records=self._records,
            facts=self._facts,
            duplicates=self._duplicates,
            dead_letters=self._dead_letters,
            missing=self._missing,
            marks=self._marks.text(),
            refused=tuple(self.refused.items()),
        )

    def _take(self, offset: int, size_bytes: int, now: int) -> None:
        self._records += 1
        self.size_bytes += size_bytes
        self.next = offset + 1
        if self.opened is None:
            self.opened = now


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """What Kafka and ClickHouse say about one partition when somebody takes it over.

    `committed` and `announcement` are the group's commit, None without one; `stored` is the end
    of the last block in table `blocks`, None without one; the log holds `log_start` to before
    `log_end`.
    """

    log_id: str
    committed: int | None
    announcement: Announcement | None
    stored: int | None
    log_start: int
    log_end: int


class Resumption(msgspec.Struct, frozen=True):
    """Where to go on: gather from `first`, up to exactly `end` if a block was announced, and
    without the records that were left out of it.

    `check` says that rows at or after `first` may be stored already, so that inserts must look
    before they write. `reason` is empty if everything agreed, else what did not.
    """

    first: int
    end: int | None
    check: bool
    reason: str
    refused: Refused = ()


def resumption(progress: Progress) -> Resumption:
    """Decide where to go on. ClickHouse says what is stored, Kafka what had been begun.

    Raises:
        BlockError: the log ends before what was read from it: it is not the same log any more.
    """
    announcement = progress.announcement
    committed = progress.committed
    if announcement is not None and announcement.log_id != progress.log_id:
        announcement = committed = None
    end = None if announcement is None else announcement.end
    result = _resumed(progress, committed, end)
    if announcement is not None and result.end is not None:
        result = msgspec.structs.replace(result, refused=announcement.refused)
    reach = result.first if result.end is None else result.end
    if reach > progress.log_end:
        raise BlockError(
            f"the log ends at offset {progress.log_end}, before {reach}, which was read from it: "
            "it was cut or restored from a copy"
        )
    return result


def _resumed(progress: Progress, committed: int | None, end: int | None) -> Resumption:
    stored = progress.stored
    if stored is None:
        if committed is None:
            # Rows may be there all the same: a first block was begun and its commit was lost.
            return Resumption(progress.log_start, None, True, "")
        if end is not None and committed <= progress.log_start:
            # The first block of all was announced; nothing before it was ever stored.
            return Resumption(committed, end, True, "")
        reason = f"offset {committed} was committed, but the database has no block of this log"
        return Resumption(progress.log_start, None, True, reason)
    if committed == stored:
        return Resumption(stored, end, end is not None, "")
    if end == stored:
        return Resumption(stored, None, False, "")
    found = "no offset is" if committed is None else f"offset {committed} was"
    reason = f"{found} committed, but the database has blocks up to {stored}"
    return Resumption(stored, None, True, reason)


def _is_offset(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 19
