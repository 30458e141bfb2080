"""What answers mean, and when a receiver is tried again."""

import pytest

from core.notify.pace import Pace, Verdict, verdict


@pytest.mark.parametrize(
    ("status", "found"),
    [
        *((status, Verdict.TAKEN) for status in (200, 202, 204)),
        *((status, Verdict.REFUSED) for status in (301, 307, 400, 401, 403, 404, 410, 422)),
        *((status, Verdict.AWAY) for status in (408, 429, 502, 503, 504)),
        *((status, Verdict.FAILED) for status in (500, 501, 507)),
    ],
)
def test_status_is_taken_refused_or_tried_again(status: int, found: Verdict) -> None:
    assert verdict(status) is found


def test_waits_grow_to_the_cap_and_begin_anew_after_a_success() -> None:
    pace = Pace(initial_ns=100, cap_ns=400)
    waits = []
    for _ in range(5):
        pace.failed(1000, 1.0, troubled=False)
        waits.append(pace.due(troubled=False) - 1000)
    pace.worked(troubled=False)
    pace.failed(1000, 1.0, troubled=False)

    assert waits == [100, 200, 400, 400, 400]
    assert pace.due(troubled=False) == 1100


def test_wait_that_a_receiver_asks_for_is_kept_within_ten_times_the_cap() -> None:
    pace = Pace(initial_ns=10**8, cap_ns=10**9)

    pace.failed(0, 0.0, troubled=False, retry_after_s=5)
    asked = pace.due(troubled=False)
    pace.failed(0, 0.0, troubled=False, retry_after_s=86_400)

    assert asked == 5 * 10**9
    assert pace.due(troubled=False) == 10 * 10**9


def test_what_fails_by_itself_does_not_slow_down_the_rest() -> None:
    pace = Pace(initial_ns=100, cap_ns=400)

    pace.failed(0, 1.0, troubled=True)
    assert pace.due(troubled=False) == 0
    pace.failed(0, 1.0, troubled=False)
    pace.worked(troubled=True)
    assert (pace.due(troubled=False), pace.due(troubled=True)) == (0, 0)
