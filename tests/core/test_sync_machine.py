"""Books that lose, repeat, overtake and are renewed: a LIVE one is always the venue's own.

One machine for each way in which venues number their changes. The venue's true book is kept at
every id, so what a LIVE book holds can be compared with the very state that it claims to be.
"""

import zlib
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.book import BookSide, Level
from core.counters import SyncCounters
from core.events import BookState, FaultKind
from core.exchanges import exchanges
from core.protocol import Delta, Snapshot
from core.sync import BookSync, SyncFault

Side = dict[int, int]
LIVE = BookState.LIVE
DEPTH = 10


def price(tick: int) -> str:
    return f"{tick}.5"


def size(units: int) -> str:
    return f"{units}.25" if units else "0.00"


def texts(side: Side, is_falling: bool) -> list[Level]:
    return [(price(tick), size(side[tick])) for tick in sorted(side, reverse=is_falling)]


class Venue:
    """The true book at every id, and what is on its way to us."""

    def __init__(self, name: str) -> None:
        self.capabilities = exchanges()[name].capabilities
        self.last = 100
        self.sides: tuple[Side, Side] = (
            {100 - back: back for back in range(1, 13)},
            {100 + back: back for back in range(1, 13)},
        )
        self.states: dict[int, tuple[Side, Side]] = {}
        self.keep()

    def keep(self) -> None:
        """Remember the book as it stands at this id."""
        bids, asks = self.sides
        self.states[self.last] = dict(bids), dict(asks)

    def shown(self, last: int) -> tuple[list[Level], list[Level]]:
        """Return what a client sees of the book at an id, best first."""
        bids, asks = self.states[last]
        depth = DEPTH if self.capabilities.truncates else None
        return texts(bids, True)[:depth], texts(asks, False)[:depth]

    def checksum(self) -> int | None:
        if not self.capabilities.checksum_each:
            return None
        bids, asks = self.shown(self.last)
        digits = [
            text.replace(".", "").lstrip("0")
            for levels in (asks[:10], bids[:10])
            for level in levels
            for text in level
        ]
        return zlib.crc32("".join(digits).encode())

    def change(self, changes: list[tuple[bool, int, int]], extra: int) -> Delta:
        """Change levels one id after the other; the change names the last sizes of them all."""
        prev, before = self.last, self.shown(self.last)
        touched: tuple[dict[int, None], dict[int, None]] = ({}, {})
        for is_ask, back, units in changes:
            side = self.sides[is_ask]
            tick = 100 + back if is_ask else 100 - back
            side[tick] = units
            if not units:
                del side[tick]
            touched[is_ask][tick] = None
            self.last += 1
            self.keep()
        self.last += extra
        self.keep()
        levels = [self._said(is_ask, touched[is_ask], before) for is_ask in (False, True)]
        numbered = prev, self.last
        if self.capabilities.checksum_each:
            numbered = 0, 0
        first = numbered[0] + 1 if self.capabilities.checksum_each else prev + 1
        ids = (first, *numbered) if not self.capabilities.checksum_each else (0, 0, 0)
        return Delta("S", *ids, levels[0], levels[1], self.last, self.checksum())

    def _said(
        self, is_ask: bool, touched: dict[int, None], before: tuple[list[Level], list[Level]]
    ) -> list[Level]:
        """Return the changed levels of a side; a truncating venue speaks of what is in range."""
        side = self.sides[is_ask]
        if not self.capabilities.truncates:
            return [(price(tick), size(side.get(tick, 0))) for tick in touched]
        old, new = dict(before[is_ask]), dict(self.shown(self.last)[is_ask])
        gone = [(text, "0.00") for text in old if text not in {price(tick) for tick in side}]
        return gone + [level for level in new.items() if old.get(level[0]) != level[1]]

    def snapshot(self, last: int, limit: int | None = None, *, requested: bool = False) -> Snapshot:
        """Return the book at an id."""
        bids, asks = self.shown(last)
        numbered = 0 if self.capabilities.checksum_each else last
        made = Snapshot("S", numbered, bids[:limit], asks[:limit], last)
        made.limit, made.requested = limit, requested
        if last == self.last:
            made.checksum = self.checksum()
        return made


CHANGES = st.lists(
    st.tuples(st.booleans(), st.integers(1, 15), st.sampled_from([1, 2, 3, 50])),
    min_size=1,
    max_size=4,
)


