"""What opens again and again is held, and only the recent is counted."""

from hypothesis import given
from hypothesis import strategies as st

from core.notify.damping import Damping, Flaps

RULE = Damping(openings=3, window_ns=100, hold_ns=40)


def test_opening_after_as_many_as_the_limit_is_held() -> None:
    flaps = Flaps(RULE)

    found = [flaps.opened("a", ts) for ts in (0, 10, 20, 30, 40)]

    assert found == [(0, 0), (10, 1), (20, 2), (70, 3), (80, 4)]


def test_openings_of_another_stream_and_older_ones_do_not_count() -> None:
    flaps = Flaps(RULE)
    for ts in (0, 10, 20):
        flaps.opened("a", ts)

    assert flaps.opened("b", 30) == (30, 0)
    assert flaps.opened("a", 111) == (111, 1)


def test_damping_of_no_openings_holds_nothing() -> None:
    flaps = Flaps(Damping(0, 100, 40))

    assert [flaps.opened("a", ts)[0] for ts in range(20)] == list(range(20))


@given(st.lists(st.integers(0, 1000), max_size=60))
def test_what_is_counted_is_what_was_within_the_window(times: list[int]) -> None:
    times.sort()
    flaps = Flaps(RULE)

    for index, ts in enumerate(times):
        free, _ = flaps.opened("a", ts)
        before = sum(ts - 100 < each for each in times[:index])
        assert (free > ts) is (before >= 3)
