"""The engine: deterministic, exact from any start, and deaf to how frames are cut into batches."""

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import CheckpointBatch, FaultKind, OutputBatch
from core.exchanges import exchanges
from core.frames import CHAIN_START, Address, BatchBuilder, Frame, FrameBatch, FrameKind, chained
from core.pipeline import PipelineSettings
from processors.engine import LETTER_VALUE_BYTES, Output, PartitionEngine, RawRecord
from processors.memories import Memories, Stretch
from schemas.codec import (
    decode_checkpoints,
    decode_dead_letter,
    decode_events,
    decode_output,
    encode_frame_batch,
)
from schemas.topics import CHECKPOINTS, DEAD_LETTERS, MIDS, OUTPUT_KINDS
from tests.processors.market import NS, RENEWAL_NS, SYMBOLS, Connection, batches, recut
from tests.schemas.records import FRAMES, INT64

EPOCH = 1_800_000_000 * NS
_TRADE_ID = re.compile(rb'("t|"trade_seq|"trade_id)": ?(?=\d)')


def engine(exchange: str) -> PartitionEngine:
    return PartitionEngine(
        exchanges()[exchange],
        PipelineSettings(),
        topic=f"raw.{exchange}",
        partition=3,
        consumer="processor",
        log_id="cluster/topic",
    )


def records(whole: list[FrameBatch]) -> list[RawRecord]:
    return [
        RawRecord(offset, b"shard", encode_frame_batch(batch), batch.frames[0].ts_recv)
        for offset, batch in enumerate(whole)
    ]


def fed(taker: PartitionEngine, raws: list[RawRecord]) -> list[list[Output]]:
    return [taker.feed(raw).outputs for raw in raws]


def facts(exchange: str, whole: list[FrameBatch]) -> dict[str, list[Any]]:
    """Return every fact without the record that it travelled in."""
    found: dict[str, list[Any]] = {kind: [] for kind in OUTPUT_KINDS}
    for outputs in fed(engine(exchange), records(whole)):
        for kind, _, value in outputs:
            found[kind] += _rows(decode_output(kind, value))
    return found


def remembered(
    exchange: str, outputs: list[list[Output]], first: int, until: int
) -> dict[int, CheckpointBatch]:
    """Return the checkpoints that a worker finds of the records from `first` to before `until`."""
    memories = Memories(Stretch(exchange, 3, first, until))
    for each in outputs:
        for kind, _, value in each:
            if kind == CHECKPOINTS:
                memories.add(decode_checkpoints(value))
    return memories.by_offset()


def _rows(batch: OutputBatch) -> list[Any]:
    fields = [getattr(batch, name) for name in batch.__struct_fields__[1:]]
    return list(zip(*fields, strict=True))


