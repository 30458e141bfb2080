"""The facts of one raw record as they are found, each with its origin.

Whoever finds a fact adds it here; the origin is the frame that is being taken and how many facts
it gave before. Faults that a stream of garbage could multiply are spelled out up to a limit, and
the rest is counted. Nothing here knows what a fact means.
"""

from typing import Final

from core.events import (
    BookSnapshot,
    Events,
    Fault,
    FaultKind,
    StreamCheckpoint,
    StreamSecond,
    Trade,
)
from core.frames import Address, Frame, FrameKind
from core.stability.alerts import Alert
from core.venues.mids import Mid

SPELLED_MAX: Final = 200
"""Faults about single frames that are spelled out per connection and window; all are counted."""
_PER_FRAME: Final = frozenset(
    {
        FaultKind.DECODE_ERROR,
        FaultKind.UNKNOWN_SYMBOL,
        FaultKind.EXCHANGE_ERROR,
        FaultKind.SUBSCRIPTION_REJECTED,
        FaultKind.UNEXPECTED_BINARY,
        FaultKind.MAINTENANCE,
    }
)
"""Faults that whoever sends frames can raise as often as he likes."""
_NO_FRAME: Final = Frame(FrameKind.TICK, 0, 0, "", b"")


class Facts:
    """What one raw record implies, in order of origin.

    Whoever takes a frame sets `number` and `frame` to it, and `index` to 0; `address` is that of
    the record. `overtaken` are streams (channel, symbol) of which the frame held a late message,
    `repeated` those of which it held one that had come before.
    `decode_errors` counts over all records, `window_decode_errors` since the last `close_window`.
    """

    def __init__(self) -> None:
        self.address = Address("", "", "", 0)
        self.number = 0
        self.frame = _NO_FRAME
        self.index = 0
        self.trades: list[Trade] = []
        self.books: list[BookSnapshot] = []
        self.faults: list[Fault] = []
        self.seconds: list[StreamSecond] = []
        self.alerts: list[Alert] = []
        self.overtaken: list[tuple[str, str]] = []
        self.repeated: list[tuple[str, str]] = []
        self.checkpoints: list[StreamCheckpoint] = []
        self.mids: list[Mid] = []
        self.decode_errors = 0
        self.window_decode_errors = 0
        self._spelled = 0
        self._unspelled: dict[FaultKind, int] = {}

    def next_index(self) -> int:
        """Return the index of the next fact of this frame."""
        index = self.index
        self.index = index + 1
        return index

    def take(self, address: Address, number: int) -> Events:
        """Return what was found since the last call."""
        events = Events(
            address,
            number,
            self.trades,
            self.books,
            self.faults,
            self.seconds,
            self.alerts,
            self.checkpoints,
            self.mids,
        )
        self.trades, self.books, self.faults = [], [], []
        self.seconds, self.alerts, self.checkpoints, self.mids = [], [], [], []
        return events

    def fault(
        self,
        kind: FaultKind,
        *,
        expected: str,
        found: str,
        symbol: str = "",
        channel: str = "connection",
        count: int | None = None,
        unit: str = "",
    ) -> None:
        """Add a fault; texts are cut to what a row holds."""
        if kind in _PER_FRAME:
            self._spelled += 1
            if self._spelled > SPELLED_MAX:
                self._unspelled[kind] = self._unspelled.get(kind, 0) + 1
                return
        self._add_fault(kind, symbol[:64], channel, expected[:200], found[:200], count, unit)

    def undecoded(self, reason: str, expected: str, symbol: str = "") -> None:
        """Add the fault that the frame, or a part of it, cannot be read."""
        self.decode_errors += 1
        self.window_decode_errors += 1
        found = f"{reason[:120]}: {self.frame.payload[:80].decode(errors='replace')}"
        self.fault(FaultKind.DECODE_ERROR, expected=expected, found=found, symbol=symbol)

    def close_window(self) -> None:
        """Say how many faults were not spelled out, and begin to spell them out again."""
        for kind, count in self._unspelled.items():
            found = "more, counted but not spelled out"
            limit = f"at most {SPELLED_MAX} faults about single frames"
            self._add_fault(kind, "", "connection", limit, found, count, "frames")
        self._unspelled = {}
        self._spelled = 0
        self.window_decode_errors = 0

    def _add_fault(
        self,
        kind: FaultKind,
        symbol: str,
        channel: str,
        expected: str,
        found: str,
        count: int | None,
        unit: str,
    ) -> None:
        self.faults.append(
            Fault(
                self.number,
                self.next_index(),
                kind,
                symbol,
                channel,
                expected,
                found,
                count,
                unit,
                self.frame.ts_recv,
            )
        )
