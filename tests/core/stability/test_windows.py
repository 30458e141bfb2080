from math import isclose
from statistics import median_low

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.stability.windows import Ewma, Extreme, Recent, Sums

S = 1_000_000_000


def test_sums_cover_the_last_minute_and_forget_what_is_older() -> None:
    sums = Sums.of(2, width_ns=10 * S, keep=6)
    for second in range(600):
        sums.add((1, second), S)
        assert sums.totals[0] <= 60

    assert sums.totals == [sum(column) for column in zip(*sums.buckets, strict=True)]
    assert 50 <= sums.totals[0] <= 60
    assert sums.totals[1] == sum(range(600 - sums.totals[0], 600))


@given(values=st.lists(st.integers(0, 1000), max_size=300))
def test_extreme_is_the_largest_value_that_is_remembered(values: list[int]) -> None:
    extreme = Extreme.over(width_ns=10 * S, keep=3)
    for value in values:
        extreme.add(value, S)

    if not values:
        assert extreme.most() is None
        return
    most = extreme.most()
    assert most is not None
    assert max(values[-21:]) <= most <= max(values[-30:])


def test_extreme_without_values_is_none() -> None:
    extreme = Extreme.over(width_ns=S, keep=2)
    extreme.add(5, S)
    for _ in range(5):
        extreme.add(None, S)

    assert extreme.most() is None


@given(values=st.lists(st.integers(), min_size=5))
def test_recent_gives_the_median_of_the_last_values(values: list[int]) -> None:
    recent = Recent(5)
    for number, value in enumerate(values):
        assert (recent.median() is None) == (number < 5)
        recent.add(value)

    assert recent.median() == median_low(values[-5:])


def test_single_outlier_does_not_move_the_median() -> None:
    recent = Recent(5, [1, 1, 1, 1, 1])
    recent.add(1_000_000)

    assert recent.median() == 1


@pytest.mark.parametrize("steps", [1, 7, 60])
def test_ewma_reaches_half_of_a_step_after_one_half_life_however_it_is_cut(steps: int) -> None:
    """Concept 30: a stated decay. 63.2 % follow after one time constant, 1 / ln 2 half-lives."""
    ewma = Ewma(half_life_ns=60 * S, value=0.0)
    for _ in range(steps):
        ewma.add(1.0, 60 * S // steps)

    assert ewma.value is not None
    assert isclose(ewma.value, 0.5, rel_tol=1e-6)


def test_ewma_reaches_632_permille_after_one_time_constant() -> None:
    ewma = Ewma(half_life_ns=60 * S, value=0.0)
    ewma.add(1.0, round(60 * S / 0.6931471805599453))

    assert ewma.value is not None
    assert isclose(ewma.value, 0.632, rel_tol=0.01)


def test_ewma_begins_with_its_first_sample() -> None:
    ewma = Ewma(half_life_ns=S)
    ewma.add(7.0, 0)

    assert ewma.value == 7.0
