from hypothesis import given
from hypothesis import strategies as st

from core.backoff import Backoff


def test_backoff_doubles_up_to_the_cap() -> None:
    backoff = Backoff(100, 1000)

    assert [backoff.wait(1.0) for _ in range(6)] == [100, 200, 400, 800, 1000, 1000]


def test_backoff_free_attempts_do_not_wait() -> None:
    backoff = Backoff(100, 1000, free=2)

    assert [backoff.wait(1.0) for _ in range(4)] == [0, 0, 100, 200]


def test_backoff_reset_begins_anew() -> None:
    backoff = Backoff(100, 1000)
    backoff.wait(1.0)
    backoff.reset()

    assert backoff.wait(1.0) == 100


@given(
    initial=st.integers(1, 10**12),
    more=st.integers(0, 10**13),
    fractions=st.lists(st.floats(0, 1), max_size=100),
)
def test_backoff_stays_between_zero_and_the_cap(
    initial: int, more: int, fractions: list[float]
) -> None:
    backoff = Backoff(initial, initial + more)

    assert all(0 <= backoff.wait(fraction) <= initial + more for fraction in fractions)
