"""Checkpoints: who is restored in the middle of a log says what one who never stopped says."""

from collections.abc import Iterable
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.continuity import TradeIds, Verdict
from core.events import Events, FaultKind, StreamCheckpoint
from core.exchanges import exchanges
from core.frames import Address, BatchBuilder, CloseReason, Frame, FrameBatch, FrameKind, TickStatus
from core.memory import StreamMemory, TradeIdsMemory, read, write
from core.pipeline import PipelineSettings, ShardPipeline
from core.protocol import Shard
from tests.core.speakers import SPEAKERS, START_MS

NS = 1_000_000_000
MS = 1_000_000
SYMBOLS = ("BTC-PERPETUAL", "ETH_USDC", "SILENT")
PERIOD_S = 4
WINDOW_S = 2 * PERIOD_S + 4
"""What is re-read: every book is renewed in it, and every stream has a checkpoint."""
SETTINGS = PipelineSettings(book_levels=5, checkpoint_interval_ns=PERIOD_S * NS)
PLAN_S = 3
HEARTBEAT = b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}'


class Log:
    """A seeded connection: its frames in batches of any size, over several epochs."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.exchange = exchanges()["deribit"]
        self.speaker = SPEAKERS["deribit"](SYMBOLS, seed=seed)
        self.shard = Shard("deribit", "s", SYMBOLS, 0)
        self.batches: list[FrameBatch] = []
        self.times: list[int] = []
        self.ms = 0
        self.epoch = 0
        self.speaks_at = dict.fromkeys(SYMBOLS, 0)
        self.ahead_ms = 0
        self.wall_ms = 0

    def write(self, seconds: int) -> "Log":
        """Let time pass."""
        self._open()
        for second in range(seconds):
            for symbol in SYMBOLS:
                self._market(symbol, second)
            if self.random.random() < 0.05:
                self._add(FrameKind.CLOSE, msgspec.json.encode(CloseReason(1006, "", "network")))
                self._open()
            elif second % PLAN_S == 0:
                self._add(FrameKind.PLAN, msgspec.json.encode(self.shard))
            for symbol in SYMBOLS[: second % 2 + 1]:
                self._renew(symbol)
            if self.random.random() < 0.6:
                self._ask()
            if self.random.random() < 0.05:
                self._add(FrameKind.RECEIVED, HEARTBEAT)
            self._pass(to_second=True)
            self._add(FrameKind.TICK, msgspec.json.encode(TickStatus(connected=True)))
            if self.random.random() < 0.5:
                self._trade(SYMBOLS[0])
        self._cut()
        return self

    def _market(self, symbol: str, second: int) -> None:
        """Trade and change now and then; some trades are lost, and the silent speak rarely."""
        self._pass()
        speaker = self.speaker
        if second >= self.speaks_at[symbol]:
            rest = 1 if symbol == SYMBOLS[0] else self.random.choice((2, 30, 60))
            self.speaks_at[symbol] = second + rest
            if self.random.random() < 0.4:
                speaker.trade_ids[symbol] += self.random.randrange(1, 4)
            self._trade(symbol)
            if symbol != SYMBOLS[2]:
                self._add(FrameKind.RECEIVED, speaker.change(symbol))

    def _ask(self) -> None:
        """Ping; now and then a clock is set, the venue's or our own."""
        if self.random.random() < 0.05:
            self.ahead_ms = self.random.randrange(-900, 900)
        if self.random.random() < 0.02:
            self.wall_ms = self.random.randrange(-900, 900)
        sent = self.ms
        self._pass()
        us = (START_MS + self.ms + self.ahead_ms) * 1000
        self._pass()
        answer = {"jsonrpc": "2.0", "id": 9, "result": {}, "usIn": us, "usOut": us + 100}
        self._add(FrameKind.RECEIVED, msgspec.json.encode(answer))
        self._add(FrameKind.PONG, b"%d" % ((self.ms - sent) * MS))

    def _trade(self, symbol: str) -> None:
        self._add(FrameKind.RECEIVED, self.speaker.trade(symbol))

    def _open(self) -> None:
        self._cut()
        self.epoch += 1
        self.builder = BatchBuilder(Address("deribit", "s", "A", self.epoch))
        self._add(FrameKind.OPENING)
        self._add(FrameKind.PLAN, msgspec.json.encode(self.shard))
        self._add(FrameKind.OPEN)
        for symbol in SYMBOLS[:2]:
            self._renew(symbol)

    def _renew(self, symbol: str) -> None:
        for request in self.exchange.snapshot(self.shard, symbol, 7):
            self._add(FrameKind.SENT, request.content.encode())
            for answer in self.speaker.answers(request.content):
                self._add(FrameKind.RECEIVED, answer)

    def _pass(self, *, to_second: bool = False) -> None:
        self.ms += 1000 - self.ms % 1000 if to_second else self.random.randrange(1, 100)
        self.speaker.ms = START_MS + self.ms - self.random.randrange(1, 30)

    def _add(self, kind: FrameKind, payload: bytes = b"") -> None:
        ts = (START_MS + self.ms + self.wall_ms) * MS
        self.builder.add(Frame(kind, ts, (self.ms + 1) * MS, "", payload))
        if self.random.random() < 0.15:
            self._cut()

    def _cut(self) -> None:
        batch = self.builder.cut() if self.epoch else None
        if batch is not None:
            self.batches.append(batch)
            self.times.append(self.ms)