@pytest.mark.parametrize("exchange", SYMBOLS)
def test_engine_of_true_market_gives_every_kind_and_no_fault(exchange: str) -> None:
    whole = batches(Connection(exchange, epoch=EPOCH), seconds=65)
    frames = [frame for batch in whole for frame in batch.frames]
    ticks = sum(frame.kind is FrameKind.TICK for frame in frames)
    seconds = len({frame.ts_mono // NS for frame in frames})

    found = facts(exchange, whole)

    assert not found["faults"]
    assert len(found["books"]) == 2 * (seconds - 1)
    assert len(found["stability"]) == 6 * ticks
    assert len(found["trades"]) > 100


@pytest.mark.parametrize("exchange", SYMBOLS)
def test_engine_fed_twice_gives_the_same_bytes(exchange: str) -> None:
    raws = records(batches(Connection(exchange, epoch=EPOCH, gap_at_s=10), seconds=20))

    assert fed(engine(exchange), raws) == fed(engine(exchange), raws)


@pytest.mark.parametrize("exchange", SYMBOLS)
@settings(max_examples=15)
@given(sizes=st.lists(st.integers(1, 120), min_size=1, max_size=6))
def test_engine_of_frames_cut_otherwise_gives_the_same_facts(
    exchange: str, sizes: list[int]
) -> None:
    whole = batches(Connection(exchange, epoch=EPOCH, gap_at_s=7), seconds=15)

    assert facts(exchange, recut(whole, sizes)) == facts(exchange, whole)


@pytest.mark.parametrize("exchange", SYMBOLS)
def test_engine_warmed_with_the_recent_log_goes_on_with_the_same_bytes(exchange: str) -> None:
    whole = batches(Connection(exchange, epoch=EPOCH, gap_at_s=95), seconds=130)
    raws = records(whole)
    uninterrupted = fed(engine(exchange), raws)
    # The last checkpoint of a stream comes when its book has found a snapshot and an audit.
    window_ns = 2 * RENEWAL_NS + PipelineSettings().checkpoint_interval_ns + 2 * NS
    starts = [index for index, raw in enumerate(raws) if raw.ts - EPOCH > window_ns]

    for start in starts:
        warmed = engine(exchange)
        since = raws[start - 1].ts - window_ns
        window = [raw for raw in raws[:start] if raw.ts >= since]
        warmed.restore(remembered(exchange, uninterrupted, window[0].offset, start))
        for raw in window:
            warmed.absorb(raw)

        assert warmed.next_offset == start
        assert fed(warmed, raws[start : start + 3]) == uninterrupted[start : start + 3]


@pytest.mark.parametrize("exchange", SYMBOLS)
def test_engine_warmed_after_a_trade_id_with_a_wrong_digit_gives_the_same_bytes(
    exchange: str,
) -> None:
    """What one damaged frame implies is over within a warm-up."""
    connection = Connection(exchange, epoch=EPOCH)
    builder = BatchBuilder(connection.address)
    whole: list[FrameBatch] = []
    damaged = 0
    for frame in connection.frames():
        taken = frame
        if frame.ts_recv > EPOCH + 5 * NS and not damaged:
            payload, damaged = _TRADE_ID.subn(rb'\1":9', frame.payload, count=1)
            taken = msgspec.structs.replace(frame, payload=payload)
        builder.add(taken)
        batch = builder.cut() if len(builder) == 50 else None
        whole += [batch] if batch else []
        if frame.ts_recv > EPOCH + 90 * NS:
            break
    raws = records(whole)
    middle = len(raws) // 2
    uninterrupted = fed(engine(exchange), raws)

    warmed = engine(exchange)
    warmed.restore(remembered(exchange, uninterrupted, middle // 5, middle))
    for raw in raws[middle // 5 : middle]:
        warmed.absorb(raw)

    assert damaged
    assert fed(warmed, raws[middle:]) == uninterrupted[middle:]


def test_engine_keeps_shards_and_lines_apart() -> None:
    first = batches(Connection("deribit", epoch=EPOCH), seconds=10)
    others = [
        batches(Connection("deribit", epoch=EPOCH, shard="deribit-1"), seconds=10),
        batches(Connection("deribit", epoch=EPOCH, line="B"), seconds=10),
    ]
    mixed = [batch for three in zip(first, *others, strict=False) for batch in three]
    alone = [value for outputs in fed(engine("deribit"), records(first)) for _, _, value in outputs]

    together: dict[tuple[str, str, str], int] = {}
    keys = set()
    for outputs in fed(engine("deribit"), records(mixed)):
        for kind, key, value in outputs:
            stream = decode_output(kind, value).header.stream
            together[stream] = together.get(stream, 0) + 1
            keys.add((kind == MIDS, key))

    assert set(together) == {
        ("deribit", "deribit-0", "A"),
        ("deribit", "deribit-0", "B"),
        ("deribit", "deribit-1", "A"),
    }
    assert together["deribit", "deribit-0", "A"] == len(alone)
    assert keys == {
        (False, b"deribit/deribit-0"),
        (False, b"deribit/deribit-1"),
        (True, b"BTC/USD"),
        (True, b"ETH/USD"),
    }


def test_engine_that_misses_a_record_says_so_and_distrusts_the_books() -> None:
    whole = batches(Connection("binance", epoch=EPOCH), seconds=10)
    raws = records(whole)

    del raws[4]
    faults = [
        fault
        for outputs in fed(engine("binance"), raws)
        for kind, _, value in outputs
        if kind == "faults"
        for (fault,) in _rows(decode_events(kind, value))
    ]

    assert faults[0].kind is FaultKind.FRAMES_LOST
    assert faults[0].count == len(whole[4].frames)
    assert {fault.kind for fault in faults[1:]} == {FaultKind.TRADE_GAP}


@dataclass
class Poison:
    """A raw record that nobody can use, and a word of the reason."""

    value: bytes | None
    reason: str
    kept: bytes | None = field(init=False)

    def __post_init__(self) -> None:
        self.kept = None if self.value is None else self.value[:LETTER_VALUE_BYTES]


def _absurd(**changes: int) -> bytes:
    frame = Frame(FrameKind.TICK, EPOCH, 0, "", b"{}")
    frames = [msgspec.structs.replace(frame, **changes)]
    batch = FrameBatch(Address("deribit", "s", "A", 1), 0, CHAIN_START, CHAIN_START, frames)
    return encode_frame_batch(batch)


@pytest.mark.parametrize(
    "poison",
    [
        Poison(None, "single-object"),
        Poison(b"", "single-object"),
        Poison(b"\xc3\x01" + bytes(8) + b"x", "fingerprint"),
        Poison(records(batches(Connection("kraken", epoch=EPOCH), seconds=1))[0].value, "kraken"),
        Poison(_absurd(ts_recv=2**63 - 1), "cannot be"),
        Poison(_absurd(ts_mono=-1), "cannot be"),
        Poison(bytes(2 * LETTER_VALUE_BYTES), "single-object"),
    ],
    ids=["tombstone", "empty", "unknown schema", "foreign", "future", "negative", "huge"],
)
def test_unusable_record_becomes_a_letter_and_changes_nothing(poison: Poison) -> None:
    raws = records(batches(Connection("deribit", epoch=EPOCH), seconds=10))
    clean = fed(engine("deribit"), raws)
    taker = engine("deribit")

    before = fed(taker, raws[:3])
    outputs = taker.feed(RawRecord(3, b"key", poison.value, 77)).outputs
    after = [
        [(kind, key) for kind, key, _ in outputs]
        for outputs in fed(taker, [raw._replace(offset=raw.offset + 1) for raw in raws[3:]])
    ]

    assert [(kind, key) for kind, key, _ in outputs] == [(DEAD_LETTERS, b"raw.deribit/3")]
    letter = decode_dead_letter(outputs[0].value)
    assert poison.reason in letter.reason
    assert (letter.topic, letter.partition, letter.offset, letter.ts) == ("raw.deribit", 3, 3, 77)
    assert (letter.consumer, letter.log_id) == ("processor", "cluster/topic")
    assert (letter.key, letter.value) == (b"key", poison.kept)
    assert before == clean[:3]
    assert after == [[(kind, key) for kind, key, _ in outputs] for outputs in clean[3:]]


@pytest.mark.parametrize("most", [65_536, 1 << 20, 8 << 20])
@pytest.mark.parametrize("key_share", [0.0, 0.5, 1.0])
def test_letter_about_the_largest_record_is_no_larger(most: int, key_share: float) -> None:
    """A worker whose letter is refused would meet the same record for ever."""
    key = bytes(int(most * key_share))
    value = bytes(most - len(key))
    taker = PartitionEngine(
        exchanges()["deribit"],
        PipelineSettings(),
        topic="raw.deribit",
        partition=3,
        letter_bytes=min(LETTER_VALUE_BYTES, most // 2),
    )
    ((kind, name, letter),) = taker.feed(RawRecord(0, key, value, 77)).outputs

    assert kind == DEAD_LETTERS
    assert len(name) + len(letter) < most


_REAL = st.sampled_from(batches(Connection("deribit", epoch=EPOCH), seconds=5)[0].frames)


@st.composite
def _frames(draw: st.DrawFn) -> Frame:
    frame = draw(_REAL | _REAL | FRAMES)
    if draw(st.integers(0, 4)) == 0:
        return Frame(frame.kind, draw(INT64), draw(INT64), frame.where, frame.payload)
    return frame


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 60) | INT64,
            st.integers(0, 5) | INT64,
            st.lists(_frames(), min_size=1, max_size=8),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_engine_of_any_valid_record_never_fails(
    given_batches: list[tuple[int, int, list[Frame]]],
) -> None:
    taker = engine("deribit")
    for offset, (number, epoch, frames) in enumerate(given_batches):
        address = Address("deribit", "shard", "A", epoch)
        chain = chained(CHAIN_START, frames)
        batch = FrameBatch(address, number, CHAIN_START, chain, frames)

        taker.feed(RawRecord(offset, None, encode_frame_batch(batch), 0))

        assert taker.next_offset == offset + 1
