"""The fast campaign: all worlds of a seed, played in some processes, and the report of them.

The report depends on the seed and the numbers asked for, not on how many processes played it.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from hashlib import blake2b
from multiprocessing import get_context
from random import Random
from typing import Any, Final

import msgspec

from core.stability.alerts import Phase
from infra.chaos.goals import ALERTS_PER_FAULT, DIAGNOSIS_LEAST
from infra.chaos.journal import Journal
from infra.chaos.ledger import Observed
from infra.chaos.rehearsal import (
    Plan,
    Played,
    clean_plans,
    control_plans,
    fault_plans,
    play,
)
from infra.chaos.scenarios import SCENARIOS
from infra.chaos.score import Outcome, Verdict, class_score, confusion, judge
from infra.chaos.stage import Scenario

SPARE: Final = 1.03
"""More are injected than asked for: some have no effect that anybody could see."""
SHOWN: Final = 20
"""Misses, wrong diagnoses and false alarms that a report spells out, of each."""


class CampaignSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What to play. `faults`: classes, empty for all; `controls`: worlds of each and venue."""

    injections: int = 300
    clean_hours: float = 2160.0
    seed: int = 1
    faults: tuple[str, ...] = ()
    controls: int = 2
    jobs: int = 2


def plans(settings: CampaignSettings) -> list[Plan]:
    """Return all worlds: with faults, clean ones, and controls."""
    chosen = [each for each in SCENARIOS if not settings.faults or each.fault in settings.faults]
    by_fault: dict[str, list[Scenario]] = {}
    for scenario in chosen:
        by_fault.setdefault(scenario.fault, []).append(scenario)
    names: list[tuple[str, int]] = []
    for scenarios in by_fault.values():
        names += _shared_out(scenarios, settings.injections)
    made = fault_plans(settings.seed, names) if settings.injections else []
    made += clean_plans(settings.seed, settings.clean_hours)
    made += control_plans(settings.seed, settings.controls)
    return made


def _shared_out(scenarios: Sequence[Scenario], injections: int) -> list[tuple[str, int]]:
    """Share the injections of a class out among its variants.

    Where variants have goals of their own (F1, F7, F12) each gets the whole number.
    """
    wanted = round(injections * SPARE + 0.5)
    if scenarios[0].fault in _EACH_ALONE:
        return [(each.name, wanted) for each in scenarios]
    share, more = divmod(wanted, len(scenarios))
    return [(each.name, share + (place < more)) for place, each in enumerate(scenarios)]


_EACH_ALONE: Final = frozenset({"F1", "F7", "F12"})


def run(
    settings: CampaignSettings,
    told: Callable[[int, int, str], None],
    journal: Journal | None = None,
) -> dict[str, Any]:
    """Play everything and return the report; `told` hears of worlds done, of how many, and which.

    What `journal` knows is not played again. Whichever order worlds end in, the report has them in
    that of the plans.
    """
    todo = plans(settings)
    played: dict[Plan, Played] = {}
    for plan in todo:
        known = journal.find(plan) if journal is not None else None
        if known is not None:
            played[plan] = known
    told(len(played), len(todo), "")
    left = [plan for plan in todo if plan not in played]
    # In a random order any part that is played is like the whole.
    Random(settings.seed).shuffle(left)
    for result in _played(left, settings.jobs):
        played[result.plan] = result
        if journal is not None:
            journal.add(result)
        told(len(played), len(todo), _named(result.plan))
    return report(settings, [played[plan] for plan in todo])


def _played(left: Sequence[Plan], jobs: int) -> Iterator[Played]:
    """Yield worlds as they end."""
    if jobs == 1 or len(left) < 2:
        yield from map(_play, left)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_play, plan) for plan in left]):
            yield future.result()


def _play(plan: Plan) -> Played:
    # A world is one great circle of references that lives to its end: looking for others is waste.
    gc.freeze()
    try:
        return play(plan)
    finally:
        gc.unfreeze()
        gc.collect()


