"""Verdicts of the continuity rules, against sets of ids."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.continuity import Chain, TradeIds, Verdict

NEXT, GAP, DUPLICATE = Verdict.NEXT, Verdict.GAP, Verdict.DUPLICATE


def chain(last: int, *, joining: bool = False) -> Chain:
    made = Chain()
    made.restart(last, joining=joining)
    return made


@pytest.mark.parametrize(
    ("prev", "last", "verdict"),
    [
        (10, 11, NEXT),
        (10, 500, NEXT),
        (9, 10, DUPLICATE),
        (3, 4, DUPLICATE),
        (11, 12, GAP),
        (9, 12, GAP),
        (10, 10, NEXT),
    ],
)
def test_chain_judges_a_change_by_the_state_it_starts_from(
    prev: int, last: int, verdict: Verdict
) -> None:
    made = chain(10)

    assert made.check(prev + 1, prev, last) is verdict
    assert made.last == (last if verdict is NEXT else 10)


@pytest.mark.parametrize(
    ("first", "prev", "last", "verdict"),
    [
        (5, 4, 9, Verdict.OLD),
        (9, 8, 10, Verdict.OLD),
        (11, 10, 12, NEXT),
        (8, 7, 12, NEXT),
        (10, 9, 11, NEXT),
        (40, 10, 50, NEXT),
        (12, 11, 12, GAP),
        (40, 30, 50, GAP),
    ],
)
def test_chain_joins_a_snapshot_with_the_change_that_covers_the_next_id(
    first: int, prev: int, last: int, verdict: Verdict
) -> None:
    made = chain(10, joining=True)

    assert made.check(first, prev, last) is verdict
    assert made.joining is (verdict is GAP or last < 10)


def test_chain_joined_at_its_very_id_must_be_followed_from_there() -> None:
    made = chain(10, joining=True)
    made.check(9, 8, 10)

    assert made.check(8, 7, 12) is GAP


def test_chain_knows_what_was_overtaken() -> None:
    made = chain(10)
    made.check(14, 13, 15)

    assert [made.is_late(prev, prev + 1) for prev in range(8, 16)] == [
        *(False, False, True, True, True, False, False, False)
    ]
    made.restart(20, joining=False)
    assert not made.is_late(10, 11)


@settings(max_examples=200)
@given(
    numbers=st.lists(st.integers(1, 40) | st.integers(1000, 1010), max_size=60),
    ordered=st.booleans(),
)
def test_trade_ids_count_what_is_missing_and_what_comes_late(
    numbers: list[int], ordered: bool
) -> None:
    """Each id gives a trade once: at its time, or late into a hole that was counted."""
    numbers = sorted(numbers) if ordered else numbers
    ids = TradeIds()
    seen: set[int] = set()
    missing: set[int] = set()
    for number in numbers:
        verdict, count = ids.check(number)
        highest = max(seen, default=number - 1)
        if number in seen:
            assert verdict is DUPLICATE
        elif number > highest:
            assert verdict is (NEXT if number == highest + 1 else GAP)
            assert count == number - highest - 1
            missing |= set(range(highest + 1, number))
        else:
            # What lies before the first one was never missed.
            assert verdict is (Verdict.LATE if number in missing else DUPLICATE)
            missing.discard(number)
        seen.add(number)
    assert ids.last == max(numbers, default=None)


def test_trade_ids_that_start_again_later_are_no_repeats() -> None:
    ids = TradeIds()
    ids.check(100, 50)
    ids.check(105, 60)

    assert ids.check(1, 60) == (DUPLICATE, 0)
    assert ids.check(1, 61) == (Verdict.RESTART, 0)
    assert ids.check(2, 62) == (NEXT, 0)
    assert ids.check(103, 63) == (GAP, 100)


def test_trade_id_that_was_no_real_one_does_not_hide_what_follows() -> None:
    ids = TradeIds()
    ids.check(100, 50)
    assert ids.check(900_101, 60) == (GAP, 900_000)

    assert ids.check(102, 60)[0] is Verdict.LATE
    assert ids.check(103, 61) == (Verdict.RESTART, 0)
    assert ids.check(104, 62) == (NEXT, 0)
    assert ids.check(106, 63) == (GAP, 1)
    assert ids.check(105, 62)[0] is Verdict.LATE


def test_trade_ids_remember_a_bounded_number_of_holes() -> None:
    ids = TradeIds()
    ids.check(0)
    for number in range(2, 2000, 2):
        assert ids.check(number) == (GAP, 1)

    assert ids.check(1997)[0] is Verdict.LATE
    assert ids.check(1)[0] is DUPLICATE
