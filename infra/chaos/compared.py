"""Worlds of all venues in one virtual time, at one fair price, and what compares their mids.

One venue is hurt, and the others are what it is compared with. Mids reach the comparison in the
order in which the worlds' pipelines give them, as they would stand in one partition of Kafka.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Final

import msgspec

from core.events import Events
from core.frames import FrameBatch
from core.venues.arrivals import Arrival
from core.venues.comparison import Comparison
from infra.chaos.virtual import VirtualLoop, run
from infra.chaos.world import VENUES, World, drawn, seed_number
from simulator.prices import FairPrices

SHAPE: Final = 2, 8.0
"""Symbols, and book events a second of all of them, of each world. The first two of every venue are
BTC and ETH against dollars: two instruments that all of them have."""
VOLATILITY: Final = 0.6e-4, 1.4e-4
"""Standard deviation of prices over one second. 0.89e-4 is 50 % a year."""


class Compared:
    """See the module's docstring; made inside a running `VirtualLoop`."""

    def __init__(self, seed: str) -> None:
        symbols, rate = SHAPE
        volatility = Random(f"{seed}:volatility").uniform(*VOLATILITY)
        prices = FairPrices(seed_number(seed), volatility)
        self._comparisons: dict[str, Comparison] = {}
        worlds = tuple(
            World(drawn(exchange, f"{seed}:{exchange}", symbols=symbols, rate=rate), prices=prices)
            for exchange in VENUES
        )
        self.worlds = {world.settings.exchange: world for world in worlds}
        for world in worlds:
            world.together = worlds
            world.published = self._take

    def _take(self, batch: FrameBatch, events: Events) -> None:
        address = batch.address
        for mid in events.mids:
            comparison = self._comparisons.setdefault(mid.instrument, Comparison(mid.instrument))
            arrival = Arrival(address.exchange, address.shard, address.line, address.epoch, mid)
            for second in comparison.feed(arrival, (address.epoch, mid.second)):
                for exchange, alert in second.alerts:
                    world = self.worlds[exchange]
                    # Its own time is that of the prices. Nobody could tell before now.
                    world.hear(msgspec.structs.replace(alert, ts=world.now_ns()))


def rehearse_compared(
    exchange: str, seed: str, play: Callable[[World], Awaitable[None]]
) -> tuple[World, ...]:
    """Play in the world of one exchange among those of the others; return all of them, it first."""

    async def act() -> tuple[World, ...]:
        worlds = Compared(seed).worlds
        own = worlds[exchange]
        await play(own)
        return own, *(each for each in worlds.values() if each is not own)

    return run(act(), VirtualLoop())
