"""Every fact is stored exactly once: sinks that die between any two steps, over a store that dies,
forgets, is restored or refuses rows."""

from contextlib import suppress
from itertools import count

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from core.blocks import (
    Announcement,
    Block,
    BlockBuilder,
    Marks,
    Progress,
    Resumption,
    announced,
    restored_marks,
    resumption,
)
from core.events import TradeBatch
from core.refusals import Refused, isolation
from core.rows import COLUMNS
from tests.core.test_blocks import LIMITS, PLACE, batch_of


class Record(msgspec.Struct, frozen=True):
    """A record of the log; None as batch is poison."""

    batch: TradeBatch | None


class RefusedError(Exception):
    """A row is not what the table takes."""


class Store:
    """What ClickHouse does: atomic inserts, and tokens that it remembers for a while."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []
        self.blocks: list[Block] = []
        self.letters: set[int] = set()
        self.tokens: set[str] = set()
        self.refuses: set[int] = set()
        """Offsets whose rows the table does not take."""
        self.broken = False
        """Whether it takes no row at all."""

    def copy(self) -> "Store":
        copied = Store()
        copied.rows, copied.blocks = list(self.rows), list(self.blocks)
        copied.letters, copied.tokens = set(self.letters), set(self.tokens)
        return copied

    def absent(self, block: Block) -> list[tuple[int, int]]:
        present = set(self.rows)
        return [row for row in _places(block) if row not in present]

    def insert_rows(self, block: Block, rows: list[tuple[int, int]], spare: int = 0) -> None:
        if rows and (self.broken or any(offset in self.refuses for offset, _ in rows)):
            raise RefusedError
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
    """A process: gathers, announces, stores rows, posts letters, stores the account, commits."""

    def __init__(self, resumed: Resumption, marks: Marks, check_until: int) -> None:
        self.marks = marks
        self.marks_before = marks.text()
        self.check_until = check_until
        self.suspects = resumed.refused
        self.begin(resumed.first, resumed.end, resumed.refused)

    def begin(self, first: int, end: int | None, refused: Refused = (), beyond: int = 0) -> None:
        self.closed: Block | None = None
        self.steps: list[str] = []
        self.letters: list[int] = []
        self.builder = BlockBuilder(
            *("trades", PLACE),
            first=first,
            marks=self.marks,
            end=end,
            refused=refused,
            beyond=beyond,
        )


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
        batch = batch_of(self.numbers[shard], facts, shard=shard)
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
            elif builder.add(offset, 10, batch, now=0) and offset in builder.refused:
                self.sink.letters.append(offset)
        age = 100 if close else 0
        if builder.due(LIMITS, now=age):
            self.sink.closed = builder.close()
            self.sink.steps = ["announce", "rows", "letters", "account", "commit"]

    @precondition(lambda self: self.sink and self.sink.steps)
    @rule()
    def sink_steps(self) -> None:
        assert self.sink is not None
        assert self.sink.closed is not None
        block, step = self.sink.closed, self.sink.steps.pop(0)
        if step == "announce":
            self.committed = block.first
            self.metadata = Announcement(PLACE.log_id, block.end, block.refused).text()
        elif step == "rows":
            try:
                if block.first < self.sink.check_until:
                    self.store.complete(block, rows=True)
                else:
                    self.store.insert_rows(block, _places(block))
            except RefusedError:
                self._isolate(self.sink, block)
        elif step == "letters":
            self.store.letters.update(self.sink.letters)
        elif step == "account":
            if block.first < self.sink.check_until:
                self.store.complete(block, rows=False)
            else:
                self.store.insert_account(block)
        else:
            self.committed = block.end
            self.metadata = Announcement(PLACE.log_id, None).text()
            self.sink.suspects, self.sink.marks_before = (), block.marks
            self.sink.begin(block.end, None)
            self.sink.builder.miss(self.log_start, now=0)

    @precondition(lambda self: self.sink)
    @rule(count=st.integers(2, 20))
    def sink_goes_on(self, count: int) -> None:
        for _ in range(count):
            if self.sink is None:
                return
            if self.sink.steps:
                self.sink_steps()
            else:
                self.sink_reads(count=6, close=True)

    def _isolate(self, sink: Sink, block: Block) -> None:
        offsets = [offset for offset, _ in _places(block)]
        result = isolation(
            offsets, end=block.end, refused=block.refused, suspects=sink.suspects, reason="why; so"
        )
        if result is None:
            assert self.store.broken
            self.committed = block.first
            self.metadata = Announcement(PLACE.log_id, None).text()
            self.sink = None
            return
        sink.suspects = result.suspects
        sink.marks = restored_marks(sink.marks_before)
        sink.check_until = max(sink.check_until, block.end)
        sink.begin(block.first, result.end, result.refused, result.beyond)
        sink.builder.miss(self.log_start, now=0)

    @precondition(lambda self: len(self.log) > self.log_start and len(self.store.refuses) < 12)
    @rule(data=st.data())
    def table_begins_to_refuse_a_record(self, data: st.DataObject) -> None:
        self.store.refuses.add(data.draw(st.integers(self.log_start, len(self.log) - 1)))

    @rule()
    def table_is_broken(self) -> None:
        self.store.broken = True

    @precondition(lambda self: self.store.broken and not self.zombies)
    @precondition(lambda self: "refused" not in self.metadata)
    @precondition(lambda self: self.sink is None or not self.sink.builder.refused)
    @rule()
    def table_is_mended(self) -> None:
        """But not in the moment between two attempts, one with suspects and one without."""
        self.store.broken = False

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
            with suppress(RefusedError):
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
        self.backup.refuses, self.backup.broken = self.store.refuses, self.store.broken
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

    @invariant()
    def no_record_is_both_rows_and_a_letter(self) -> None:
        assert not self.store.letters & {offset for offset, _ in self.store.rows}

    @invariant()
    def only_what_the_table_refuses_is_a_letter(self) -> None:
        assert self.store.letters <= self.store.refuses

    def teardown(self) -> None:
        """Let everything settle; then every fact is stored, is a repeat, or is known as lost."""
        while self.zombies:
            self.zombie_wakes()
        self.store.broken = False
        # What the table takes is beyond every suspect.
        for _ in range(2):
            self.record_arrives("s", 1)
            self.store.refuses.discard(len(self.log) - 1)
        if self.sink is None:
            self.sink_starts()
        self.sink_goes_on(10 * len(self.log) * (len(self.store.refuses) + 1) + 20)
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
            left_out = {row for row in expected if row[0] in self.store.letters}
            assert set(self.store.rows) == expected - left_out


TestDelivery = Delivery.TestCase
TestDelivery.settings = settings(max_examples=200, stateful_step_count=50)
