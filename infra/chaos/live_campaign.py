"""The campaign in real time: which fault hits which connection when, and the report.

Connections are hurt side by side, each with one fault after the other, and only when no incident of
theirs is open. Then prices are made wrong, one venue's of each instrument at a time, while all else
is well; then the clock of each venue; and at last our own servers are hurt, for all connections at
once.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sized
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

import msgspec

from infra.chaos.campaign import CampaignSettings, report
from infra.chaos.ledger import Injection
from infra.chaos.live import (
    SYMBOLS,
    SYMBOLS_PER_SHARD,
    Connection,
    InjectionRefusedError,
    LivePipeline,
)
from infra.chaos.live_faults import (
    FAULTS,
    PRICE_FAULTS,
    SERVER_FAULTS,
    VENUE_FAULTS,
    LiveFault,
    ServerFault,
    VenueFault,
    injection_of,
    injection_of_all,
)
from infra.chaos.rehearsal import Plan, Played

CATCH_UP_S: Final = 45.0
"""How long producers and workers may take to be where they were before our servers were hurt."""
SETTLE_S: Final = 300.0
"""How long a connection may take to be well again before it is hurt again."""
REST_S: Final = 10.0
"""At least so long nothing is done to a connection between two faults."""

CONNECTIONS: Final = SYMBOLS // SYMBOLS_PER_SHARD
"""Of each venue."""

Told = Callable[[int, int, str], None]
_Fault = TypeVar("_Fault", LiveFault, VenueFault, ServerFault)


async def run_live(
    settings: CampaignSettings, folder: Path, *, warm_up_s: float, told: Told
) -> dict[str, Any]:
    """Play the campaign in `folder` and return its report.

    Raises:
        ServerError: a server did not start.
    """
    deal = dealt(settings)
    total = deal.count()
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
        for exchange, deck in deal.connections.items():
            own = [each for each in hands if each[0] == exchange]
            for place, fault in enumerate(deck):
                hands[own[place % len(own)]].append(fault)
        await asyncio.gather(*(campaign.play(live, each, hand) for each, hand in hands.items()))
        tracks = live.compared()
        await asyncio.gather(
            *(
                campaign.play_prices(live, own, deal.prices[place :: len(tracks)])
                for place, own in enumerate(tracks.values())
            )
        )
        await asyncio.gather(
            *(campaign.play_venue(live, each, hand) for each, hand in deal.venues.items())
        )
        for each in deal.servers:
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


class Deal(msgspec.Struct, frozen=True):
    """Which faults there are, in the order in which they are played.

    `connections` and `venues` are those of each exchange; `prices` are of the exchange beside them.
    """

    connections: dict[str, list[LiveFault]]
    prices: list[tuple[LiveFault, str]]
    venues: dict[str, list[VenueFault]]
    servers: list[ServerFault]

    def count(self) -> int:
        """Return how many faults are played."""
        decks: list[Sized] = [*self.connections.values(), *self.venues.values()]
        return sum(map(len, [*decks, self.prices, self.servers]))


def dealt(settings: CampaignSettings) -> Deal:
    """Return the faults in a seeded order.

    Every class gets the whole number of injections, shared out among its variants; one fault of a
    venue is one for each of its connections, and one of our servers is one for every connection.
    """
    draw = Random(f"{settings.seed}:live:deal")

    def chosen(faults: Iterable[_Fault]) -> list[_Fault]:
        wanted = settings.faults
        return [each for each in faults if not wanted or each.fault in wanted]

    own = chosen(FAULTS)
    decks: dict[str, list[LiveFault]] = {}
    for name in dict.fromkeys(each.fault for each in own):
        variants = [each for each in own if each.fault == name]
        count = settings.injections * (len(variants) if name in ("F1", "F7") else 1)
        for number in range(count):
            fault = variants[number % len(variants)]
            turn = number // len(variants)
            decks.setdefault(fault.exchanges[turn % len(fault.exchanges)], []).append(fault)
    for deck in decks.values():
        draw.shuffle(deck)
    prices = [
        (each, each.exchanges[number % len(each.exchanges)])
        for each in chosen(PRICE_FAULTS)
        for number in range(settings.injections)
    ]
    draw.shuffle(prices)
    venues: dict[str, list[VenueFault]] = {}
    for fault_of_venue in chosen(VENUE_FAULTS):
        for number in range(-(-settings.injections // CONNECTIONS)):
            exchange = fault_of_venue.exchanges[number % len(fault_of_venue.exchanges)]
            venues.setdefault(exchange, []).append(fault_of_venue)
    return Deal(decks, prices, venues, chosen(SERVER_FAULTS) if settings.injections else [])


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

    async def play_prices(
        self,
        live: LivePipeline,
        places: Mapping[str, tuple[Connection, str]],
        hand: list[tuple[LiveFault, str]],
    ) -> None:
        """Make one instrument's price wrong, at one venue after the other; `places` is where each
        venue has it."""
        connections = [connection for connection, _ in places.values()]
        for fault, exchange in hand:
            connection, symbol = places[exchange]
            await self.settled(live, connections)
            await asyncio.sleep(REST_S)
            injection = injection_of(live, fault, connection, len(self.injections) + 1, symbol)
            with contextlib.suppress(InjectionRefusedError):
                await fault.act(live, connection, injection)
                injection.ts_end = time.time_ns()
                self.injections.append(injection)
            self._count(f"{exchange} {symbol} {fault.name}")

    async def play_venue(self, live: LivePipeline, exchange: str, hand: list[VenueFault]) -> None:
        """Hurt one venue, when every connection of it is well."""
        own = [each for each in live.shards if each[0] == exchange]
        for fault in hand:
            await self._play_for_all(live, own, fault, partial(fault.act, live, exchange))
            self._count(f"{exchange} {fault.name}")

    async def play_servers(self, live: LivePipeline, fault: ServerFault) -> None:
        """Hurt our servers, when every connection is well."""
        await self._play_for_all(live, list(live.shards), fault, partial(fault.act, live))
        # What happened meanwhile is still to be read; only then is it known what is open.
        await asyncio.sleep(CATCH_UP_S)
        self._count(fault.name)

    async def _play_for_all(
        self,
        live: LivePipeline,
        connections: list[Connection],
        fault: VenueFault | ServerFault,
        act: Callable[[], Awaitable[None]],
    ) -> None:
        await self.settled(live, connections)
        await asyncio.sleep(REST_S)
        first = len(self.injections) + 1
        own = [
            injection_of_all(fault, connection, first + place)
            for place, connection in enumerate(connections)
        ]
        self.injections += own
        await act()
        for injection in own:
            injection.ts_end = time.time_ns()

    async def settled(self, live: LivePipeline, connections: list[Connection]) -> None:
        """Wait until no incident of these connections is open."""
        deadline = asyncio.get_running_loop().time() + SETTLE_S
        for connection in connections:
            if not await live.alerts.until_well(connection, deadline):
                self.unwell[connection] = self.unwell.get(connection, 0) + 1

    def _count(self, what: str) -> None:
        self._done += 1
        self._told(self._done, self._total, what)
