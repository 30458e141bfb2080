"""Comparing a live book with a fresh snapshot of the same state.

Only what both have proven is compared: a snapshot of limited depth says nothing of the levels
below it. Nothing here decides what a difference means.
"""

from core.book import BookSide, OrderBook
from core.decimals import normalised, render

_Levels = list[tuple[int, str]]


def first_difference(held: OrderBook, shown: OrderBook) -> tuple[str, str] | None:
    """Return the first proven level in which two books differ, as text, None if they agree.

    Levels below either book's floor are not proven and not compared.
    """
    exponent = max(held.exponent, shown.exponent)
    factors = (10 ** (exponent - held.exponent), 10 ** (exponent - shown.exponent))
    for sides in ((held.bids, shown.bids), (held.asks, shown.asks)):
        floors = [
            side.floor * factor
            for side, factor in zip(sides, factors, strict=True)
            if side.floor is not None
        ]
        floor = max(floors, default=None)
        ours, theirs = (
            _proven(side, factor, floor) for side, factor in zip(sides, factors, strict=True)
        )
        index = _first_unequal(ours, theirs)
        if index is not None:
            name = "bid" if sides[0].sign > 0 else "ask"
            return (
                f"{name} {index}: {_level_text(ours, index, exponent)}",
                f"{name} {index}: {_level_text(theirs, index, exponent)}",
            )
    return None


def _proven(side: BookSide, factor: int, floor: int | None) -> _Levels:
    """Return the levels from `floor` up, best first, with keys times `factor`."""
    sizes = side.sizes
    return [
        (key * factor, sizes[key])
        for key in reversed(side.keys)
        if floor is None or key * factor >= floor
    ]


def _first_unequal(ours: _Levels, theirs: _Levels) -> int | None:
    if ours == theirs:
        return None
    shorter = min(len(ours), len(theirs))
    for index in range(shorter):
        (key, size), (other_key, other_size) = ours[index], theirs[index]
        if key != other_key or (size != other_size and normalised(size) != normalised(other_size)):
            return index
    return None if len(ours) == len(theirs) else shorter


def _level_text(levels: _Levels, index: int, exponent: int) -> str:
    if index >= len(levels):
        return "none"
    key, size = levels[index]
    return f"{normalised(size)} at {render(abs(key), exponent)}"
