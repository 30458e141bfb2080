"""Blocks: every fact is stored exactly once, whenever the process dies and whoever comes next."""

from itertools import count
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.blocks import (
    BLOCK_COLUMNS,
    Announcement,
    Block,
    BlockBuilder,
    BlockError,
    Limits,
    Marks,
    Progress,
    Resumption,
    announced,
    restored_marks,
    resumption,
)
from core.events import Header, TradeBatch
from core.frames import Address
from core.letters import DeadLetter
from core.rows import COLUMNS, Place

PLACE = Place("cluster/topic", "trades", 0)
LIMITS = Limits(rows=6, size_bytes=1000, age_ns=100)


def _batch(number: int, facts: int = 2, *, shard: str = "s", epoch: int = 1) -> TradeBatch:
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


def _builder(first: int = 0, end: int | None = None, marks: Marks | None = None) -> BlockBuilder:
    return BlockBuilder("trades", PLACE, first=first, marks=marks or Marks(), end=end)


def test_block_is_due_by_rows() -> None:
    builder = _builder()
    for offset in range(3):
        assert not builder.due(LIMITS, now=0)
        builder.add(offset, 10, _batch(offset), now=0)

    assert builder.due(LIMITS, now=0)


def test_block_is_due_by_bytes_even_without_rows() -> None:
    builder = _builder()
    builder.give_up(0, 999, now=0)
    assert not builder.due(LIMITS, now=0)
    builder.give_up(1, 1, now=0)

    assert builder.due(LIMITS, now=0)


def test_block_is_due_by_age_of_its_first_record() -> None:
    builder = _builder()
    assert not builder.due(LIMITS, now=10_000)
    builder.add(0, 10, _batch(0), now=50)
    builder.add(1, 10, _batch(1), now=140)

    assert not builder.due(LIMITS, now=149)
    assert builder.due(LIMITS, now=150)


def test_block_accounts_for_every_record() -> None:
    builder = _builder(first=5)
    assert builder.add(5, 10, _batch(1, 2), now=0)
    builder.give_up(6, 10, now=0)
    assert not builder.add(7, 10, _batch(1, 2), now=0)
    assert builder.add(9, 10, _batch(2, 1), now=0)

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
    builder = _builder()
    bad = msgspec.structs.replace(_batch(1), prices=["1", "x"])

    with pytest.raises(ValueError, match="not a decimal"):
        builder.add(0, 10, bad, now=0)

    builder.give_up(0, 10, now=0)
    block = builder.close()
    assert (block.records, block.facts, len(block.rows), block.dead_letters) == (1, 0, 0, 1)
    assert block.marks == "[]"


def test_announced_block_takes_exactly_its_range_whatever_the_limits() -> None:
    builder = _builder(end=5)
    for offset in range(5):
        assert builder.takes(offset)
        assert not builder.due(LIMITS, now=10_000)
        builder.add(offset, 1000, _batch(offset, 6), now=0)

    assert not builder.takes(5)
    assert builder.due(LIMITS, now=0)
    assert builder.close().end == 5


def test_announced_block_ends_where_announced_when_its_last_offsets_hold_no_record() -> None:
    builder = _builder(end=5)
    builder.add(2, 10, _batch(2), now=0)

    assert not builder.takes(7)
    assert builder.close().end == 5


@pytest.mark.parametrize(
    ("log_start", "end", "lost", "missing_next"),
    [(0, None, 0, 3), (3, None, 0, 3), (8, None, 5, 8), (8, 6, 3, 6), (8, 20, 5, 8)],
)
def test_block_counts_offsets_that_the_log_lost(
    log_start: int, end: int | None, lost: int, missing_next: int
) -> None:
    builder = _builder(first=3, end=end)

    assert builder.miss(log_start, now=0) == lost
    assert builder.next == missing_next
    assert builder.close().missing == lost


def test_marks_see_repeats_per_stream_and_survive_as_text() -> None:
    marks = Marks()
    for batch in (_batch(5), _batch(3, shard="t"), _batch(1, shard="u", epoch=2)):
        assert not marks.repeats(batch.header)
        marks.advance(batch.header)

    for copy in (marks, restored_marks(marks.text())):
        assert copy.repeats(_batch(5).header)
        assert copy.repeats(_batch(4).header)
        assert not copy.repeats(_batch(6).header)
        assert not copy.repeats(_batch(4, shard="t").header)
        assert copy.repeats(_batch(9, shard="u", epoch=1).header)
        assert not copy.repeats(_batch(0, shard="u", epoch=3).header)
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


class Record(msgspec.Struct, frozen=True):
    """A record of the log; None as batch is poison."""

    batch: TradeBatch | None


