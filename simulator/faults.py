"""Faults of single sockets: what stands between a venue and the wire while they are active.

A fault sees the frames in the order of sending and returns those that go on. It notes in its
ledger entry which frames it touched. Messages that are not market data pass untouched and are
never overtaken, so an ack still follows all data that was sent before it.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from random import Random
from typing import ClassVar

from simulator.clock import Clock
from simulator.connection import Connection
from simulator.wire import BINARY, TEXT, Frame, message

AFFECTED_MAX = 1000  # frames named in one ledger entry; the count goes on
HELD_MAX_NS = 500_000_000  # a frame that is late by more is a fault of another kind
HELD_REST = 20  # and so are many late ones: for so many times its delay none is held after one


@dataclass(slots=True, kw_only=True)
class Entry:
    """One line of the ledger: what was done, to whom, when (ns since 1970)."""

    id: int
    kind: str
    venue: str
    symbol: str | None = None  # only its frames; None: of all symbols
    channel: str | None = None  # book, trades or ticker; None: all
    connection: str | None = None
    peer: str | None = None
    clock: Clock = field(default_factory=Clock, repr=False)  # not part of the line
    start_ns: int = 0
    end_ns: int | None = None  # None: still active
    first_ns: int | None = None  # when the first frame was touched; None: none was
    parameters: dict[str, object] = field(default_factory=dict)
    affected_count: int = 0
    affected: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin now, unless told when."""
        self.start_ns = self.start_ns or self.clock.true_ns()

    def touch(self, frame: Frame) -> None:
        """Note a frame that was touched."""
        if self.first_ns is None:
            self.first_ns = self.clock.true_ns()
        self.affected_count += 1
        if len(self.affected) < AFFECTED_MAX:
            self.affected.append(
                {
                    "channel": frame.channel,
                    "symbol": frame.market.symbol if frame.market else None,
                    "sequence": frame.sequence,
                    "trades": list(frame.trades),
                }
            )

    def untouch(self) -> None:
        """Take the last note back: the frame went on as it was."""
        self.affected_count -= 1
        if len(self.affected) > self.affected_count:
            self.affected.pop()
        if not self.affected_count:
            self.first_ns = None

    def as_dict(self) -> dict[str, object]:
        """Return the entry for JSON."""
        names = [each.name for each in fields(self) if each.name != "clock"]
        return {name: getattr(self, name) for name in names}


class FrameFault:
    """A fault that touches data frames of one socket until `count` of them or its end."""

    def __init__(self, entry: Entry, count: int, random: Random, share: float = 1.0) -> None:
        """`count` 0 means: until the end of its time; of the frames wanted it takes a `share`."""
        self.entry = entry
        self.random = random
        self._share = share
        self._left = count
        self._endless = count == 0
        self.over = False
        self.spares_snapshots = False
        self.on_idle: Callable[[], None] = lambda: None

    def apply(self, frame: Frame) -> list[Frame]:
        """Return the frames to be sent in place of this one."""
        if self.over or not self.wants(frame) or not self._chosen():
            return [*self.overtaken(), frame] if not frame.channel else [frame]
        self.entry.touch(frame)
        if not self._endless:
            self._left -= 1
            self.over = self._left <= 0
        return self.change(frame)

    def _chosen(self) -> bool:
        return self._share >= 1.0 or self.random.random() < self._share

    def wants(self, frame: Frame) -> bool:
        """Return whether the frame is of the symbol and channel that the fault is for."""
        entry = self.entry
        return (
            frame.channel != ""
            and entry.channel in (None, frame.channel)
            and (
                entry.symbol is None
                or (frame.market is not None and frame.market.symbol == entry.symbol)
            )
            and not (self.spares_snapshots and '"snapshot"' in frame.text)
        )

    def change(self, frame: Frame) -> list[Frame]:
        """Return what goes on in place of a frame that the fault is for."""
        raise NotImplementedError

    def overtaken(self) -> list[Frame]:
        """Return frames held back that must not be overtaken by the next one."""
        return []

    @property
    def idle(self) -> bool:
        """Return whether the fault is over and holds nothing back."""
        return self.over


