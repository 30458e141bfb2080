"""What each world of the campaign plays: a run of faults, clean hours, or a control without fault.

A plan is a plain value, drawn from the campaign's seed alone, so that worlds can be played in any
order and in any number of processes with the same result.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final

import msgspec

from infra.chaos.compared import SHAPE, rehearse_compared
from infra.chaos.controls import CONTROLS
from infra.chaos.ledger import Injection, Observed
from infra.chaos.scenarios import SCENARIOS
from infra.chaos.stage import Scenario, Stage
from infra.chaos.virtual import STARTED_NS
from infra.chaos.world import BUSY, VENUES, World, drawn, rehearse

WARM_S: Final = 2100.0
"""Until then the detectors learn what is usual: half an hour, and what it takes to begin."""
SILENT_S: Final = 300.0
"""For so long most detectors say nothing; clean time is counted from then on."""
SETTLE_S: Final = 300.0
"""How long a world may take to be well again after a fault before the next one is injected."""
WORLD_INJECTIONS: Final = 60
CLEAN_WORLD_HOURS: Final = 2.0
CALM: Final = 5, 9.0
"""Symbols, and book events a second of all of them, of worlds whose faults are no silences."""
SHAPES: Final = (BUSY, (24, 8.0), (40, 8.0))
"""Likewise of clean worlds: busy ones and thin ones."""
SILENCES: Final = frozenset({"F1", "F2", "F3"})
_NS_PER_S: Final = 1_000_000_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One world, or those of all venues compared. Just one of the last three is given."""

    exchange: str
    seed: str
    shape: tuple[int, float] = BUSY
    is_compared: bool = False
    scenarios: tuple[str, ...] = ()
    """Names of the faults to inject, one after the other."""
    clean_s: float = 0.0
    control: str = ""


class Played(msgspec.Struct, kw_only=True):
    """What a world gave. `stream_s` are seconds of all its streams, without the first minutes."""

    plan: Plan
    injections: list[Injection]
    alerts: list[Observed]
    stream_s: float
    connection_s: float
    frames: int
    digest: str
    """Of every frame and every alert."""
    control_episodes: int = 0
    unwell: int = 0
    """How often a world was not well again in time after a fault."""


