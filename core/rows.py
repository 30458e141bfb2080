"""From event records to the columns of ClickHouse tables.

A row is a fact with its whole origin: where it stands in the exchange's stream (address, number,
idx), in the raw log (raw_partition, raw_offset) and in the event log (topic, partition, offset,
row). Column names and order are the contract with `schemas/clickhouse`; a test holds them equal.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import astuple

from core.columns import DECIMAL_BYTES, NullableNumbers, Packed, StoredDecimals, ladder
from core.events import (
    AlertBatch,
    BookBatch,
    BookSnapshot,
    EventBatch,
    Fault,
    FaultBatch,
    Header,
    StabilityBatch,
    StreamSecond,
    TradeBatch,
    VenueBatch,
)
from core.letters import DeadLetter
from core.stability.alerts import Alert
from core.venues.seconds import VenueSecond

ORIGIN: Final = (
    "exchange",
    "shard",
    "line",
    "epoch",
    "number",
    "idx",
    "raw_partition",
    "raw_offset",
    "log_id",
    "topic",
    "partition",
    "offset",
    "row",
)
"""Columns that every table of facts has, first."""

TRADES: Final = (
    "symbol",
    "trade_id",
    "sequence",
    "price",
    "size",
    "side",
    "ts_event",
    "ts_recv",
    "quality",
)
BOOKS: Final = (
    "symbol",
    "sequence",
    "ts_event",
    "ts_recv",
    "ts_sample",
    "quality",
    "bid_prices",
    "bid_sizes",
    "ask_prices",
    "ask_sizes",
    "digest",
)
FAULTS: Final = (
    "kind",
    "symbol",
    "channel",
    "expected",
    "found",
    "count",
    "unit",
    "ts_recv",
)
STABILITY: Final = (
    "channel",
    "symbol",
    "ts",
    "window_ns",
    "frames",
    "bytes",
    "age_ns",
    "latency_count",
    "latency_min_ns",
    "latency_p50_ns",
    "latency_p90_ns",
    "latency_p99_ns",
    "latency_max_ns",
    "jitter_ns",
    "heartbeat_rtt_ns",
    "gaps",
    "missing",
    "duplicates",
    "out_of_order",
    "checksums_ok",
    "checksums_bad",
    "audits_ok",
    "audits_bad",
    "decode_errors",
    "resyncs",
    "book_state",
    "empty_ns",
    "syncing_ns",
    "live_ns",
    "stale_ns",
    "queue_frames",
    "queue_age_ns",
    "paused_ns",
    "gap_max_ns",
    "clock_offset_ns",
    "clock_uncertainty_ns",
    "heartbeats",
    "heartbeat_interval_p50_ns",
    "heartbeat_interval_max_ns",
    "state",
    "is_blind",
    "score",
    "score_version",
    "score_binding",
    "score_badness",
    "score_threshold",
    "score_unit",
    "score_liveness",
    "score_integrity",
    "score_latency",
    "score_book",
    "score_continuity",
    "score_order",
    "score_jitter",
)
ALERTS: Final = (
    "alert_id",
    "phase",
    "kind",
    "severity",
    "channel",
    "symbol",
    "ts",
    "ts_effect",
    "ts_detected",
    "metric",
    "value",
    "threshold",
    "unit",
    "detail",
    "hits",
    "children",
)
VENUES: Final = (
    "symbol",
    "instrument",
    "ts",
    "mid",
    "is_fresh",
    "venues",
    "consensus",
    "basis_bps",
    "divergence_bps",
    "usual_bps",
    "divergence_sigmas",
    "unchanged_s",
    "moved_bps",
    "is_judged",
    "mid_shard",
    "mid_line",
    "mid_epoch",
    "mid_number",
)
DEAD_LETTERS: Final = (
    "log_id",
    "topic",
    "partition",
    "offset",
    "consumer",
    "reason",
    "ts",
    "key",
    "value",
    "letter_log_id",
    "letter_partition",
    "letter_offset",
)

TABLES: Final = {
    "trades": "trades",
    "books": "books",
    "faults": "faults",
    "stability": "stability_1s",
    "alerts": "alerts",
    "venues": "venues_1s",
    "dead_letters": "dead_letters",
}
"""Record kind to table name."""

COLUMNS: Final = {
    "trades": ORIGIN + TRADES,
    "books": ORIGIN + BOOKS,
    "faults": ORIGIN + FAULTS,
    "stability": ORIGIN + STABILITY,
    "alerts": ORIGIN + ALERTS,
    "venues": ORIGIN + VENUES,
    "dead_letters": DEAD_LETTERS,
}
"""Record kind to column names, in the order of `RowBuffer.columns`."""

TIMES: Final = {
    "trades": "ts_recv",
    "books": "ts_recv",
    "faults": "ts_recv",
    "stability": "ts",
    "alerts": "ts",
    "venues": "ts",
    "dead_letters": "ts",
}
"""Record kind to the time that partitions its table."""


_PRICES: Final = StoredDecimals()
_SIZES: Final = StoredDecimals()
_TEXTS_MAX: Final = 16_384
"""Texts that one buffer remembers."""
_Fact = TypeVar("_Fact", BookSnapshot, Fault, StreamSecond, Alert, VenueSecond)


class Place(msgspec.Struct, frozen=True, order=True):
    """A partition of a topic of one log; `log_id` is the log's identity."""

    log_id: str
    topic: str
    partition: int