def kept_checkpoints(events: Iterable[Events]) -> dict[int, list[StreamCheckpoint]]:
    """Return the last checkpoint of every stream, by the place of its batch, with what the
    connection remembered at the same tick."""
    last: dict[tuple[str, str], tuple[int, list[StreamCheckpoint]]] = {}
    for place, found in enumerate(events):
        for each in found.checkpoints:
            beside = [c for c in found.checkpoints if not c.symbol and c.number == each.number]
            last[each.channel, each.symbol] = place, [*beside, each]
    by_place: dict[int, list[StreamCheckpoint]] = {}
    for place, checkpoints in last.values():
        by_place.setdefault(place, []).extend(checkpoints)
    return by_place


def restarted(
    batches: list[FrameBatch], wanted: list[Events], start: int, cut: int
) -> tuple[ShardPipeline, set[tuple[str, str]]]:
    """Return a pipeline that absorbed the window before `cut`, and the streams it was given."""
    pipeline = ShardPipeline(exchanges()["deribit"], SETTINGS)
    kept = kept_checkpoints(wanted[start:cut])
    for place, batch in enumerate(batches[start:cut]):
        assert pipeline.restore(kept.get(place, ())) == 0
        pipeline.feed(batch)
    return pipeline, {(c.channel, c.symbol) for each in kept.values() for c in each}


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), places=st.lists(st.integers(0, 10**6), min_size=3, max_size=3))
def test_restored_pipeline_says_what_one_that_never_stopped_says(
    seed: int, places: list[int]
) -> None:
    log = Log(seed).write(seconds=70)
    whole = ShardPipeline(log.exchange, SETTINGS)
    wanted = [whole.feed(batch) for batch in log.batches]
    earliest = next(n for n, ms in enumerate(log.times) if ms > WINDOW_S * 1000)
    for place in places:
        cut = earliest + place % (len(log.batches) - earliest)
        since = log.times[cut - 1] - WINDOW_S * 1000
        start = next(n for n, ms in enumerate(log.times) if ms >= since)

        pipeline, streams = restarted(log.batches, wanted, start, cut)

        assert len(streams) == 3 + 2 * len(SYMBOLS)
        assert [pipeline.feed(batch) for batch in log.batches[cut:]] == wanted[cut:]


