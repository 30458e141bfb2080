"""The campaign in real time: which fault hits which connection when, and the report.

Connections are hurt side by side, each with one fault after the other, and only when no incident of
theirs is open. Faults of our own servers come last, for all connections at once.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from infra.chaos.campaign import CampaignSettings, report
from infra.chaos.ledger import Injection
from infra.chaos.live import Connection, InjectionRefusedError, LivePipeline
from infra.chaos.live_faults import (
    FAULTS,
    SERVER_FAULTS,
    LiveFault,
    ServerFault,
    injection_of,
    injection_of_server,
)
from infra.chaos.rehearsal import Plan, Played

CATCH_UP_S: Final = 45.0
"""How long producers and workers may take to be where they were before our servers were hurt."""
SETTLE_S: Final = 300.0
"""How long a connection may take to be well again before it is hurt again."""
REST_S: Final = 10.0
"""At least so long nothing is done to a connection between two faults."""

Told = Callable[[int, int, str], None]


async def run_live(
    settings: CampaignSettings, folder: Path, *, warm_up_s: float, told: Told
) -> dict[str, Any]:
    """Play the campaign in `folder` and return its report.

    Raises:
        ServerError: a server did not start.
    """
    decks, servers = dealt(settings)
    total = sum(map(len, decks.values())) + len(servers)
    campaign = _Campaign(total, told)
    started = time.monotonic()
    async with LivePipeline(
        folder, seed=settings.seed, told=lambda text: told(0, total, text)
    ) as live:
        told(0, total, f"warming up for {warm_up_s:g} s")
        await asyncio.sleep(warm_up_s)
        clean_s = settings.clean_hours * 3600.0 / streams(live)
        if clean_s:
            told(0, total, f"{clean_s / 3600:.1f} hours in which nothing is done")
            await asyncio.sleep(clean_s)
        hands: dict[Connection, list[LiveFault]] = {each: [] for each in live.shards}
        for exchange, deck in decks.items():
            own = [each for each in hands if each[0] == exchange]
            for place, fault in enumerate(deck):
                hands[own[place % len(own)]].append(fault)
        await asyncio.gather(*(campaign.play(live, each, hand) for each, hand in hands.items()))
        for each in servers:
            await campaign.play_servers(live, each)
        await campaign.settled(live, list(live.shards))
        await live.first_effects(campaign.injections)
        seen = live.alerts.seen
        shards = dict(live.shards)
    lasted_s = time.monotonic() - started - warm_up_s
    played = [
        Played(
            plan=Plan(
                exchange=connection[0],
                seed=f"{settings.seed}:{connection[1]}",
                scenarios=("live",),
            ),
            injections=[
                each for each in campaign.injections if (each.exchange, each.shard) == connection
            ],
            alerts=[each for each in seen if (each.exchange, each.shard) == connection],
            stream_s=lasted_s * (2 + 2 * len(shard.symbols)),
            connection_s=lasted_s,
            frames=0,
            digest="",
            unwell=campaign.unwell.get(connection, 0),
        )
        for connection, shard in shards.items()
    ]
    return report(settings, played, mode="live")


def dealt(
    settings: CampaignSettings,
) -> tuple[dict[str, list[LiveFault]], list[ServerFault]]:
    """Return which faults each venue gets, in a seeded order, and those of our servers.

    Every class gets the whole number of injections, shared out among its variants; one fault of our
    servers is one for every connection.
    """
    draw = Random(f"{settings.seed}:live:deal")
    chosen = [each for each in FAULTS if not settings.faults or each.fault in settings.faults]
    decks: dict[str, list[LiveFault]] = {}
    for name in dict.fromkeys(each.fault for each in chosen):
        variants = [each for each in chosen if each.fault == name]
        count = settings.injections * (len(variants) if name in ("F1", "F7") else 1)
        for number in range(count):
            fault = variants[number % len(variants)]
            turn = number // len(variants)
            decks.setdefault(fault.exchanges[turn % len(fault.exchanges)], []).append(fault)
    for deck in decks.values():
        draw.shuffle(deck)
    servers = [
        each
        for each in SERVER_FAULTS
        if settings.injections and (not settings.faults or each.fault in settings.faults)
    ]
    return decks, servers


def streams(live: LivePipeline) -> int:
    """Return how many streams are judged: connections, their data, two channels a symbol."""
    return sum(2 + 2 * len(shard.symbols) for shard in live.shards.values())


class _Campaign:
    """What was done so far."""

    def __init__(self, total: int, told: Told) -> None:
        self.injections: list[Injection] = []
        self.unwell: dict[Connection, int] = {}
        self._done = 0
        self._total = total
        self._told = told

    async def play(self, live: LivePipeline, connection: Connection, hand: list[LiveFault]) -> None:
        """Hurt one connection with each of its faults, one after the other."""
        for fault in hand:
            await asyncio.sleep(REST_S + live.random.uniform(0.0, 5.0))
            await self.settled(live, [connection])
            injection = injection_of(live, fault, connection, len(self.injections) + 1)
            with contextlib.suppress(InjectionRefusedError):
                await fault.act(live, connection, injection)
                injection.ts_end = time.time_ns()
                self.injections.append(injection)
            self._count(f"{connection[1]} {fault.name}")

    async def play_servers(self, live: LivePipeline, fault: ServerFault) -> None:
        """Hurt our servers, when every connection is well."""
        await self.settled(live, list(live.shards))
        await asyncio.sleep(REST_S)
        first = len(self.injections) + 1
        own = [
            injection_of_server(fault, connection, first + place)
            for place, connection in enumerate(live.shards)
        ]
        self.injections += own
        await fault.act(live)
        for injection in own:
            injection.ts_end = time.time_ns()
        # What happened meanwhile is still to be read; only then is it known what is open.
        await asyncio.sleep(CATCH_UP_S)
        self._count(fault.name)

    async def settled(self, live: LivePipeline, connections: list[Connection]) -> None:
        """Wait until no incident of these connections is open."""
        deadline = asyncio.get_running_loop().time() + SETTLE_S
        for connection in connections:
            if not await live.alerts.until_well(connection, deadline):
                self.unwell[connection] = self.unwell.get(connection, 0) + 1

    def _count(self, what: str) -> None:
        self._done += 1
        self._told(self._done, self._total, what)
