"""Controls: markets and venues that do something unusual which is no fault. No alert may come.

Each is played several times in a world that is warm; it returns how often.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from infra.chaos.world import World
from simulator.injector import move

EPISODES: Final = 10
BETWEEN_S: Final = 120.0


class Control(msgspec.Struct, frozen=True):
    """How a control is played; `followed` symbols at the beginning, None for all.

    `is_compared`: of several venues, which are compared with one another.
    """

    play: Callable[[World], Awaitable[int]]
    followed: int | None = None
    is_compared: bool = False


async def burst(world: World) -> int:
    """Ten times as many messages for 20 s."""
    for _ in range(EPISODES):
        world.venue.activity = 10.0
        await asyncio.sleep(20.0)
        world.venue.activity = 1.0
        await asyncio.sleep(BETWEEN_S)
    return EPISODES


async def lull(world: World) -> int:
    """A night: activity falls to a quarter within an hour, stays there for one, and comes back."""
    for step in range(60):
        world.venue.activity = 0.25 ** (step / 60)
        await asyncio.sleep(60.0)
    await asyncio.sleep(3600.0)
    for step in range(60, 0, -1):
        world.venue.activity = 0.25 ** (step / 60)
        await asyncio.sleep(60.0)
    world.venue.activity = 1.0
    return 1


async def volatility(world: World) -> int:
    """All prices move ten times as much, with three times the messages, for a minute."""
    for _ in range(EPISODES):
        world.prices.wildness = 10.0
        for each in world.together:
            each.venue.activity = 3.0
        await asyncio.sleep(60.0)
        world.prices.wildness = 1.0
        for each in world.together:
            each.venue.activity = 1.0
        await asyncio.sleep(BETWEEN_S)
    return EPISODES


async def common_jump(world: World) -> int:
    """All venues' prices jump by 30 to 100 basis points, each up to a second after the first."""
    for _ in range(EPISODES):
        share = world.random.choice((-1, 1)) * world.random.uniform(30e-4, 100e-4)
        for each in world.together:
            late_s = world.random.uniform(0.0, 1.0)
            world.loop.call_later(late_s, move, list(each.venue.markets.values()), share)
        await asyncio.sleep(BETWEEN_S)
    return EPISODES


async def listing(world: World) -> int:
    """A symbol is added to the plan: a planned reconnect, and streams without a past."""
    count = len(world.line.shard.symbols)
    while count < len(world.symbols):
        count += 1
        world.line.reopen(world.shard(count))
        await asyncio.sleep(900.0)
    return len(world.symbols) - 1


async def planned_reconnect(world: World) -> int:
    """We close the socket and open another one."""
    for _ in range(EPISODES):
        world.line.reopen(world.line.shard)
        await asyncio.sleep(BETWEEN_S)
    return EPISODES


async def rollover(world: World) -> int:
    """The venue announces that it will close the socket, and closes it a little later.

    Only Binance can say so of a socket in its protocol (Kraken's `maintenance` is of the whole
    venue); sockets of the others are closed by us, as planned.
    """
    for _ in range(EPISODES):
        connection = world.connection()
        if connection is not None and world.settings.exchange == "binance":
            world.venue.announce(connection)
        else:
            world.line.reopen(world.line.shard)
        await asyncio.sleep(10.0)
        if connection is not None and not connection.closing:
            await connection.close(1012, "shutdown")
        await asyncio.sleep(BETWEEN_S)
    return EPISODES


CONTROLS: Final = {
    "10x burst": Control(burst),
    "night lull": Control(lull),
    "volatility jump": Control(volatility),
    "volatility jump, all venues": Control(volatility, is_compared=True),
    "price jump, all venues": Control(common_jump, is_compared=True),
    "new listing": Control(listing, followed=1),
    "planned reconnect": Control(planned_reconnect),
    "announced rollover": Control(rollover),
}
