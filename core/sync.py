"""Keeping one book in step with its venue.

States: EMPTY (nothing known), SYNCING (a snapshot is on its way), LIVE (every check passed since
the last snapshot), STALE (a check failed).

    EMPTY --delta, venue needs a request--> SYNCING        EMPTY, SYNCING, STALE --snapshot--> LIVE
    LIVE --gap, checksum, crossed, audit--> STALE          LIVE --we unsubscribe--> SYNCING
    any --socket gone--> EMPTY

What cannot happen: a book that is not LIVE becoming LIVE without a snapshot; one symbol's fault
touching another's book; half a message being applied. A snapshot always replaces the content, so
the state after it depends on nothing older: that is what makes it a keyframe.
"""

from collections import deque
from typing import Final

from core.book import OrderBook
from core.continuity import Bootstrap, Chain, Scheme, Verdict
from core.decimals import normalised
from core.events import BookState, FaultKind
from core.protocol import Capabilities, Delta, Snapshot

BUFFER_MAX: Final = 10_000
"""Changes kept while a snapshot is on its way; the oldest is given up first."""


class SyncFault:
    """A fault as a book sees it; the pipeline adds where and when."""

    __slots__ = ("count", "expected", "found", "kind")

    def __init__(
        self, kind: FaultKind, expected: str, found: str, count: int | None = None
    ) -> None:
        self.kind = kind
        self.expected = expected
        self.found = found
        self.count = count


class SyncCounters:
    """What has happened to one book; counts only grow."""

    __slots__ = (
        "audits_bad",
        "audits_ok",
        "checksums_bad",
        "checksums_ok",
        "crossed",
        "duplicates",
        "gaps",
        "missing",
        "out_of_order",
        "resyncs",
        "snapshots",
    )

    def __init__(self) -> None:
        self.snapshots = 0
        self.resyncs = 0
        self.gaps = 0
        self.missing = 0
        self.duplicates = 0
        self.out_of_order = 0
        self.crossed = 0
        self.checksums_ok = 0
        self.checksums_bad = 0
        self.audits_ok = 0
        self.audits_bad = 0

    def copy(self) -> "SyncCounters":
        """Return the counts as they stand now."""
        same = SyncCounters()
        for name in self.__slots__:
            setattr(same, name, getattr(self, name))
        return same


