"""Facts of every kind, drawn from a seed, and the row that each one is to become.

The rows are written down from the facts alone: nothing of what a sink computes with is used.
"""

import random
from collections.abc import Iterator
from decimal import Decimal, localcontext
from enum import Enum
from typing import Any

import msgspec

from core.events import (
    BookSnapshot,
    BookState,
    Events,
    Fault,
    FaultKind,
    Side,
    StreamSecond,
    Trade,
)
from core.frames import Address
from core.stability.alerts import Alert, AlertKind, Phase, Severity
from core.stability.score import Component
from core.stability.states import StreamState
from core.venues.seconds import VenueSecond
from schemas.tables import tables

TABLES = {
    "trades": "trades",
    "books": "books",
    "faults": "faults",
    "stability": "stability_1s",
    "alerts": "alerts",
    "venues": "venues_1s",
}
"""Kind of fact to its table."""
EPOCH = 1_700_000_000_000_000_000
MONTH_NS = 31 * 86_400 * 10**9
INT64_MAX = 2**63 - 1
SYMBOLS = ("BTC/USD", "ETH-PERPETUAL", "1000SATSUSDT", "ÄÖ/€")

Row = dict[str, Any]


def mixed_events(partition: int, number: int, draw: random.Random) -> Events:
    """Return facts of all kinds of one raw record, their values at the limits now and then."""
    address = Address("kraken", f"shard{partition}", "A", EPOCH)
    return Events(
        address,
        number,
        [_trade(number, index, draw) for index in range(draw.randint(1, 6))],
        [_book(number, index, draw) for index in range(draw.randint(1, 3))],
        [_fault(number, index, draw) for index in range(draw.randint(1, 2))],
        [_second(number, index, draw) for index in range(draw.randint(1, 3))],
        # Each would be a record of its own; what is compared here is one record of each kind.
        [_alert(number, draw.randint(0, 9), draw)],
        venues=[_venue(number, index, draw) for index in range(draw.randint(1, 3))],
    )


def expected_rows(kind: str, events: Events, raw_partition: int, raw_offset: int) -> Iterator[Row]:
    """Yield the rows of the facts of one kind, without the place of their event record."""
    facts: dict[str, list[Any]] = {
        "trades": events.trades,
        "books": events.books,
        "faults": events.faults,
        "stability": events.seconds,
        "alerts": events.alerts,
        "venues": events.venues,
    }
    for row, fact in enumerate(facts[kind]):
        fields = msgspec.structs.asdict(fact)
        fields["idx"] = fields.pop("index")
        origin = msgspec.structs.asdict(events.address)
        origin |= {"raw_partition": raw_partition, "raw_offset": raw_offset, "row": row}
        yield origin | _VALUES[kind](fields)


def rows_sql(table: str) -> str:
    """Return the query for whole rows, but for the time of storing, with times as ns."""
    columns = [column for column in tables()[table].columns if not column.default]
    values = ", ".join(
        f"toUnixTimestamp64Nano({column.name})" if "DateTime64" in column.type else column.name
        for column in columns
    )
    return f"SELECT {values} FROM {table} ORDER BY topic, partition, offset, row"


def named(table: str, values: tuple[Any, ...]) -> Row:
    """Return a row that `rows_sql` found, by column."""
    names = [column.name for column in tables()[table].columns if not column.default]
    return dict(zip(names, values, strict=True))


def _trade(number: int, index: int, draw: random.Random) -> Trade:
    moment = _moment(draw)
    return Trade(
        number=number,
        index=index,
        symbol=draw.choice(SYMBOLS),
        trade_id=draw.choice(["", f"t{number}-{index}", "ид-№1"]),
        sequence=draw.choice([None, 0, number, INT64_MAX]),
        price=_decimal(draw),
        size=_decimal(draw),
        side=draw.choice(list(Side)),
        ts_event=moment - draw.randint(-(10**9), 10**9),
        ts_recv=moment,
        quality=draw.choice([0, 1, 31, 2**16 - 1]),
    )


def _book(number: int, index: int, draw: random.Random) -> BookSnapshot:
    bids, asks = draw.choice([0, 1, 25]), draw.choice([0, 3, 25])
    limit = draw.choice([10**6, INT64_MAX])

    def ladder(levels: int) -> list[int]:
        return [draw.randint(0, limit) for _ in range(levels)]

    moment = _moment(draw)
    return BookSnapshot(
        number=number,
        index=index,
        symbol=draw.choice(SYMBOLS),
        sequence=draw.choice([None, 0, number, -1, INT64_MAX]),
        ts_event=draw.choice([None, moment - 1]),
        ts_recv=moment,
        ts_sample=moment + draw.randint(0, 10**9),
        quality=draw.choice([0, 16, 2**16 - 1]),
        price_exponent=draw.choice([0, 1, 8, 18]),
        size_exponent=draw.choice([0, 3, 18]),
        bid_prices=ladder(bids),
        bid_sizes=ladder(bids),
        ask_prices=ladder(asks),
        ask_sizes=ladder(asks),
        digest=draw.choice([0, 1, 2**32 - 1]),
    )