class Drop(FrameFault):
    """Frames vanish (drop), or all of them for a time (silence)."""

    def change(self, frame: Frame) -> list[Frame]:
        """Send nothing."""
        return []


class Duplicate(FrameFault):
    """Frames are sent twice; their trades count once."""

    def change(self, frame: Frame) -> list[Frame]:
        """Send it and a copy."""
        return [frame, frame._replace(trades=())]


class Reorder(FrameFault):
    """A frame changes places with the next one of its symbol and channel, if one comes soon."""

    def __init__(self, entry: Entry, count: int, random: Random, share: float = 1.0) -> None:
        """Hold nothing yet."""
        super().__init__(entry, count, random, share)
        self._held: Frame | None = None
        self._held_ns = self._not_before_ns = 0

    def apply(self, frame: Frame) -> list[Frame]:
        """Send the later frame, then the one that was held back."""
        held = self._held
        if held is not None and self._since_held_ns() > HELD_MAX_NS:
            return [*self.overtaken(), *super().apply(frame)]
        if held is not None and (held.channel, held.market) == (frame.channel, frame.market):
            self._held = None
            return [frame, held]
        return super().apply(frame)

    def wants(self, frame: Frame) -> bool:
        """Hold one frame at a time, and wait when one was held in vain."""
        if self._held is not None or not super().wants(frame):
            return False
        return self.entry.clock.true_ns() >= self._not_before_ns

    def change(self, frame: Frame) -> list[Frame]:
        """Hold it back."""
        self._held = frame
        self._held_ns = self.entry.clock.true_ns()
        return []

    def overtaken(self) -> list[Frame]:
        """Give up the frame that is held back: nothing has overtaken it."""
        held, self._held = self._held, None
        if held is None:
            return []
        self._not_before_ns = self._held_ns + (HELD_REST + 1) * self._since_held_ns()
        self.entry.untouch()
        if not self._endless:
            self._left += 1
            self.over = False
        return [held]

    def _since_held_ns(self) -> int:
        return self.entry.clock.true_ns() - self._held_ns

    @property
    def idle(self) -> bool:
        """Return whether nothing is held back any more."""
        return self.over and self._held is None


class CorruptDigit(FrameFault):
    """One digit of a price or a size becomes another one; the JSON stays valid."""

    _places: ClassVar[dict[str, re.Pattern[str]]] = {
        "book": re.compile(
            r'(?:(?<=\[")|(?<=",")|(?<=",)|(?<="price":)|(?<="qty":))\d+\.\d+'
            r"|(?<=,)\d+\.\d+(?=\])"
        ),
        "trades": re.compile(
            r'(?:(?<="price":)|(?<="amount":)|(?<="qty":)|(?<="p":")|(?<="q":"))\d+\.\d+'
        ),
        "ticker": re.compile(r'(?:(?<="best_bid_price":)|(?<="b":"))\d+\.\d+'),
    }

    def wants(self, frame: Frame) -> bool:
        """Want frames that carry a number."""
        return super().wants(frame) and bool(self._places[frame.channel].search(frame.text))

    def change(self, frame: Frame) -> list[Frame]:
        """Change one digit of one number."""
        text = frame.text
        number = self.random.choice(list(self._places[frame.channel].finditer(text)))
        digits = [place for place in range(*number.span()) if text[place].isdigit()]
        # The first digit is left alone: a leading zero would make a JSON number invalid.
        place = self.random.choice(digits[1:] if len(digits) > 1 else digits)
        digit = (int(text[place]) + self.random.randint(1, 9)) % 10
        changed = f"{text[:place]}{digit}{text[place + 1 :]}"
        self.entry.affected[-1:] = [
            {**self.entry.affected[-1], "was": number.group(), "at": place, "digit": str(digit)}
        ]
        return [frame._replace(wire=message(changed.encode()))]


