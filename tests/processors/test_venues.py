"""The engine of `mids`: the same bytes live, restarted and repeated."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import Events, VenueBatch
from core.frames import Address
from core.stability.alerts import AlertKind
from core.venues.arrivals import AHEAD_S
from processors.digests import Place
from processors.engine import Output, RawRecord
from processors.engine import fed as published
from processors.memories import Memories, Stretch
from processors.venues import CHECKPOINT_S, VenueEngine
from schemas.codec import decode_checkpoints, decode_dead_letter, decode_output
from schemas.topics import ALERTS, CHECKPOINTS, DEAD_LETTERS, MIDS, VENUES
from tests.core.venues.market import KNOWN_S, Market, Told

WARMUP_S = 180


def engine() -> VenueEngine:
    return VenueEngine(topic="mids", partition=2, consumer="processor", letter_bytes=1000)


def record(told: Told, offset: int) -> RawRecord:
    arrival, _ = told
    address = Address(arrival.exchange, arrival.shard, arrival.line, arrival.epoch)
    events = Events(address, 0, [], [], [], [], mids=[arrival.mid])
    ((kind, key, value),) = published([events], 3, 17).outputs
    assert (kind, key) == (MIDS, b"BTC/USD")
    return RawRecord(offset, key, value, arrival.mid.second * 10**9)


def troubled() -> list[Told]:
    market = Market(4)
    market.live(KNOWN_S)
    market.frozen = {"deribit"}
    market.live(100)
    market.frozen, market.gone = set(), {"kraken"}
    market.live(90)
    market.gone = {"kraken", "deribit"}
    market.live(100)
    market.gone = set()
    market.live(60)
    market.change = lambda exchange, price: price * (1.003 if exchange == "kraken" else 1)
    market.live(60)
    return market.told


RECORDS = [record(told, offset) for offset, told in enumerate(troubled())]


def outputs(raws: list[RawRecord]) -> list[list[Output]]:
    taker = engine()
    return [taker.feed(raw).outputs for raw in raws]


UNINTERRUPTED = outputs(RECORDS)


def decoded(kind: str, found: list[list[Output]]) -> list[Any]:
    return [
        decode_output(kind, output.value)
        for each in found
        for output in each
        if output.kind == kind
    ]


def test_rows_and_alerts_are_of_their_exchange_and_instrument() -> None:
    rows, alerts = decoded(VENUES, UNINTERRUPTED), decoded(ALERTS, UNINTERRUPTED)

    kinds = [
        (batch.header.address.exchange, alert.kind) for batch in alerts for alert in batch.alerts
    ]
    assert kinds == [
        *[("deribit", AlertKind.FROZEN_PRICE)] * 2,
        ("kraken", AlertKind.DIVERGENCE),
    ]
    for batch in (*rows, *alerts):
        header = batch.header
        assert (header.address.shard, header.address.line) == ("BTC/USD", "")
        assert header.source == ""
        assert header.raw_partition == 2
    assert {batch.header.address.exchange for batch in rows} == {"binance", "deribit", "kraken"}


def test_marks_grow_on_every_topic_and_are_those_of_the_headers() -> None:
    taker = engine()
    last: dict[Place, tuple[int, int]] = {}
    for raw in RECORDS:
        fed = taker.feed(raw)
        for output, (stream, mark) in zip(fed.outputs, fed.marks, strict=True):
            header = decode_output(output.kind, output.value).header
            assert (header.stream, header.mark) == (stream, mark)
            assert header.raw_offset == raw.offset
            place = Place(output.kind, 0, stream)
            assert mark > last.get(place, (-1, 0))
            last[place] = mark


@settings(max_examples=30)
@given(start=st.integers(1, len(RECORDS) - 1))
def test_engine_warmed_with_the_recent_log_goes_on_with_the_same_bytes(start: int) -> None:
    since = RECORDS[start - 1].ts - WARMUP_S * 10**9
    window = [raw for raw in RECORDS[:start] if raw.ts >= since]
    memories = Memories(Stretch("", 2, window[0].offset, start))
    for output in (output for each in UNINTERRUPTED for output in each):
        if output.kind == CHECKPOINTS:
            memories.add(decode_checkpoints(output.value))
    warmed = engine()
    warmed.restore(memories.by_offset())
    for raw in window:
        assert warmed.absorb(raw) == 0

    assert warmed.next_offset == start
    assert warmed.unreadable_checkpoints == 0
    assert [warmed.feed(raw).outputs for raw in RECORDS[start : start + 300]] == UNINTERRUPTED[
        start : start + 300
    ]


def test_records_that_come_again_give_nothing() -> None:
    taker = engine()
    for raw in RECORDS[:600]:
        taker.feed(raw)

    for offset, raw in enumerate(RECORDS[300:600], 600):
        assert taker.feed(raw._replace(offset=offset)).outputs == []
    following = [
        taker.feed(raw._replace(offset=offset)).outputs
        for offset, raw in enumerate(RECORDS[600:660], 900)
    ]
    assert [batch.venues for batch in decoded(VENUES, following)] == [
        batch.venues for batch in decoded(VENUES, UNINTERRUPTED[600:660])
    ]


def test_every_source_asks_for_checkpoints_so_that_none_is_long_ago() -> None:
    made = [
        offset for offset, each in enumerate(UNINTERRUPTED) for o in each if o.kind == CHECKPOINTS
    ]

    apart = max(after - before for before, after in pairwise(made))
    assert apart <= 3 * CHECKPOINT_S


def test_checkpoint_that_cannot_be_read_is_counted_and_left_out() -> None:
    batches = [
        (offset, decode_checkpoints(output.value))
        for offset, each in enumerate(UNINTERRUPTED)
        for output in each
        if output.kind == CHECKPOINTS
    ]
    offset, batch = batches[3]
    (made,) = batch.checkpoints
    broken = type(made)(made.number, made.index, made.channel, made.symbol, b"\xc1")
    taker = engine()
    taker.restore({offset: type(batch)(batch.header, [broken])})
    for raw in RECORDS[: offset + 1]:
        taker.absorb(raw)

    assert taker.unreadable_checkpoints == 1
    assert taker.feed(RECORDS[offset + 1]).outputs == UNINTERRUPTED[offset + 1]


@pytest.mark.parametrize("value", [None, b"", b"{}", RECORDS[0].value])
def test_record_that_cannot_be_used_becomes_a_letter(value: bytes | None) -> None:
    if value == RECORDS[0].value:
        arrival, _ = troubled_told()
        events = Events(Address("a", "s", "A", 1), 0, [], [], [], [], mids=[arrival])
        value = published([events], 0, 0).outputs[0].value
    taker = engine()
    fed = taker.feed(RawRecord(5, b"BTC/USD", value, 0))

    (output,) = fed.outputs
    assert output.kind == DEAD_LETTERS
    letter = decode_dead_letter(output.value)
    assert (letter.topic, letter.partition, letter.offset) == ("mids", 2, 5)
    assert fed.events is None
    assert engine().absorb(RawRecord(5, b"BTC/USD", value, 0)) == 0


def troubled_told() -> tuple[Any, int]:
    """Return a mid of a second that cannot be."""
    mid = Market(1)
    mid.step()
    said = mid.told[0][0].mid
    return type(said)(
        said.number, 0, said.instrument, said.symbol, 1 << 60, said.exponent, None, None, 0
    ), 0


def test_mids_that_are_left_out_are_counted() -> None:
    taker = engine()
    late = [taker.feed(raw).late for raw in RECORDS]

    assert sum(late) == 100 - AHEAD_S + 1, "when one exchange alone had spoken for longer"


def test_batch_of_rows_is_what_one_exchange_says() -> None:
    batch = decoded(VENUES, UNINTERRUPTED)[0]

    assert isinstance(batch, VenueBatch)
    assert len(batch) == 1
    assert batch.header.number == batch.venues[0].number
