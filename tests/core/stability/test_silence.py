from random import Random

import pytest

from core.stability.silence import LEAST_NS, Rhythm

S = 1_000_000_000


def _learned(gap_ns: int, *, seconds: int = 1800) -> Rhythm:
    rhythm = Rhythm()
    for _ in range(seconds):
        rhythm.add(max(S // gap_ns, 10), gap_ns, S)
    return rhythm


def test_rhythm_is_unknown_before_five_minutes_and_fifty_frames() -> None:
    sparse, short = Rhythm(), _learned(S // 100, seconds=299)
    for _ in range(49):
        sparse.add(1, 10 * S, 10 * S)

    assert sparse.suspicion(1000 * S) is None
    assert short.suspicion(1000 * S) is None


def test_suspicion_is_2_at_the_longest_gap_and_8_at_twice_that() -> None:
    rhythm = _learned(S)

    assert rhythm.suspicion(S // 2) == 0.0
    assert rhythm.suspicion(S) == 2.0
    assert rhythm.suspicion(2 * S) == 8.0
    assert rhythm.suspicion(4 * S) == 20.0


def test_young_rhythm_is_given_twice_the_time() -> None:
    assert _learned(S, seconds=1799).limit_ns() == 4 * S


def test_dense_stream_is_not_suspected_within_the_time_of_a_tick() -> None:
    rhythm = _learned(S // 100)

    assert rhythm.limit_ns() == LEAST_NS
    assert rhythm.suspicion(LEAST_NS) == 8.0


def test_outage_does_not_hide_the_next_one() -> None:
    rhythm = _learned(S)
    rhythm.add(1, 600 * S, S)

    assert rhythm.limit_ns() == pytest.approx(4 * S, rel=0.01)


def test_calmer_market_is_learned() -> None:
    """Gaps of 10 s in place of 1 s are faults at first, and the rule after a few of them."""
    rhythm = _learned(S)
    for _ in range(10):
        rhythm.add(1, 10 * S, 10 * S)

    assert rhythm.limit_ns() == 20 * S


def test_longest_gap_is_forgotten_after_six_hours() -> None:
    rhythm = _learned(S)
    rhythm.add(1, 2 * S, S)
    for _ in range(7 * 3600):
        rhythm.add(1, S, S)

    assert rhythm.limit_ns() == 2 * S


def test_bursty_stream_raises_no_suspicion_in_a_day() -> None:
    """Concept 9. On bursts of 50/s for 20 s and 0.5/s for 60 s a normal model alarms thousands of
    times a day."""
    random, rhythm, alarms = Random(1), Rhythm(), 0
    passed = 0.0
    while passed < 24 * 3600:
        gap = random.expovariate(50 if passed % 80 < 20 else 0.5)
        suspicion = rhythm.suspicion(round(gap * S))
        alarms += suspicion is not None and suspicion >= 8.0
        passed += gap
        rhythm.add(1, round(gap * S), round(gap * S))

    assert alarms == 0


def test_outage_in_which_messages_were_lost_leaves_the_limit_as_it_is() -> None:
    rhythm = _learned(S)
    for _ in range(5):
        rhythm.add(1, 600 * S, S, has_loss=True)

    assert rhythm.limit_ns() == 2 * S


def test_pooled_streams_need_less_than_twice_their_longest_gap() -> None:
    rhythm = Rhythm()
    for _ in range(10_000):
        rhythm.add(1, S, S)

    assert rhythm.limit_ns(is_pooled=True) == 17 * S // 10
    assert rhythm.suspicion(17 * S // 10, is_pooled=True) == 8.0


def test_thin_stream_is_given_more_time_the_fewer_gaps_were_seen() -> None:
    limits = []
    for frames in (900, 9_000, 18_000):
        rhythm = Rhythm()
        for _ in range(1800):
            rhythm.add(frames // 1800 or 1, S, S)
        rhythm.frames = min(rhythm.frames, frames)
        limits.append(rhythm.limit_ns())

    assert limits == [3 * S, 5 * S // 2, 2 * S]


def test_longest_gap_that_is_short_by_chance_is_given_twenty_mean_ones() -> None:
    """Ten messages a second that come independently of one another: two seconds without one are
    not to be expected in a year."""
    rhythm = _learned(7 * S // 10)

    assert rhythm.limit_ns(is_pooled=True) == pytest.approx(2 * S, rel=0.01)


def test_limit_grows_with_the_time_between_messages() -> None:
    """A market that calms down to a third, and leaves no gap as long as it might yet."""
    rhythm = Rhythm()
    for _ in range(2400):
        rhythm.add(6, 2 * S, S)
    assert rhythm.limit_ns() == 4 * S
    for _ in range(3600):
        rhythm.add(2, 2 * S, S)

    assert rhythm.limit_ns() == pytest.approx(12 * S, rel=0.01)


def test_burst_leaves_no_lull_behind() -> None:
    """What comes after ten times the messages is as usual."""
    rhythm = _learned(S)
    for _ in range(20):
        rhythm.add(100, S // 10, S)
    for _ in range(1800):
        rhythm.add(10, S, S)

    assert rhythm.limit_ns() == pytest.approx(2 * S, rel=0.1)


def test_market_that_was_halted_is_judged_as_before_when_it_goes_on() -> None:
    """Nothing was lost in an hour without a message: none was sent."""
    rhythm = _learned(S)
    for _ in range(3600):
        rhythm.add(0, None, S)
    rhythm.add(10, 3600 * S, S)
    for _ in range(60):
        rhythm.add(10, S, S)

    assert rhythm.limit_ns() == pytest.approx(4 * S, rel=0.05)


def test_silence_that_was_an_outage_makes_no_lull() -> None:
    rhythm = _learned(S)
    for _ in range(120):
        rhythm.add(0, None, S)
    assert rhythm.limit_ns() == 2 * S
    rhythm.add(5, 120 * S, S, has_loss=True)
    rhythm.add(10, S, S)

    assert rhythm.limit_ns() == pytest.approx(2 * S, rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_night_in_which_messages_become_rare_raises_no_suspicion(seed: int) -> None:
    """A control of the campaign: down to a quarter within an hour, from an even stream to one of
    chance."""
    random, rhythm, alarms, age = Random(seed), Rhythm(), 0, 0
    for second in range(9300):
        rate = 3.6 * 0.25 ** min(max((second - 2100) / 3600, 0.0), 1.0)
        places = [place for place in range(10) if random.random() < rate / 10]
        gap = None
        for place in places:
            now = second * 10 + place
            gap = max(gap or 0, now - age)
            age = now
        rhythm.add(len(places), None if gap is None else gap * S // 10, S)
        limit = rhythm.limit_ns()
        alarms += limit is not None and (second * 10 + 10 - age) * S // 10 >= limit

    assert alarms == 0
