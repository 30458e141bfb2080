"""The join: in which order mids arrive, how often, and where a reader begins, changes nothing."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.venues.arrivals import AHEAD_S, FORGET_S, LATENESS_S, RUN_GAP_S, Arrivals
from core.venues.comparison import ClosedSecond, Comparison
from tests.core.venues.market import START, Market, S, Told, fed, mid

FAULTY_S = 1500
"""Long enough that venues are judged, and are in trouble at its end."""


def troubled(seed: int) -> list[Told]:
    """Return what venues say that come, go, freeze and diverge."""
    market = Market(seed, bases={"a": 0.0, "b": 7.0, "c": -4.0, "d": 2.0})
    rng = Random(seed)
    market.live(1000)
    while len(market.told) < 4 * FAULTY_S:
        name = rng.choice("abcd")
        what = rng.randrange(4)
        market.frozen = {name} if what == 0 else set()
        market.gone = {name} if what == 1 else set()
        market.silent = {name} if what == 2 else set()
        leaver = name if what == 3 else ""
        market.change = lambda each, price, who=leaver: price * (1.003 if each == who else 1)  # type: ignore[misc]
        market.live(rng.randrange(10, 100))
    return market.told


TROUBLED = {seed: troubled(seed) for seed in (1, 3)}


def shuffled(told: list[Told], rng: Random) -> list[Told]:
    """Return what several partitions with lags of their own give: each source stays in order, and
    none is more than the lateness behind."""
    waiting: dict[str, list[Told]] = {}
    for each in told:
        waiting.setdefault(each[0].exchange, []).append(each)
    found: list[Told] = []
    newest = 0
    while waiting:
        oldest = min(queue[0][0].mid.second for queue in waiting.values())
        name = rng.choice(
            [
                name
                for name, queue in waiting.items()
                if max(newest, queue[0][0].mid.second) - oldest < LATENESS_S
            ]
        )
        found.append(waiting[name].pop(0))
        newest = max(newest, found[-1][0].mid.second)
        if not waiting[name]:
            del waiting[name]
    return found


def rows(closed: list[ClosedSecond], until: int) -> list[ClosedSecond]:
    """Return what was closed, without the end, which may be closed at one time or the next."""
    return [each for each in closed if each.second <= until and (each.rows or each.alerts)]


@pytest.mark.parametrize("seed", TROUBLED)
def test_troubled_market_has_every_kind_of_alert(seed: int) -> None:
    alerts = [alert for each in fed(TROUBLED[seed]) for _, alert in each.alerts]

    assert {alert.kind.name for alert in alerts} == {"DIVERGENCE", "FROZEN_PRICE"}
    assert {alert.phase.name for alert in alerts} == {"OPEN", "RESOLVE"}


@settings(max_examples=15)
@given(seed=st.sampled_from(sorted(TROUBLED)), draw=st.integers(0, 10_000))
def test_order_of_arrival_within_the_lateness_changes_nothing(seed: int, draw: int) -> None:
    rng = Random(draw)
    told = TROUBLED[seed]
    until = told[-1][0].mid.second - LATENESS_S

    assert rows(fed(shuffled(told, rng)), until) == rows(fed(told), until)


@settings(max_examples=10)
@given(seed=st.sampled_from(sorted(TROUBLED)), draw=st.integers(0, 10_000))
def test_repeats_change_nothing(seed: int, draw: int) -> None:
    rng = Random(draw)
    told = TROUBLED[seed]
    repeated: list[Told] = []
    for place, each in enumerate(told):
        repeated.append(each)
        if rng.random() < 0.02:
            # A worker that was killed: what was not committed comes again.
            repeated += told[max(place - rng.randrange(60), 0) : place + 1]

    assert fed(repeated) == fed(told)


@settings(max_examples=15)
@given(seed=st.sampled_from(sorted(TROUBLED)), cut=st.integers(0, 4 * FAULTY_S - 1))
def test_reader_that_begins_at_a_checkpoint_says_what_one_that_never_stopped_says(
    seed: int, cut: int
) -> None:
    told = TROUBLED[seed]
    whole, resumed = Comparison("BTC/USD"), Comparison("BTC/USD")
    for each in told[:cut]:
        whole.feed(*each)
    _, state = whole.checkpoint(0)

    assert resumed.recall(state)
    for each in told[cut : cut + 400]:
        assert resumed.feed(*each) == whole.feed(*each)
    assert resumed.checkpoint(0) == whole.checkpoint(0)


def test_state_that_cannot_be_read_is_refused_and_changes_nothing() -> None:
    comparison = Comparison("BTC/USD")
    for each in TROUBLED[1][:400]:
        comparison.feed(*each)
    number, state = comparison.checkpoint(7)

    assert not comparison.recall(b"\xc1")
    assert not comparison.recall(b"")
    assert comparison.recall(state)
    assert comparison.checkpoint(0)[0] == number + 1 == 8


def quoted(exchange: str, second: int) -> Told:
    return mid(exchange, second, (100, 102), second * S)


def spoken(comparison: Comparison, seconds: range, exchanges: str = "abc") -> None:
    for second in seconds:
        for exchange in exchanges:
            comparison.feed(*quoted(exchange, second))


LATER = START + 2 * LATENESS_S
"""Who has spoken since START counts by then."""


def test_second_closes_when_all_have_said_it() -> None:
    comparison = Comparison("BTC/USD")
    spoken(comparison, range(START, LATER))

    assert comparison.closed == LATER - 1
    assert comparison.feed(*quoted("a", LATER)) == []
    assert comparison.feed(*quoted("b", LATER)) == []
    assert [each.second for each in comparison.feed(*quoted("c", LATER))] == [LATER]


def test_missing_venue_holds_a_second_up_for_the_lateness_and_is_then_forgotten() -> None:
    comparison = Comparison("BTC/USD")
    spoken(comparison, range(START, LATER))
    lags = []
    for second in range(LATER, LATER + FORGET_S + 5):
        spoken(comparison, range(second, second + 1), "ab")
        lags.append(second - comparison.closed)

    assert lags[:LATENESS_S] == list(range(1, LATENESS_S + 1))
    assert lags[LATENESS_S + 5] == LATENESS_S
    assert lags[-1] == 0


def test_mid_of_a_closed_second_is_counted_and_left_out() -> None:
    comparison = Comparison("BTC/USD")
    spoken(comparison, range(START, LATER))
    spoken(comparison, range(LATER, LATER + LATENESS_S + 5), "ab")
    closed = comparison.closed

    assert comparison.feed(*quoted("c", LATER)) == []
    assert (comparison.late, comparison.closed) == (1, closed)


def test_clock_that_is_far_ahead_closes_nothing_and_holds_up_nobody() -> None:
    comparison = Comparison("BTC/USD")
    closed = []
    for second in range(START, LATER + 200):
        for exchange in "abc":
            is_ahead = exchange == "c" and LATER <= second < LATER + 2 * LATENESS_S
            said, _ = quoted(exchange, second + 3600 * is_ahead)
            closed += comparison.feed(said, (START, 2 * second))

    assert comparison.closed == LATER + 199
    assert comparison.late == LATENESS_S, "at first it is as one that begins anew"
    assert [exchange for exchange, _ in closed[-1].rows] == ["a", "b", "c"], (
        "when it is right again"
    )


def test_memory_is_bounded_whatever_is_said() -> None:
    arrivals = Arrivals()
    for second in range(START, START + 5_000):
        arrivals.add(*quoted("a", second))
        list(arrivals.close())
    assert len(arrivals.waiting) == 0

    arrivals.add(*quoted("b", START + 5_000))
    for second in range(START + 5_000, START + 10_000):
        arrivals.add(*quoted("a", second))
        list(arrivals.close())
    assert len(arrivals.waiting) <= AHEAD_S + LATENESS_S


def test_venue_that_pauses_begins_anew() -> None:
    comparison = Comparison("BTC/USD")
    closed = []
    back = LATER + 2 + RUN_GAP_S
    for second in range(START, back + 2 * LATENESS_S):
        for exchange in "abc":
            if exchange != "c" or not LATER <= second < back:
                closed += comparison.feed(*quoted(exchange, second))

    counted = {each.second for each in closed if len(each.rows) == 3}
    assert LATER - 1 in counted
    assert counted.isdisjoint(range(LATER, back + LATENESS_S))
    assert back + LATENESS_S in counted
