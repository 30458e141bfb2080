"""The data dictionary: every column of every table, from the comments in the SQL.

`python -m schemas.dictionary` writes `docs/data-dictionary.md`; a test holds the two equal.
"""

from pathlib import Path
from typing import Final

import msgspec

from schemas.tables import Column, Table, tables, views

FILE: Final = Path(__file__).parents[1] / "docs" / "data-dictionary.md"
VIEWS: Final = {
    "stability_1m": "What each stream did in each minute, in numbers and states to be merged.",
    "quality_daily": "What each stream was worth on each day; nothing observed is null.",
    "incidents": "One row per incident.",
    "incident_costs": "How far off a book was that was held while it could not be kept.",
    "lead_lag": "Of each instrument and two exchanges, whose price reaches us first.",
}
"""What the views are that name their columns."""
UNITS: Final = {
    "bytes": "bytes",
    "bps": "basis points: hundredths of a percent",
    "checksum": "a checksum; compare for equality only",
    "count": "a number of things, from 0",
    "enum": "one of the names in the type",
    "flag": "true or false",
    "flags": "a sum of powers of two, 0 for none",
    "id": "an identity; compare for equality, or order where the meaning says so",
    "name": "a name from a small set",
    "ns": "nanoseconds",
    "number": "a number in the unit that another column names",
    "offset": "an offset in a Kafka partition, from 0",
    "partition": "a Kafka partition, from 0",
    "price": "exact decimal, in the venue's quotation of the instrument",
    "ratio": "a share from 0 to 1",
    "s": "seconds",
    "score": "0 worst to 100 best",
    "size": "exact decimal, in the venue's unit of the instrument: see below",
    "state": "the state of an aggregate function: merge it with the function's `-Merge`",
    "text": "text for people",
    "time": "a moment in UTC",
}
"""What the unit in a column's comment means."""

_INTRODUCTION: Final = """\
# Data dictionary

Every column of every ClickHouse table and view. This page is made from the comments in
`schemas/clickhouse/*.sql` by `python -m schemas.dictionary`; the same comments are in the database
(`SELECT table, name, comment FROM system.columns WHERE database = currentDatabase()`).

## How to read a row

A row of `trades`, `books`, `faults`, `stability_1s`, `alerts` or `venues_1s` is one fact with its
whole origin:

- **in the exchange's stream:** `exchange, shard, line, epoch, number, idx`: which socket, which of
  its openings, which frame, which fact of that frame. This is the identity of the fact: it is the
  same however often the log is replayed, and no two rows share it.
- **in the raw log:** `raw_partition, raw_offset` on the topic `raw.<exchange>`: the record that
  holds the bytes as they were received.
  Of `venues_1s`, and of `alerts` of kind divergence and frozen_price, these are of the topic
  `mids`, `shard` is the instrument, `line` is empty and `number` the second; rows of `venues_1s`
  have the frame of their price beside that (`mid_shard, mid_line, mid_epoch, mid_number`).
- **in the event log:** `log_id, topic, partition, offset, row`: the record the row was read from.
  `blocks` says of every range of these offsets what became of it; `streamgauge reconcile` checks
  it.

`quality = 0` means that nothing is known against a row: one predicate is an analyst's filter.
[Queries](queries.md) has examples, and how to get from a row to the bytes it was made of.

[Stability](stability.md) says what states, scores and alerts mean, and of what the views at the
end of this page are made. Three take a time range, `since` and `until`, as parameters: `lead_lag`,
and two whose columns are those of a table and some more. `trades_quality` and `books_quality` add
`state` and `score` of the second that the row is of (null where no second is known),
`incident_ids` of the incidents that were open (of its stream, its connection or its venue's price),
and `is_clean`: the stream was stable, no incident was open, nothing is known against the row.

    SELECT * FROM trades_quality(since = '2026-11-28 08:00:00', until = '2026-11-28 09:00:00')

## Quality

`quality` of a trade or a book is a sum of these:

| flag | name | meaning |
|---|---|---|
| 1 | unverified | book: no checksum and no audit has confirmed it since its snapshot |
| 2 | after gap | trade: trades of the venue directly before this one are missing |
| 4 | out of order | trade: arrived after a trade with a higher sequence of the venue |
| 8 | clock skewed | the exchange's time lies after our receive time: a clock is wrong |
| 16 | shallow | book: fewer levels than asked for can be proven; it is cut where proof ends |

`bitAnd(quality, 2) != 0` finds one of them.

## What a size counts

`size`, `bid_sizes` and `ask_sizes` are what the venue says, never converted:

| exchange | a size of 1 is |
|---|---|
| `binance` | 1 of the base currency (1 BTC on BTCUSDT) |
| `kraken`, `kraken_v1` | 1 of the base currency (1 BTC on BTC/USD) |
| `deribit` | inverse perpetuals and futures (BTC-PERPETUAL, BTC-25JUN27): 1 USD |
| `deribit` | options and linear (USDC) instruments: 1 of the base currency |
| `binance_usdm` | 1 of the base currency |
| `kraken_futures` | 1 contract: the venue says for each instrument what that is |

Before sizes of several venues are added, bring them to one unit: an inverse contract of 1 USD is
`1 / price` of the base currency.

## Units

| unit | meaning |
|---|---|
"""


def document() -> str:
    """Return the whole page."""
    units = "".join(f"| {unit} | {meaning} |\n" for unit, meaning in UNITS.items())
    views_of_ours = (
        msgspec.structs.replace(views()[name], meaning=f"A view. {meaning}")
        for name, meaning in VIEWS.items()
    )
    sections = "".join(_section(table) for table in (*tables().values(), *views_of_ours))
    return _INTRODUCTION + units + sections


def _section(table: Table) -> str:
    head = f"\n## {table.name}\n\n{table.meaning}\n\n| column | type | unit | null | meaning |\n"
    return head + "|---|---|---|---|---|\n" + "".join(_line(column) for column in table.columns)


def _line(column: Column) -> str:
    meaning = column.meaning.replace("|", "\\|")
    null = "yes" if column.nullable else "no"
    return f"| `{column.name}` | `{column.type}` | {column.unit} | {null} | {meaning} |\n"


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
