"""Keeping one book in step with its venue.

States: EMPTY (nothing known), SYNCING (a snapshot is on its way), LIVE (every check passed since
the last snapshot), STALE (a check failed).

    EMPTY --delta, venue needs a request--> SYNCING        EMPTY, SYNCING, STALE --snapshot--> LIVE
    LIVE --gap, checksum, crossed, unreadable--> STALE     LIVE --we unsubscribe--> SYNCING
    any --socket gone--> EMPTY                             LIVE --snapshot--> LIVE, and an audit

What cannot happen: a book that is not LIVE becoming LIVE without a snapshot; one symbol's fault
touching another's book; a book being LIVE after a message of which a part was applied. A snapshot
always replaces the content, so the state after it depends on nothing older: that is what makes it
a keyframe.

Changes are retained for a snapshot that was asked for and is not ordered with them: while the
venue's first one is on its way, and from a request to its answer. An answer behind the stream is
carried forward over them; one ahead of it waits until the stream has caught up. A book that is
renewed by a new subscription is held, and follows what still comes in; if the fresh snapshot
stands at the very id that it has reached, that is an audit too.
"""

from typing import Final

from core.audit import first_difference
from core.book import OrderBook
from core.continuity import Bootstrap, Chain, Scheme, Verdict
from core.counters import SyncCounters
from core.decimals import DecimalError
from core.events import BookState, FaultKind
from core.protocol import Capabilities, Delta, Snapshot
from core.retained import RETAINED_LEVELS_MAX, RetainedChanges, require_readable

LEVELS_MAX: Final = 50_000
"""Levels a side of any book; the worst are given up, and what is below them is not proven."""

_LIVE: Final = BookState.LIVE
_NEXT: Final = Verdict.NEXT


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


