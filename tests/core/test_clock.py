"""The venue's clock: what is claimed of it holds, and what is not certain is not claimed."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import STEP_LEAST_NS, Departure, ServerTime, VenueClock

MS = 1_000_000
S = 1_000_000_000
AHEAD = 1_790_000_000 * S
"""The venue's time at our monotonic zero."""


class Venue:
    """A clock that is asked over ways of random length."""

    def __init__(self, seed: int, *, resolution: int = 1_000, ppm: float = 0.0) -> None:
        self.random = Random(seed)
        self.resolution = resolution
        self.ppm = ppm
        self.ahead = AHEAD
        self.mono = S
        self.there_ms = 0
        """What the way to the venue takes at least."""
        self.back_ms = 0

    def difference(self) -> int:
        """Return the venue's time minus ours, now."""
        return self.ahead + int(self.mono * self.ppm / 1_000_000)

    def time(self) -> int:
        """Return what the venue says that the time is."""
        now = self.mono + self.difference()
        return now - now % self.resolution

    def asked(self, clock: VenueClock, *, slow_ms: float = 5.0) -> Departure | None:
        """Ask once; each way takes up to four times `slow_ms`, the two of them apart."""
        sent = self.mono
        self.mono += self.there_ms * MS
        self.mono += int(self.random.expovariate(1 / slow_ms) * MS) % int(4 * slow_ms * MS)
        ts_in = self.time()
        self.mono += self.random.randrange(200_000)
        ts_out = self.time()
        self.mono += self.back_ms * MS
        self.mono += int(self.random.expovariate(1 / slow_ms) * MS) % int(4 * slow_ms * MS)
        return clock.add(sent, self.mono, ServerTime(ts_in, ts_out, self.resolution))


@given(
    st.integers(0, 10_000), st.sampled_from([1_000, MS]), st.floats(-40, 40), st.floats(0.1, 200)
)
def test_true_offset_lies_within_what_is_claimed(
    seed: int, resolution: int, ppm: float, slow_ms: float
) -> None:
    """Concept 14: an offset with its uncertainty, whatever the two ways take."""
    venue, clock = Venue(seed, resolution=resolution, ppm=ppm), VenueClock()
    for _ in range(30):
        assert venue.asked(clock, slow_ms=slow_ms) is None
        venue.mono += venue.random.randrange(20 * S)
        found = clock.offset(venue.mono, venue.mono)
        assert found is not None
        offset, uncertainty = found
        assert abs(offset - venue.difference()) <= uncertainty + 1


def test_uncertainty_grows_while_nothing_is_heard() -> None:
    """Concept 28."""
    venue, clock = Venue(1), VenueClock()
    venue.asked(clock)
    early, late = (clock.offset(venue.mono + s * S, venue.mono + s * S) for s in (0, 600))
    assert early is not None
    assert late is not None
    assert late[1] == pytest.approx(early[1] + 600 * S * 50e-6, abs=2)


def test_good_answer_among_slow_ones_is_kept() -> None:
    venue, clock = Venue(2), VenueClock()
    venue.asked(clock, slow_ms=500)
    wide = clock.offset(venue.mono, venue.mono)
    venue.asked(clock, slow_ms=1)
    narrow = clock.offset(venue.mono, venue.mono)
    venue.asked(clock, slow_ms=500)
    kept = clock.offset(venue.mono, venue.mono)
    assert wide is not None
    assert narrow is not None
    assert kept is not None
    assert kept[1] < 10 * MS < wide[1]
    assert kept[1] <= narrow[1] + MS


@pytest.mark.parametrize("step", [500 * MS, -500 * MS, 2 * S, -100 * MS])
@pytest.mark.parametrize("seed", range(5))
def test_clock_that_is_set_is_seen_with_the_next_answer(step: int, seed: int) -> None:
    venue, clock = Venue(seed), VenueClock()
    for _ in range(10):
        assert venue.asked(clock) is None
        venue.mono += 4 * S
    venue.ahead += step
    found = venue.asked(clock)
    assert found is not None
    assert found.is_step
    assert abs(step) - 60 * MS < found.least_ns <= abs(step)
    for _ in range(30):
        venue.mono += 4 * S
        assert venue.asked(clock) is None