def _named(plan: Plan) -> str:
    if plan.control:
        return f"{plan.exchange}, {plan.control}"
    if plan.clean_s:
        return f"{plan.exchange}, {plan.clean_s / 3600:.1f} clean hours"
    return f"{plan.exchange}, {len(plan.scenarios)} faults"


# -- the report --


def report(
    settings: CampaignSettings, played: Sequence[Played], *, mode: str = "fast"
) -> dict[str, Any]:
    """Return the one object that a campaign ends with."""
    verdicts: list[tuple[Plan, Verdict]] = []
    for each in played:
        if each.plan.scenarios:
            verdicts.append((each.plan, judge(each.injections, each.alerts)))
    outcomes = [outcome for _, verdict in verdicts for outcome in verdict.outcomes]
    detectable = [each for each in outcomes if each.injection.target.kinds]
    clean = [each for each in played if each.plan.clean_s]
    controls = _controls(played)
    invented = [
        (each.plan, observed) for each in clean for observed in each.alerts if _opens(observed)
    ]
    beside = [(plan, alert) for plan, verdict in verdicts for alert in verdict.false_alarms]
    classes = _by(outcomes, lambda each: each.injection.fault)
    variants = _by(outcomes, lambda each: f"{each.injection.fault} {each.injection.variant}")
    right = sum(each.is_right for each in detectable)
    found: dict[str, Any] = {
        "mode": mode,
        "seed": settings.seed,
        "injections": len(outcomes),
        "detectable": len(detectable),
        "misses": sum(each.delay_s is None for each in detectable),
        "without_detector": sorted(
            {each.injection.fault for each in outcomes if not each.injection.target.kinds}
        ),
        "without_effect": sum(len(verdict.without_effect) for _, verdict in verdicts),
        "clean_hours": round(sum(each.stream_s for each in clean) / 3600, 2),
        "clean_connection_hours": round(sum(each.connection_s for each in clean) / 3600, 2),
        "false_alarms": len(invented) + sum(each["alarms"] for each in controls.values()),
        "false_alarms_between_faults": len(beside),
        "controls": controls,
        "diagnosis": round(right / len(detectable), 4) if detectable else None,
        "precision": _precision(outcomes, len(beside)),
        "alerts_per_fault": _per_fault(detectable),
        "delay_s": {
            name: msgspec.to_builtins(class_score(own).delay_s) for name, own in classes.items()
        },
        "classes": {name: msgspec.to_builtins(class_score(own)) for name, own in classes.items()},
        "variants": {name: msgspec.to_builtins(class_score(own)) for name, own in variants.items()},
        "confusion": confusion(outcomes),
        "frames": sum(each.frames for each in played),
        "unwell": sum(each.unwell for each in played),
        "hash": _digest(played),
        "examples": {
            "missed": [
                _told(plan, each)
                for plan, verdict in verdicts
                for each in verdict.outcomes
                if each.injection.target.kinds and each.delay_s is None
            ][:SHOWN],
            "not_exactly_one": [
                _told(plan, each)
                for plan, verdict in verdicts
                for each in verdict.outcomes
                if each.injection.target.kinds and not each.opened == each.resolved == 1
            ][:SHOWN],
            "false_alarms": [_alarm(plan, observed) for plan, observed in [*invented, *beside]][
                :SHOWN
            ],
        },
    }
    found["goals_missed"] = _goals_missed(settings, found)
    return found


def _by(outcomes: Iterable[Outcome], key: Callable[[Outcome], str]) -> dict[str, list[Outcome]]:
    names = [name for each in SCENARIOS for name in (each.fault, each.name)]
    order = {name: place for place, name in enumerate(names)}
    grouped: dict[str, list[Outcome]] = {}
    for each in sorted(outcomes, key=lambda each: order[key(each)]):
        grouped.setdefault(key(each), []).append(each)
    return grouped


