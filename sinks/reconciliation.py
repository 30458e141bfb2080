"""The proof that every record became rows, once: the log read again and compared with the tables.

It shares with the sink only what a fact is: it belongs to no group, keeps marks of its own, and
asks ClickHouse for the rows of every offset. Per partition: facts read = rows + known duplicates,
records that gave none = dead letters, blocks tile the offsets, and every value of every row is the
one in the log. That ClickHouse refused a record is known from its dead letter alone, so those are
counted apart.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from clickhouse_connect.driver.client import Client

from core.blocks import Marks, restored_marks
from core.events import EventBatch
from core.letters import DeadLetter
from core.rows import TABLES, Place, RowBuffer
from schemas.codec import decode_dead_letter, decode_events
from sinks.content import compared, sums, sums_sql
from sinks.letters import CONSUMER, REFUSED
from sinks.threads import in_thread

CHUNK_OFFSETS: Final = 200_000
"""Offsets whose rows are asked for in one query, to bound memory on both sides."""
POLL_MS: Final = 1_000
IDLE_POLLS_MAX: Final = 60
"""Polls without a record after which the log is taken to be unreadable."""
_EXAMPLES: Final = 3
_BLOCK_COUNTS: Final = ("records", "facts", "rows", "duplicates", "dead_letters")


class Account(msgspec.Struct):
    """What was found for one partition. Offsets before `first` are no longer in the log."""

    topic: str
    partition: int
    log_id: str
    first: int = 0
    end: int = 0
    """Everything before this offset is said to be stored."""
    records: int = 0
    facts: int = 0
    rows: int = 0
    duplicates: int = 0
    dead_letters: int = 0
    refused: int = 0
    """Dead letters about records that can be read, but whose rows ClickHouse refused."""
    missing: int = 0
    """Offsets that retention took before they were stored."""
    lag: int = 0
    differences: int = 0
    first_difference: int | None = None
    """The first offset that differs, None where nothing does or no offset can be named."""
    examples: list[str] = msgspec.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the account is without a difference."""
        return not self.differences

    def differ(self, offset: int | None, text: str) -> None:
        """Note a difference."""
        self.differences += 1
        if offset is not None and (self.first_difference is None or offset < self.first_difference):
            self.first_difference = offset
        if len(self.examples) < _EXAMPLES:
            self.examples.append(text if offset is None else f"offset {offset}: {text}")


class _Range(msgspec.Struct):
    """What the blocks say of a partition from `first` on."""

    first: int
    end: int
    marks: Marks


class _Expected(msgspec.Struct):
    """What the log says of one offset: rows with their content, or a dead letter."""

    rows: int
    content: tuple[int, ...]
    letter: bool = False


Progress = Callable[[int], None]
"""Told how many offsets were compared."""


