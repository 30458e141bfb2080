"""What is reported of a window, against a direct computation over all of its frames."""

from itertools import pairwise
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.counters import SyncCounters
from core.events import BookState, StreamSecond
from core.frames import TickStatus
from core.statistics import (
    COUNT_MAX,
    INTERVALS_MAX,
    LATENCIES_MAX,
    LatencyWindow,
    StreamStatistics,
    quantile,
)

NS = 1_000_000_000
TRANSIT = st.integers(-NS, 3 * NS)
FRAME = st.tuples(
    st.sampled_from([0, 1, 1, 1, 2]),
    st.integers(0, 5000),
    st.integers(0, NS // 3),
    st.none() | TRANSIT,
)
WINDOWS = st.lists(st.lists(FRAME, max_size=12), min_size=1, max_size=5)


def closed(
    stream: StreamStatistics, mono: int, window_ns: int, counters: SyncCounters | None = None
) -> StreamSecond:
    return stream.close(
        number=1,
        index=2,
        ts=77,
        ts_mono=mono,
        window_ns=window_ns,
        counters=counters,
        status=TickStatus(True, 3, 4, 5),
    )


@settings(max_examples=150)
@given(windows=WINDOWS)
def test_window_reports_what_its_frames_say(
    windows: list[list[tuple[int, int, int, int | None]]],
) -> None:
    stream = StreamStatistics("trades", "S")
    stream.start(0)
    number, mono, last = 0, 0, None
    before: list[int] = []
    for window in windows:
        began = mono
        sizes: list[int] = []
        transits: list[int] = []
        for step, size, wait, transit in window:
            mono += wait
            number += step
            stream.frame(number, size, mono, transit)
            if last is None or last[0] != number:
                last = number, mono
                sizes.append(size)
                transits += [] if transit is None else [transit]
        mono += 5
        second = closed(stream, mono, mono - began)

        assert (second.frames, second.bytes) == (len(sizes), sum(sizes))
        assert second.age_ns == (None if last is None else mono - last[1])
        assert second.latency_count == len(transits)
        assert second.latency_min_ns == min(transits, default=None)
        assert second.latency_max_ns == max(transits, default=None)
        for percent, found in (
            (50, second.latency_p50_ns),
            (90, second.latency_p90_ns),
            (99, second.latency_p99_ns),
        ):
            assert found == naive_quantile(transits, percent)
        assert second.jitter_ns == naive_jitter(before, transits)
        assert (second.ts, second.window_ns, second.number, second.index) == (
            77,
            mono - began,
            1,
            2,
        )
        assert (second.queue_frames, second.queue_age_ns, second.paused_ns) == (3, 4, 5)
        before = transits[-1:] or before


def naive_quantile(values: list[int], percent: int) -> int | None:
    """Return the least value that at least so many percent of the values do not exceed."""
    enough = [
        value
        for value in values
        if 100 * sum(other <= value for other in values) >= percent * len(values)
    ]
    return min(enough, default=None)


def naive_jitter(before: list[int], transits: list[int]) -> int | None:
    """Return the mean of |D(i-1, i)|, where D is the difference of two transit times.

    RFC 3550, 6.4.1: D(i,j) = (Rj - Ri) - (Sj - Si) = (Rj - Sj) - (Ri - Si), R received, S sent.
    """
    chain = [*before, *transits]
    differences = [abs(b - a) for a, b in pairwise(chain)]
    return sum(differences) // len(differences) if differences else None


def test_jitter_of_frames_that_are_all_as_late_is_zero() -> None:
    window = LatencyWindow()
    window.fresh += [5_000] * 10

    assert window.close()[1] == 0


def test_jitter_does_not_depend_on_how_late_frames_are() -> None:
    near, far = LatencyWindow(), LatencyWindow()
    near.fresh += [0, 10, 0, 30]
    far.fresh += [NS, NS + 10, NS, NS + 30]

    assert near.close()[1] == far.close()[1] == (10 + 10 + 30) // 3


def test_jitter_of_one_frame_is_not_known() -> None:
    window = LatencyWindow()
    window.fresh.append(5)

    samples, jitter = window.close()
    assert (list(samples), jitter) == ([5], None)
    following = window.next()
    following.fresh.append(8)
    assert following.close()[1] == 3


@pytest.mark.parametrize("count", [LATENCIES_MAX, LATENCIES_MAX + 1, 30_000])
def test_window_of_very_many_frames_keeps_sums_exact_and_quantiles_close(count: int) -> None:
    stream = StreamStatistics("book", "S")
    transits = [(n * 7919) % 100_003 for n in range(count)]
    for number, transit in enumerate(transits):
        stream.frame(number, 1, number, transit)
    second = closed(stream, count, count)

    assert second.latency_count == count
    assert (second.latency_min_ns, second.latency_max_ns) == (min(transits), max(transits))
    assert second.jitter_ns == naive_jitter([], transits)
    for percent, found in ((50, second.latency_p50_ns), (99, second.latency_p99_ns)):
        assert found is not None
        below = sum(transit <= found for transit in transits)
        assert abs(100 * below / count - percent) < 1


def test_window_of_very_many_frames_holds_a_bounded_number() -> None:
    window = LatencyWindow()
    for start in range(0, 100_000, LATENCIES_MAX):
        window.fresh += range(start, start + LATENCIES_MAX)
        window.fold()

    samples, _ = window.close()
    assert LATENCIES_MAX // 2 <= len(samples) <= LATENCIES_MAX
    assert abs(fmean(samples) - fmean(range(102_400))) < 2_000


@settings(max_examples=100)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(BookState), st.integers(0, NS), st.booleans()), max_size=30
    )
)
def test_times_in_states_sum_up_to_the_window(steps: list[tuple[BookState, int, bool]]) -> None:
    stream = StreamStatistics("book", "S")
    stream.start(100)
    mono = began = 100
    state = BookState.EMPTY
    spent = dict.fromkeys(BookState, 0)
    for entered, wait, ends in steps:
        mono += wait
        spent[state] += wait
        state = entered
        stream.state(state, mono)
        if ends:
            second = closed(stream, mono, mono - began)
            found = second.empty_ns, second.syncing_ns, second.live_ns, second.stale_ns
            assert found == tuple(spent.values())
            assert sum(found) == mono - began
            assert second.book_state is state
            began, spent = mono, dict.fromkeys(BookState, 0)