def _controls(played: Iterable[Played]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for each in played:
        if each.plan.control:
            own = found.setdefault(
                each.plan.control, {"episodes": 0, "stream_hours": 0.0, "alarms": 0, "kinds": {}}
            )
            own["episodes"] += each.control_episodes
            own["stream_hours"] = round(own["stream_hours"] + each.stream_s / 3600, 2)
            for observed in filter(_opens, each.alerts):
                name = observed.alert.kind.name.lower()
                own["alarms"] += 1
                own["kinds"][name] = own["kinds"].get(name, 0) + 1
    return found


def _opens(observed: Observed) -> bool:
    return observed.alert.phase is Phase.OPEN


def _precision(outcomes: Sequence[Outcome], beside: int) -> float | None:
    """Return the share of alerts that name a fault rightly, each fault's first right one."""
    opened = sum(each.opened for each in outcomes) + beside
    right = sum(each.delay_s is not None for each in outcomes)
    return round(right / opened, 4) if opened else None


def _per_fault(outcomes: Sequence[Outcome]) -> dict[str, float | None]:
    n = len(outcomes)
    if not n:
        return {"opened": None, "resolved": None, "exactly_one": None}
    return {
        "opened": round(sum(each.opened for each in outcomes) / n, 4),
        "resolved": round(sum(each.resolved for each in outcomes) / n, 4),
        "exactly_one": round(sum(each.opened == each.resolved == 1 for each in outcomes) / n, 4),
    }


def _goals_missed(settings: CampaignSettings, found: dict[str, Any]) -> list[str]:
    # Goals are of classes; variants that have their own (F1, F7, F12) are held to those.
    scores = {name: each for name, each in found["classes"].items() if name not in _EACH_ALONE} | {
        name: each for name, each in found["variants"].items() if name.split()[0] in _EACH_ALONE
    }
    missed = [
        f"{name}: {why}"
        for name, each in scores.items()
        if each["goal_met"] is not None
        for why in each["why_not"]
    ]
    missed += [f"{name}: no detector looks for it" for name in found["without_detector"]]
    if found["diagnosis"] is not None and found["diagnosis"] < DIAGNOSIS_LEAST:
        missed.append(f"diagnosis {found['diagnosis']:.4f}, goal {DIAGNOSIS_LEAST}")
    single = found["alerts_per_fault"]["exactly_one"]
    if single is not None and single < ALERTS_PER_FAULT:
        missed.append(f"exactly one opening and one resolution: {single:.4f} of faults, goal 1")
    for name in ("false_alarms", "false_alarms_between_faults"):
        if found[name]:
            missed.append(f"{name.replace('_', ' ')}: {found[name]}, goal 0")
    if found["clean_hours"] < settings.clean_hours:
        missed.append(f"clean hours {found['clean_hours']}, asked for {settings.clean_hours:g}")
    return missed


def _told(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    injection = outcome.injection
    return {
        "world": plan.seed,
        "fault": f"{injection.fault} {injection.variant}",
        "exchange": injection.exchange,
        "symbol": injection.symbol,
        "start_ns": injection.ts_start,
        "end_ns": injection.ts_end,
        "effect_ns": injection.ts_effect,
        "diagnosis": outcome.diagnosis,
        "opened": outcome.opened,
        "resolved": outcome.resolved,
    }


def _alarm(plan: Plan, observed: Observed) -> dict[str, Any]:
    alert = observed.alert
    return {
        "world": plan.seed,
        "control": plan.control,
        "kind": alert.kind.name.lower(),
        "stream": f"{alert.channel} {alert.symbol}".strip(),
        "ts": alert.ts,
        "value": alert.value,
        "threshold": alert.threshold,
        "detail": alert.detail,
    }


def _digest(played: Iterable[Played]) -> str:
    digest = blake2b(digest_size=16)
    for each in played:
        digest.update(each.plan.seed.encode())
        digest.update(msgspec.json.encode(each.injections))
        digest.update(each.digest.encode())
    return digest.hexdigest()