class BookSync:
    """One symbol's book with its state, continuity and counters.

    `depth` is the subscribed depth (used where the venue truncates). With `lenient` a wrong
    checksum or a crossed book is counted and the book goes on: a recording cannot be asked for a
    fresh snapshot.
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
        self._by_request = capabilities.bootstrap is Bootstrap.REQUEST
        self._countable = bool(capabilities.loss_unit)
        self._truncates = capabilities.truncates
        self._depth = depth if capabilities.truncates else LEVELS_MAX
        self._lenient = lenient
        self._chain = Chain()
        self._retaining = self._by_request
        self._retained = RetainedChanges()
        self._overflowed = False
        self._awaits_stream = False
        """We gave the channel up: only the stream's own snapshot can be continued."""
        self._ahead: Snapshot | None = None
        """A requested snapshot that the changes have not reached yet."""
        self._holds = False
        """The channel of a LIVE book was given up, and the book has missed nothing since."""

    @property
    def sequence(self) -> int | None:
        """The venue's id of the current state, None where it has none."""
        return self._chain.last if self._chained and self._chain.last else None

    # -- what else happens to the channel --

    def disconnect(self) -> None:
        """The socket is gone: nothing that was known can be continued."""
        self.state = BookState.EMPTY
        self.book.clear()
        self._chain.restart(0, joining=False)
        self.verified = False
        self._awaits_stream = self._holds = False
        self._retaining = self._by_request
        self._forget_retained()

    def subscribed(self, depth: int) -> None:
        """The venue names the depth that it keeps for us."""
        if self._truncates:
            self._depth = depth

    def distrust(self) -> None:
        """Frames are missing on our own way: what follows cannot be proven to follow."""
        self._holds = False
        if self.state is _LIVE:
            self._stale()
        else:
            self._forget_retained()

    def unsubscribed(self) -> None:
        """We gave up the channel: the next snapshot is expected, and audits what is held if it can.

        Between the two ids may lie changes that were not sent: that is no fault.
        """
        if self.state is _LIVE:
            self.state = BookState.SYNCING
            self._holds = self._chained and not self._by_request
        self._awaits_stream = not self._by_request
        self._forget_retained()

    def requested(self) -> None:
        """A snapshot was asked for: keep the changes from here on to join them with it."""
        if self.state is _LIVE:
            # An earlier request was not answered; what was kept for it is of no use now.
            self._retained.forget()
        self._retaining = True

    def request_failed(self) -> None:
        """The snapshot will not come; a live book needs to keep nothing for it."""
        if self.state is _LIVE:
            self._end_audit()

    # -- changes --

    def delta(self, delta: Delta, ts_recv: int) -> SyncFault | None:
        """Take one change and return what was wrong with it."""
        if self.state is not _LIVE:
            fault = self._retain(delta, ts_recv) if self._retaining else None
            if fault is None:
                self._wait(delta)
            return fault
        if self._chained:
            verdict = self._chain.check(delta.first, delta.prev, delta.last)
            if verdict is not _NEXT:
                return self._not_next(verdict, delta, ts_recv)
        try:
            self.book.apply(delta.bids, delta.asks)
        except DecimalError as error:
            self._stale()
            return _unreadable(error)
        if self._retaining and not self._retained.keep(delta, ts_recv):
            # The book needs none of what is kept: only the audit is given up.
            self._end_audit()
        self.ts_event = delta.ts_event
        self.ts_recv = ts_recv
        fault = self._check(delta.checksum)
        if self._ahead is not None:
            return self._catch_up(ts_recv) or fault
        return fault

    def _not_next(self, verdict: Verdict, delta: Delta, ts_recv: int) -> SyncFault | None:
        if verdict is Verdict.OLD:
            return None
        counters = self.counters
        if verdict is Verdict.DUPLICATE:
            # It fills no hole: a chain that has seen one is given up with its book.
            counters.duplicates += 1
            return None
        last = self._chain.last
        joining = self._chain.joining
        self._stale()
        if self._retaining:
            self._retain(delta, ts_recv)
        if joining:
            return _too_old(last, delta)
        counters.gaps += 1
        count = None
        if self._countable:
            count = max(delta.prev - last, 0)
            counters.missing += count
        found = f"from {delta.prev} to {delta.last}"
        return SyncFault(FaultKind.SEQUENCE_GAP, f"change from {last}", found, count)

    def _wait(self, delta: Delta) -> None:
        """A change of a book that is not LIVE: followed, or retained for a snapshot, or ignored."""
        if self._holds:
            self._follow(delta)
        elif self.state is BookState.EMPTY and self._by_request:
            self.state = BookState.SYNCING
        elif self.state is BookState.STALE and self._chained:
            if self._chain.is_late(delta.prev, delta.last):
                self.counters.out_of_order += 1
            elif delta.last <= self._chain.last:
                self.counters.duplicates += 1

    def _follow(self, delta: Delta) -> None:
        """Keep a book that is held in step; what cannot follow can no longer be audited."""
        verdict = self._chain.check(delta.first, delta.prev, delta.last)
        if verdict is Verdict.DUPLICATE:
            return
        try:
            self.book.apply(delta.bids, delta.asks)
        except DecimalError:
            self._holds = False
        if verdict is not _NEXT or self.book.is_crossed():
            self._holds = False

    # -- snapshots --

    def snapshot(self, snapshot: Snapshot, ts_recv: int) -> SyncFault | None:
        """Take a full replacement; on a LIVE or held book at the same id it is an audit."""
        was_live = self.state is _LIVE
        if snapshot.requested:
            if self._awaits_stream:
                return None
            if was_live and snapshot.last > self._chain.last:
                self._ahead = snapshot
                self._retaining = True
                return None
        fresh = OrderBook()
        try:
            fresh.replace(snapshot.bids, snapshot.asks, limit=snapshot.limit)
        except DecimalError as error:
            if was_live and not snapshot.requested:
                self._stale()
            return _unreadable(error)
        chain = Chain()
        chain.restart(snapshot.last, joining=snapshot.requested)
        ts_event = snapshot.ts_event
        if snapshot.requested:
            for delta, delta_recv in self._retained:
                verdict = chain.check(delta.first, delta.prev, delta.last)
                if verdict is _NEXT:
                    fresh.apply(delta.bids, delta.asks)
                    ts_event, ts_recv = delta.ts_event, delta_recv
                elif verdict is Verdict.GAP:
                    if was_live:
                        self._end_audit()
                        return None
                    return _too_old(chain.last, delta)
            if was_live and chain.last != self._chain.last:
                self._end_audit()
                return None
        return self._adopt(fresh, chain, snapshot.checksum, ts_event, ts_recv)

    def _adopt(
        self, fresh: OrderBook, chain: Chain, checksum: int | None, ts_event: int, ts_recv: int
    ) -> SyncFault | None:
        """Replace the book, check the new one, and compare the old one with it if it was proven."""
        held, counters = self.book, self.counters
        was_live = self.state is _LIVE
        is_proven = (was_live and self._chained) or self._holds
        is_same_state = is_proven and chain.last == self._chain.last
        if is_same_state:
            chain.joining = False
        fresh.unknown_removals += held.unknown_removals
        self.book, self._chain = fresh, chain
        self.state = _LIVE
        self.verified = False
        self.ts_event, self.ts_recv = ts_event, ts_recv
        self._awaits_stream = self._holds = False
        self._end_audit()
        counters.snapshots += 1
        fault = self._check(checksum)
        if self.state is _LIVE and not was_live:
            counters.resyncs += 1
        if fault is not None or not is_same_state:
            return fault
        difference = first_difference(held, fresh)
        if difference is None:
            counters.audits_ok += 1
            self.verified = True
            return None
        counters.audits_bad += 1
        ours, theirs = difference
        return SyncFault(FaultKind.AUDIT_MISMATCH, f"as in the snapshot, {theirs}", f"held {ours}")

    def _catch_up(self, ts_recv: int) -> SyncFault | None:
        """Take the snapshot that was ahead as soon as the changes have reached it."""
        ahead = self._ahead
        if ahead is None or self.state is not _LIVE or self._chain.last < ahead.last:
            return None
        self._ahead = None
        return self.snapshot(ahead, ts_recv)

    # -- checks --

    def _check(self, checksum: int | None) -> SyncFault | None:
        """Verify the book after a complete message."""
        book = self.book
        bids, asks = book.bids.keys, book.asks.keys
        if len(bids) > self._depth or len(asks) > self._depth:
            self._truncate()
        if checksum is not None:
            computed = book.checksum()
            if computed != checksum:
                return self._mismatch(checksum, computed)
            self.counters.checksums_ok += 1
            self.verified = True
        if bids and asks and bids[-1] >= -asks[-1]:
            return self._crossed()
        return None

    def _truncate(self) -> None:
        for side in (self.book.bids, self.book.asks):
            if len(side) > self._depth:
                side.truncate(self._depth)
                if not self._truncates:
                    side.floor = side.keys[0]

    def _mismatch(self, checksum: int, computed: int) -> SyncFault:
        self.counters.checksums_bad += 1
        if self.book.is_crossed():
            self.counters.crossed += 1
        if not self._lenient:
            self._stale()
        return SyncFault(FaultKind.CHECKSUM_MISMATCH, str(checksum), str(computed))

    def _crossed(self) -> SyncFault:
        self.counters.crossed += 1
        bid, ask = self.book.best_bid(), self.book.best_ask()
        assert bid is not None
        assert ask is not None
        if not self._lenient:
            self._stale()
        return SyncFault(FaultKind.CROSSED_BOOK, "best bid below best ask", f"{bid[0]} {ask[0]}")

    # -- what is retained --

    def _retain(self, delta: Delta, ts_recv: int) -> SyncFault | None:
        """Keep what a book that is not LIVE cannot judge yet."""
        try:
            require_readable(delta)
        except DecimalError as error:
            # Without this change the chain shows a gap when a snapshot is joined.
            return _unreadable(error)
        if self._retained.keep(delta, ts_recv) or self._overflowed:
            return None
        self._overflowed = True
        return SyncFault(
            FaultKind.BUFFER_OVERFLOW,
            f"at most {RETAINED_LEVELS_MAX} levels of changes before a snapshot",
            "more",
        )

    def _end_audit(self) -> None:
        """Stop to retain changes: the book is LIVE, and no answer is to be joined with it."""
        self._retaining = False
        self._forget_retained()

    def _forget_retained(self) -> None:
        self._retained.forget()
        self._overflowed = False
        self._ahead = None

    def _stale(self) -> None:
        """Give the content up; changes after this may be joined with an answer on its way."""
        self.state = BookState.STALE
        self.verified = False
        self._retaining = self._retaining or self._by_request
        self._forget_retained()


def _unreadable(error: DecimalError) -> SyncFault:
    return SyncFault(FaultKind.DECODE_ERROR, "decimal prices and sizes", str(error))


def _too_old(last: int, delta: Delta) -> SyncFault:
    return SyncFault(
        FaultKind.SNAPSHOT_TOO_OLD,
        f"a snapshot that reaches change {delta.first}",
        f"one that ends at {last}",
    )
