"""Judging alerts by a ledger: what was found, how soon, what was missed, and what was invented.

An alert that opens between a fault's beginning and a while after its end belongs to that fault; any
other one is a false alarm. A fault is detected by the first alert that names it rightly; how its
first alert names it is the diagnosis. Faults without effect are not counted: nobody could see them.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from core.stability.alerts import Alert, AlertKind, Phase
from infra.chaos.goals import Goal, goal_of
from infra.chaos.ledger import Injection, Observed

GRACE_NS: Final = 30_000_000_000
"""An alert that opens this long after the end of a fault is still about it."""
OURS: Final = AlertKind.PIPELINE, AlertKind.LOG_BROKEN
"""Kinds that blame nobody but ourselves."""
NONE: Final = "none"


class Outcome(msgspec.Struct, frozen=True):
    """One fault and what was said of it; times in s."""

    injection: Injection
    delay_s: float | None
    """From the first visible effect to the first alert that names it rightly; None: missed."""
    recovery_s: float | None
    """From the end of the fault to the resolution of that alert."""
    diagnosis: str
    """Kind of the first alert, `none` without any."""
    is_right: bool
    """The first alert names kind and stream rightly."""
    opened: int
    resolved: int
    blames_venue: bool
    """An alert says that something else than our own pipeline is wrong."""


class Verdict(msgspec.Struct):
    """What one connection's alerts say of its ledger."""

    outcomes: list[Outcome]
    without_effect: list[Injection]
    false_alarms: list[Observed]


class Delays(msgspec.Struct, frozen=True):
    """Seconds; None where nothing was detected."""

    n: int
    median: float | None
    p95: float | None
    p99: float | None
    max: float | None


class ClassScore(msgspec.Struct, frozen=True):
    """One class of fault, or one variant of it."""

    n: int
    misses: int
    recall: float
    miss_rate_below: float
    """95 % bound of the rate of misses: 3/n where there are none (rule of three)."""
    delay_s: Delays
    recovery_s: Delays
    right: float
    """Share whose first alert names it rightly."""
    opened_per_fault: float
    resolved_per_fault: float
    exactly_one: float
    """Share with exactly one opening and one resolution."""
    blamed_on_venue: int
    excess_ms_max: float | None
    """Of a latency that grows: how much it had grown when it was found, at most."""
    goal: Goal
    goal_met: bool | None
    """None: no detector of this version looks for it."""
    why_not: list[str]


def judge(
    injections: Sequence[Injection], alerts: Iterable[Observed], *, grace_ns: int = GRACE_NS
) -> Verdict:
    """Match alerts with faults that do not overlap on a connection, or are of other symbols."""
    by_connection: dict[tuple[str, str], list[Injection]] = {}
    for injection in sorted(injections, key=lambda each: each.ts_start):
        by_connection.setdefault((injection.exchange, injection.shard), []).append(injection)
    found: dict[int, list[Alert]] = {}
    resolved: dict[str, Alert] = {}
    false_alarms: list[Observed] = []
    for observed in alerts:
        alert = observed.alert
        if alert.phase is Phase.RESOLVE:
            resolved[alert.alert_id] = alert
            continue
        own = by_connection.get((observed.exchange, observed.shard), [])
        cause = _cause(own, alert, grace_ns)
        if cause is None:
            false_alarms.append(observed)
        else:
            found.setdefault(id(cause), []).append(alert)
    verdict = Verdict([], [], false_alarms)
    for injection in injections:
        alerts_of = found.get(id(injection), [])
        is_right = all(injection.target.fits(alert) for alert in alerts_of)
        if injection.ts_effect is None and is_right:
            verdict.without_effect.append(injection)
        else:
            verdict.outcomes.append(_outcome(injection, alerts_of, resolved))
    return verdict


def _cause(injections: Sequence[Injection], alert: Alert, grace_ns: int) -> Injection | None:
    """Return the last fault that had begun when the alert opened and is not long over: of the
    alert's own symbol, if there is one, else of any."""
    begun = [each for each in injections if each.ts_start <= alert.ts <= each.ts_end + grace_ns]
    own = [each for each in begun if alert.symbol and each.symbol == alert.symbol]
    return next(reversed(own or begun), None)


