"""Worlds in virtual time: well by themselves, found to be ill when something is done to them."""

import asyncio
from collections.abc import Iterator
from itertools import islice

import pytest

from core.frames import FrameBatch, chained
from core.pipeline import PipelineSettings, ShardPipeline
from core.stability.alerts import Alert, AlertKind, Phase
from infra.chaos.campaign import CampaignSettings, plans, run
from infra.chaos.rehearsal import CALM, Plan, play
from infra.chaos.scenarios import SCENARIOS
from infra.chaos.score import judge
from infra.chaos.stage import Stage
from infra.chaos.world import VENUES, World, drawn, rehearse

WARM_S = 330.0
"""Enough for detectors that learn; half an hour more only makes them sharper."""


@pytest.mark.parametrize("exchange", VENUES)
def test_world_is_well_and_says_nothing(exchange: str) -> None:
    async def act(world: World) -> None:
        await asyncio.sleep(60.0)
        assert world.is_well()

    world = rehearse(drawn(exchange, "1"), act)

    assert world.frames > 500
    assert world.alerts == []


def test_world_with_one_seed_is_one_world() -> None:
    async def act(world: World) -> None:
        await asyncio.sleep(20.0)

    first, again = (rehearse(drawn("kraken", "1"), act) for _ in range(2))
    other = rehearse(drawn("kraken", "2"), act)

    assert first.digest.digest() == again.digest.digest()
    assert first.digest.digest() != other.digest.digest()


def test_socket_that_is_refused_is_opened_again_when_it_can_be() -> None:
    async def act(world: World) -> None:
        await asyncio.sleep(20.0)
        world.line.is_refused = True
        connection = world.connection()
        assert connection is not None
        connection.abort()
        await asyncio.sleep(20.0)
        assert not world.line.is_open
        world.line.is_refused = False
        assert await world.until_well(60.0)

    world = rehearse(drawn("deribit", "1"), act)

    kinds = [(each.alert.phase, each.alert.kind) for each in world.alerts]
    assert kinds == [
        (Phase.OPEN, AlertKind.DISCONNECTED),
        (Phase.RESOLVE, AlertKind.DISCONNECTED),
    ]


def test_socket_that_is_cut_a_hundred_times_comes_back_each_time() -> None:
    """Concept 2: nobody has to do anything; and each of them is one opening and one resolution."""
    cuts = 100

    async def act(world: World) -> None:
        await asyncio.sleep(20.0)
        for _ in range(cuts):
            connection = world.connection()
            assert connection is not None
            connection.abort()
            await asyncio.sleep(1.0)
            assert await world.until_well(120.0)

    world = rehearse(drawn("binance", "1", symbols=1, rate=1.0), act)

    kinds = [(each.alert.phase, each.alert.kind) for each in world.alerts]
    assert kinds == cuts * [
        (Phase.OPEN, AlertKind.DISCONNECTED),
        (Phase.RESOLVE, AlertKind.DISCONNECTED),
    ]


def test_way_that_swallows_the_handshake_ends_in_another_attempt() -> None:
    async def act(world: World) -> None:
        world.way.up.cut()
        world.way.down.cut()
        await asyncio.sleep(25.0)
        world.way.up.mend()
        world.way.down.mend()
        assert await world.until_well(60.0)

    rehearse(drawn("binance", "1"), act)


@pytest.mark.parametrize(
    "name",
    ["F2 half-open", "F4 one change", "F5 trades", "F6 one change", "F11 aborted", "F14 crossed"],
)
def test_fault_is_named_rightly_and_once(name: str) -> None:
    scenario = next(each for each in SCENARIOS if each.name == name)
    world, stage = played(scenario.exchanges[0], name)

    verdict = judge([stage.injection], world.alerts)

    (outcome,) = verdict.outcomes
    assert outcome.is_right
    assert (outcome.opened, outcome.resolved) == (1, 1)
    assert not verdict.false_alarms


def played(exchange: str, name: str) -> tuple[World, Stage]:
    """Return a world in which one fault was injected, and what was noted of it."""
    scenario = next(each for each in SCENARIOS if each.name == name)
    stages: list[Stage] = []

    async def act(world: World) -> None:
        await asyncio.sleep(WARM_S)
        stage = Stage.of(world, scenario, 1, world.symbols)
        stages.append(stage)
        await scenario.play(stage)
        assert await world.until_well(120.0)

    return rehearse(drawn(exchange, "1", symbols=3, rate=8.0), act), stages[0]


