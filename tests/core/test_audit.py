"""Comparing a held book with a shown one, against plain dicts; and what is kept until then."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.audit import first_difference
from core.book import Level, OrderBook
from core.decimals import DecimalError
from core.protocol import Delta
from core.retained import RETAINED_LEVELS_MAX, RetainedChanges, require_readable

SIDES = st.dictionaries(st.integers(1, 12), st.integers(1, 3), max_size=8)
LIMITS = st.sampled_from([None, 1, 2, 3, 5, 100])


def made(bids: dict[int, int], limit: int | None, spelling: str) -> OrderBook:
    """Return a book; how its numbers are spelled must not matter."""
    book = OrderBook()
    levels: list[Level] = [
        (f"{tick}{spelling}", f"{units}{spelling}") for tick, units in bids.items()
    ]
    levels.sort(key=lambda level: -float(level[0]))
    book.replace(levels[:limit], [], limit=limit)
    return book


@settings(max_examples=300)
@given(held=SIDES, shown=SIDES, limits=st.tuples(LIMITS, LIMITS), is_same=st.booleans())
def test_difference_is_found_exactly_where_both_are_proven(
    held: dict[int, int],
    shown: dict[int, int],
    limits: tuple[int | None, int | None],
    is_same: bool,
) -> None:
    shown = held if is_same else shown
    first = first_difference(made(held, limits[0], ""), made(shown, limits[1], ".00"))

    floor = max(_floor(held, limits[0]), _floor(shown, limits[1]))
    ours, theirs = (
        sorted(((t, u) for t, u in side.items() if t >= floor), reverse=True)
        for side in (_cut(held, limits[0]), _cut(shown, limits[1]))
    )
    assert (first is None) is (ours == theirs)
    if first is not None:
        assert first[0] != first[1]
        assert all(text.startswith("bid ") for text in first)


def _cut(side: dict[int, int], limit: int | None) -> dict[int, int]:
    return {tick: side[tick] for tick in sorted(side, reverse=True)[:limit]}


def _floor(side: dict[int, int], limit: int | None) -> int:
    if limit is None or len(side) < limit:
        return 0
    return min(_cut(side, limit))


def test_difference_names_the_first_level_that_differs() -> None:
    held, shown = OrderBook(), OrderBook()
    held.replace([("9.50", "1")], [("10", "1"), ("11", "2.50")])
    shown.replace([("9.5", "1.0")], [("10.0", "1"), ("11.000", "2.6")])

    assert first_difference(held, shown) == ("ask 1: 2.5 at 11", "ask 1: 2.6 at 11")
    shown.apply([("9.5", "0")], [])
    assert first_difference(held, shown) == ("bid 0: 1 at 9.5", "bid 0: none")


def change(levels: int, last: int) -> Delta:
    half = levels // 2
    bids, asks = [("1", "1")] * half, [("2", "1")] * (levels - half)
    return Delta("S", last, last - 1, last, bids, asks, 0)


@settings(max_examples=50)
@given(weights=st.lists(st.integers(0, 9000), max_size=12))
def test_retained_changes_are_the_newest_that_fit(weights: list[int]) -> None:
    kept = RetainedChanges()
    lost = False
    for last, levels in enumerate(weights):
        before = [delta.last for delta, _ in kept]
        is_whole = kept.keep(change(levels, last), last)
        after = [delta.last for delta, _ in kept]
        assert is_whole is (after == [*before, last])
        lost = lost or not is_whole
        assert (
            sum(len(delta.bids) + len(delta.asks) + 1 for delta, _ in kept) <= RETAINED_LEVELS_MAX
        )

    assert [delta.last for delta, _ in kept] == list(range(len(weights)))[
        len(weights) - len(kept) :
    ]
    total = sum(weight + 1 for weight in weights)
    assert lost is (total > RETAINED_LEVELS_MAX)
    kept.forget()
    assert len(kept) == 0
    assert kept.keep(change(RETAINED_LEVELS_MAX - 1, 99), 0)


def test_retained_change_that_is_larger_than_all_room_is_not_kept() -> None:
    kept = RetainedChanges()

    assert not kept.keep(change(RETAINED_LEVELS_MAX, 1), 0)
    assert len(kept) == 0
    assert kept.keep(change(1, 2), 0)


@pytest.mark.parametrize("level", [("x", "1"), ("1", "-1"), ("1e999", "1"), ("1", "NaN")])
def test_change_with_what_is_no_number_is_not_readable(level: Level) -> None:
    require_readable(change(3, 1))
    for bids, asks in (([level], []), ([], [("1", "1"), level])):
        with pytest.raises(DecimalError):
            require_readable(Delta("S", 1, 0, 1, bids, asks, 0))