class BookMachine(RuleBasedStateMachine):
    """Everything that can happen to one book of a venue whose snapshots come in the stream."""

    name: ClassVar[str] = ""
    holes: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.venue = Venue(self.name)
        self.sync = BookSync(self.venue.capabilities, DEPTH)
        self.wire: list[Delta | Snapshot] = []
        self.heard: list[Delta] = []
        self.tampered: list[int] = []
        """Ids of changes that were wrong, and of which no snapshot has cleared the book."""
        self.shown_last = 0
        self.before = SyncCounters()
        self.was = BookState.EMPTY

    @initialize()
    def subscribe(self) -> None:
        self.wire.append(self.venue.snapshot(self.venue.last))

    # -- the venue --

    @rule(changes=CHANGES, extra=st.integers(0, 3), removes=st.booleans())
    def change(self, changes: list[tuple[bool, int, int]], extra: int, removes: bool) -> None:
        if removes:
            is_ask, back, _ = changes[-1]
            side = self.venue.sides[is_ask]
            tick = 100 + back if is_ask else 100 - back
            if tick in side and len(side) > DEPTH:
                others = [each for each in changes if each[:2] != (is_ask, back)]
                changes = [*others, (is_ask, back, 0)]
        self.wire.append(self.venue.change(changes, extra if self.holes else 0))

    # -- the way --

    @precondition(lambda self: self.wire)
    @rule(count=st.integers(1, 4))
    def hear(self, count: int) -> None:
        for _ in range(min(count, len(self.wire))):
            self.take(self.wire.pop(0))

    @precondition(lambda self: self.wire)
    @rule()
    def lose(self) -> None:
        self.wire.pop(0)

    @precondition(lambda self: len(self.wire) > 1)
    @rule()
    def overtake(self) -> None:
        self.wire[0], self.wire[1] = self.wire[1], self.wire[0]

    @precondition(lambda self: self.heard)
    @rule(back=st.integers(0, 5))
    def repeat(self, back: int) -> None:
        self.take(self.heard[-1 - back % len(self.heard)])

    @precondition(lambda self: self.wire and isinstance(self.wire[0], Delta))
    @rule(bad=st.sampled_from(["-1", "x", "NaN", "1e999"]), place=st.integers(0, 3))
    def garble(self, bad: str, place: int) -> None:
        """A number that cannot be read: the message is not to be taken in part."""
        delta = self.wire.pop(0)
        assert isinstance(delta, Delta)
        level = (bad, "1") if place % 2 else ("90.5", bad)
        bids, asks = list(delta.bids), list(delta.asks)
        (bids if place > 1 else asks).append(level)
        ids = delta.first, delta.prev, delta.last
        fault = self.step(Delta("S", *ids, bids, asks, delta.ts_event, delta.checksum))
        if self.was is LIVE and fault is not None:
            assert fault.kind in (FaultKind.DECODE_ERROR, FaultKind.SEQUENCE_GAP)
            assert self.sync.state is not LIVE

    @precondition(lambda self: self.wire and isinstance(self.wire[0], Delta))
    @rule(units=st.integers(60, 99))
    def tamper(self, units: int) -> None:
        """A wrong size that can be read: only a checksum or an audit can tell."""
        delta = self.wire.pop(0)
        assert isinstance(delta, Delta)
        ids = delta.first, delta.prev, delta.last
        bids = [("99.5", size(units))]
        wrong = Delta("S", *ids, bids, delta.asks, delta.ts_event, delta.checksum)
        if not self.venue.capabilities.checksum_each:
            self.tampered.append(delta.last)
        self.step(wrong)

    # -- we ourselves --

    @rule()
    def renew(self) -> None:
        self.sync.unsubscribed()
        self.note()
        self.wire.append(self.venue.snapshot(self.venue.last))

    @rule()
    def disconnect(self) -> None:
        self.sync.disconnect()
        assert self.sync.state is BookState.EMPTY
        self.wire, self.heard = [], []
        self.note()
        self.subscribe()

    @rule(count=st.integers(0, 3))
    def distrust(self, count: int) -> None:
        del self.wire[:count]
        self.sync.distrust()
        assert self.sync.state is not LIVE
        self.note()

    # -- what must hold --

    def take(self, message: Delta | Snapshot) -> None:
        if isinstance(message, Delta):
            self.heard.append(message)
        self.step(message)

    def step(self, message: Delta | Snapshot) -> SyncFault | None:
        """Let the book take a message, and see that it can have done what it did."""
        sync, counters = self.sync, self.sync.counters
        held = sync.book
        tampered = self.tampered
        if isinstance(message, Delta):
            fault = sync.delta(message, 1)
        else:
            self.shown_last = message.last
            fault = sync.snapshot(message, 1)
        if counters.snapshots > self.before.snapshots:
            assert sync.book is not held
            self.tampered = [last for last in tampered if last > self.shown_last]
        if counters.audits_bad > self.before.audits_bad:
            assert tampered, "a book that was true cannot fail an audit"
            assert fault is not None
            assert fault.kind is FaultKind.AUDIT_MISMATCH
        if counters.gaps > self.before.gaps:
            assert fault is not None
            assert sync.state is BookState.STALE
        self.note()
        return fault

    def note(self) -> None:
        """Remember the counts and the state before the next step."""
        counters = self.sync.counters
        for name in SyncCounters.__slots__:
            assert getattr(counters, name) >= getattr(self.before, name)
        if self.sync.state is LIVE and self.was is not LIVE:
            assert counters.snapshots > self.before.snapshots, "LIVE needs a snapshot"
            assert counters.resyncs > self.before.resyncs
        self.before = counters.copy()
        self.was = self.sync.state

    @invariant()
    def live_book_is_the_venues(self) -> None:
        sync = self.sync
        if sync.state is not LIVE or self.tampered:
            return
        book = sync.book
        if self.venue.capabilities.checksum_each:
            # The time of a change says which one it was.
            truth = self.venue.shown(sync.ts_event)
            assert truth[0][:10] == self.held(book.bids)[:10]
            assert truth[1][:10] == self.held(book.asks)[:10]
            return
        assert sync.sequence is not None
        bids, asks = self.venue.states[sync.sequence]
        assert self.proven(texts(bids, True), book.bids) == self.held(book.bids)
        assert self.proven(texts(asks, False), book.asks) == self.held(book.asks)

    def held(self, side: BookSide) -> list[Level]:
        """Return the proven levels as the venue prints them, best first."""
        exponent = self.sync.book.exponent
        keys = [key for key in reversed(side.keys) if side.floor is None or key >= side.floor]
        assert exponent == 1 or not keys
        return [(f"{abs(key) // 10}.{abs(key) % 10}", side.sizes[key]) for key in keys]

    def proven(self, levels: list[Level], side: BookSide) -> list[Level]:
        if side.floor is None:
            return levels
        sign = side.sign
        return [level for level in levels if sign * int(level[0].replace(".", "")) >= side.floor]


