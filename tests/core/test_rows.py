"""Rows: every fact becomes one row with its whole origin and exact values."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.columns import DECIMAL_BYTES, decimal_text
from core.decimals import DecimalError
from core.events import (
    AlertBatch,
    BookBatch,
    BookSnapshot,
    EventBatch,
    Events,
    FaultBatch,
    Header,
    StabilityBatch,
    TradeBatch,
    VenueBatch,
)
from core.letters import DeadLetter
from core.rows import (
    COLUMNS,
    FAULTS,
    STABILITY,
    TABLES,
    Place,
    RowBuffer,
)
from core.stability.alerts import Alert, AlertKind, Phase, Severity
from core.venues.seconds import VenueSecond
from tests.schemas.records import DECIMALS, LETTERS, events, trade_events

PLACE = Place("cluster/topic", "trades", 3)


def _batches(facts: Events) -> dict[str, EventBatch]:
    header = Header(facts.address, facts.number, 5, 77)
    trades = facts.trades
    return {
        "trades": TradeBatch(
            header=header,
            numbers=tuple(t.number for t in trades),
            indices=tuple(t.index for t in trades),
            symbols=[t.symbol for t in trades],
            trade_ids=[t.trade_id for t in trades],
            sequences=tuple(-1 if t.sequence is None else t.sequence for t in trades),
            prices=[t.price for t in trades],
            sizes=[t.size for t in trades],
            sides=bytes(t.side for t in trades),
            ts_event=tuple(t.ts_event for t in trades),
            ts_recv=tuple(t.ts_recv for t in trades),
            quality=tuple(t.quality for t in trades),
        ),
        "alerts": AlertBatch(header, facts.alerts),
        "books": BookBatch(header, facts.books),
        "faults": FaultBatch(header, facts.faults),
        "stability": StabilityBatch(header, facts.seconds),
        "venues": VenueBatch(header, facts.venues),
    }


def _rows(buffer: RowBuffer) -> list[dict[str, Any]]:
    columns = dict(zip(COLUMNS[buffer.kind], buffer.columns, strict=True))
    assert {len(column) for column in columns.values()} == {len(buffer)}
    return [{name: columns[name][i] for name in columns} for i in range(len(buffer))]


@given(events(), st.integers(0, 2**63 - 1))
def test_rows_of_every_kind_carry_the_whole_origin(facts: Events, offset: int) -> None:
    address = facts.address
    for kind, batch in _batches(facts).items():
        buffer = RowBuffer(kind, PLACE)

        assert buffer.append(batch, offset) == len(batch) == len(buffer)

        for index, row in enumerate(_rows(buffer)):
            assert (row["exchange"], row["shard"], row["line"]) == (
                address.exchange,
                address.shard,
                address.line,
            )
            assert (row["epoch"], row["raw_partition"], row["raw_offset"]) == (address.epoch, 5, 77)
            assert (row["log_id"], row["topic"], row["partition"]) == msgspec.structs.astuple(PLACE)
            assert (row["offset"], row["row"]) == (offset, index)


@given(events())
def test_rows_hold_the_facts_unchanged(facts: Events) -> None:
    rows = {}
    for kind, batch in _batches(facts).items():
        buffer = RowBuffer(kind, PLACE)
        buffer.append(batch, 0)
        rows[kind] = _rows(buffer)

    for trade, row in zip(facts.trades, rows["trades"], strict=True):
        assert Decimal(decimal_text(row["price"])) == Decimal(trade.price)
        assert Decimal(decimal_text(row["size"])) == Decimal(trade.size)
        for name in ("symbol", "trade_id", "sequence", "side", "ts_event", "ts_recv", "quality"):
            assert row[name] == getattr(trade, name)
        assert (row["number"], row["idx"]) == (trade.number, trade.index)
    for book, row in zip(facts.books, rows["books"], strict=True):
        for side in ("bid", "ask"):
            for what in ("price", "size"):
                name = f"{side}_{what}s"
                assert _ladder(row[name]) == [
                    Decimal(mantissa).scaleb(-getattr(book, f"{what}_exponent"))
                    for mantissa in getattr(book, name)
                ]
        assert (row["sequence"], row["ts_event"]) == (book.sequence, book.ts_event)
        assert (row["ts_sample"], row["digest"]) == (book.ts_sample, book.digest)
    for fault, row in zip(facts.faults, rows["faults"], strict=True):
        assert [row[name] for name in FAULTS] == [getattr(fault, name) for name in FAULTS]
    for second, row in zip(facts.seconds, rows["stability"], strict=True):
        assert [row[name] for name in STABILITY] == [getattr(second, name) for name in STABILITY]


@given(LETTERS, st.integers(0, 2**63 - 1))
def test_rows_of_letters_hold_the_letter_and_its_own_place(letter: DeadLetter, offset: int) -> None:
    buffer = RowBuffer("dead_letters", PLACE)

    assert buffer.append(letter, offset) == 1

    (row,) = _rows(buffer)
    assert {name: row[name] for name in letter.__struct_fields__} == msgspec.structs.asdict(letter)
    assert (row["letter_log_id"], row["letter_partition"]) == (PLACE.log_id, PLACE.partition)
    assert row["letter_offset"] == offset


def test_rows_of_several_records_are_kept_in_order() -> None:
    buffer = RowBuffer("trades", PLACE)
    for offset in (7, 8, 9):
        buffer.append(_batches(trade_events(offset * 10, 2))["trades"], offset)

    assert [(row["offset"], row["row"], row["number"]) for row in _rows(buffer)] == [
        (7, 0, 70),
        (7, 1, 70),
        (8, 0, 80),
        (8, 1, 80),
        (9, 0, 90),
        (9, 1, 90),
    ]


@pytest.mark.parametrize("kind", TABLES)
def test_rows_of_another_kind_are_refused(kind: str) -> None:
    other = "books" if kind == "trades" else "trades"
    buffer = RowBuffer(other, PLACE)
    letter = DeadLetter("t", 0, 0, "sink", "r", 0, None, None)
    facts = _example()
    batch = letter if kind == "dead_letters" else _batches(facts)[kind]

    with pytest.raises(ValueError, match="no rows in table"):
        buffer.append(batch, 0)

    assert len(buffer) == 0


@pytest.mark.parametrize(
    "text", ["", "-1", "1e5000", "NaN", "1.2.3", "٣", "1" * 39, "0." + "1" * 19]
)
def test_rows_with_a_price_that_is_no_decimal_are_refused_whole(text: str) -> None:
    good = _batches(trade_events(0, 3))["trades"]
    bad = msgspec.structs.replace(good, prices=["1", text, "2"])
    buffer = RowBuffer("trades", PLACE)
    buffer.append(good, 0)

    with pytest.raises(ValueError, match=r".+"):
        buffer.append(bad, 1)

    assert len(_rows(buffer)) == 3


@pytest.mark.parametrize(
    ("field", "values"), [("quality", (0, -1)), ("quality", (0, 65536)), ("indices", (0, 2**40))]
)
def test_rows_with_a_number_out_of_range_are_refused_whole(
    field: str, values: tuple[int, int]
) -> None:
    bad = msgspec.structs.replace(_batches(trade_events(0, 2))["trades"], **{field: values})
    buffer = RowBuffer("trades", PLACE)

    with pytest.raises(ValueError, match="has no place in trades"):
        buffer.append(bad, 1)

    assert _rows(buffer) == []


def test_rows_with_an_absurd_exponent_are_refused_without_computing_it() -> None:
    buffer = RowBuffer("books", PLACE)
    book = _example().books[0]
    for exponent in (-1, 37, 2**31 - 1):
        absurd = msgspec.structs.replace(book, price_exponent=exponent)

        with pytest.raises(DecimalError, match="exponent"):
            buffer.append(BookBatch(Header(_example().address, 0, 0, 0), [absurd]), 0)


def test_rows_with_more_decimals_than_stored_are_exact_or_refused() -> None:
    buffer = RowBuffer("books", PLACE)
    fine = msgspec.structs.replace(
        _example().books[0], price_exponent=20, bid_prices=[12300], ask_prices=[20000]
    )
    header = Header(_example().address, 0, 0, 0)
    buffer.append(BookBatch(header, [fine]), 0)

    assert _ladder(_rows(buffer)[0]["bid_prices"]) == [Decimal("123e-18")]
    with pytest.raises(DecimalError, match="decimals"):
        buffer.append(BookBatch(header, [msgspec.structs.replace(fine, bid_prices=[12301])]), 1)


@given(DECIMALS)
def test_decimals_are_stored_exactly(text: str) -> None:
    buffer = RowBuffer("trades", PLACE)
    batch = _batches(trade_events(0, 1))["trades"]
    buffer.append(msgspec.structs.replace(batch, prices=[text]), 0)

    stored = _rows(buffer)[0]["price"]

    assert len(stored) == DECIMAL_BYTES
    assert Decimal(decimal_text(stored)) == Decimal(text)


def _example() -> Events:
    facts = trade_events(0, 1)
    header = facts.address
    book = BookSnapshot(0, 0, "X", None, None, 0, 0, 0, 2, 0, [100], [1], [101], [2], 7)
    alert = Alert(
        number=0,
        index=1,
        alert_id="gap/kraken/s/A/book/X/0-0",
        phase=Phase.OPEN,
        kind=AlertKind.GAP,
        severity=Severity.WARNING,
        channel="book",
        symbol="X",
        ts=1,
        ts_effect=1,
        ts_detected=1,
        metric="sequence_gap",
        value=2.0,
        threshold=0.0,
        unit="update_ids",
        detail="",
        hits=0,
        children=0,
    )
    venue = VenueSecond(
        number=7,
        index=0,
        symbol="X",
        instrument="X/USD",
        ts=7,
        mid=1.5,
        is_fresh=True,
        venues=2,
        consensus=None,
        basis_bps=None,
        divergence_bps=None,
        usual_bps=None,
        divergence_sigmas=None,
        unchanged_s=None,
        moved_bps=None,
        is_judged=False,
        mid_shard="s",
        mid_line="A",
        mid_epoch=1,
        mid_number=2,
    )
    return Events(header, 0, facts.trades, [book], [], [], [alert], venues=[venue])


def _ladder(stored: bytes) -> list[Decimal]:
    return [
        Decimal(decimal_text(stored[at : at + DECIMAL_BYTES]))
        for at in range(0, len(stored), DECIMAL_BYTES)
    ]