def _outcome(injection: Injection, alerts: list[Alert], resolved: dict[str, Alert]) -> Outcome:
    target = injection.target
    right = next((alert for alert in alerts if target.fits(alert)), None)
    ends = [resolved[alert.alert_id] for alert in alerts if alert.alert_id in resolved]
    began = injection.ts_start if injection.ts_effect is None else injection.ts_effect
    delay_s = recovery_s = None
    if right is not None:
        # The effect is timed to a few ms where nothing arrives that would show its instant.
        delay_s = max(right.ts - began, 0) / 1e9
        end = resolved.get(right.alert_id)
        recovery_s = None if end is None else (end.ts - injection.ts_end) / 1e9
    return Outcome(
        injection=injection,
        delay_s=delay_s,
        recovery_s=recovery_s,
        diagnosis=alerts[0].kind.name.lower() if alerts else NONE,
        is_right=bool(alerts) and target.fits(alerts[0]),
        opened=len(alerts),
        resolved=len(ends),
        blames_venue=any(alert.kind not in OURS for alert in alerts),
    )


def class_score(outcomes: Sequence[Outcome]) -> ClassScore:
    """Score faults of one class, or of one variant."""
    n = len(outcomes)
    delays = [each.delay_s for each in outcomes if each.delay_s is not None]
    recoveries = [each.recovery_s for each in outcomes if each.recovery_s is not None]
    misses = n - len(delays)
    opened = sum(each.opened for each in outcomes)
    resolved = sum(each.resolved for each in outcomes)
    single = sum(each.opened == each.resolved == 1 for each in outcomes)
    first = outcomes[0].injection
    goals = {goal_of(each.injection.fault, each.injection.variant) for each in outcomes}
    goal = goals.pop() if len(goals) == 1 else Goal()
    excess = [
        each.delay_s * each.injection.excess_ns_per_s / 1e6
        for each in outcomes
        if each.injection.excess_ns_per_s and each.delay_s is not None
    ]
    excess_ms = max(excess, default=None)
    blamed = sum(each.blames_venue for each in outcomes) if goal.is_ours else 0
    spread = _delays(delays)
    why_not = _why_not(goal, spread, misses, blamed, excess_ms)
    return ClassScore(
        n=n,
        misses=misses,
        recall=_rounded(1.0 - misses / n),
        miss_rate_below=_rounded(_bound(misses, n)),
        delay_s=spread,
        recovery_s=_delays(recoveries),
        right=_rounded(sum(each.is_right for each in outcomes) / n),
        opened_per_fault=_rounded(opened / n),
        resolved_per_fault=_rounded(resolved / n),
        exactly_one=_rounded(single / n),
        blamed_on_venue=blamed,
        excess_ms_max=None if excess_ms is None else _rounded(excess_ms),
        goal=goal,
        goal_met=not why_not if first.target.kinds else None,
        why_not=why_not,
    )


def _why_not(
    goal: Goal, delays: Delays, misses: int, blamed: int, excess_ms: float | None
) -> list[str]:
    """Say which parts of a goal are missed, and by how much."""
    why = [f"{misses} missed"] if misses else []
    for name, found, most in (
        ("median", delays.median, goal.median_s),
        ("p99", delays.p99, goal.p99_s),
    ):
        if found is not None and most is not None and found > most:
            why.append(f"{name} {found:.2f} s, goal {most:g} s")
    if goal.excess_s is not None and excess_ms is not None and excess_ms >= goal.excess_s * 1e3:
        why.append(f"found at {excess_ms:.0f} ms of excess, goal {goal.excess_s * 1e3:.0f} ms")
    if blamed:
        why.append(f"{blamed} blamed on the venue")
    return why


def confusion(outcomes: Iterable[Outcome]) -> dict[str, dict[str, int]]:
    """Return how often each variant's first alert was of each kind."""
    matrix: dict[str, dict[str, int]] = {}
    for each in outcomes:
        row = matrix.setdefault(f"{each.injection.fault} {each.injection.variant}", {})
        row[each.diagnosis] = row.get(each.diagnosis, 0) + 1
    return matrix


def _delays(values: list[float]) -> Delays:
    ordered = sorted(values)

    def quantile(percent: int) -> float | None:
        if not ordered:
            return None
        return _rounded(ordered[max(-(-len(ordered) * percent // 100) - 1, 0)])

    return Delays(len(ordered), quantile(50), quantile(95), quantile(99), quantile(100))


def _bound(misses: int, n: int) -> float:
    """Return the 95 % upper bound of a rate: the rule of three, or Wilson's where some missed."""
    if not misses:
        return min(3.0 / n, 1.0)
    z, share = 1.645, misses / n
    middle = share + z * z / (2 * n)
    spread = z * float((share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5)
    return min((middle + spread) / (1 + z * z / n), 1.0)


def _rounded(value: float) -> float:
    return round(value, 4)
