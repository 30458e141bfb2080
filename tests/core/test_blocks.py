"""Blocks: ranges, accounts, marks, announcements, and where to go on after a restart."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.blocks import (
    BLOCK_COLUMNS,
    Announcement,
    BlockBuilder,
    BlockError,
    Limits,
    Marks,
    Progress,
    announced,
    restored_marks,
    resumption,
)
from core.events import Header, TradeBatch
from core.frames import Address
from core.letters import DeadLetter
from core.rows import Place

PLACE = Place("cluster/topic", "trades", 0)
LIMITS = Limits(rows=6, size_bytes=1000, age_ns=100)


def batch_of(number: int, facts: int = 2, *, shard: str = "s", epoch: int = 1) -> TradeBatch:
    header = Header(Address("kraken", shard, "A", epoch), number, 0, number)
    column = tuple(range(facts))
    return TradeBatch(
        header=header,
        numbers=(number,) * facts,
        indices=column,
        symbols=["X"] * facts,
        trade_ids=[f"{epoch}-{number}-{index}" for index in column],
        sequences=column,
        prices=["1"] * facts,
        sizes=["1"] * facts,
        sides=b"\x01" * facts,
        ts_event=column,
        ts_recv=column,
        quality=(0,) * facts,
    )


def builder_of(first: int = 0, end: int | None = None, marks: Marks | None = None) -> BlockBuilder:
    return BlockBuilder("trades", PLACE, first=first, marks=marks or Marks(), end=end)


def test_block_is_due_by_rows() -> None:
    builder = builder_of()
    for offset in range(3):
        assert not builder.due(LIMITS, now=0)
        builder.add(offset, 10, batch_of(offset), now=0)

    assert builder.due(LIMITS, now=0)


def test_block_is_due_by_bytes_even_without_rows() -> None:
    builder = builder_of()
    builder.give_up(0, 999, now=0)
    assert not builder.due(LIMITS, now=0)
    builder.give_up(1, 1, now=0)

    assert builder.due(LIMITS, now=0)


def test_block_is_due_by_age_of_its_first_record() -> None:
    builder = builder_of()
    assert not builder.due(LIMITS, now=10_000)
    builder.add(0, 10, batch_of(0), now=50)
    builder.add(1, 10, batch_of(1), now=140)

    assert not builder.due(LIMITS, now=149)
    assert builder.due(LIMITS, now=150)


def test_block_accounts_for_every_record() -> None:
    builder = builder_of(first=5)
    assert builder.add(5, 10, batch_of(1, 2), now=0)
    builder.give_up(6, 10, now=0)
    assert not builder.add(7, 10, batch_of(1, 2), now=0)
    assert builder.add(9, 10, batch_of(2, 1), now=0)

    block = builder.close()

    assert dict(zip(BLOCK_COLUMNS, block.accounting(), strict=True)) == {
        "log_id": "cluster/topic",
        "topic": "trades",
        "partition": 0,
        "first_offset": 5,
        "end_offset": 10,
        "records": 4,
        "facts": 5,
        "rows": 3,
        "duplicates": 2,
        "dead_letters": 1,
        "missing": 0,
        "marks": '[["kraken","s","A",1,2]]',
    }
    assert block.token("trades") == "v1|cluster/topic|trades|0|5-10|trades"


def test_block_refuses_a_value_and_stays_as_it_was() -> None:
    builder = builder_of()
    bad = msgspec.structs.replace(batch_of(1), prices=["1", "x"])

    with pytest.raises(ValueError, match="not a decimal"):
        builder.add(0, 10, bad, now=0)

    builder.give_up(0, 10, now=0)
    block = builder.close()
    assert (block.records, block.facts, len(block.rows), block.dead_letters) == (1, 0, 0, 1)
    assert block.marks == "[]"


def test_announced_block_takes_exactly_its_range_whatever_the_limits() -> None:
    builder = builder_of(end=5)
    for offset in range(5):
        assert builder.takes(offset)
        assert not builder.due(LIMITS, now=10_000)
        builder.add(offset, 1000, batch_of(offset, 6), now=0)

    assert not builder.takes(5)
    assert builder.due(LIMITS, now=0)
    assert builder.close().end == 5


def test_announced_block_ends_where_announced_when_its_last_offsets_hold_no_record() -> None:
    builder = builder_of(end=5)
    builder.add(2, 10, batch_of(2), now=0)

    assert not builder.takes(7)
    assert builder.close().end == 5


@pytest.mark.parametrize(
    ("log_start", "end", "lost", "missing_next"),
    [(0, None, 0, 3), (3, None, 0, 3), (8, None, 5, 8), (8, 6, 3, 6), (8, 20, 5, 8)],
)
def test_block_counts_offsets_that_the_log_lost(
    log_start: int, end: int | None, lost: int, missing_next: int
) -> None:
    builder = builder_of(first=3, end=end)

    assert builder.miss(log_start, now=0) == lost
    assert builder.next == missing_next
    assert builder.close().missing == lost


def test_marks_see_repeats_per_stream_and_survive_as_text() -> None:
    marks = Marks()
    for batch in (batch_of(5), batch_of(3, shard="t"), batch_of(1, shard="u", epoch=2)):
        assert not marks.repeats(batch.header)
        marks.advance(batch.header)

    for copy in (marks, restored_marks(marks.text())):
        assert copy.repeats(batch_of(5).header)
        assert copy.repeats(batch_of(4).header)
        assert not copy.repeats(batch_of(6).header)
        assert not copy.repeats(batch_of(4, shard="t").header)
        assert copy.repeats(batch_of(9, shard="u", epoch=1).header)
        assert not copy.repeats(batch_of(0, shard="u", epoch=3).header)
        assert copy.text() == marks.text()


def test_marks_of_letters_are_by_log_consumer_and_partition() -> None:
    letter = DeadLetter("trades", 1, 7, "sink", "r", 0, None, None, "log")
    marks = Marks()
    marks.advance(letter)

    def changed(**fields: Any) -> bool:
        return marks.repeats(msgspec.structs.replace(letter, **fields))

    assert changed()
    assert changed(offset=6)
    assert not changed(offset=8)
    assert not changed(partition=2)
    assert not changed(log_id="other")
    assert not changed(consumer="processor")


def test_marks_of_a_letter_without_log_never_make_a_repeat() -> None:
    letter = DeadLetter("trades", 1, 7, "processor", "r", 0, None, None)
    marks = Marks()
    marks.advance(letter)

    assert not marks.repeats(letter)
    assert marks.text() == "[]"


@pytest.mark.parametrize("text", ["", "{", "[[1]]", '[["a","b","c",1]]', '[["a","b","c",1.5,2]]'])
def test_marks_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(BlockError):
        restored_marks(text)


@given(st.none() | st.integers(0, 2**63 - 1))
def test_announcement_reads_back_equal(end: int | None) -> None:
    announcement = Announcement("cluster/topic", end)

    assert announced(announcement.text()) == announcement


@pytest.mark.parametrize("metadata", ["", "somebody's own words", "end=5"])
def test_announcement_of_a_stranger_is_none(metadata: str) -> None:
    assert announced(metadata) is None


@pytest.mark.parametrize(
    "metadata", ["v1", "v1;end=5", "v1;log=a;end=", "v1;log=a;end=-5", "v1;log=a;end=٣", "v2;log=a"]
)
def test_announcement_that_is_not_understood_is_refused(metadata: str) -> None:
    with pytest.raises(BlockError, match="commit metadata"):
        announced(metadata)


def _progress(**fields: Any) -> Progress:
    usual: dict[str, Any] = {"log_start": 0, "log_end": 1000, "announcement": None}
    return Progress(log_id="log", **usual | fields)


@pytest.mark.parametrize(
    ("progress", "first", "end", "check", "agreed"),
    [
        # A new log and a new database.
        (_progress(committed=None, stored=None, log_start=4), 4, None, True, True),
        # Killed before, during or after the first block of all.
        (
            _progress(committed=4, announcement=Announcement("log", 9), stored=None, log_start=4),
            *(4, 9, True, True),
        ),
        # Killed while nothing was begun.
        (_progress(committed=5, announcement=Announcement("log", None), stored=5), 5, None, 0, 1),
        # Killed between announcing a block and storing its account.
        (_progress(committed=5, announcement=Announcement("log", 9), stored=5), 5, 9, True, True),
        # Killed between storing its account and committing its end.
        (_progress(committed=5, announcement=Announcement("log", 9), stored=9), 9, None, 0, 1),
        # The committed offset is gone: it expired, or the group was renamed.
        (_progress(committed=None, stored=9), 9, None, True, False),
        # The database was emptied or restored from a copy.
        (_progress(committed=50, announcement=Announcement("log", 60), stored=None), 0, None, 1, 0),
        (_progress(committed=50, announcement=Announcement("log", 60), stored=9), 9, None, 1, 0),
        # Somebody reset the group's offsets.
        (_progress(committed=0, stored=9), 9, None, True, False),
        # The commit belongs to a topic of the same name that is no more.
        (_progress(committed=5, announcement=Announcement("old", 9), stored=None), 0, None, 1, 1),
    ],
)
def test_resumption_follows_the_database_and_the_announcement(
    progress: Progress, first: int, end: int | None, check: bool, agreed: bool
) -> None:
    result = resumption(progress)

    assert (result.first, result.end, result.check) == (first, end, bool(check))
    assert (result.reason == "") == bool(agreed)


@pytest.mark.parametrize(
    "progress",
    [
        _progress(committed=None, stored=1001),
        _progress(committed=900, announcement=Announcement("log", 1001), stored=900),
    ],
)
def test_resumption_in_a_log_that_was_cut_is_refused(progress: Progress) -> None:
    with pytest.raises(BlockError, match="the log ends at offset 1000"):
        resumption(progress)
