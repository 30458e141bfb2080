"""The edge guard: sees that a book cannot be continued, and when to ask for a fresh one.

It judges with `core.sync.BookSync`, the very class that the processors use, so both come to the
same verdict from the same frames. Venues that chain ids are followed without their levels, which
is cheap; what only content would show there waits for the next renewal. One symbol's trouble never
touches another's. Nothing here is sent: `core.connection` does what this says is due.

    CALM --STALE, or buffering without a snapshot--> DUE --its time comes--> QUEUED
    QUEUED --the question leaves--> ASKED --the book is LIVE--> CALM
    ASKED --no answer, a failed one, or one too old to join--> DUE, after a backoff
    CALM --subscribed, the stream begins with a snapshot--> AWAITED, which ends as ASKED does
"""

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final

import msgspec

from core.backoff import Backoff
from core.book import Level
from core.continuity import Bootstrap, Scheme
from core.events import BookState, FaultKind
from core.frames import Resync
from core.pacing import NEVER
from core.protocol import Delta, Exchange, Message, Shard, Snapshot, SnapshotRequested, Unsubscribed
from core.sync import BookSync, SyncFault

_NO_LEVELS: Final[list[Level]] = []


class GuardSettings(msgspec.Struct, frozen=True):
    """Times in ns; `at_once` books of one connection may be asked for at the same time."""

    answer_timeout_ns: int = 10_000_000_000
    backoff_initial_ns: int = 1_000_000_000
    backoff_cap_ns: int = 60_000_000_000
    backoff_reset_ns: int = 60_000_000_000
    snapshot_interval_ns: int = 60_000_000_000
    at_once: int = 5


class Need(msgspec.Struct, frozen=True):
    """A book to ask for: to heal it, for `fault`, or (None) to bootstrap or renew it."""

    symbol: str
    renews: bool
    fault: Resync | None


class _Step(Enum):
    CALM = 0
    DUE = 1
    QUEUED = 2
    ASKED = 3
    AWAITED = 4


class _Watch:
    """One book under guard; `at` is when DUE is due, or ASKED or AWAITED is given up."""

    __slots__ = (
        "at",
        "backoff",
        "book",
        "fault",
        "live_at",
        "renew_at",
        "renewing",
        "state",
        "step",
        "symbol",
        "was_live",
    )

    def __init__(self, symbol: str, book: BookSync, backoff: Backoff) -> None:
        self.symbol = symbol
        self.book = book
        self.backoff = backoff
        self.state = book.state
        self.step = _Step.CALM
        self.at = NEVER
        self.renew_at = NEVER
        self.renewing = False
        self.live_at: int | None = None
        self.was_live = False
        self.fault: Resync | None = None