def test_counters_of_a_book_are_reported_as_what_was_added() -> None:
    stream = StreamStatistics("book", "S")
    counters = SyncCounters()
    fields = ["gaps", "missing", "duplicates", "out_of_order", "checksums_ok", "checksums_bad"]
    fields += ["audits_ok", "audits_bad", "resyncs"]
    for window in (3, 0, 5):
        for place, field in enumerate(fields):
            setattr(counters, field, getattr(counters, field) + window * (place + 1))
        second = closed(stream, 1, 1, counters)
        assert [getattr(second, field) for field in fields] == [
            window * (place + 1) for place in range(len(fields))
        ]


def test_counts_that_no_column_holds_are_reported_as_the_largest_that_one_does() -> None:
    stream = StreamStatistics("trades", "S")
    stream.missing = 1 << 70

    assert closed(stream, 1, 1).missing == COUNT_MAX


def test_heartbeat_is_reported_in_its_own_window_only() -> None:
    stream = StreamStatistics("connection", "")
    stream.heartbeat_rtt_ns = 9

    assert closed(stream, 1, 1).heartbeat_rtt_ns == 9
    assert closed(stream, 2, 1).heartbeat_rtt_ns is None


@settings(max_examples=100)
@given(st.lists(st.lists(st.integers(0, 10 * NS), max_size=6), min_size=1, max_size=5))
def test_heartbeat_intervals_are_of_the_windows_in_which_they_end(windows: list[list[int]]) -> None:
    """Concept 8: as a distribution, each interval counted once."""
    stream = StreamStatistics("connection", "")
    mono, beats = 0, 0
    for waits in windows:
        for wait in waits:
            mono += wait
            stream.heartbeats.add(mono)
        second = closed(stream, mono, 1)

        intervals = waits if beats else waits[1:]
        beats += len(waits)
        assert second.heartbeats == len(waits)
        assert second.heartbeat_interval_p50_ns == naive_quantile(intervals, 50)
        assert second.heartbeat_interval_max_ns == max(intervals, default=None)


def test_heartbeats_that_flood_us_are_counted_and_not_kept() -> None:
    stream = StreamStatistics("connection", "")
    for mono in range(10_000):
        stream.heartbeats.add(mono)
    held = len(stream.heartbeats.close())

    assert held == INTERVALS_MAX
    assert closed(stream, 10_000, 1).heartbeats == 10_000


@settings(max_examples=100)
@given(values=st.lists(st.integers(-9, 9), max_size=40), percent=st.integers(1, 100))
def test_quantile_is_that_of_the_nearest_rank(values: list[int], percent: int) -> None:
    assert naive_quantile(values, percent) == quantile(sorted(values), percent)