class CorruptChecksum(FrameFault):
    """A checksum becomes another number."""

    _place: ClassVar[re.Pattern[str]] = re.compile(r'(?<="checksum":)\d+')

    def wants(self, frame: Frame) -> bool:
        """Want frames that carry a checksum."""
        return super().wants(frame) and bool(self._place.search(frame.text))

    def change(self, frame: Frame) -> list[Frame]:
        """Flip the checksum's lowest bit."""
        text = self._place.sub(lambda found: str(int(found.group()) ^ 1), frame.text)
        return [frame._replace(wire=message(text.encode()))]


class Delay(FrameFault):
    """Every frame of the socket, acks too, arrives later; the order stays."""

    def __init__(self, entry: Entry, delay_s: float, gate: "FaultGate") -> None:
        """`delay_s` is the same for all frames."""
        super().__init__(entry, 0, Random())
        self._delay_s = delay_s
        self._gate = gate
        self._held: deque[tuple[float, Frame]] = deque()

    def apply(self, frame: Frame) -> list[Frame]:
        """Hold the frame, even after the end while earlier ones are held."""
        if self.over and not self._held:
            return [frame]
        due = self._gate.loop.time() + (0.0 if self.over else self._delay_s)
        if not self.over:
            self.entry.touch(frame)
        self._held.append((due, frame))
        self._gate.loop.call_at(due, self._release)
        return []

    def _release(self) -> None:
        now = self._gate.loop.time()
        while self._held and self._held[0][0] <= now:
            self._gate.pass_on(self, self._held.popleft()[1])
        if not self._held:
            self._gate.prune()

    @property
    def idle(self) -> bool:
        """Return whether all frames have been let go."""
        return self.over and not self._held


class FaultGate:
    """All frame faults of one socket, in the order in which they began."""

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        """Stand in front of a connection."""
        self.connection = connection
        self.loop = loop
        self.faults: list[FrameFault] = []
        connection.gate = self

    def push(self, frame: Frame) -> None:
        """Send a frame through all faults."""
        self._through(self.faults, frame)
        self.prune()

    def pass_on(self, fault: FrameFault, frame: Frame) -> None:
        """Send a frame that a fault had held through those behind it."""
        if fault not in self.faults:
            return  # the socket is gone
        place = self.faults.index(fault)
        self._through(self.faults[place + 1 :], frame)

    def prune(self) -> None:
        """Remove faults that are over; without any, the gate steps aside."""
        ended = [fault for fault in self.faults if fault.idle]
        if ended:
            self.faults = [fault for fault in self.faults if not fault.idle]
            if not self.faults:
                self.connection.gate = None
            for fault in ended:
                fault.on_idle()

    def end(self, fault: FrameFault) -> None:
        """End a fault and let go what it holds."""
        if fault in self.faults:
            for frame in fault.overtaken():
                self.pass_on(fault, frame)
        fault.over = True
        self.prune()

    def close(self) -> None:
        """Forget all: the socket is gone."""
        self.faults.clear()

    def _through(self, faults: list[FrameFault], frame: Frame) -> None:
        frames = [frame]
        for fault in faults:
            frames = [sent for each in frames for sent in fault.apply(each)]
        for sent in frames:
            self.connection.hand_over(sent)


def garbage(variant: str, size: int) -> bytes:
    """Return the wire bytes of a frame that no client should have to read."""
    if variant == "invalid_json":
        return message(b'{"channel":"book","type":"update","data":[{"symbol"::}')
    if variant == "truncated":
        return message(b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.BT')
    if variant == "nested":
        return message(b"[" * min(size, 200_000))
    if variant == "binary":
        return message(bytes(range(256)) * 2, BINARY)
    if variant == "huge":
        return message(b'{"e":"' + b"x" * size + b'"}')
    return message(b'{"channel":"book","data":[NaN,1e999]}', TEXT)


GARBAGE = ("invalid_json", "truncated", "nested", "binary", "huge", "not_a_number")
