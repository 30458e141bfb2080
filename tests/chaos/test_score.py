"""Alerts judged by ledgers that are written by hand."""

import pytest

from core.stability.alerts import Alert, AlertKind, Phase, Severity
from infra.chaos.goals import goal_of
from infra.chaos.ledger import Injection, Observed, Target
from infra.chaos.score import class_score, confusion, judge

S = 1_000_000_000
GAP = Target((AlertKind.GAP,), ("book",), "BTC")


def fault(at_s: float, *, target: Target = GAP, fault: str = "F4", **more: object) -> Injection:
    made = Injection(
        id=1,
        fault=fault,
        variant="one change",
        exchange="binance",
        shard="binance-0",
        channels=("book",),
        symbol="BTC",
        target=target,
        ts_start=int(at_s * S),
        ts_end=int((at_s + 1) * S),
        ts_effect=int(at_s * S),
    )
    for name, value in more.items():
        setattr(made, name, value)
    return made


def alert(
    at_s: float,
    phase: Phase = Phase.OPEN,
    kind: AlertKind = AlertKind.GAP,
    channel: str = "book",
    symbol: str = "BTC",
    exchange: str = "binance",
    name: str = "a",
) -> Observed:
    ts = int(at_s * S)
    made = Alert(
        number=1,
        index=0,
        alert_id=name,
        phase=phase,
        kind=kind,
        severity=Severity.WARNING,
        channel=channel,
        symbol=symbol,
        ts=ts,
        ts_effect=ts,
        ts_detected=ts,
        metric="",
        value=1.0,
        threshold=0.0,
        unit="",
        detail="",
        hits=0,
        children=0,
    )
    return Observed(exchange, "binance-0", made)


def test_right_alert_is_a_detection_with_its_delay_and_recovery() -> None:
    verdict = judge([fault(100)], [alert(100.25), alert(161, Phase.RESOLVE)])

    (outcome,) = verdict.outcomes
    assert (outcome.delay_s, outcome.recovery_s) == (0.25, 60.0)
    assert (outcome.diagnosis, outcome.is_right) == ("gap", True)
    assert (outcome.opened, outcome.resolved) == (1, 1)
    assert not verdict.false_alarms


def test_faults_of_two_symbols_at_once_have_their_own_alerts() -> None:
    other = Target((AlertKind.GAP,), ("book",), "ETH")
    faults = [
        fault(100, ts_end=300 * S),
        fault(150, target=other, symbol="ETH", ts_end=160 * S),
        fault(170, target=other, symbol="ETH", ts_end=280 * S),
    ]
    alerts = [
        alert(155, symbol="ETH", name="b"),
        alert(171, symbol="ETH", name="c"),
        alert(200, name="a"),
        alert(400, name="late"),
    ]

    verdict = judge(faults, alerts)

    assert [(each.opened, each.delay_s) for each in verdict.outcomes] == [
        (1, 100.0),
        (1, 5.0),
        (1, 1.0),
    ]
    assert [each.alert.alert_id for each in verdict.false_alarms] == ["late"]


def test_no_alert_is_a_miss() -> None:
    verdict = judge([fault(100)], [])

    (outcome,) = verdict.outcomes
    assert outcome.delay_s is None
    assert outcome.diagnosis == "none"
    assert class_score(verdict.outcomes).misses == 1


def test_fault_without_effect_is_no_miss_and_not_counted() -> None:
    verdict = judge([fault(100, ts_effect=None)], [])

    assert not verdict.outcomes
    assert len(verdict.without_effect) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        alert(100.2, kind=AlertKind.REORDERING),
        alert(100.2, symbol="ETH"),
        alert(100.2, channel="trades"),
    ],
    ids=["kind", "symbol", "channel"],
)
def test_wrongly_named_alert_is_a_miss_and_a_wrong_diagnosis(wrong: Observed) -> None:
    verdict = judge([fault(100)], [wrong])

    (outcome,) = verdict.outcomes
    assert outcome.delay_s is None
    assert not outcome.is_right
    assert not verdict.false_alarms
    assert confusion(verdict.outcomes) == {"F4 one change": {outcome.diagnosis: 1}}


