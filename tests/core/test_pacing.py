from hypothesis import given
from hypothesis import strategies as st

from core.pacing import TokenBucket

S = 1_000_000_000


def test_bucket_full_allows_the_burst_and_no_more() -> None:
    bucket = TokenBucket(per_s=2.0, burst=3)

    assert [bucket.take(S) for _ in range(4)] == [True, True, True, False]


def test_bucket_empty_is_ready_after_one_interval() -> None:
    bucket = TokenBucket(per_s=2.0, burst=1)
    bucket.take(S)

    assert bucket.ready_at(S) == S + S // 2
    assert not bucket.take(S + S // 2 - 1)
    assert bucket.take(S + S // 2)


def test_bucket_overdrawn_makes_later_ones_wait_longer() -> None:
    bucket = TokenBucket(per_s=1.0, burst=1)
    for _ in range(3):
        bucket.take_anyway(0)

    assert bucket.ready_at(0) == 3 * S


@given(
    per_s=st.floats(0.1, 1000.0),
    burst=st.integers(1, 50),
    steps=st.lists(st.integers(0, 2 * S), max_size=200),
)
def test_bucket_never_allows_more_than_rate_and_burst(
    per_s: float, burst: int, steps: list[int]
) -> None:
    bucket = TokenBucket(per_s, burst)
    now = 0
    taken = 0
    for step in steps:
        now += step
        is_ready = bucket.ready_at(now) <= now
        assert bucket.take(now) is is_ready
        taken += is_ready

    assert taken <= burst + now / S * per_s * (1 + 1e-6) + 1e-6