def test_logs_of_the_test_above_hold_what_it_is_about() -> None:
    """Without checkpoints its promise is broken, in each of the ways that matter."""
    differing: set[str] = set()
    for seed in range(40):
        log = Log(seed).write(seconds=70)
        whole = ShardPipeline(log.exchange, SETTINGS)
        wanted = [whole.feed(batch) for batch in log.batches]
        cut = next(n for n, ms in enumerate(log.times) if ms > 45_000)
        start = next(n for n, ms in enumerate(log.times) if ms > 45_000 - WINDOW_S * 1000)
        forgetful = ShardPipeline(log.exchange, SETTINGS)
        for batch in log.batches[start:cut]:
            forgetful.feed(batch)
        for batch, events in zip(log.batches[cut:], wanted[cut:], strict=True):
            found = forgetful.feed(batch)
            gaps = {fault for fault in events.faults if fault.kind is FaultKind.TRADE_GAP}
            if gaps - set(found.faults):
                differing.add("gap")
            for ours, theirs in zip(events.seconds, found.seconds, strict=True):
                differing |= {"age"} if ours.age_ns != theirs.age_ns else set()
                differing |= {"jitter"} if ours.jitter_ns != theirs.jitter_ns else set()
                clocks = ours.clock_offset_ns, theirs.clock_offset_ns
                differing |= {"clock"} if clocks[0] != clocks[1] else set()
                beats = ours.heartbeat_interval_max_ns, theirs.heartbeat_interval_max_ns
                differing |= {"heartbeat"} if beats[0] != beats[1] else set()

    assert differing == {"gap", "age", "jitter", "clock", "heartbeat"}


def test_checkpoints_of_streams_are_staggered_and_come_once_an_interval() -> None:
    log = Log(3).write(seconds=60)
    pipeline = ShardPipeline(log.exchange, SETTINGS)
    streams = [(channel, symbol) for symbol in SYMBOLS for channel in ("book", "trades")]
    epoch = ticks = 0
    for batch in log.batches:
        made = pipeline.feed(batch).checkpoints
        for number, frame in enumerate(batch.frames, batch.number):
            if frame.kind is FrameKind.TICK:
                second = frame.ts_recv // NS
                due = [
                    stream
                    for place, stream in enumerate(streams, 1)
                    # The first tick of an epoch has all of them.
                    if epoch != batch.address.epoch or (second + place) % PERIOD_S == 0
                ]
                if due or second % PERIOD_S == 0:
                    due = [("connection", ""), ("data", ""), *due]
                place = len(streams) + 1
                if epoch != batch.address.epoch or (second + place) % PERIOD_S == 0:
                    due.append(("schema", ""))
                assert [(c.channel, c.symbol) for c in made if c.number == number] == due
                epoch = batch.address.epoch
                ticks += 1

    assert (epoch, ticks) == (log.epoch, 60)
    assert epoch > 1


def test_memory_of_a_symbol_that_is_not_known_yet_waits_for_the_plan() -> None:
    """Who begins behind the plan learns of a silent symbol later; none is made up."""
    log = Log(1)
    log._open()
    log._trade(SYMBOLS[2])
    log._pass(to_second=True)
    tick = msgspec.json.encode(TickStatus(connected=True))
    log._cut()
    log._add(FrameKind.TICK, tick)
    log._cut()
    log._pass(to_second=True)
    log._add(FrameKind.PLAN, msgspec.json.encode(log.shard))
    log._add(FrameKind.TICK, tick)
    log._cut()
    log.speaker.trade_ids[SYMBOLS[2]] += 5
    log._trade(SYMBOLS[2])
    log._cut()
    whole, late = (ShardPipeline(log.exchange, SETTINGS) for _ in range(2))
    wanted = [whole.feed(batch) for batch in log.batches]
    begun = next(n for n, each in enumerate(wanted) if each.checkpoints)

    late.restore(wanted[begun].checkpoints)
    late.feed(log.batches[begun])
    names = set(late.instruments)
    found = [late.feed(batch) for batch in log.batches[begun + 1 :]]

    assert names == set()
    ages = [
        {(each.channel, each.symbol): each.age_ns for each in events.seconds}
        for events in (found[0], wanted[begun + 1])
    ]
    assert ages[0] == ages[1]
    assert ages[0]["trades", SYMBOLS[2]] == 2 * NS
    assert [fault.count for events in found for fault in events.faults] == [5]


