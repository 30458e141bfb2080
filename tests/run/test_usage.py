"""What a run's report says of memory, CPU and lag."""

import mmap
import os

from infra.run.usage import Usage, resident_mb
from infra.run.watch import Lag

OURS = {"ours": os.getpid()}


def test_usage_of_a_growing_lag_has_its_slope() -> None:
    usage = Usage()
    for second in range(40):
        usage.note(float(second), Lag(raw=7 * second, events=5), OURS)

    assert usage.lag_per_s == {"raw": 7.0, "events": 0.0}
    assert usage.lag_max == Lag(raw=7 * 39, events=5)


def test_usage_of_few_looks_has_no_slope() -> None:
    usage = Usage()
    for second in range(5):
        usage.note(float(second), Lag(0, 0), OURS)

    assert usage.lag_per_s == {"raw": None, "events": None}
    assert usage.rss_mb_per_min == {"ours": None}


def test_usage_sees_memory_that_is_held() -> None:
    usage = Usage()
    held = []
    for second in range(30):
        # Pages of its own: the heap of a process that has run long has room for more.
        pages = mmap.mmap(-1, 1 << 20)
        pages.write(bytes([1]) * (1 << 20))
        held.append(pages)
        usage.note(float(second), Lag(0, 0), OURS)

    slope = usage.rss_mb_per_min["ours"]
    assert slope is not None
    assert 40 < slope < 90
    assert usage.rss_mb_max["ours"] >= usage.rss_mb["ours"] > 30


def test_usage_counts_cpu_between_the_looks() -> None:
    usage = Usage()
    usage.note(0.0, Lag(0, 0), OURS)
    spent, before = 0, os.times()
    while os.times().user - before.user < 0.2:
        spent += 1
    usage.note(2.0, Lag(0, 0), OURS)

    assert usage.cpu_cores["ours"] >= 0.1


def test_usage_of_a_process_that_is_gone_is_nothing() -> None:
    assert resident_mb(None) == 0.0
    assert resident_mb(2**22 - 3) == 0.0