class RequestedBookMachine(BookMachine):
    """The same where snapshots must be asked for, and are not ordered with the changes."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = False

    @initialize()
    def subscribe(self) -> None:
        self.is_asked = False

    @rule()
    def renew(self) -> None:
        self.sync.requested()
        self.note()
        self.is_asked = True

    @precondition(lambda self: self.is_asked)
    @rule(back=st.integers(0, 12), limit=st.sampled_from([None, None, 3, 8, 500]))
    def answer(self, back: int, limit: int | None) -> None:
        """The book at any id, also in the middle of a change, behind the stream or ahead of it."""
        ids = [last for last in self.venue.states if last <= self.venue.last]
        last = ids[max(len(ids) - 1 - back, 0)]
        self.is_asked = False
        self.step(self.venue.snapshot(last, limit, requested=True))

    @precondition(lambda self: self.is_asked)
    @rule()
    def fail(self) -> None:
        self.is_asked = False
        self.sync.request_failed()
        self.note()


def machine(name: str, base: type[BookMachine] = BookMachine, holes: int = 0) -> Any:
    made: Any = type(f"Machine_{name}", (base,), {"name": name, "holes": holes})
    case = made.TestCase
    case.settings = settings(max_examples=60, stateful_step_count=40)
    return case


TestDeribit = machine("deribit", holes=1)
TestKrakenFutures = machine("kraken_futures")
TestKraken = machine("kraken")
TestBinance = machine("binance", RequestedBookMachine)
TestBinanceUsdm = machine("binance_usdm", RequestedBookMachine, holes=1)