def test_memory_of_a_symbol_outside_of_the_plan_is_left_out() -> None:
    log = Log(1)
    log._open()
    log._add(FrameKind.TICK, msgspec.json.encode(TickStatus(connected=True)))
    log._cut()
    pipeline = ShardPipeline(log.exchange, SETTINGS)
    state = write(StreamMemory(last_mono=1, trade_ids=TradeIdsMemory(7, 7)))
    tick = sum(len(batch.frames) for batch in log.batches) - 1
    for batch in log.batches:
        pipeline.restore([StreamCheckpoint(tick, 0, "trades", "OTHER", state)])
        events = pipeline.feed(batch)

    assert set(pipeline.instruments) == set(SYMBOLS)
    assert {checkpoint.symbol for checkpoint in events.checkpoints} == {"", *SYMBOLS}


def test_checkpoint_of_another_batch_is_forgotten_with_the_next() -> None:
    log = Log(1)
    log._open()
    for _ in range(2):
        log._cut()
        log._add(FrameKind.TICK, msgspec.json.encode(TickStatus(connected=True)))
    log._cut()
    pipeline = ShardPipeline(log.exchange, SETTINGS)
    last = log.batches[-1].number
    state = write(StreamMemory(trade_ids=TradeIdsMemory(7, 7)))

    pipeline.restore([StreamCheckpoint(last, 0, "trades", SYMBOLS[0], state)])
    for batch in log.batches:
        pipeline.feed(batch)

    assert pipeline.instruments[SYMBOLS[0]].trade_ids.last is None


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"\xc1",
        b"\x80\x80",
        msgspec.msgpack.encode([1]),
        msgspec.msgpack.encode({"last_mono": "1"}),
        msgspec.msgpack.encode({"last_mono": 2**63}),
        msgspec.msgpack.encode({"trade_ids": {"last": -(2**62)}}),
        msgspec.msgpack.encode({"trade_ids": {"missing": [[1]]}}),
        b"\x91" * 100_000,
    ],
    ids=range(9),
)
def test_state_that_cannot_be_read_is_counted_and_left_out(state: bytes) -> None:
    pipeline = ShardPipeline(exchanges()["deribit"], SETTINGS)

    assert read(state) is None
    assert pipeline.restore([StreamCheckpoint(0, 0, "trades", "S", state)]) == 1


@given(st.binary(max_size=60))
def test_state_of_any_bytes_is_read_or_refused(state: bytes) -> None:
    memory = read(state)

    assert memory is None or read(write(memory)) == memory


def test_state_of_another_version_is_read_as_far_as_it_is_known() -> None:
    newer = {"last_mono": 5, "baseline": {"mean": 1.5}, "trade_ids": {"last": 3, "new": []}}

    assert read(msgspec.msgpack.encode({})) == StreamMemory()
    assert read(msgspec.msgpack.encode(newer)) == StreamMemory(
        last_mono=5, trade_ids=TradeIdsMemory(last=3)
    )


IDS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=60)


@given(before=IDS, after=IDS)
def test_trade_ids_recalled_judge_as_those_remembered(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    ids, other = TradeIds(), TradeIds()
    for sequence, ts in before:
        ids.check(sequence, ts)
    other.check(99, 99)

    memory = read(write(StreamMemory(trade_ids=ids.remember())))
    assert memory is not None
    other.recall(memory.trade_ids or TradeIdsMemory())

    judged: list[tuple[Verdict, int]] = [ids.check(*each) for each in after]
    assert [other.check(*each) for each in after] == judged
    assert other.remember() == ids.remember()
