"""One symbol on one connection: its book, its trades, their statistics and what they publish.

It turns what the venue says into facts. It must not know frames of other symbols, the log or the
plan: one symbol's trouble ends here.
"""

from typing import Final

from core.continuity import TradeIds, Verdict
from core.decimals import DecimalError
from core.events import BookSnapshot, BookState, FaultKind, Quality, Trade
from core.facts import Facts
from core.frames import Frame, FrameKind
from core.memory import StreamMemory, TradeIdsMemory
from core.protocol import Capabilities, Delta, Snapshot, TradePrint
from core.published import MANTISSA_MAX, Publisher
from core.statistics import StreamStatistics
from core.sync import BookSync, SyncFault
from core.venues.mids import Mid

_LIVE: Final = BookState.LIVE
_NEXT: Final = Verdict.NEXT
_AFTER_GAP: Final = int(Quality.AFTER_GAP)
_OUT_OF_ORDER: Final = int(Quality.OUT_OF_ORDER)
_CLOCK_SKEWED: Final = int(Quality.CLOCK_SKEWED)
_UNVERIFIED: Final = int(Quality.UNVERIFIED)
_SHALLOW: Final = int(Quality.SHALLOW)


class Instrument:
    """What is known of one symbol on one connection; facts go to `facts`."""

    __slots__ = (
        "_facts",
        "_loss_unit",
        "_publisher",
        "book",
        "book_stream",
        "compared_as",
        "symbol",
        "trade_ids",
        "trade_stream",
    )

    def __init__(
        self,
        symbol: str,
        book: BookSync,
        trade_ids: TradeIds,
        facts: Facts,
        capabilities: Capabilities,
        levels: int,
        compared_as: str = "",
    ) -> None:
        self.symbol = symbol
        self.compared_as = compared_as
        """The name that all venues share, empty where the symbol is compared with none."""
        self.book = book
        self.trade_ids = trade_ids
        self.book_stream = StreamStatistics("book", symbol)
        self.trade_stream = StreamStatistics("trades", symbol)
        self._facts = facts
        self._loss_unit = capabilities.loss_unit
        self._publisher = Publisher(levels)
        self.book_stream.start(facts.frame.ts_mono)
        self.trade_stream.start(facts.frame.ts_mono)

    def delta(self, delta: Delta, frame: Frame) -> None:
        """Take a change of the book."""
        ts_recv, ts_event = frame.ts_recv, delta.ts_event
        self.book_stream.frame(
            self._facts.number,
            len(frame.payload),
            frame.ts_mono,
            ts_recv - ts_event if ts_event else None,
        )
        book = self.book
        before = book.state
        if before is not _LIVE:
            self._late_or_lost(delta, ts_recv)
            return
        repeated = book.counters.duplicates
        fault = book.delta(delta, ts_recv)
        if fault is not None or book.state is not before:
            self._changed(fault)
        elif book.counters.duplicates != repeated:
            self._facts.repeated.append(("book", self.symbol))

    def _late_or_lost(self, delta: Delta, ts_recv: int) -> None:
        """Take a change of a book that is not LIVE: it may be one that was thought lost."""
        book = self.book
        before, counters = book.state, book.counters
        late, repeated = counters.out_of_order, counters.duplicates
        fault = book.delta(delta, ts_recv)
        if counters.out_of_order != late:
            self._facts.overtaken.append(("book", self.symbol))
        elif counters.duplicates != repeated:
            self._facts.repeated.append(("book", self.symbol))
        if fault is not None or book.state is not before:
            self._changed(fault)

    def snapshot(self, snapshot: Snapshot, frame: Frame) -> None:
        """Take a whole book."""
        # What came over REST, because we asked, is no sign of life of the stream.
        if frame.kind is FrameKind.RECEIVED:
            self.book_stream.frame(self._facts.number, len(frame.payload), frame.ts_mono, None)
        self._changed(self.book.snapshot(snapshot, frame.ts_recv))

    def note_state(self) -> None:
        """Let the statistics know the book's state."""
        self.book_stream.state(self.book.state, self._facts.frame.ts_mono)

    def trade(self, trade: TradePrint, frame: Frame) -> None:
        """Take an execution."""
        facts = self._facts
        ts_recv, ts_event = frame.ts_recv, trade.ts_event
        self.trade_stream.frame(facts.number, len(frame.payload), frame.ts_mono, ts_recv - ts_event)
        quality = _CLOCK_SKEWED if ts_event > ts_recv else 0
        sequence = trade.sequence
        if sequence is not None:
            verdict, missing = self.trade_ids.check(sequence, ts_event)
            if verdict is Verdict.DUPLICATE:
                self.trade_stream.duplicates += 1
                facts.repeated.append(("trades", self.symbol))
                return
            if verdict is not _NEXT:
                quality |= self._broken(verdict, sequence, missing)
        facts.trades.append(
            Trade(
                facts.number,
                facts.next_index(),
                trade.symbol,
                trade.trade_id,
                sequence,
                trade.price,
                trade.size,
                trade.side,
                ts_event,
                ts_recv,
                quality,
            )
        )

    def sample(self, frame: Frame) -> None:
        """Publish the top of the book as it stands before `frame`, if it is LIVE."""
        sync = self.book
        if sync.state is not _LIVE:
            return
        facts = self._facts
        try:
            top = self._publisher.top(sync.book)
        except DecimalError as error:
            facts.fault(
                FaultKind.UNREPRESENTABLE,
                symbol=self.symbol,
                channel="book",
                expected="64-bit mantissas",
                found=str(error),
            )
            return
        quality = 0 if sync.verified else _UNVERIFIED
        if top.is_shallow:
            quality |= _SHALLOW
        if sync.ts_event > sync.ts_recv:
            quality |= _CLOCK_SKEWED
        facts.books.append(
            BookSnapshot(
                facts.number,
                facts.next_index(),
                self.symbol,
                sync.sequence,
                sync.ts_event or None,
                sync.ts_recv,
                frame.ts_recv,
                quality,
                top.price_exponent,
                top.size_exponent,
                top.bid_prices,
                top.bid_sizes,
                top.ask_prices,
                top.ask_sizes,
                top.digest,
            )
        )

    def mid(self, second: int, index: int) -> Mid:
        """Return the best prices as they stand before this frame, the first of `second`."""
        sync, bid, ask = self.book, None, None
        book = sync.book
        if sync.state is _LIVE and book.bids.keys and book.asks.keys:
            bid, ask = book.bids.keys[-1], -book.asks.keys[-1]
            if bid > MANTISSA_MAX or ask > MANTISSA_MAX:
                bid = ask = None
        return Mid(
            *(self._facts.number, index, self.compared_as, self.symbol, second),
            exponent=book.exponent,
            bid=bid,
            ask=ask,
            ts_book=sync.ts_recv,
        )

    def remember(self, stream: StreamStatistics) -> StreamMemory:
        """Return what one of the two streams remembers."""
        memory = stream.remember()
        if stream is self.trade_stream:
            memory.trade_ids = self.trade_ids.remember()
        return memory

    def recall(self, channel: str, memory: StreamMemory) -> None:
        """Go on from what the stream of `channel` remembered."""
        if channel == self.trade_stream.channel:
            self.trade_stream.recall(memory)
            self.trade_ids.recall(memory.trade_ids or TradeIdsMemory())
        elif channel == self.book_stream.channel:
            self.book_stream.recall(memory)

    def _changed(self, fault: SyncFault | None) -> None:
        """Make known what a message did to the book."""
        self.note_state()
        if fault is None:
            return
        if fault.kind is FaultKind.DECODE_ERROR:
            self._facts.undecoded(fault.found, fault.expected, self.symbol)
            return
        self._facts.fault(
            fault.kind,
            symbol=self.symbol,
            channel="book",
            expected=fault.expected,
            found=fault.found,
            count=fault.count,
            unit="" if fault.count is None else self._loss_unit,
        )

    def _broken(self, verdict: Verdict, sequence: int, missing: int) -> int:
        """Count a trade that does not follow the last one; return the mark on its row."""
        stream = self.trade_stream
        if verdict is Verdict.LATE:
            stream.out_of_order += 1
            self._facts.overtaken.append(("trades", self.symbol))
            return _OUT_OF_ORDER
        stream.gaps += 1
        stream.missing += missing
        is_gap = verdict is Verdict.GAP
        self._facts.fault(
            FaultKind.TRADE_GAP,
            symbol=self.symbol,
            channel="trades",
            expected=f"trade {sequence - missing}" if is_gap else "ids that go on",
            found=f"trade {sequence}" if is_gap else f"ids that start again at {sequence}",
            count=missing if is_gap else None,
            unit="trades" if is_gap else "",
        )
        return _AFTER_GAP