class BookSync:
    """One symbol's book with its state, continuity and counters.

    `depth` is the subscribed depth (used where the venue truncates). With `lenient` a checksum
    mismatch is counted and the book goes on: a recording cannot be asked for a fresh snapshot.
    """

    def __init__(self, capabilities: Capabilities, depth: int, *, lenient: bool = False) -> None:
        self.book = OrderBook()
        self.state = BookState.EMPTY
        self.counters = SyncCounters()
        self.ts_event = 0
        self.ts_recv = 0
        self.verified = False
        """A checksum or audit has confirmed the content since the last snapshot."""
        self._chained = capabilities.scheme is Scheme.CHAIN
        self._buffers = capabilities.bootstrap is Bootstrap.REQUEST
        self._countable = bool(capabilities.loss_unit)
        self._depth = depth if capabilities.truncates else 0
        self._lenient = lenient
        self._chain = Chain()
        self._retained: deque[tuple[Delta, int]] = deque()
        self._retaining = self._buffers
        self._overflowed = False
        self._ahead: Snapshot | None = None
        """A requested snapshot that the changes have not reached yet."""

    @property
    def sequence(self) -> int | None:
        """The venue's id of the current state, None where it has none."""
        return self._chain.last if self._chained and self._chain.last else None

    def is_live(self) -> bool:
        """Say whether the book may be published."""
        return self.state is BookState.LIVE

    def disconnect(self) -> None:
        """The socket is gone: nothing that was known can be continued."""
        self.state = BookState.EMPTY
        self.book.clear()
        self._chain.restart(0)
        self._forget_retained()
        self.verified = False

    def subscribed(self, depth: int) -> None:
        """The venue names the depth that it keeps for us."""
        if self._depth:
            self._depth = depth

    def distrust(self) -> None:
        """Frames are missing on our own way: what follows cannot be proven to follow."""
        if self.state is BookState.LIVE:
            self._stale()
        else:
            self._forget_retained()

    def unsubscribed(self) -> None:
        """We gave up the channel: the next snapshot is expected, what it changes is no fault."""
        if self.state is BookState.LIVE:
            self.state = BookState.SYNCING
        self._forget_retained()

    def requested(self) -> None:
        """A snapshot was asked for: keep the changes from here on to join them with it."""
        if not self._retaining:
            self._retained.clear()
            self._retaining = True

    def delta(self, delta: Delta, ts_recv: int) -> SyncFault | None:
        """Take one change.

        Raises:
            DecimalError: a number cannot be read; nothing was applied.
        """
        fault: SyncFault | None = None
        if self._retaining:
            fault = self._retain(delta, ts_recv)
        if self.state is not BookState.LIVE:
            self._wait(delta)
            return fault
        if self._chained:
            verdict = self._chain.check(delta.first, delta.prev, delta.last)
            if verdict is Verdict.DUPLICATE:
                self._count_repeat(delta)
                return fault
            if verdict is Verdict.GAP:
                return self._gap(delta, ts_recv)
            if verdict is Verdict.OLD:
                return fault
        self.book.apply(delta.bids, delta.asks)
        self.ts_event = delta.ts_event
        self.ts_recv = ts_recv
        fault = self._check(delta.checksum) or fault
        ahead = self._ahead
        if ahead is not None and self.is_live() and self._chain.last >= ahead.last:
            self._ahead = None
            return self.snapshot(ahead, ts_recv) or fault
        return fault

    def snapshot(self, snapshot: Snapshot, ts_recv: int) -> SyncFault | None:
        """Take a full replacement; on a LIVE book it is an audit as well.

        Raises:
            DecimalError: a number cannot be read; nothing was changed.
        """
        fresh = OrderBook()
        fresh.replace(snapshot.bids, snapshot.asks, limit=snapshot.limit)
        if self._depth:
            fresh.bids.truncate(self._depth)
            fresh.asks.truncate(self._depth)
        chain = Chain()
        chain.restart(snapshot.last)
        ts_event, received = snapshot.ts_event, ts_recv
        if snapshot.requested:
            live = self.state is BookState.LIVE
            if live and snapshot.last > self._chain.last:
                self._ahead = snapshot
                return None
            for delta, delta_recv in self._retained:
                verdict = chain.check(delta.first, delta.prev, delta.last)
                if verdict is Verdict.GAP:
                    return None if live else _unjoinable(snapshot, delta)
                if verdict is Verdict.NEXT:
                    fresh.apply(delta.bids, delta.asks)
                    ts_event, received = delta.ts_event, delta_recv
            if live and chain.last != self._chain.last:
                # Too old to be joined with the live book: no verdict, nothing replaced.
                return None
        fault = self._audit(fresh, chain, snapshot)
        self._adopt(fresh, chain)
        self.ts_event, self.ts_recv = ts_event, received
        return fault or self._check(snapshot.checksum)

    def _adopt(self, fresh: OrderBook, chain: Chain) -> None:
        fresh.unknown_removals += self.book.unknown_removals
        if self.state is not BookState.LIVE:
            self.verified = False
            self.counters.resyncs += 1
        self.book, self._chain = fresh, chain
        self.state = BookState.LIVE
        self.counters.snapshots += 1
        self._forget_retained()
        self._retaining = False

    def _audit(self, fresh: OrderBook, chain: Chain, snapshot: Snapshot) -> SyncFault | None:
        """Compare the live book with a fresh one of the same moment, where there is one."""
        if self.state is not BookState.LIVE:
            return None
        if self._chained and chain.last != self._chain.last:
            return None
        difference = first_difference(self.book, fresh)
        if difference is None:
            self.counters.audits_ok += 1
            self.verified = True
            return None
        self.counters.audits_bad += 1
        held, shown = difference
        return SyncFault(FaultKind.AUDIT_MISMATCH, f"as in the snapshot: {shown}", f"held: {held}")

    def _retain(self, delta: Delta, ts_recv: int) -> SyncFault | None:
        self._retained.append((delta, ts_recv))
        if len(self._retained) <= BUFFER_MAX:
            return None
        self._retained.popleft()
        if self._overflowed:
            return None
        self._overflowed = True
        return SyncFault(
            FaultKind.BUFFER_OVERFLOW, f"at most {BUFFER_MAX} changes before a snapshot", "more"
        )

    def _forget_retained(self) -> None:
        self._retained.clear()
        self._retaining = self._buffers
        self._overflowed = False
        self._ahead = None

    def _wait(self, delta: Delta) -> None:
        """A change that cannot be applied now: buffered where the venue needs it, else ignored."""
        if self.state is BookState.EMPTY and self._buffers:
            self.state = BookState.SYNCING
        elif self.state is BookState.STALE and self._chained:
            if self._chain.is_late(delta.prev, delta.last):
                self.counters.out_of_order += 1
            elif delta.last <= self._chain.last:
                self.counters.duplicates += 1

    def _count_repeat(self, delta: Delta) -> None:
        if self._chain.is_late(delta.prev, delta.last):
            self.counters.out_of_order += 1
        else:
            self.counters.duplicates += 1

    def _gap(self, delta: Delta, ts_recv: int) -> SyncFault:
        counters = self.counters
        counters.gaps += 1
        last = self._chain.last
        count = None
        if self._countable:
            count = max(delta.prev - last, 0)
            counters.missing += count
        self._stale()
        if self._retaining:
            self._retained.append((delta, ts_recv))
        return SyncFault(
            FaultKind.SEQUENCE_GAP,
            f"change from {last}",
            f"from {delta.prev} to {delta.last}",
            count,
        )

    def _check(self, checksum: int | None) -> SyncFault | None:
        """Verify the book after a complete message."""
        book, counters = self.book, self.counters
        if self._depth:
            book.bids.truncate(self._depth)
            book.asks.truncate(self._depth)
        if checksum is not None:
            computed = book.checksum()
            if computed != checksum:
                counters.checksums_bad += 1
                if not self._lenient:
                    self._stale()
                return SyncFault(FaultKind.CHECKSUM_MISMATCH, str(checksum), str(computed))
            counters.checksums_ok += 1
            self.verified = True
        if book.is_crossed():
            counters.crossed += 1
            bid, ask = book.best_bid(), book.best_ask()
            assert bid is not None
            assert ask is not None
            if not self._lenient:
                self._stale()
            return SyncFault(
                FaultKind.CROSSED_BOOK, "best bid below best ask", f"{bid[0]} {ask[0]}"
            )
        return None

    def _stale(self) -> None:
        self.state = BookState.STALE
        self.verified = False
        self._forget_retained()