class Guard:
    """The books of one connection. `random` gives fractions, 0 to 1, for the backoff's jitter."""

    def __init__(
        self,
        exchange: Exchange,
        shard: Shard,
        settings: GuardSettings,
        random: Callable[[], float],
    ) -> None:
        capabilities = exchange.capabilities
        self._settings = settings
        self._random = random
        self._by_request = capabilities.bootstrap is Bootstrap.REQUEST
        self._ids_only = capabilities.scheme is Scheme.CHAIN
        self._busy = 0
        self._watches = {
            symbol: _Watch(
                symbol,
                BookSync(capabilities, shard.book_depth),
                Backoff(settings.backoff_initial_ns, settings.backoff_cap_ns, free=1),
            )
            for symbol in shard.symbols
        }

    @property
    def live(self) -> int:
        """How many books can be continued."""
        return sum(watch.state is BookState.LIVE for watch in self._watches.values())

    def never_live(self) -> list[str]:
        """Return the symbols whose book has never been there, as happens to misspelt ones."""
        return [watch.symbol for watch in self._watches.values() if not watch.was_live]

    def message(self, message: Delta | Snapshot, now: int) -> bool:
        """Follow a change or a snapshot; say whether `advance` should be called.

        The levels are taken out of the message where only ids are followed.
        """
        watch = self._watches.get(message.symbol)
        if watch is None:
            return False
        if self._ids_only:
            message.bids = message.asks = _NO_LEVELS
        if isinstance(message, Delta):
            fault = watch.book.delta(message, now)
        else:
            fault = watch.book.snapshot(message, now)
        if fault is None and watch.book.state is watch.state:
            return False
        return self._settle(watch, fault, now)

    def subscribed(self, now: int) -> None:
        """The last subscription was sent: begin to expect snapshots and to renew them."""
        interval = self._settings.snapshot_interval_ns
        count = len(self._watches)
        for place, watch in enumerate(self._watches.values(), start=1):
            watch.renew_at = now + interval * place // count
            if not self._by_request and watch.state is BookState.EMPTY:
                self._enter(watch, _Step.AWAITED, now + self._settings.answer_timeout_ns)

    def depth(self, symbol: str, depth: int) -> None:
        """The venue names the depth that it keeps for us."""
        watch = self._watches.get(symbol)
        if watch is not None:
            watch.book.subscribed(depth)

    def sent(self, message: Message) -> None:
        """Take note of what a message or request of ours means for a book."""
        if not isinstance(message, (Unsubscribed, SnapshotRequested)):
            return
        watch = self._watches.get(message.symbol)
        if watch is None:
            return
        if isinstance(message, Unsubscribed):
            watch.book.unsubscribed()
        else:
            watch.book.requested()
        watch.state = watch.book.state

    def asked(self, symbol: str, now: int) -> None:
        """The question for a book has left: from here on its answer is awaited."""
        watch = self._watches[symbol]
        watch.renewing = False
        # Some venues can only renew a book by giving it up: then the answer must come.
        given_up = watch.step is _Step.CALM and watch.state is not BookState.LIVE
        if watch.step is _Step.QUEUED or given_up:
            self._enter(watch, _Step.ASKED, now + self._settings.answer_timeout_ns)

    def failed(self, symbol: str, reason: str, now: int, *, not_before: int = 0) -> None:
        """The question for a book was refused, for `reason`; try again at `not_before` or later."""
        watch = self._watches[symbol]
        watch.renewing = False
        watch.book.request_failed()
        if watch.step is _Step.QUEUED or watch.step is _Step.ASKED:
            self._fall_due(watch, now, Resync(symbol, "request_failed", "an answer", reason[:200]))
            watch.at = max(watch.at, not_before)

    def postpone(self, symbol: str, until: int) -> None:
        """Leave a book alone until then: its subscription is being repeated."""
        watch = self._watches[symbol]
        if watch.step in (_Step.AWAITED, _Step.ASKED, _Step.DUE):
            self._enter(watch, _Step.AWAITED, until)

    def resumed(self, now: int) -> None:
        """The socket was not read for a while: answers are late by our own doing."""
        for watch in self._watches.values():
            if watch.step in (_Step.AWAITED, _Step.ASKED):
                watch.at = max(watch.at, now + self._settings.answer_timeout_ns)

    def distrust(self, now: int) -> None:
        """Frames that we followed did not get into the log: who reads it needs every book anew."""
        fault = SyncFault(FaultKind.FRAMES_DROPPED, "every frame kept", "some were dropped")
        for watch in self._watches.values():
            watch.book.distrust()
            if watch.book.state is not watch.state:
                self._settle(watch, fault, now)

    def advance(self, now: int) -> Iterator[Need]:
        """Yield the books to ask for now; each counts as queued from then on."""
        for watch in self._watches.values():
            if watch.step in (_Step.AWAITED, _Step.ASKED) and watch.at <= now:
                found = f"none in {self._settings.answer_timeout_ns / 1e9:g} s"
                self._fall_due(watch, now, Resync(watch.symbol, "no_snapshot", "an answer", found))
        waiting = [w for w in self._watches.values() if w.step is _Step.DUE and w.at <= now]
        waiting.sort(key=_due_at)
        for watch in waiting[: max(self._settings.at_once - self._busy, 0)]:
            self._enter(watch, _Step.QUEUED, NEVER)
            yield Need(watch.symbol, False, watch.fault)
        for watch in self._watches.values():
            if watch.renew_at <= now:
                yield from self._renew(watch, now)

    def next_deadline(self) -> int:
        """Return when `advance` has something to do, ns."""
        has_room = self._busy < self._settings.at_once
        deadline = NEVER
        for watch in self._watches.values():
            deadline = min(deadline, watch.renew_at)
            if watch.step is not _Step.DUE or has_room:
                deadline = min(deadline, watch.at)
        return deadline

    def _renew(self, watch: _Watch, now: int) -> Iterator[Need]:
        interval = self._settings.snapshot_interval_ns
        watch.renew_at += interval * ((now - watch.renew_at) // interval + 1)
        # A renewal that still waits for its turn is not asked for twice.
        if watch.step is _Step.CALM and watch.state is BookState.LIVE and not watch.renewing:
            watch.renewing = True
            yield Need(watch.symbol, True, None)

    def _settle(self, watch: _Watch, fault: SyncFault | None, now: int) -> bool:
        """Decide what a changed state or a fault means."""
        state = watch.state = watch.book.state
        if state is BookState.LIVE:
            watch.was_live = True
            if watch.live_at is None:
                watch.live_at = now
            if watch.step is not _Step.QUEUED:
                self._enter(watch, _Step.CALM, NEVER)
            return True
        reason = None if fault is None else _resync(watch.symbol, fault)
        if watch.step is _Step.CALM:
            if state is BookState.STALE or (self._by_request and state is BookState.SYNCING):
                self._fall_due(watch, now, reason)
                return True
        elif (
            watch.step is _Step.ASKED
            and fault is not None
            and fault.kind is FaultKind.SNAPSHOT_TOO_OLD
        ):
            self._fall_due(watch, now, reason)
            return True
        return False

    def _fall_due(self, watch: _Watch, now: int, reason: Resync | None) -> None:
        if watch.live_at is not None:
            if now - watch.live_at >= self._settings.backoff_reset_ns:
                watch.backoff.reset()
            watch.live_at = None
        watch.fault = reason
        # A book that was never there is asked for at once; that is no trouble yet.
        wait = 0 if reason is None else watch.backoff.wait(self._random())
        self._enter(watch, _Step.DUE, now + wait)

    def _enter(self, watch: _Watch, step: _Step, at: int) -> None:
        self._busy += _is_busy(step) - _is_busy(watch.step)
        watch.step = step
        watch.at = at


def _is_busy(step: _Step) -> bool:
    return step is _Step.QUEUED or step is _Step.ASKED


def _due_at(watch: _Watch) -> int:
    return watch.at


def _resync(symbol: str, fault: SyncFault) -> Resync:
    return Resync(symbol, fault.kind.name.lower(), fault.expected[:200], fault.found[:200])