def fault_plans(seed: int, names: Sequence[tuple[str, int]]) -> list[Plan]:
    """Return worlds that inject each scenario so many times, spread over its venues."""
    draw = Random(f"{seed}:faults")
    known = {each.name: each for each in SCENARIOS}
    decks: dict[tuple[str, tuple[int, float], bool], list[str]] = {
        (exchange, *kind): []
        for kind in ((BUSY, False), (CALM, False), (SHAPE, True))
        for exchange in VENUES
    }
    for name, count in names:
        exchanges = known[name].exchanges
        kind = BUSY if known[name].fault in SILENCES else CALM, False
        if known[name].is_compared:
            kind = SHAPE, True
        for number in range(count):
            decks[(exchanges[number % len(exchanges)], *kind)].append(name)
    plans: list[Plan] = []
    for (exchange, shape, is_compared), deck in decks.items():
        draw.shuffle(deck)
        worlds = -(-len(deck) // WORLD_INJECTIONS)
        for number in range(worlds):
            # Faults of single symbols first: they need not wait for one another's resolution.
            own = tuple(sorted(deck[number::worlds], key=lambda name: known[name].is_alone))
            name = f"{seed}:{exchange}:{len(plans)}"
            plans.append(
                Plan(
                    exchange=exchange,
                    seed=name,
                    shape=shape,
                    is_compared=is_compared,
                    scenarios=own,
                )
            )
    return plans


def clean_plans(seed: int, stream_hours: float) -> list[Plan]:
    """Return worlds in which nothing is wrong, for at least so many hours of streams."""
    plans: list[Plan] = []
    kinds = (*((shape, False) for shape in SHAPES), (SHAPE, True))
    left = stream_hours
    while left > 0:
        number = len(plans)
        shape, is_compared = kinds[number // len(VENUES) % len(kinds)]
        plan = Plan(
            exchange=VENUES[number % len(VENUES)],
            seed=f"{seed}:clean:{number}",
            shape=shape,
            is_compared=is_compared,
        )
        hours = min(CLEAN_WORLD_HOURS, max(left / _streams(plan), 0.1))
        plans.append(msgspec.structs.replace(plan, clean_s=hours * 3600.0))
        left -= hours * _streams(plan)
    return plans


def control_plans(seed: int, worlds: int) -> list[Plan]:
    """Return so many worlds for each control and venue."""
    return [
        Plan(
            exchange=exchange,
            seed=f"{seed}:{name}:{exchange}:{number}",
            shape=SHAPE if control.is_compared else BUSY,
            is_compared=control.is_compared,
            control=name,
        )
        for name, control in CONTROLS.items()
        for exchange in VENUES
        for number in range(worlds)
    ]


def _streams(plan: Plan) -> int:
    """Return how many streams are judged: of each venue the connection, its data, two channels a
    symbol."""
    return _venues(plan) * (2 + 2 * plan.shape[0])


def _venues(plan: Plan) -> int:
    return len(VENUES) if plan.is_compared else 1


def play(plan: Plan) -> Played:
    """Play a world to its end."""
    injections: list[Injection] = []
    counts = [0, 0]

    async def act(world: World) -> None:
        if plan.clean_s:
            await asyncio.sleep(SILENT_S + plan.clean_s)
        elif plan.control:
            await asyncio.sleep(WARM_S)
            counts[0] = await CONTROLS[plan.control].play(world)
        else:
            # Books are renewed on the minute: no fault is to begin just then by design.
            await asyncio.sleep(WARM_S + world.random.uniform(0.0, 15.0))
            if plan.is_compared:
                # Each instrument is compared by itself: what is done to one touches no other.
                symbols = world.symbols
                await asyncio.gather(
                    *(
                        inject(world, plan.scenarios[place :: len(symbols)], (symbol,))
                        for place, symbol in enumerate(symbols)
                    )
                )
            else:
                await inject(world, plan.scenarios, world.symbols)
            await world.until_well(SETTLE_S)

    async def inject(world: World, names: Sequence[str], symbols: Sequence[str]) -> None:
        for name in names:
            scenario = _known(name)
            await asyncio.sleep(world.random.uniform(7.0, 17.0))
            # What is still open of other symbols does not touch a fault of one symbol.
            counts[1] += not await (
                world.until_well(SETTLE_S)
                if scenario.is_alone
                else world.until_ready(SETTLE_S, symbols)
            )
            spared = world.untroubled(symbols) or symbols
            stage = Stage.of(world, scenario, len(injections) + 1, spared)
            injections.append(stage.injection)
            await scenario.play(stage)

    worlds = _worlds(plan, act)
    lasted_s = (worlds[0].now_ns() - STARTED_NS) / _NS_PER_S - SILENT_S
    return Played(
        plan=plan,
        injections=injections,
        alerts=[observed for world in worlds for observed in world.alerts],
        stream_s=lasted_s * _streams(plan),
        connection_s=lasted_s * _venues(plan),
        frames=sum(world.frames for world in worlds),
        digest="".join(world.digest.hexdigest() for world in worlds),
        control_episodes=counts[0],
        unwell=counts[1],
    )


def _worlds(plan: Plan, act: Callable[[World], Awaitable[None]]) -> tuple[World, ...]:
    """Play in the plan's world and return it, and those that it was compared with."""
    if plan.is_compared:
        return rehearse_compared(plan.exchange, plan.seed, act)
    symbols, rate = plan.shape
    settings = drawn(plan.exchange, plan.seed, symbols=symbols, rate=rate)
    followed = CONTROLS[plan.control].followed if plan.control else None
    return (rehearse(settings, act, followed=followed),)


def _known(name: str) -> Scenario:
    return next(each for each in SCENARIOS if each.name == name)
