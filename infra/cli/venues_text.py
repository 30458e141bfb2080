"""What venues said around an incident that accuses one of them, in words: part of README.txt.

A function of the bundle alone.
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from core.stability.alerts import Alert
from core.venues.seconds import VenueSecond

if TYPE_CHECKING:
    from processors.bundle import About, Bundle

BEFORE_S: Final = 15
"""Seconds before the opening that are spelled out; before that only what else is in the file."""
AFTER_S: Final = 5
_S: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HEAD: Final = """\
What each venue of {} was at around the opening, as every second began (UTC).
Its usual distance from the consensus is its basis, and how far it was from there is away;
moved is how far the consensus had moved since its price last changed, still seconds before.
All three are in basis points. A price in brackets did not count: its book had not changed
for long.
"""
_ROW: Final = (
    "  {second:<8}  {venue:<28}{mid:>12}{consensus:>12}{basis:>8}{away:>8}{still:>6}{moved:>7}"
)


def venues_text(rows: Iterable[tuple[str, VenueSecond]], opening: Alert, about: "About") -> str:
    """Return the table of prices, venue by venue and second by second."""
    assert about.mids is not None
    columns = _ROW.format(
        second="second", venue="venue", mid="price", consensus="consensus", basis="basis",
        away="away", still="still", moved="moved",
    )  # fmt: skip
    head = _HEAD.format(about.mids.instrument)
    return "\n".join((head, columns, *_lines(rows, opening, about.exchange)))


def frames_text(bundle: "Bundle") -> str:
    """Say what the file has of the frames of the venue that is named."""
    about, mids = bundle.about, bundle.about.mids
    assert mids is not None
    if mids.without_frames:
        return f"The frames of {about.exchange} are not in this file: {mids.without_frames}."
    text = (
        f"The frames of {about.exchange} are those of the socket that carried its mids (shard"
        f" {about.shard}, line {about.line})"
    )
    if about.is_whole:
        return f"{text}: its mids, seconds, books and faults follow from them."
    return f"{text}, without those that are older: the log does not have them any more."


def _lines(rows: Iterable[tuple[str, VenueSecond]], opening: Alert, accused: str) -> Iterator[str]:
    shown = opening.ts_detected // _S
    last = shown - BEFORE_S
    for exchange, row in rows:
        if not shown - BEFORE_S <= row.number <= shown + AFTER_S:
            continue
        if row.number != last:
            last = row.number
            yield ""
        is_it = (exchange, row.symbol, row.number) == (accused, opening.symbol, shown)
        columns = _ROW.format(
            second=f"{_EPOCH + timedelta(seconds=row.number):%H:%M:%S}",
            venue=f"{exchange} {row.symbol}",
            mid=_price(row.mid) if row.is_fresh or row.mid is None else f"({_price(row.mid)})",
            consensus=_price(row.consensus),
            basis=_figure(row.basis_bps),
            away=_figure(row.divergence_bps),
            still="-" if row.unchanged_s is None else f"{row.unchanged_s} s",
            moved=_figure(row.moved_bps),
        )
        yield f"{columns}  <- opened" if is_it else columns


def _price(price: float | None) -> str:
    return "-" if price is None else f"{price:.9g}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:+.2f}"
