"""Continuity rules: does this change follow the state we hold?

Two kinds of protocol are known. A *chain* names with every change the state it starts from
(Deribit's prev_change_id, Binance futures' pu) or the ids it covers (Binance spot's U and u,
Kraken futures' seq): a hole shows at once. A *checksum* venue numbers nothing; only the content
after a change can be checked. Trades have a rule of their own: contiguous ids.
"""

from enum import Enum
from typing import Final

from core.memory import TradeIdsMemory

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
    RESTART = 6
    """The venue has begun to number anew."""


_NEXT: Final = Verdict.NEXT


class Chain:
    """Follows `(first, prev, last)` of changes: the ids covered and the state started from.

    A snapshot at id L that is ordered with the changes is followed by one that starts from L. One
    that was asked for is not: joining it, changes with last <= L are dropped, and the first kept
    must cover L + 1 or start exactly from L. From then on every change must start from the last.
    """

    def __init__(self) -> None:
        self.last = 0
        self.joining = False
        """Where the stream stands is not known yet."""
        self._gap_until = 0
        self._gap_from = 0

    def restart(self, last: int, *, joining: bool) -> None:
        """Hold the snapshot with id `last`."""
        self.last = last
        self.joining = joining
        self._gap_from = self._gap_until = 0

    def check(self, first: int, prev: int, last: int) -> Verdict:
        """Judge a change; NEXT moves on, GAP remembers the hole, others change nothing."""
        if prev == self.last and not self.joining:
            self.last = last
            return _NEXT
        if self.joining:
            return self._join(first, prev, last)
        if last <= self.last:
            return Verdict.DUPLICATE
        self._gap_from, self._gap_until = self.last, prev
        return Verdict.GAP

    def is_late(self, prev: int, last: int) -> bool:
        """Say whether a change lies inside the hole seen last: it was overtaken, not lost."""
        return self._gap_from <= prev and last <= self._gap_until

    def _join(self, first: int, prev: int, last: int) -> Verdict:
        if last <= self.last:
            # The stream is seen to stand exactly where the snapshot does.
            self.joining = last < self.last
            return Verdict.OLD
        if first <= self.last + 1 or prev == self.last:
            self.joining = False
            self.last = last
            return _NEXT
        self._gap_from, self._gap_until = self.last, prev
        return Verdict.GAP


class TradeIds:
    """Follows one symbol's contiguous trade ids over reconnects."""

    def __init__(self) -> None:
        self.last: int | None = None
        self._last_ts = 0
        self._missing: list[tuple[int, int]] = []

    def check(self, sequence: int, ts_event: int = 0) -> tuple[Verdict, int]:
        """Judge a trade id; with GAP comes how many ids are missing before it, else 0.

        An old id at a later exchange time (`ts_event`, ns) is neither repeated nor late: the venue
        numbers anew, or the last id was no real one. That is RESTART.
        """
        last = self.last
        if last is None or sequence == last + 1:
            self._follow(sequence, ts_event)
            return _NEXT, 0
        if sequence > last:
            self._missing.append((last + 1, sequence - 1))
            del self._missing[:-_RANGES_MAX]
            self._follow(sequence, ts_event)
            return Verdict.GAP, sequence - last - 1
        if ts_event > self._last_ts:
            self._missing.clear()
            self._follow(sequence, ts_event)
            return Verdict.RESTART, 0
        for index, (low, high) in enumerate(self._missing):
            if low <= sequence <= high:
                rest = [(low, sequence - 1), (sequence + 1, high)]
                self._missing[index : index + 1] = [(a, b) for a, b in rest if a <= b]
                del self._missing[:-_RANGES_MAX]
                return Verdict.LATE, 0
        return Verdict.DUPLICATE, 0

    def remember(self) -> TradeIdsMemory:
        """Return all that later judgements depend on."""
        return TradeIdsMemory(self.last, self._last_ts, list(self._missing))

    def recall(self, memory: TradeIdsMemory) -> None:
        """Go on from what was remembered."""
        self.last = memory.last
        self._last_ts = memory.last_ts
        self._missing = memory.missing[-_RANGES_MAX:]

    def _follow(self, sequence: int, ts_event: int) -> None:
        self.last = sequence
        self._last_ts = ts_event
