"""From event records to the columns of ClickHouse tables.

A row is a fact with its whole origin: where it stands in the exchange's stream (address, number,
idx), in the raw log (raw_partition, raw_offset) and in the event log (topic, partition, offset,
row). Column names and order are the contract with `schemas/clickhouse`; a test holds them equal.
"""

from array import array
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec

from core.columns import DECIMAL_BYTES, NullableIntegers, Packed, decimals, ladder
from core.events import (
    BookBatch,
    BookSnapshot,
    EventBatch,
    Fault,
    FaultBatch,
    Header,
    StabilityBatch,
    StreamSecond,
    TradeBatch,
)
from core.letters import DeadLetter

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
    "dead_letters": "dead_letters",
}
"""Record kind to table name."""

COLUMNS: Final = {
    "trades": ORIGIN + TRADES,
    "books": ORIGIN + BOOKS,
    "faults": ORIGIN + FAULTS,
    "stability": ORIGIN + STABILITY,
    "dead_letters": DEAD_LETTERS,
}
"""Record kind to column names, in the order of `RowBuffer.columns`."""

TIMES: Final = {
    "trades": "ts_recv",
    "books": "ts_recv",
    "faults": "ts_recv",
    "stability": "ts",
    "dead_letters": "ts",
}
"""Record kind to the time that partitions its table."""


_TEXTS_MAX: Final = 16_384
"""Texts that one buffer remembers."""
_Fact = TypeVar("_Fact", BookSnapshot, Fault, StreamSecond)


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
        self._columns: dict[str, Any] = {name: _column(kind, name, []) for name in COLUMNS[kind]}
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
            added = self._added(batch, offset)
        except (OverflowError, TypeError) as error:
            raise ValueError(f"a value has no place in {TABLES[self.kind]}: {error}") from error
        columns = self._columns
        for name, values in added.items():
            columns[name].extend(values)
        count = len(batch)
        self._rows += count
        return count

    def _added(self, batch: EventBatch | DeadLetter, offset: int) -> dict[str, Sequence[Any]]:
        kind = self.kind
        if isinstance(batch, TradeBatch) and kind == "trades":
            origin = _origin(batch.header, batch.numbers, batch.indices, offset)
            return origin | self._trade_columns(batch)
        if isinstance(batch, BookBatch) and kind == "books":
            return _origin_of(batch.header, batch.books, offset) | self._book_columns(batch)
        if isinstance(batch, FaultBatch) and kind == "faults":
            facts = _fields(kind, FAULTS, batch.faults)
            return _origin_of(batch.header, batch.faults, offset) | facts
        if isinstance(batch, StabilityBatch) and kind == "stability":
            facts = _fields(kind, STABILITY, batch.seconds)
            return _origin_of(batch.header, batch.seconds, offset) | facts
        if isinstance(batch, DeadLetter) and kind == "dead_letters":
            letter = {name: [getattr(batch, name)] for name in DEAD_LETTERS[:9]}
            return letter | {"letter_offset": array("q", (offset,))}
        raise ValueError(f"{type(batch).__name__} has no rows in table {TABLES[kind]}")

    def _trade_columns(self, batch: TradeBatch) -> dict[str, Sequence[Any]]:
        return {
            "symbol": self._shared(batch.symbols),
            "trade_id": batch.trade_ids,
            "sequence": _sequences(batch.sequences),
            "price": decimals(batch.prices),
            "size": decimals(batch.sizes),
            "side": array("b", batch.sides),
            "ts_event": array("q", batch.ts_event),
            "ts_recv": array("q", batch.ts_recv),
            "quality": array("H", batch.quality),
        }

    def _book_columns(self, batch: BookBatch) -> dict[str, Sequence[Any]]:
        columns = _fields("books", (*BOOKS[:6], "digest"), batch.books)
        for side in ("bid", "ask"):
            prices, sizes = attrgetter(f"{side}_prices"), attrgetter(f"{side}_sizes")
            columns[f"{side}_prices"] = [
                ladder(prices(book), book.price_exponent) for book in batch.books
            ]
            columns[f"{side}_sizes"] = [
                ladder(sizes(book), book.size_exponent) for book in batch.books
            ]
        return columns

    def _shared(self, texts: list[str]) -> list[str]:
        """Return equal texts as one object: a block holds the same few symbols many times."""
        if len(self._texts) > _TEXTS_MAX:
            self._texts.clear()
        shared = self._texts.setdefault
        return [shared(text, text) for text in texts]


def _origin_of(header: Header, facts: Sequence[_Fact], offset: int) -> dict[str, Sequence[Any]]:
    numbers = [fact.number for fact in facts]
    return _origin(header, numbers, [fact.index for fact in facts], offset)


def _origin(
    header: Header, numbers: Iterable[int], indices: Sequence[int], offset: int
) -> dict[str, Sequence[Any]]:
    address = header.address
    count = len(indices)
    return {
        "exchange": [address.exchange] * count,
        "shard": [address.shard] * count,
        "line": [address.line] * count,
        "epoch": array("q", (address.epoch,)) * count,
        "number": array("q", numbers),
        "idx": array("i", indices),
        "raw_partition": array("i", (header.raw_partition,)) * count,
        "raw_offset": array("q", (header.raw_offset,)) * count,
        "offset": array("q", (offset,)) * count,
        "row": array("i", range(count)),
    }


def _sequences(values: tuple[int, ...]) -> NullableIntegers:
    return NullableIntegers([None if value < 0 else value for value in values])


def _fields(kind: str, names: Iterable[str], facts: Sequence[_Fact]) -> dict[str, Sequence[Any]]:
    return {name: _column(kind, name, list(map(attrgetter(name), facts))) for name in names}


def _column(kind: str, name: str, values: list[Any]) -> Any:
    code = _CODES[kind].get(name)
    if code == _NULLABLE:
        return NullableIntegers(values)
    if code == _DECIMAL:
        return Packed(DECIMAL_BYTES)
    return array(code, values) if code else values


_NULLABLE: Final = "nullable"
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
_OPTIONAL: Final = (
    "age_ns",
    "latency_min_ns",
    "latency_p50_ns",
    "latency_p90_ns",
    "latency_p99_ns",
    "latency_max_ns",
    "jitter_ns",
    "heartbeat_rtt_ns",
)
_NOT_INTEGERS: Final = ("channel", "symbol", "book_state")
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
        name: _NULLABLE if name in _OPTIONAL else "q"
        for name in STABILITY
        if name not in _NOT_INTEGERS
    },
    "dead_letters": {"letter_offset": "q"},
}
"""How columns are held that are not lists: an array's type, which also checks the range, or one of
the two kinds of `core.columns`."""