def _fault(number: int, index: int, draw: random.Random) -> Fault:
    return Fault(
        number=number,
        index=index,
        kind=draw.choice(list(FaultKind)),
        symbol=draw.choice(["", *SYMBOLS]),
        channel=draw.choice(["book", "trades", "connection"]),
        expected=draw.choice(["", "1", "'; DROP TABLE faults --"]),
        found=draw.choice(["", "\n\t\\N", "x" * 300, "№"]),
        count=draw.choice([None, 0, 1, INT64_MAX]),
        unit=draw.choice(["", "trades", "frames"]),
        ts_recv=_moment(draw),
    )


def _second(number: int, index: int, draw: random.Random) -> StreamSecond:
    counters: dict[str, Any] = {
        name: draw.choice([0, 1, draw.randrange(INT64_MAX), INT64_MAX])
        for name in StreamSecond.__struct_fields__
    }
    for name in counters:
        if StreamSecond.__annotations__[name] == int | None:
            counters[name] = draw.choice([None, 0, -5, INT64_MAX])
        elif name.startswith("score"):
            counters[name] = draw.choice([None, 0.0, 1e-300, 99.9, -1.5])
    return StreamSecond(
        **counters
        | {
            "number": number,
            "index": index,
            "channel": draw.choice(["book", "trades", "connection"]),
            "symbol": draw.choice(["", *SYMBOLS]),
            "ts": _moment(draw),
            "book_state": draw.choice([None, *BookState]),
            "state": draw.choice([None, *StreamState]),
            "is_blind": draw.choice([False, True]),
            "score_version": draw.choice([0, 1, INT64_MAX]),
            "score_binding": draw.choice([None, *Component]),
            "score_unit": draw.choice(["", "ratio", "№"]),
        }
    )


def _alert(number: int, index: int, draw: random.Random) -> Alert:
    moment = _moment(draw)
    return Alert(
        number=number,
        index=index,
        alert_id=draw.choice([f"gap/{number}", "№/ид"]),
        phase=draw.choice(list(Phase)),
        kind=draw.choice(list(AlertKind)),
        severity=draw.choice(list(Severity)),
        channel=draw.choice(["book", "trades", "data", "connection"]),
        symbol=draw.choice(["", *SYMBOLS]),
        ts=moment,
        ts_effect=moment - draw.randrange(10**10),
        ts_detected=moment - draw.randrange(10**9),
        metric=draw.choice(["silence", ""]),
        value=draw.choice([0.0, 1e300, -1.5]),
        threshold=draw.choice([0.0, 3.5]),
        unit=draw.choice(["", "s"]),
        detail=draw.choice(["", "x" * 200, "'\\n№"]),
        hits=draw.choice([0, INT64_MAX]),
        children=draw.choice([0, 7]),
    )


def _venue(number: int, index: int, draw: random.Random) -> VenueSecond:
    figures: dict[str, Any] = {
        name: draw.choice([None, 0.0, 1e-300, 97123.25, -1.5])
        for name in VenueSecond.__struct_fields__
        if VenueSecond.__annotations__[name] == float | None
    }
    return VenueSecond(
        **figures,
        number=number,
        index=index,
        symbol=draw.choice(SYMBOLS),
        instrument=draw.choice(["BTC/USD", "ÄÖ/€"]),
        ts=_moment(draw),
        is_fresh=draw.choice([False, True]),
        venues=draw.choice([0, 2**31 - 1]),
        unchanged_s=draw.choice([None, 0, INT64_MAX]),
        is_judged=draw.choice([False, True]),
        mid_shard=draw.choice(["", "kraken-0"]),
        mid_line=draw.choice(["", "A"]),
        mid_epoch=draw.choice([0, INT64_MAX]),
        mid_number=draw.choice([0, INT64_MAX]),
    )


def _moment(draw: random.Random) -> int:
    """A time of either of two months, to the nanosecond: a block then has two parts."""
    return EPOCH + draw.choice([0, MONTH_NS]) + draw.randrange(10**12)


def _decimal(draw: random.Random) -> str:
    whole = draw.choice(["0", "1", "97123", "9" * 20])
    decimals = draw.choice(["", ".0", ".00100000", ".000000000000000001", "." + "9" * 18])
    return whole + decimals


def _trade_values(fields: Row) -> Row:
    return fields | {
        "price": Decimal(fields["price"]),
        "size": Decimal(fields["size"]),
        "side": fields["side"].name.lower(),
    }


def _book_values(fields: Row) -> Row:
    exponents = {what: fields.pop(f"{what}_exponent") for what in ("price", "size")}
    with localcontext(prec=60):
        for side in ("bid", "ask"):
            for what, exponent in exponents.items():
                ladder = fields[f"{side}_{what}s"]
                values = [Decimal(mantissa).scaleb(-exponent) for mantissa in ladder]
                fields[f"{side}_{what}s"] = values
    return fields


def _named(fields: Row) -> Row:
    """Return the fields with enums by their names."""
    return fields | {
        name: value.name.lower() for name, value in fields.items() if isinstance(value, Enum)
    }


_VALUES = {
    "trades": _trade_values,
    "books": _book_values,
    "faults": _named,
    "stability": _named,
    "alerts": _named,
    "venues": _named,
}
