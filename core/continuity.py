"""Continuity rules: does this change follow the state we hold?

Two kinds of protocol are known. A *chain* names with every change the state it starts from
(Deribit's prev_change_id, Binance futures' pu) or the ids it covers (Binance spot's U and u,
Kraken futures' seq): a hole shows at once. A *checksum* venue numbers nothing; only the content
after a change can be checked. Trades have a rule of their own: contiguous ids.
"""

from enum import Enum
from typing import Final

_RANGES_MAX: Final = 64
"""Missing ranges remembered per symbol; the oldest is given up first."""


class Scheme(Enum):
    """How a venue lets us see that a book change was missed."""

    CHAIN = "chain"
    CHECKSUM = "checksum"


class Bootstrap(Enum):
    """Where the first snapshot comes from."""

    STREAM = "stream"
    """The venue sends it after the subscription, in order with the changes."""
    REQUEST = "request"
    """It must be asked for, and joined with changes that are buffered meanwhile."""


class Verdict(Enum):
    """What a continuity rule says of a message."""

    NEXT = 1
    DUPLICATE = 2
    GAP = 3
    LATE = 4
    """It fills a hole that was counted before."""
    OLD = 5
    """The snapshot that was joined already holds it."""


class Chain:
    """Follows `(first, prev, last)` of changes: the ids covered and the state started from.

    Joining a snapshot at id L: drop changes with last <= L; the first kept must cover L + 1 or
    start exactly from L. From then on every change must start from the last one.
    """

    def __init__(self) -> None:
        self.last = 0
        self.joining = False
        self._gap_until = 0
        self._gap_from = 0

    def restart(self, last: int) -> None:
        """Hold the snapshot with id `last`."""
        self.last = last
        self.joining = True
        self._gap_from = self._gap_until = 0

    def check(self, first: int, prev: int, last: int) -> Verdict:
        """Judge a change; NEXT moves on, GAP remembers the hole, others change nothing."""
        if self.joining:
            if last <= self.last:
                return Verdict.OLD
            if first <= self.last + 1 or prev == self.last:
                self.joining = False
                self.last = last
                return Verdict.NEXT
            self._gap_from, self._gap_until = self.last, prev
            return Verdict.GAP
        if prev == self.last:
            self.last = last
            return Verdict.NEXT
        if last <= self.last:
            return Verdict.DUPLICATE
        self._gap_from, self._gap_until = self.last, prev
        return Verdict.GAP

    def is_late(self, prev: int, last: int) -> bool:
        """Say whether a change lies inside the hole seen last: it was overtaken, not lost."""
        return self._gap_from <= prev and last <= self._gap_until


class TradeIds:
    """Follows one symbol's contiguous trade ids over reconnects."""

    def __init__(self) -> None:
        self.last: int | None = None
        self._missing: list[tuple[int, int]] = []

    def check(self, sequence: int) -> tuple[Verdict, int]:
        """Judge a trade id; with GAP comes how many ids are missing before it, else 0."""
        last = self.last
        if last is None or sequence == last + 1:
            self.last = sequence
            return Verdict.NEXT, 0
        if sequence > last:
            self._missing.append((last + 1, sequence - 1))
            del self._missing[:-_RANGES_MAX]
            self.last = sequence
            return Verdict.GAP, sequence - last - 1
        for index, (low, high) in enumerate(self._missing):
            if low <= sequence <= high:
                rest = [(low, sequence - 1), (sequence + 1, high)]
                self._missing[index : index + 1] = [(a, b) for a, b in rest if a <= b]
                return Verdict.LATE, 0
        return Verdict.DUPLICATE, 0