def test_right_alert_after_a_wrong_one_is_found_and_wrongly_diagnosed() -> None:
    alerts = [alert(100.2, kind=AlertKind.REORDERING, name="b"), alert(100.5)]

    (outcome,) = judge([fault(100)], alerts).outcomes

    assert outcome.delay_s == 0.5
    assert not outcome.is_right
    assert outcome.opened == 2


def test_two_openings_are_two_and_not_exactly_one() -> None:
    alerts = [alert(100.2), alert(100.9, name="b"), alert(162, Phase.RESOLVE)]

    score = class_score(judge([fault(100)], alerts).outcomes)

    assert (score.opened_per_fault, score.resolved_per_fault) == (2.0, 1.0)
    assert score.exactly_one == 0.0


@pytest.mark.parametrize(
    "invented",
    [alert(99.9), alert(131.1), alert(100.2, exchange="kraken")],
    ids=["before", "long after", "elsewhere"],
)
def test_alert_that_no_fault_explains_is_a_false_alarm(invented: Observed) -> None:
    verdict = judge([fault(100)], [invented])

    assert verdict.false_alarms == [invented]
    assert verdict.outcomes[0].delay_s is None


def test_alert_belongs_to_the_last_fault_that_had_begun() -> None:
    first, second = fault(100), fault(120)

    outcomes = judge([first, second], [alert(121)]).outcomes

    assert [outcome.opened for outcome in outcomes] == [0, 1]


def test_own_fault_that_is_blamed_on_the_venue_misses_its_goal() -> None:
    ours = Target((AlertKind.PIPELINE,), ("connection",))
    alerts = [
        alert(103, kind=AlertKind.PIPELINE, channel="connection", symbol=""),
        alert(104, kind=AlertKind.LATENCY, channel="data", symbol="", name="b"),
    ]

    score = class_score(judge([fault(100, target=ours, fault="F10")], alerts).outcomes)

    assert score.blamed_on_venue == 1
    assert score.why_not == ["1 blamed on the venue"]
    assert score.goal_met is False


def test_class_without_detector_has_no_goal_to_meet() -> None:
    nobody = Target((), ())

    score = class_score(judge([fault(100, target=nobody, fault="F13")], []).outcomes)

    assert (score.misses, score.goal_met) == (1, None)


def test_delays_are_nearest_ranks_and_held_against_the_goal() -> None:
    faults = [fault(100 * number) for number in range(1, 101)]
    alerts = [alert(100 * n + 0.1 + n / 100, name=str(n)) for n in range(1, 101)]

    score = class_score(judge(faults, alerts).outcomes)

    assert (score.delay_s.median, score.delay_s.p95, score.delay_s.p99) == (0.6, 1.05, 1.09)
    assert score.delay_s.max == 1.1
    assert score.miss_rate_below == 0.03
    assert score.why_not == ["median 0.60 s, goal 0.5 s"]


def test_missed_share_has_a_bound_above_it() -> None:
    faults = [fault(100 * number) for number in range(1, 101)]
    alerts = [alert(100 * n + 0.1, name=str(n)) for n in range(1, 100)]

    score = class_score(judge(faults, alerts).outcomes)

    assert score.recall == 0.99
    assert 0.03 < score.miss_rate_below < 0.06


def test_growing_latency_is_measured_by_how_much_it_had_grown() -> None:
    slow = Target((AlertKind.LATENCY,), ("data",))
    ramp = fault(100, target=slow, fault="F7", variant="ramp", excess_ns_per_s=5_000_000)
    late = alert(130, kind=AlertKind.LATENCY, channel="data", symbol="")

    score = class_score(judge([ramp], [late]).outcomes)

    assert score.excess_ms_max == 150.0
    assert score.why_not == ["found at 150 ms of excess, goal 120 ms"]


def test_every_class_has_a_goal() -> None:
    assert goal_of("F2", "half-open").median_s == 2.0
    assert goal_of("F1", "symbol").median_s is None
    assert goal_of("F1", "connection").p99_s == 5.0