class RowBuffer:
    """Rows of one table, gathered by column from the records of one partition.

    Integers, times (ns) and enum numbers are held in arrays, text in lists, decimals in their
    stored form (see `core.columns`), a ladder as the decimals of its levels one after the other.
    """

    def __init__(self, kind: str, place: Place) -> None:
        self.kind = kind
        self.place = place
        self._columns: dict[str, Any] = {name: make() for name, make in _COLUMNS[kind]}
        self._rows = 0
        self._texts: dict[str, str] = {}

    def __len__(self) -> int:
        return self._rows

    @property
    def columns(self) -> list[Sequence[Any]]:
        """The values of `COLUMNS[kind]`, in that order, each as long as the buffer."""
        place, rows = self.place, self._rows
        constants: dict[str, Sequence[Any]] = {
            "log_id": [place.log_id] * rows,
            "topic": [place.topic] * rows,
            "partition": array("i", (place.partition,)) * rows,
        }
        if self.kind == "dead_letters":
            # The topic is always the same one; the columns of that name are about the record.
            constants = {f"letter_{name}": column for name, column in constants.items()}
        return [constants.get(name, column) for name, column in self._columns.items()]

    def append(self, batch: EventBatch | DeadLetter, offset: int) -> int:
        """Add every fact of the record at `offset` and return how many there were.

        Raises:
            ValueError: the batch is not of this buffer's kind, or a value has no place in the
                table; the buffer is then unchanged.
        """
        try:
            self._add(batch, offset)
        except (OverflowError, TypeError) as error:
            self._cut()
            raise ValueError(f"a value has no place in {TABLES[self.kind]}: {error}") from error
        except ValueError:
            self._cut()
            raise
        count = len(batch)
        self._rows += count
        return count

    def _add(self, batch: EventBatch | DeadLetter, offset: int) -> None:
        kind = self.kind
        if isinstance(batch, TradeBatch) and kind == "trades":
            self._add_trades(batch, offset)
        elif isinstance(batch, BookBatch) and kind == "books":
            self._add_books(batch, offset)
        elif isinstance(batch, FaultBatch) and kind == "faults":
            self._add_facts(batch.header, _fields(batch.faults), FAULTS, offset)
        elif isinstance(batch, StabilityBatch) and kind == "stability":
            self._add_facts(batch.header, _fields(batch.seconds), STABILITY, offset)
        elif isinstance(batch, AlertBatch) and kind == "alerts":
            self._add_facts(batch.header, _fields(batch.alerts), ALERTS, offset)
        elif isinstance(batch, VenueBatch) and kind == "venues":
            self._add_facts(batch.header, _fields(batch.venues), VENUES, offset)
        elif isinstance(batch, DeadLetter) and kind == "dead_letters":
            for name in DEAD_LETTERS[:9]:
                self._columns[name].append(getattr(batch, name))
            self._columns["letter_offset"].append(offset)
        else:
            raise ValueError(f"{type(batch).__name__} has no rows in table {TABLES[kind]}")

    def _cut(self) -> None:
        """Take back what was added of a batch that cannot be added as a whole."""
        for column in self._columns.values():
            del column[self._rows :]

    def _add_trades(self, batch: TradeBatch, offset: int) -> None:
        columns = self._columns
        self._add_origin(batch.header, batch.numbers, batch.indices, offset)
        columns["symbol"].extend(self._shared(batch.symbols))
        columns["trade_id"].extend(batch.trade_ids)
        columns["sequence"].extend_positive(batch.sequences)
        columns["price"].extend(_PRICES.column(batch.prices))
        columns["size"].extend(_SIZES.column(batch.sizes))
        columns["side"].extend(batch.sides)
        columns["ts_event"].extend(batch.ts_event)
        columns["ts_recv"].extend(batch.ts_recv)
        # Another type of integer: an array takes no other as it is.
        columns["quality"].extend(iter(batch.quality))

    def _add_books(self, batch: BookBatch, offset: int) -> None:
        fields = _fields(batch.books)
        self._add_facts(batch.header, fields, _PLAIN_BOOKS, offset)
        if not fields:
            return
        columns = self._columns
        for what in ("price", "size"):
            exponents = fields[f"{what}_exponent"]
            for name in (f"bid_{what}s", f"ask_{what}s"):
                columns[name].extend(map(ladder, fields[name], exponents))

    def _add_facts(
        self, header: Header, fields: dict[str, tuple[Any, ...]], names: Iterable[str], offset: int
    ) -> None:
        """Add the origin of facts and their columns `names`, given all their fields."""
        if not fields:
            return
        columns = self._columns
        self._add_origin(header, fields["number"], fields["index"], offset)
        for name in names:
            columns[name].extend(fields[name])

    def _add_origin(
        self, header: Header, numbers: Sequence[int], indices: Sequence[int], offset: int
    ) -> None:
        columns, address = self._columns, header.address
        count = len(indices)
        columns["exchange"].extend([address.exchange] * count)
        columns["shard"].extend([address.shard] * count)
        columns["line"].extend([address.line] * count)
        columns["number"].extend(numbers)
        columns["idx"].extend(indices)
        for name, value in (
            ("epoch", address.epoch),
            ("raw_partition", header.raw_partition),
            ("raw_offset", header.raw_offset),
            ("offset", offset),
        ):
            column = columns[name]
            column.extend(array(column.typecode, (value,)) * count)
        columns["row"].extend(array("i", range(count)))

    def _shared(self, texts: list[str]) -> list[str]:
        """Return equal texts as one object: a block holds the same few symbols many times."""
        if len(self._texts) > _TEXTS_MAX:
            self._texts.clear()
        shared = self._texts.setdefault
        return [shared(text, text) for text in texts]


