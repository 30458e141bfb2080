"""From event records to the columns of ClickHouse tables.

A row is a fact with its whole origin: where it stands in the exchange's stream (address, number,
idx), in the raw log (raw_partition, raw_offset) and in the event log (topic, partition, offset,
row). Column names and order are the contract with `schemas/clickhouse`; a test holds them equal.
"""

from decimal import Decimal
from typing import Any, Final

from core.events import (
    BookBatch,
    EventBatch,
    FaultBatch,
    Header,
    StabilityBatch,
    TradeBatch,
)

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

TABLES: Final = {
    "trades": "trades",
    "books": "books",
    "faults": "faults",
    "stability": "stability_1s",
}
"""Event kind to table name."""

COLUMNS: Final = {
    "trades": ORIGIN + TRADES,
    "books": ORIGIN + BOOKS,
    "faults": ORIGIN + FAULTS,
    "stability": ORIGIN + STABILITY,
}
"""Event kind to column names, in the order of `RowBuffer.columns`."""


class RowBuffer:
    """Rows of one table, gathered by column from the records of one partition.

    `columns[i]` holds the values of `COLUMNS[kind][i]`: str, int, None, Decimal or lists of
    Decimal; times are int ns, enums their numbers.
    """

    def __init__(self, kind: str, log_id: str, topic: str, partition: int) -> None:
        self.kind = kind
        self.columns: list[list[Any]] = [[] for _ in COLUMNS[kind]]
        self._place = (log_id, topic, partition)

    def __len__(self) -> int:
        return len(self.columns[0])

    def append(self, batch: EventBatch, offset: int) -> int:
        """Add every fact of the record at `offset` and return how many there were.

        Raises:
            ValueError: the batch is not of this buffer's kind.
        """
        origin: tuple[Any, Any]
        if isinstance(batch, TradeBatch) and self.kind == "trades":
            facts = _trade_columns(batch)
            origin = (batch.numbers, batch.indices)
        elif isinstance(batch, BookBatch) and self.kind == "books":
            facts = _book_columns(batch)
            origin = _origin(batch.books)
        elif isinstance(batch, FaultBatch) and self.kind == "faults":
            facts = [[getattr(f, name) for f in batch.faults] for name in FAULTS]
            origin = _origin(batch.faults)
        elif isinstance(batch, StabilityBatch) and self.kind == "stability":
            facts = [[getattr(s, name) for s in batch.seconds] for name in STABILITY]
            origin = _origin(batch.seconds)
        else:
            raise ValueError(f"{type(batch).__name__} has no rows in table {TABLES[self.kind]}")
        count = len(batch)
        self._append_origin(batch.header, origin, offset, count)
        for column, values in zip(self.columns[len(ORIGIN) :], facts, strict=True):
            column.extend(values)
        return count

    def _append_origin(
        self, header: Header, origin: tuple[Any, Any], offset: int, count: int
    ) -> None:
        address = header.address
        log_id, topic, partition = self._place
        columns = self.columns
        constants = (address.exchange, address.shard, address.line, address.epoch)
        for column, value in zip(columns, constants, strict=False):
            column.extend([value] * count)
        columns[4].extend(origin[0])
        columns[5].extend(origin[1])
        constants_after = (
            header.raw_partition,
            header.raw_offset,
            log_id,
            topic,
            partition,
            offset,
        )
        for column, value in zip(columns[6:12], constants_after, strict=True):
            column.extend([value] * count)
        columns[12].extend(range(count))


def _origin(facts: Any) -> tuple[list[int], list[int]]:
    return [fact.number for fact in facts], [fact.index for fact in facts]


def _trade_columns(batch: TradeBatch) -> list[Any]:
    return [
        batch.symbols,
        batch.trade_ids,
        [None if sequence < 0 else sequence for sequence in batch.sequences],
        [Decimal(price) for price in batch.prices],
        [Decimal(size) for size in batch.sizes],
        batch.sides,
        batch.ts_event,
        batch.ts_recv,
        batch.quality,
    ]


def _book_columns(batch: BookBatch) -> list[Any]:
    books = batch.books
    return [
        [book.symbol for book in books],
        [book.sequence for book in books],
        [book.ts_event for book in books],
        [book.ts_recv for book in books],
        [book.ts_sample for book in books],
        [book.quality for book in books],
        [_scaled(book.bid_prices, book.price_exponent) for book in books],
        [_scaled(book.bid_sizes, book.size_exponent) for book in books],
        [_scaled(book.ask_prices, book.price_exponent) for book in books],
        [_scaled(book.ask_sizes, book.size_exponent) for book in books],
        [book.digest for book in books],
    ]


def _scaled(mantissas: list[int], exponent: int) -> list[Decimal]:
    return [Decimal(mantissa).scaleb(-exponent) for mantissa in mantissas]