class Reconciliation:
    """Compares partitions one after the other. `committed` is the sink group's offset of each."""

    def __init__(
        self, client: Client, consumer: AIOKafkaConsumer, committed: dict[TopicPartition, int]
    ) -> None:
        self._client = client
        self._consumer = consumer
        self._committed = committed

    async def account(
        self, kind: str, partition: TopicPartition, log_id: str, progress: Progress
    ) -> Account:
        """Compare one partition, as far as blocks say that it is stored."""
        place = Place(log_id, *partition)
        account = Account(place.topic, place.partition, log_id)
        starts = await self._consumer.beginning_offsets([partition])
        ends = await self._consumer.end_offsets([partition])
        known = await in_thread(self._range, place, starts[partition])
        account.first, account.end = known.first, known.end
        account.lag = max(0, ends[partition] - known.end)
        await in_thread(self._check_blocks, account, place)
        await self._compare(account, kind, partition, known, progress)
        await in_thread(self._check_sums, account, place)
        await self._check_last(account, kind, partition, place)
        committed = self._committed.get(partition)
        if committed is not None and committed > known.end:
            account.differ(None, f"offset {committed} is committed, blocks end at {known.end}")
        return account

    def _range(self, place: Place, log_start: int) -> _Range:
        """Return the stored offsets that the log still has, from the beginning of a block on."""
        ((first, end, blocks),) = self._rows(
            "SELECT minIf(first_offset, first_offset >= {start:Int64}), max(end_offset), count()"
            f" FROM blocks WHERE {_PLACE} AND end_offset > {{start:Int64}}",
            place,
            start=log_start,
        )
        if not blocks:
            return _Range(log_start, log_start, Marks())
        first = first or (log_start if log_start == 0 else end)
        rows = self._rows(
            f"SELECT marks FROM blocks WHERE {_PLACE} AND end_offset = {{first:Int64}} LIMIT 1",
            place,
            first=first,
        )
        return _Range(first, end, restored_marks(rows[0][0]) if rows else Marks())

    def _check_blocks(self, account: Account, place: Place) -> None:
        """Check that all blocks tile the offsets and that each one's account adds up."""
        rows = self._rows(
            "SELECT first_offset, before FROM (SELECT first_offset, lagInFrame(end_offset, 1,"
            " first_offset) OVER (ORDER BY first_offset, end_offset ROWS BETWEEN 1 PRECEDING AND"
            f" CURRENT ROW) AS before FROM blocks WHERE {_PLACE}) WHERE first_offset != before"
            " ORDER BY first_offset LIMIT 100",
            place,
        )
        for first, before in rows:
            what = "a hole" if first > before else "an overlap"
            account.differ(min(first, before), f"{what} between blocks, {before} to {first}")
        rows = self._rows(
            f"SELECT first_offset FROM blocks WHERE {_PLACE} AND (facts != rows + duplicates"
            " OR end_offset <= first_offset) ORDER BY first_offset LIMIT 100",
            place,
        )
        for (first,) in rows:
            account.differ(first, "a block whose account does not add up")

    async def _compare(
        self,
        account: Account,
        kind: str,
        partition: TopicPartition,
        known: _Range,
        progress: Progress,
    ) -> None:
        place, marks = Place(account.log_id, *partition), known.marks
        self._consumer.assign([partition])
        self._consumer.seek(partition, known.first)
        records = self._records(partition, known.end)
        record = await anext(records, None)
        for first in range(known.first, known.end, CHUNK_OFFSETS):
            end = min(first + CHUNK_OFFSETS, known.end)
            stored = await in_thread(self._stored, kind, place, first, end)
            letters = await in_thread(self._letters, place, first, end)
            while record is not None and record.offset < end:
                written, refused = letters.pop(record.offset, (0, 0))
                expected = self._expected(account, kind, place, marks, record, refused=refused > 0)
                found = stored.pop(record.offset, None)
                _compare_rows(account, kind, record.offset, expected, found)
                _compare_letter(account, record.offset, expected, written)
                record = await anext(records, None)
            for offset, (rows, *_) in sorted(stored.items()):
                account.rows += rows
                account.differ(offset, f"{rows} rows of a record that is not in the log")
            for offset in sorted(letters):
                account.differ(offset, "a dead letter about a record that is not in the log")
            progress(end - first)

    async def _records(self, partition: TopicPartition, end: int) -> AsyncIterator[Any]:
        idle, position = 0, await self._consumer.position(partition)
        while position < end:
            batches = await self._consumer.getmany(partition, timeout_ms=POLL_MS)
            found = batches.get(partition, [])
            idle = 0 if found else idle + 1
            if idle > IDLE_POLLS_MAX:
                raise TimeoutError(f"{partition}: no record at offset {position} of {end}")
            for record in found:
                if record.offset < end:
                    yield record
            position = await self._consumer.position(partition)

    def _expected(
        self,
        account: Account,
        kind: str,
        place: Place,
        marks: Marks,
        record: Any,
        *,
        refused: bool,
    ) -> _Expected:
        """Say what the sink must have made of a record, and count it."""
        account.records += 1
        buffer = RowBuffer(kind, place)
        try:
            batch = _decoded(kind, record.value)
            header = batch if isinstance(batch, DeadLetter) else batch.header
            repeated = marks.repeats(header)
            if not repeated:
                buffer.append(batch, record.offset)
        except ValueError:
            account.dead_letters += 1
            return _Expected(0, (), letter=True)
        if refused and not repeated:
            marks.advance(header)
            account.dead_letters += 1
            account.refused += 1
            return _Expected(0, (), letter=True)
        account.facts += len(batch)
        if repeated:
            account.duplicates += len(batch)
            return _Expected(0, ())
        marks.advance(header)
        return _Expected(len(batch), sums(buffer))

    def _stored(self, kind: str, place: Place, first: int, end: int) -> dict[int, Any]:
        """Return (rows, distinct rows, content) of every offset that has rows."""
        prefix = "letter_" if kind == "dead_letters" else ""
        row = "letter_offset" if prefix else "row"
        topic = "" if prefix else " AND topic = {topic:String}"
        sql = (
            f"SELECT {prefix}offset, count(), uniqExact({row}), {sums_sql(kind)}"
            f" FROM {TABLES[kind]} WHERE {prefix}log_id = {{log_id:String}}{topic}"
            f" AND {prefix}partition = {{partition:Int32}} AND {prefix}offset >= {{first:Int64}}"
            f" AND {prefix}offset < {{end:Int64}} GROUP BY {prefix}offset"
        )
        rows = self._rows(sql, place, first=first, end=end)
        return {offset: (count, distinct, content) for offset, count, distinct, *content in rows}

    def _letters(self, place: Place, first: int, end: int) -> dict[int, tuple[int, int]]:
        """Return the letters of every offset that has some, and how many say `REFUSED`."""
        sql = (
            f"SELECT offset, count(), countIf(startsWith(reason, '{REFUSED}')) FROM dead_letters"
            f" WHERE {_PLACE} AND consumer = '{CONSUMER}'"
            " AND offset >= {first:Int64} AND offset < {end:Int64} GROUP BY offset"
        )
        rows = self._rows(sql, place, first=first, end=end)
        return {offset: (letters, refused) for offset, letters, refused in rows}

    def _check_sums(self, account: Account, place: Place) -> None:
        """Check what the blocks say in total against what was counted."""
        counts = [f"sumIf({name}, first_offset >= {{first:Int64}})" for name in _BLOCK_COUNTS]
        ((missing, *said),) = self._rows(
            f"SELECT sumIf(missing, end_offset > {{first:Int64}}), {', '.join(counts)}"
            f" FROM blocks WHERE {_PLACE} AND end_offset <= {{end:Int64}}",
            place,
            first=account.first,
            end=account.end,
        )
        account.missing = missing
        if missing:
            account.differ(None, f"{missing} offsets were deleted before they were stored")
        for name, value in zip(_BLOCK_COUNTS, said, strict=True):
            found = getattr(account, name)
            if value != found:
                account.differ(None, f"blocks say {value} {name}, found {found}")

    async def _check_last(
        self, account: Account, kind: str, partition: TopicPartition, place: Place
    ) -> None:
        """Check that no row is of a record that the log does not have yet.

        A sink may store more in the meantime: hence first the rows, then the end of the log.
        """
        prefix = "letter_" if kind == "dead_letters" else ""
        topic = "" if prefix else " AND topic = {topic:String}"
        sql = (
            f"SELECT max({prefix}offset), count() FROM {TABLES[kind]}"
            f" WHERE {prefix}log_id = {{log_id:String}}{topic}"
            f" AND {prefix}partition = {{partition:Int32}} AND {prefix}offset >= {{end:Int64}}"
        )
        ((last, rows),) = await in_thread(lambda: self._rows(sql, place, end=account.end))
        ends = await self._consumer.end_offsets([partition])
        if rows and last >= ends[partition]:
            account.differ(
                last, f"a row of a record beyond the log, which ends at {ends[partition]}"
            )

    def _rows(self, sql: str, place: Place, **parameters: Any) -> list[Any]:
        values = msgspec.structs.asdict(place) | parameters
        return list(self._client.query(sql, parameters=values).result_rows)


_PLACE: Final = (
    "log_id = {log_id:String} AND topic = {topic:String} AND partition = {partition:Int32}"
)


def _decoded(kind: str, value: bytes | None) -> EventBatch | DeadLetter:
    return decode_dead_letter(value) if kind == "dead_letters" else decode_events(kind, value)


def _compare_rows(
    account: Account, kind: str, offset: int, expected: _Expected, found: Any
) -> None:
    rows, distinct, content = found or (0, 0, [])
    account.rows += rows
    if rows != expected.rows:
        account.differ(offset, f"{rows} rows, {expected.rows} facts to store")
    elif distinct != rows:
        account.differ(offset, f"{rows} rows, but only {distinct} different ones")
    elif tuple(content) != expected.content:
        pairs = zip(compared(kind), content, expected.content, strict=True)
        names = [name for name, is_, should in pairs if is_ != should]
        account.differ(offset, f"{', '.join(names)} differ from the log")


def _compare_letter(account: Account, offset: int, expected: _Expected, letters: int) -> None:
    if letters != int(expected.letter):
        account.differ(offset, f"{letters} dead letters, expected {int(expected.letter)}")
