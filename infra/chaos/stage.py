"""One fault of the campaign: what it is aimed at, which alerts name it rightly, and its entry in
the ledger while it is played.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from core.protocol import DecodeError, Delta, Snapshot, TradePrint
from core.stability.alerts import AlertKind
from infra.chaos.ledger import Injection, Target
from infra.chaos.virtual import STARTED_NS
from infra.chaos.world import World

_NS_PER_S: Final = 1_000_000_000
ROOT: Final = ("connection",)


class Stage(msgspec.Struct):
    """One scenario in one world: the world and the entry of the ledger that is being written."""

    world: World
    injection: Injection

    @classmethod
    def of(cls, world: World, scenario: "Scenario", number: int, symbols: Sequence[str]) -> "Stage":
        """Return the stage of a scenario that begins now; `number` is its id.

        One that is about a single symbol is about one of `symbols`.
        """
        mark = scenario.aim(world, symbols)
        injection = Injection(
            id=number,
            fault=scenario.fault,
            variant=scenario.variant,
            exchange=world.settings.exchange,
            shard=world.line.shard.name,
            channels=mark.channels,
            symbol=mark.symbol,
            target=mark.target,
            ts_start=world.now_ns(),
        )
        return cls(world, injection)

    def ends(self) -> None:
        """The fault is over."""
        self.injection.ts_end = self.world.now_ns()

    def shows(self, at_s: float | None = None) -> None:
        """The first effect can be seen at `at_s`, the loop's time, or now."""
        if self.injection.ts_effect is None:
            now = self.world.now_ns()
            self.injection.ts_effect = now if at_s is None else STARTED_NS + round(at_s * _NS_PER_S)


Play = Callable[[Stage], Awaitable[None]]
Watcher = Callable[[bytes, float], None]


class Mark(msgspec.Struct, frozen=True):
    """What a fault is aimed at, and which alerts name it rightly."""

    channels: tuple[str, ...]
    symbol: str
    target: Target


Aim = Callable[[World, Sequence[str]], Mark]


class Scenario(msgspec.Struct, frozen=True):
    """A variant of a fault: where it can be, what a right alert says, and how it is played."""

    fault: str
    variant: str
    exchanges: tuple[str, ...]
    aim: Aim
    play: Play
    is_alone: bool = True
    """It is about the whole connection: no incident of any symbol may be open."""
    is_compared: bool = False
    """It shows only beside other venues."""

    @property
    def name(self) -> str:
        """Return class and variant."""
        return f"{self.fault} {self.variant}"


# -- what a right alert says --


def connection(*kinds: AlertKind) -> Aim:
    """Aim at the connection as a whole."""
    return lambda world, symbols: Mark(ROOT, "", Target(kinds, ROOT))


def pooled(*kinds: AlertKind) -> Aim:
    """Aim at all market data of the connection together."""
    return lambda world, symbols: Mark(("data",), "", Target(kinds, ("data",)))


def stream(kind: AlertKind, *channels: str) -> Aim:
    """Aim at channels of one symbol."""

    def aim(world: World, symbols: Sequence[str]) -> Mark:
        symbol = world.random.choice(symbols)
        return Mark(channels, symbol, Target((kind,), channels, symbol))

    return aim


def unread(world: World, symbols: Sequence[str]) -> Mark:
    """Aim at the changes of one book, in a way that nobody can read them."""
    symbol = world.random.choice(symbols)
    return Mark(("book",), symbol, Target((AlertKind.SCHEMA,), ROOT))


def is_of(world: World, payload: bytes, injection: Injection) -> bool:
    """Say whether a frame is of the fault's stream; one that cannot be read is the touched one."""
    try:
        messages = world.exchange.decode(payload)
    except DecodeError:
        return True
    channels, symbol = injection.channels, injection.symbol
    return any(
        isinstance(each, Delta | Snapshot | TradePrint)
        and each.symbol == symbol
        and ("trades" if isinstance(each, TradePrint) else "book") in channels
        for each in messages
    )