def _unjoinable(snapshot: Snapshot, delta: Delta) -> SyncFault:
    return SyncFault(
        FaultKind.SNAPSHOT_TOO_OLD,
        f"snapshot that reaches change {delta.first}",
        f"snapshot {snapshot.last}",
    )


def first_difference(held: OrderBook, shown: OrderBook) -> tuple[str, str] | None:
    """Return the first proven level in which two books differ, as text, None if they agree.

    Levels below either book's floor are not proven and not compared.
    """
    exponent = max(held.exponent, shown.exponent)
    for name in ("bids", "asks"):
        ladders = []
        floors = []
        for book in (held, shown):
            side = book.bids if name == "bids" else book.asks
            factor = 10 ** (exponent - book.exponent)
            ladders.append([(key * factor, side.sizes[key]) for key in reversed(side.keys)])
            if side.floor is not None:
                floors.append(side.floor * factor)
        floor = max(floors, default=None)
        difference = _ladder_difference(ladders[0], ladders[1], floor)
        if difference is not None:
            return f"{name} {difference[0]}", f"{name} {difference[1]}"
    return None


def _ladder_difference(
    held: list[tuple[int, str]], shown: list[tuple[int, str]], floor: int | None
) -> tuple[str, str] | None:
    if floor is not None:
        held = [level for level in held if level[0] >= floor]
        shown = [level for level in shown if level[0] >= floor]
    for index in range(max(len(held), len(shown))):
        ours = held[index] if index < len(held) else None
        theirs = shown[index] if index < len(shown) else None
        if ours is None or theirs is None or ours[0] != theirs[0]:
            return _level_text(index, ours), _level_text(index, theirs)
        if ours[1] != theirs[1] and normalised(ours[1]) != normalised(theirs[1]):
            return _level_text(index, ours), _level_text(index, theirs)
    return None


def _level_text(index: int, level: tuple[int, str] | None) -> str:
    return f"level {index} " + ("none" if level is None else f"{abs(level[0])} {level[1]}")
