"""Venues at one price: nobody is accused until one of them is wrong, and then it is named once."""

import asyncio

import pytest

from infra.chaos.compared import SHAPE, Compared, rehearse_compared
from infra.chaos.controls import CONTROLS
from infra.chaos.rehearsal import Plan, clean_plans, control_plans, fault_plans, play
from infra.chaos.scenarios import SCENARIOS
from infra.chaos.score import judge
from infra.chaos.stage import Stage
from infra.chaos.virtual import VirtualLoop, run
from infra.chaos.world import VENUES, World

KNOWN_S = 930.0
"""Afterwards every venue is judged."""


def test_worlds_have_one_price_and_the_same_instruments() -> None:
    async def act() -> dict[str, float]:
        compared = Compared("1")
        await asyncio.sleep(120.0)
        return {
            exchange: market.flow.fair / market.instrument.start
            for exchange, world in compared.worlds.items()
            for market in [world.venue.markets[world.symbols[0]]]
        }

    levels = run(act(), VirtualLoop())

    assert set(levels) == set(VENUES)
    assert max(levels.values()) - min(levels.values()) < 20e-4
    assert abs(max(levels.values()) - 1.0) > 1e-5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wrong_venue_is_named_once_and_a_jump_of_all_is_nobodys_fault() -> None:
    stages: list[Stage] = []

    async def act(world: World) -> None:
        await asyncio.sleep(KNOWN_S)
        for each in world.together:
            for market in each.venue.markets.values():
                market.offset += 0.01
        await asyncio.sleep(60.0)
        assert not any(each.alerts for each in world.together)
        for name in ("F12 offset", "F12 frozen price"):
            scenario = next(each for each in SCENARIOS if each.name == name)
            stages.append(Stage.of(world, scenario, len(stages) + 1, world.symbols))
            await scenario.play(stages[-1])
            assert await world.until_well(60.0)

    own, *others = rehearse_compared("binance", "2", act)
    verdict = judge([stage.injection for stage in stages], own.alerts)

    assert [outcome.diagnosis for outcome in verdict.outcomes] == ["divergence", "frozen_price"]
    assert all(outcome.is_right for outcome in verdict.outcomes)
    assert all(outcome.opened == outcome.resolved == 1 for outcome in verdict.outcomes)
    assert not verdict.false_alarms
    assert [world.alerts for world in others] == [[], []]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_venue_that_falls_silent_is_accused_of_that_alone() -> None:
    async def act(world: World) -> None:
        await asyncio.sleep(KNOWN_S)
        scenario = next(each for each in SCENARIOS if each.name == "F2 half-open")
        await scenario.play(Stage.of(world, scenario, 1, world.symbols))
        assert await world.until_well(120.0)

    own, *others = rehearse_compared("kraken", "3", act)

    assert {observed.alert.kind.name for observed in own.alerts} == {"SILENCE"}
    assert [world.alerts for world in others] == [[], []]


def test_compared_world_is_the_same_for_the_same_seed() -> None:
    plan = Plan(exchange="kraken", seed="4", shape=SHAPE, is_compared=True, clean_s=30.0)

    first, again = play(plan), play(plan)

    assert first == again
    assert first.connection_s == pytest.approx(90.0)
    assert first.stream_s == pytest.approx(3 * 30.0 * (2 + 2 * SHAPE[0]))
    assert first.alerts == []


def test_what_needs_other_venues_is_planned_among_them() -> None:
    plans = [
        *fault_plans(1, [("F12 offset", 4), ("F4 trades", 4)]),
        *clean_plans(1, 1000.0),
        *control_plans(1, 1),
    ]

    compared = [plan for plan in plans if plan.is_compared]
    assert {plan.exchange for plan in compared if plan.scenarios} == set(VENUES)
    assert {name for plan in compared for name in plan.scenarios} == {"F12 offset"}
    assert {plan.control for plan in compared if plan.control} == {
        name for name, control in CONTROLS.items() if control.is_compared
    }
    assert any(plan.clean_s for plan in compared)
    assert all(plan.shape == SHAPE for plan in compared)