class Store:
    """What ClickHouse does: atomic inserts, and tokens that it remembers for a while."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []
        self.blocks: list[Block] = []
        self.tokens: set[str] = set()

    def copy(self) -> "Store":
        copied = Store()
        copied.rows, copied.blocks = list(self.rows), list(self.blocks)
        copied.tokens = set(self.tokens)
        return copied

    def absent(self, block: Block) -> list[tuple[int, int]]:
        present = set(self.rows)
        return [row for row in _places(block) if row not in present]

    def insert_rows(self, block: Block, rows: list[tuple[int, int]], spare: int = 0) -> None:
        if rows and block.token("trades", spare) not in self.tokens:
            self.tokens.add(block.token("trades", spare))
            self.rows += rows

    def has_account(self, block: Block) -> bool:
        return any(stored.first == block.first for stored in self.blocks)

    def insert_account(self, block: Block, spare: int = 0) -> None:
        if block.token("blocks", spare) not in self.tokens:
            self.tokens.add(block.token("blocks", spare))
            self.blocks.append(block)

    def complete(self, block: Block, *, rows: bool) -> None:
        """Insert what is absent, with one token after another until nothing is."""
        for spare in count():
            if rows and (absent := self.absent(block)):
                self.insert_rows(block, absent, spare)
            elif not rows and not self.has_account(block):
                self.insert_account(block, spare)
            else:
                return

    @property
    def end(self) -> int | None:
        return max((block.end for block in self.blocks), default=None)


def _places(block: Block) -> list[tuple[int, int]]:
    columns = dict(zip(COLUMNS["trades"], block.rows.columns, strict=True))
    return list(zip(columns["offset"], columns["row"], strict=True))


class Sink:
    """A process: gathers, announces, stores rows, stores the account, commits."""

    def __init__(self, resumed: Resumption, marks: Marks, check_until: int) -> None:
        self.builder = _builder(resumed.first, resumed.end, marks)
        self.marks = marks
        self.check_until = check_until
        self.closed: Block | None = None
        self.steps: list[str] = []


class Delivery(RuleBasedStateMachine):
    """Records arrive, repeat and expire; processes die between any two steps, and zombies wake."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Record] = []
        self.log_start = 0
        self.store = Store()
        self.backup: Store | None = None
        self.committed: int | None = None
        self.metadata = ""
        self.sink: Sink | None = None
        self.zombies: list[tuple[Block, list[tuple[int, int]] | None]] = []
        self.numbers = {"s": 0, "t": 0}
        self.emitted: dict[tuple[str, int], TradeBatch] = {}

    @rule(shard=st.sampled_from("st"), facts=st.integers(1, 4))
    def record_arrives(self, shard: str, facts: int) -> None:
        self.numbers[shard] += 1
        batch = _batch(self.numbers[shard], facts, shard=shard)
        self.emitted[shard, self.numbers[shard]] = batch
        self.log.append(Record(batch))

    @rule(shard=st.sampled_from("st"), back=st.integers(0, 3))
    def records_are_emitted_again(self, shard: str, back: int) -> None:
        last = self.numbers[shard]
        for number in range(max(1, last - back), last + 1):
            self.log.append(Record(self.emitted[shard, number]))

    @rule()
    def poison_arrives(self) -> None:
        self.log.append(Record(None))

    @precondition(lambda self: self.sink is None)
    @rule()
    def sink_starts(self) -> None:
        progress = Progress(
            log_id=PLACE.log_id,
            committed=self.committed,
            announcement=announced(self.metadata) if self.committed is not None else None,
            stored=self.store.end,
            log_start=self.log_start,
            log_end=len(self.log),
        )
        resumed = resumption(progress)
        marks = Marks()
        for block in self.store.blocks:
            if block.end == resumed.first:
                marks = restored_marks(block.marks)
        until = resumed.end or 0
        if resumed.check and resumed.end is None:
            until = max((offset + 1 for offset, _ in self.store.rows), default=0)
        if resumed.check:
            # What is stored of offsets that the log lost can still repeat.
            for offset, _ in self.store.rows:
                batch = self.log[offset].batch
                if (self.store.end or 0) <= offset < self.log_start and batch:
                    marks.advance(batch.header)
        self.sink = Sink(resumed, marks, until)
        self.sink.builder.miss(self.log_start, now=0)

    @precondition(lambda self: self.sink and not self.sink.steps)
    @rule(count=st.integers(1, 6), close=st.booleans())
    def sink_reads(self, count: int, close: bool) -> None:
        assert self.sink is not None
        builder = self.sink.builder
        builder.miss(self.log_start, now=0)
        for offset in range(builder.next, min(builder.next + count, len(self.log))):
            if not builder.takes(offset) or builder.due(LIMITS, now=0):
                break
            batch = self.log[offset].batch
            if batch is None:
                builder.give_up(offset, 10, now=0)
            else:
                builder.add(offset, 10, batch, now=0)
        age = 100 if close else 0
        if builder.due(LIMITS, now=age):
            self.sink.closed = builder.close()
            self.sink.steps = ["announce", "rows", "account", "commit"]

    @precondition(lambda self: self.sink and self.sink.steps)
    @rule()
    def sink_steps(self) -> None:
        assert self.sink is not None
        assert self.sink.closed is not None
        block, step = self.sink.closed, self.sink.steps.pop(0)
        if step == "announce":
            self.committed = block.first
            self.metadata = Announcement(PLACE.log_id, block.end).text()
        elif step == "rows":
            if block.first < self.sink.check_until:
                self.store.complete(block, rows=True)
            else:
                self.store.insert_rows(block, _places(block))
        elif step == "account":
            if block.first < self.sink.check_until:
                self.store.complete(block, rows=False)
            else:
                self.store.insert_account(block)
        else:
            self.committed = block.end
            self.metadata = Announcement(PLACE.log_id, None).text()
            self.sink.builder = _builder(block.end, None, self.sink.marks)
            self.sink.builder.miss(self.log_start, now=0)

    @precondition(lambda self: self.sink and self.sink.steps[:1] in (["rows"], ["account"]))
    @rule()
    def store_is_killed_between_a_token_and_its_part(self) -> None:
        assert self.sink is not None
        assert self.sink.closed is not None
        block = self.sink.closed
        table = "trades" if self.sink.steps[0] == "rows" else "blocks"
        for spare in count():
            if block.token(table, spare) not in self.store.tokens:
                self.store.tokens.add(block.token(table, spare))
                break
        self.sink.check_until = max(self.sink.check_until, block.end)

    @precondition(lambda self: self.sink)
    @rule(zombie=st.booleans())
    def sink_is_killed(self, zombie: bool) -> None:
        assert self.sink is not None
        block, steps = self.sink.closed, self.sink.steps
        held = block is not None and block.first >= self.log_start
        if zombie and block and held and steps and steps[0] in ("rows", "account"):
            # It had looked, and was about to write. No zombie sleeps longer than the log is kept.
            checked = block.first < self.sink.check_until
            rows = self.store.absent(block) if checked else _places(block)
            if steps[0] == "rows":
                self.zombies.append((block, rows))
            elif not checked or not self.store.has_account(block):
                self.zombies.append((block, None))
        self.sink = None

    @precondition(lambda self: self.zombies)
    @rule()
    def zombie_wakes(self) -> None:
        block, rows = self.zombies.pop(0)
        if rows is None:
            self.store.insert_account(block)
        else:
            self.store.insert_rows(block, rows)

    @precondition(lambda self: self.store.tokens and not self.zombies)
    @rule()
    def tokens_are_forgotten(self) -> None:
        self.store.tokens.clear()

    @precondition(lambda self: self.sink is None and not self.zombies)
    @rule(reset=st.booleans())
    def committed_offset_is_lost_or_reset(self, reset: bool) -> None:
        self.committed, self.metadata = (0, "") if reset else (None, "")

    @precondition(lambda self: self.backup is None)
    @rule()
    def database_is_copied(self) -> None:
        self.backup = self.store.copy()

    @precondition(lambda self: self.sink is None and not self.zombies and self.backup)
    @rule()
    def database_is_restored_from_the_copy(self) -> None:
        assert self.backup is not None
        self.store, self.backup = self.backup, None

    @precondition(lambda self: not self.zombies)
    @rule(count=st.integers(1, 3))
    def log_expires(self, count: int) -> None:
        self.log_start = min(self.log_start + count, len(self.log))

    @invariant()
    def no_fact_is_stored_twice(self) -> None:
        assert len(self.store.rows) == len(set(self.store.rows))
        facts = [(self.log[offset].batch.header, row) for offset, row in self.store.rows]  # type: ignore[union-attr]
        assert len({(h.stream, h.mark, row) for h, row in facts}) == len(facts)

    @invariant()
    def blocks_tile_the_offsets(self) -> None:
        ends = 0
        for index, block in enumerate(self.store.blocks):
            assert block.first == ends or index == 0
            assert block.facts == len(block.rows) + block.duplicates
            assert block.end > block.first
            ends = block.end

    def teardown(self) -> None:
        """Let everything settle; then every fact is stored, is a repeat, or is known as lost."""
        while self.zombies:
            self.zombie_wakes()
        if self.sink is None:
            self.sink_starts()
        assert self.sink is not None
        for _ in range(10 * len(self.log) + 20):
            if self.sink.steps:
                self.sink_steps()
            else:
                self.sink_reads(count=6, close=True)
        self.no_fact_is_stored_twice()
        self.blocks_tile_the_offsets()
        assert self.log_start == len(self.log) or self.store.end == len(self.log) or not self.log
        expected, marks = set(), Marks()
        for offset, record in enumerate(self.log):
            if record.batch and not marks.repeats(record.batch.header):
                marks.advance(record.batch.header)
                expected |= {(offset, row) for row in range(len(record.batch))}
        blocks = self.store.blocks
        if blocks and blocks[0].first == 0 and not any(block.missing for block in blocks):
            assert set(self.store.rows) == expected


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)