_PLAIN_BOOKS: Final = tuple(name for name in BOOKS if not name.startswith(("bid_", "ask_")))


def _fields(facts: Sequence[_Fact]) -> dict[str, tuple[Any, ...]]:
    """Return the values of every field of all facts; nothing where there are no facts."""
    if not facts:
        return {}
    names = facts[0].__struct_fields__
    return dict(zip(names, zip(*map(astuple, facts), strict=True), strict=True))


def _column(kind: str, name: str) -> Callable[[], Any]:
    """Return what makes an empty column."""
    code = _CODES[kind].get(name)
    if code in _NULLABLES:
        return partial(NullableNumbers, _NULLABLES[code])
    if code == _DECIMAL:
        return partial(Packed, DECIMAL_BYTES)
    return partial(array, code) if code else list


_NULLABLE: Final = "nullable integer"
_NULLABLE_FLOAT: Final = "nullable float"
_NULLABLES: Final = {_NULLABLE: "q", _NULLABLE_FLOAT: "d"}
"""Kinds of nullable columns, and the array in which their values are."""
_DECIMAL: Final = "decimal"
_ORIGIN_CODES: Final = {
    "epoch": "q",
    "number": "q",
    "idx": "i",
    "raw_partition": "i",
    "raw_offset": "q",
    "offset": "q",
    "row": "i",
}


def _nullable(struct: type[msgspec.Struct], number: type) -> frozenset[str]:
    """Return the fields that hold such a number or None."""
    return frozenset(f.name for f in msgspec.structs.fields(struct) if f.type == number | None)


_OPTIONAL: Final = _nullable(StreamSecond, int) | _nullable(VenueSecond, int)
_FLOATS: Final = _nullable(StreamSecond, float) | _nullable(VenueSecond, float)
_NOT_NUMBERS: Final = ("channel", "symbol", "book_state", "state", "score_binding", "score_unit")
_VENUE_NAMES: Final = ("symbol", "instrument", "mid_shard", "mid_line")
_CODES: Final[dict[str, dict[str, str]]] = {
    "trades": _ORIGIN_CODES
    | {"sequence": _NULLABLE, "price": _DECIMAL, "size": _DECIMAL, "side": "b"}
    | {"ts_event": "q", "ts_recv": "q", "quality": "H"},
    "books": _ORIGIN_CODES
    | {"sequence": _NULLABLE, "ts_event": _NULLABLE}
    | {"ts_recv": "q", "ts_sample": "q", "quality": "H", "digest": "I"},
    "faults": _ORIGIN_CODES | {"kind": "h", "count": _NULLABLE, "ts_recv": "q"},
    "stability": _ORIGIN_CODES
    | {
        name: _NULLABLE if name in _OPTIONAL else _NULLABLE_FLOAT if name in _FLOATS else "q"
        for name in STABILITY
        if name not in _NOT_NUMBERS
    }
    | {"is_blind": "B"},
    "alerts": _ORIGIN_CODES
    | {"phase": "b", "kind": "h", "severity": "b"}
    | {"ts": "q", "ts_effect": "q", "ts_detected": "q"}
    | {"value": "d", "threshold": "d", "hits": "q", "children": "q"},
    "venues": _ORIGIN_CODES
    | {
        name: _NULLABLE if name in _OPTIONAL else _NULLABLE_FLOAT if name in _FLOATS else "q"
        for name in VENUES
        if name not in _VENUE_NAMES
    }
    | {"is_fresh": "B", "is_judged": "B", "venues": "i"},
    "dead_letters": {"letter_offset": "q"},
}
"""How columns are held that are not lists: an array's type, which also checks the range, or one of
the two kinds of `core.columns`."""
_COLUMNS: Final = {
    kind: tuple([(name, _column(kind, name)) for name in names]) for kind, names in COLUMNS.items()
}
"""Record kind to what makes each column of an empty buffer, by name."""