@pytest.mark.parametrize("frames", [1, 7, 1000])
def test_alerts_are_the_same_however_the_log_is_cut(frames: int) -> None:
    batches: list[FrameBatch] = []

    async def act(world: World) -> None:
        world.recorded = batches.append
        await asyncio.sleep(30.0)
        for name in ("F11 aborted", "F5 trades", "F9 checksum"):
            scenario = next(each for each in SCENARIOS if each.name == name)
            await scenario.play(Stage.of(world, scenario, 1, world.symbols))
            assert await world.until_well(120.0)

    world = rehearse(drawn("kraken", "3", symbols=3, rate=8.0), act)
    again = ShardPipeline(world.exchange, PipelineSettings(book_interval_ns=1 << 60))

    found = [alert for batch in cut(batches, frames) for alert in again.feed(batch).alerts]

    assert len(found) >= 6
    assert found == [each.alert for each in world.alerts]


def cut(batches: list[FrameBatch], count: int) -> Iterator[FrameBatch]:
    """Yield the same frames in batches of `count`."""
    epochs = dict.fromkeys(batch.address for batch in batches)
    for address in epochs:
        rest = iter([f for batch in batches if batch.address == address for f in batch.frames])
        number, chain = 0, bytes(16)
        while frames := list(islice(rest, count)):
            before, chain = chain, chained(chain, frames)
            yield FrameBatch(address, number, before, chain, frames)
            number += len(frames)


def test_restarted_pipeline_goes_on_with_the_same_alerts() -> None:
    batches: list[FrameBatch] = []

    async def act(world: World) -> None:
        world.recorded = batches.append
        await asyncio.sleep(WARM_S)
        scenario = next(each for each in SCENARIOS if each.name == "F15 broker, processor")
        await scenario.play(Stage.of(world, scenario, 1, world.symbols))
        assert await world.until_well(120.0)

    world = rehearse(drawn("deribit", "3", symbols=3, rate=8.0), act)
    whole = ShardPipeline(world.exchange, PipelineSettings(book_interval_ns=1 << 60))

    expected: list[Alert] = [alert for batch in batches for alert in whole.feed(batch).alerts]

    assert [alert.kind for alert in expected] == [AlertKind.PIPELINE] * 2
    assert [each.alert for each in world.alerts] == expected


def test_plans_are_of_the_seed_alone_and_share_injections_out() -> None:
    settings = CampaignSettings(injections=20, clean_hours=100.0, seed=5, controls=1)

    made = plans(settings)

    names = [name for plan in made for name in plan.scenarios]
    per_class: dict[str, int] = {}
    for name in names:
        fault = name.split()[0]
        per_class[fault] = per_class.get(fault, 0) + 1
    assert made == plans(settings)
    assert all(count >= 20 for count in per_class.values())
    assert per_class["F1"] >= 40
    assert len({plan.seed for plan in made}) == len(made)
    streams = {plan: (3 if plan.is_compared else 1) * (2 + 2 * plan.shape[0]) for plan in made}
    assert sum(plan.clean_s * streams[plan] for plan in made) >= 100 * 3600
    assert {plan.control for plan in made if plan.control} >= {"10x burst", "night lull"}


def test_clean_world_counts_its_hours_without_the_first_minutes() -> None:
    result = play(Plan(exchange="kraken", seed="x", shape=CALM, clean_s=60.0))

    assert result.connection_s == pytest.approx(60.0)
    assert result.stream_s == pytest.approx(60.0 * (2 + 2 * CALM[0]))
    assert result.alerts == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_campaign_is_the_same_in_any_number_of_processes() -> None:
    settings = CampaignSettings(
        injections=1, clean_hours=2.0, seed=3, faults=("F9",), controls=0, jobs=1
    )

    alone = run(settings, lambda done, total, which: None)
    together = run(
        CampaignSettings(injections=1, clean_hours=2.0, seed=3, faults=("F9",), controls=0, jobs=2),
        lambda done, total, which: None,
    )

    assert alone == together
    assert alone["misses"] == 0
    assert alone["detectable"] >= 1
    assert alone["clean_hours"] >= 2.0