def test_step_within_doubt_is_not_claimed() -> None:
    venue, clock = Venue(3), VenueClock()
    for _ in range(10):
        venue.asked(clock)
        venue.mono += 4 * S
    venue.ahead += STEP_LEAST_NS
    assert venue.asked(clock) is None


@pytest.mark.parametrize("ppm", [200, -200])
@pytest.mark.parametrize("seed", range(3))
def test_clock_that_runs_away_is_seen_within_a_quarter_of_an_hour(ppm: int, seed: int) -> None:
    venue, clock = Venue(seed, ppm=ppm), VenueClock()
    found = None
    while found is None and venue.mono < 1800 * S:
        venue.mono += 4 * S
        found = venue.asked(clock)
    assert found is not None
    assert not found.is_step
    assert venue.mono < 900 * S


@pytest.mark.parametrize("ppm", [200, -200])
@pytest.mark.parametrize("seed", range(3))
def test_clock_that_runs_away_is_seen_over_slow_ways_too(ppm: int, seed: int) -> None:
    """In twenty minutes it is off by no more than a round trip takes."""
    venue, clock = Venue(seed, ppm=ppm), VenueClock()
    venue.there_ms = venue.back_ms = 120
    found = None
    while found is None and venue.mono < 1800 * S:
        venue.mono += 3 * S
        found = venue.asked(clock)
    assert found is not None
    assert not found.is_step
    assert found.least_ns <= found.since_ns * 200 // 1_000_000
    assert venue.mono < 900 * S


@pytest.mark.parametrize("step_ms", [200, -200])
@pytest.mark.parametrize("seed", range(5))
def test_step_that_a_round_trip_could_hide_is_seen(step_ms: int, seed: int) -> None:
    venue, clock = Venue(seed), VenueClock()
    venue.there_ms = venue.back_ms = 120
    while venue.mono < 200 * S:
        venue.mono += 3 * S
        assert venue.asked(clock) is None
    venue.ahead += step_ms * MS
    found = venue.asked(clock)
    assert found is not None
    assert found.is_step
    assert found.least_ns <= abs(step_ms) * MS
    while venue.mono < 1800 * S:
        venue.mono += 3 * S
        assert venue.asked(clock) is None


@pytest.mark.parametrize(("there_ms", "back_ms"), [(220, 120), (120, 220), (20, 120), (120, 20)])
@pytest.mark.parametrize("seed", range(3))
def test_way_that_becomes_another_is_no_clock(there_ms: int, back_ms: int, seed: int) -> None:
    venue, clock = Venue(seed), VenueClock()
    venue.there_ms = venue.back_ms = 120
    while venue.mono < 1800 * S:
        if venue.mono > 600 * S:
            venue.there_ms, venue.back_ms = there_ms, back_ms
        venue.mono += 3 * S
        assert venue.asked(clock) is None


@pytest.mark.parametrize("ppm", [45, -45])
def test_clock_that_keeps_time_is_let_be_for_a_day(ppm: int) -> None:
    venue, clock = Venue(5, ppm=ppm, resolution=MS), VenueClock()
    while venue.mono < 86_400 * S:
        venue.mono += 30 * S
        assert venue.asked(clock, slow_ms=20) is None
    assert len(clock.history) <= 15


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers(-(1 << 63), (1 << 63) - 1))
def test_times_out_of_all_reason_are_left_out(sent: int, received: int) -> None:
    clock = VenueClock()
    clock.add(sent, received, ServerTime(0, 0, 1))
    clock.add(0, S, ServerTime(AHEAD, AHEAD, 1))
    assert clock.known is not None
    assert abs(clock.known.low) <= 1 << 62
    assert abs(clock.known.high) <= 1 << 62


def test_answer_from_before_its_question_is_left_out() -> None:
    clock = VenueClock()
    assert clock.add(2 * S, S, ServerTime(AHEAD, AHEAD, 1)) is None
    assert clock.known is None
