"""From one connection's frames to facts: the heart of the processors, of replay and of rebuild.

`ShardPipeline` holds everything known of one shard and line, is fed with frame batches in order
and returns the facts they imply. It is a pure function of the log: no clock, no settings beyond
those given at the start. Frames lost, repeated or changed on our own way are found by their
number and digest chain, apart from what the venue lost.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from core.book import ladder_crc32, scaled
from core.continuity import TradeIds, Verdict
from core.decimals import DecimalError
from core.events import (
    BookSnapshot,
    BookState,
    Events,
    Fault,
    FaultKind,
    Quality,
    StreamSecond,
    Trade,
)
from core.frames import (
    CHAIN_START,
    CloseReason,
    Dropped,
    Frame,
    FrameBatch,
    FrameKind,
    TickStatus,
    chained,
)
from core.protocol import (
    DecodeError,
    Delta,
    Exchange,
    Message,
    Notice,
    Shard,
    Snapshot,
    SnapshotRequested,
    Subscribed,
    TradePrint,
    Unsubscribed,
)
from core.statistics import StreamStatistics
from core.sync import BookSync, SyncFault
from core.wire import PAYLOAD_MAX

_Own = TypeVar("_Own", Shard, CloseReason, Dropped, TickStatus)

FAULTS_PER_WINDOW: Final = 200
"""Decode and unknown-symbol faults spelled out per connection and window; all are counted."""
SYMBOLS_MAX: Final = 4096
"""Symbols followed on one connection when the log does not say which are planned."""
DEFAULT_DEPTH: Final = 1000
"""Depth of a truncating venue's book when the log does not say."""


_NO_STATUS: Final = TickStatus(connected=False)


class PipelineSettings(msgspec.Struct, frozen=True):
    """`book_levels` a side and `book_interval_ns` between samples; `lenient` as in BookSync."""

    book_levels: int = 25
    book_interval_ns: int = 1_000_000_000
    lenient: bool = False


class Instrument:
    """What is known of one symbol on one connection."""

    __slots__ = ("book", "book_stream", "symbol", "trade_ids", "trade_stream")

    def __init__(self, symbol: str, book: BookSync, trade_ids: TradeIds) -> None:
        self.symbol = symbol
        self.book = book
        self.trade_ids = trade_ids
        self.book_stream = StreamStatistics("book", symbol)
        self.trade_stream = StreamStatistics("trades", symbol)


class ShardPipeline:
    """State of one shard and line, over all its epochs."""

    def __init__(self, exchange: Exchange, settings: PipelineSettings) -> None:
        self.exchange = exchange
        self.settings = settings
        self.instruments: dict[str, Instrument] = {}
        self.duplicate_batches = 0
        self.decode_errors = 0
        """Frames that could not be read, over all epochs."""
        self._epoch = 0
        self._next_number = -1
        self._chain = CHAIN_START
        self._plan: Shard | None = None
        self._trade_ids: dict[str, TradeIds] = {}
        self._connection = StreamStatistics("connection", "")
        self._tick_mono: int | None = None
        self._sample_slot = -1
        self._faults_spelled = 0
        self._number = 0
        self._index = 0
        self._frame = Frame(FrameKind.TICK, 0, 0, "", b"")
        self._trades: list[Trade] = []
        self._books: list[BookSnapshot] = []
        self._faults: list[Fault] = []
        self._seconds: list[StreamSecond] = []

    def feed(self, batch: FrameBatch) -> Events:
        """Take the next batch and return the facts it implies."""
        self._trades, self._books, self._faults, self._seconds = [], [], [], []
        if self._admit(batch):
            number = batch.number
            for frame in batch.frames:
                self._number = number
                self._index = 0
                self._frame = frame
                self._take(frame)
                number += 1
            self._next_number = number
            self._chain = batch.chain
        return Events(
            batch.address, batch.number, self._trades, self._books, self._faults, self._seconds
        )

    # -- the log's own continuity --

    def _admit(self, batch: FrameBatch) -> bool:
        """Check number and chain; say whether the batch is to be taken."""
        self._frame = batch.frames[0]
        self._number, self._index = batch.number, 0
        epoch = batch.address.epoch
        if epoch < self._epoch:
            self.duplicate_batches += 1
            return False
        if epoch > self._epoch:
            self._begin_epoch(epoch, batch)
        elif batch.number + len(batch.frames) <= self._next_number:
            self.duplicate_batches += 1
            return False
        elif batch.number != self._next_number:
            lost = batch.number - self._next_number
            self._fault(
                FaultKind.FRAMES_LOST,
                expected=f"frame {self._next_number}",
                found=f"frame {batch.number}",
                count=lost,
                unit="frames",
            )
            self._distrust()
        elif batch.chain_before != self._chain:
            self._broken(self._chain, batch.chain_before)
        if chained(batch.chain_before, batch.frames) != batch.chain:
            self._broken(chained(batch.chain_before, batch.frames), batch.chain)
        return True

    def _begin_epoch(self, epoch: int, batch: FrameBatch) -> None:
        self._epoch = epoch
        self._next_number = batch.number
        self._chain = batch.chain_before
        self._plan = None
        self.instruments = {}
        self._connection = StreamStatistics("connection", "")
        self._connection.start(batch.frames[0].ts_mono)
        self._tick_mono = batch.frames[0].ts_mono
        self._sample_slot = batch.frames[0].ts_mono // self.settings.book_interval_ns

    def _broken(self, expected: bytes, found: bytes) -> None:
        self._fault(FaultKind.CHAIN_BROKEN, expected=expected.hex(), found=found.hex())
        self._distrust()

    def _distrust(self) -> None:
        """Frames of our own are missing: no book of this connection can be continued."""
        for instrument in self.instruments.values():
            instrument.book.distrust()
            self._note_state(instrument)

    # -- frames --

    def _take(self, frame: Frame) -> None:
        slot = frame.ts_mono // self.settings.book_interval_ns
        if slot > self._sample_slot:
            self._sample_slot = slot
            self._sample(frame)
        kind = frame.kind
        if kind is FrameKind.RECEIVED:
            self._received(frame)
        elif kind is FrameKind.TICK:
            self._tick(frame)
        elif kind is FrameKind.SENT:
            self._messages(self._decoded(frame, self.exchange.decode_sent), frame)
        elif kind is FrameKind.RESPONSE:
            self._response(frame)
        elif kind is FrameKind.REQUEST:
            self._messages(self.exchange.decode_request(frame.where), frame)
        else:
            self._lifecycle(frame)

    def _received(self, frame: Frame) -> None:
        self._connection.frame(len(frame.payload), frame.ts_mono)
        if len(frame.payload) > PAYLOAD_MAX:
            self._undecoded(frame, f"a frame of {len(frame.payload)} bytes")
            return
        try:
            messages = self.exchange.decode(frame.payload)
        except DecodeError as error:
            self._undecoded(frame, str(error))
            return
        self._messages(messages, frame)

    def _response(self, frame: Frame) -> None:
        url, body = frame.where, frame.payload
        try:
            messages = self.exchange.decode_response(url, body)
        except DecodeError as error:
            self._undecoded(frame, str(error))
            return
        self._messages(messages, frame)

    def _decoded(self, frame: Frame, decode: Callable[[bytes], list[Message]]) -> list[Message]:
        try:
            return decode(frame.payload)
        except DecodeError as error:
            self._undecoded(frame, str(error))
            return []

    def _messages(self, messages: list[Message], frame: Frame) -> None:
        for message in messages:
            try:
                self._message(message, frame)
            except (DecodeError, DecimalError) as error:
                self._undecoded(frame, str(error), getattr(message, "symbol", ""))

    def _message(self, message: Message, frame: Frame) -> None:
        if isinstance(message, Delta):
            self._book_message(message, frame)
        elif isinstance(message, TradePrint):
            self._trade(message, frame)
        elif isinstance(message, Snapshot):
            self._book_message(message, frame)
        elif isinstance(message, Subscribed):
            for channel, reason in message.refused:
                self._fault(FaultKind.SUBSCRIPTION_REJECTED, expected=channel, found=reason)
            for symbol, depth in message.depths:
                instrument = self._instrument(symbol)
                if instrument is not None:
                    instrument.book.subscribed(depth)
        elif isinstance(message, Notice):
            kind = FaultKind.MAINTENANCE if message.ends_connection else FaultKind.EXCHANGE_ERROR
            self._fault(kind, expected="none", found=message.text)
        elif isinstance(message, (Unsubscribed, SnapshotRequested)):
            instrument = self._instrument(message.symbol)
            if instrument is None:
                return
            if isinstance(message, Unsubscribed):
                instrument.book.unsubscribed()
                self._note_state(instrument)
            else:
                instrument.book.requested()

    def _book_message(self, message: Delta | Snapshot, frame: Frame) -> None:
        instrument = self._instrument(message.symbol)
        if instrument is None:
            return
        stream = instrument.book_stream
        stream.frame(len(frame.payload), frame.ts_mono)
        book = instrument.book
        before = book.state
        fault: SyncFault | None
        if isinstance(message, Delta):
            stream.latency(frame.ts_recv - message.ts_event)
            fault = book.delta(message, frame.ts_recv)
        else:
            fault = book.snapshot(message, frame.ts_recv)
        if fault is not None:
            self._fault(
                fault.kind,
                symbol=message.symbol,
                channel="book",
                expected=fault.expected,
                found=fault.found,
                count=fault.count,
                unit=self.exchange.capabilities.loss_unit if fault.count is not None else "",
            )
        if book.state is not before:
            stream.state(book.state, frame.ts_mono)

    def _trade(self, trade: TradePrint, frame: Frame) -> None:
        instrument = self._instrument(trade.symbol)
        if instrument is None:
            return
        stream = instrument.trade_stream
        stream.frame(len(frame.payload), frame.ts_mono)
        stream.latency(frame.ts_recv - trade.ts_event)
        quality = 0
        if trade.sequence is not None:
            verdict, missing = instrument.trade_ids.check(trade.sequence)
            if verdict is Verdict.DUPLICATE:
                stream.duplicates += 1
                return
            if verdict is Verdict.GAP:
                quality = int(Quality.AFTER_GAP)
                stream.gaps += 1
                stream.missing += missing
                self._fault(
                    FaultKind.TRADE_GAP,
                    symbol=trade.symbol,
                    channel="trades",
                    expected=f"trade {trade.sequence - missing}",
                    found=f"trade {trade.sequence}",
                    count=missing,
                    unit="trades",
                )
            elif verdict is Verdict.LATE:
                quality = int(Quality.OUT_OF_ORDER)
                stream.out_of_order += 1
        if trade.ts_event > frame.ts_recv:
            quality |= Quality.CLOCK_SKEWED
        self._trades.append(
            Trade(
                self._number,
                self._next_index(),
                trade.symbol,
                trade.trade_id,
                trade.sequence,
                trade.price,
                trade.size,
                trade.side,
                trade.ts_event,
                frame.ts_recv,
                quality,
            )
        )

    # -- lifecycle --

    def _lifecycle(self, frame: Frame) -> None:
        kind = frame.kind
        if kind is FrameKind.PLAN:
            self._planned(frame)
        elif kind is FrameKind.OPEN:
            self._connection.state(BookState.LIVE, frame.ts_mono)
        elif kind is FrameKind.CLOSE:
            self._closed(frame)
        elif kind is FrameKind.PONG:
            digits = frame.payload
            if digits.isdigit() and len(digits) < 19:
                self._connection.heartbeat_rtt_ns = int(digits)
        elif kind is FrameKind.RECEIVED_BINARY:
            self._connection.frame(len(frame.payload), frame.ts_mono)
            self._fault(
                FaultKind.UNEXPECTED_BINARY,
                expected="text",
                found=f"{len(frame.payload)} bytes, {frame.payload[:16].hex()}",
            )
        elif kind is FrameKind.REQUEST_FAILED:
            found = frame.payload[:200].decode(errors="replace")
            self._fault(FaultKind.REQUEST_FAILED, expected=frame.where[:200], found=found)
        elif kind is FrameKind.DROPPED:
            dropped = self._own(frame, Dropped)
            if dropped is not None:
                self._fault(
                    FaultKind.FRAMES_DROPPED,
                    expected="every frame kept",
                    found=dropped.reason,
                    count=dropped.count,
                    unit="frames",
                )
                self._distrust()

    def _planned(self, frame: Frame) -> None:
        plan = self._own(frame, Shard)
        if plan is None or plan == self._plan:
            return
        self._plan = plan
        planned = {symbol: self.instruments.get(symbol) for symbol in plan.symbols}
        self.instruments = {}
        for symbol, instrument in planned.items():
            self.instruments[symbol] = instrument or self._new_instrument(symbol)

    def _closed(self, frame: Frame) -> None:
        reason = self._own(frame, CloseReason)
        if reason is None:
            return
        if not reason.planned:
            failed = reason.by == "handshake"
            self._fault(
                FaultKind.CONNECT_FAILED if failed else FaultKind.DISCONNECTED,
                expected="an open connection",
                found=f"{reason.code} {reason.reason} by {reason.by}"[:200],
            )
        self._connection.state(BookState.EMPTY, frame.ts_mono)
        for instrument in self.instruments.values():
            instrument.book.disconnect()
            self._note_state(instrument)

    def _tick(self, frame: Frame) -> None:
        status = self._own(frame, TickStatus)
        window_ns = frame.ts_mono - (self._tick_mono or frame.ts_mono)
        self._tick_mono = frame.ts_mono
        self._faults_spelled = 0
        self._close_stream(self._connection, frame, window_ns, None, status)
        for instrument in self.instruments.values():
            self._close_stream(instrument.book_stream, frame, window_ns, instrument.book)
            self._close_stream(instrument.trade_stream, frame, window_ns, None)
        if status is not None:
            # A reader who starts in the middle of an epoch has not seen its OPEN.
            state = BookState.LIVE if status.connected else BookState.EMPTY
            self._connection.state(state, frame.ts_mono)

    def _close_stream(
        self,
        stream: StreamStatistics,
        frame: Frame,
        window_ns: int,
        book: BookSync | None,
        status: TickStatus | None = None,
    ) -> None:
        self._seconds.append(
            stream.close(
                number=self._number,
                index=self._next_index(),
                ts=frame.ts_recv,
                ts_mono=frame.ts_mono,
                window_ns=window_ns,
                counters=None if book is None else book.counters,
                status=status or _NO_STATUS,
            )
        )

    # -- samples --

    def _sample(self, frame: Frame) -> None:
        """Publish the top of every LIVE book as it stands before `frame`."""
        for instrument in self.instruments.values():
            book = instrument.book
            if book.state is BookState.LIVE:
                snapshot = self._top(instrument.symbol, book, frame)
                if snapshot is not None:
                    self._books.append(snapshot)

    def _top(self, symbol: str, sync: BookSync, frame: Frame) -> BookSnapshot | None:
        book = sync.book
        levels = self.settings.book_levels
        bids, asks = book.proven(book.bids, levels), book.proven(book.asks, levels)
        quality = 0 if sync.verified else int(Quality.UNVERIFIED)
        if book.is_shallow(levels, len(bids), len(asks)):
            quality |= Quality.SHALLOW
        if sync.ts_event > sync.ts_recv:
            quality |= Quality.CLOCK_SKEWED
        try:
            prices, price_exponent = scaled([level[0] for level in bids + asks])
            sizes, size_exponent = scaled([level[1] for level in bids + asks])
        except DecimalError as error:
            self._fault(
                FaultKind.UNREPRESENTABLE,
                symbol=symbol,
                channel="book",
                expected="64-bit mantissas",
                found=str(error),
            )
            return None
        return BookSnapshot(
            number=self._number,
            index=self._next_index(),
            symbol=symbol,
            sequence=sync.sequence,
            ts_event=sync.ts_event or None,
            ts_recv=sync.ts_recv,
            ts_sample=frame.ts_recv,
            quality=quality,
            price_exponent=price_exponent,
            size_exponent=size_exponent,
            bid_prices=prices[: len(bids)],
            bid_sizes=sizes[: len(bids)],
            ask_prices=prices[len(bids) :],
            ask_sizes=sizes[len(bids) :],
            digest=ladder_crc32(bids, asks),
        )

    # -- small things --

    def _instrument(self, symbol: str) -> Instrument | None:
        """Return the instrument, None (and a fault) when it was never subscribed."""
        instrument = self.instruments.get(symbol)
        if instrument is not None:
            return instrument
        if not symbol and len(self.instruments) == 1:
            return next(iter(self.instruments.values()))
        if symbol and self._plan is None and len(self.instruments) < SYMBOLS_MAX:
            instrument = self.instruments[symbol] = self._new_instrument(symbol)
            return instrument
        if self._spell_fault():
            self._fault(FaultKind.UNKNOWN_SYMBOL, expected="a subscribed symbol", found=symbol[:64])
        return None

    def _new_instrument(self, symbol: str) -> Instrument:
        depth = DEFAULT_DEPTH if self._plan is None else self._plan.book_depth
        book = BookSync(self.exchange.capabilities, depth, lenient=self.settings.lenient)
        instrument = Instrument(symbol, book, self._trade_ids.setdefault(symbol, TradeIds()))
        instrument.book_stream.start(self._frame.ts_mono)
        instrument.trade_stream.start(self._frame.ts_mono)
        return instrument

    def _note_state(self, instrument: Instrument) -> None:
        instrument.book_stream.state(instrument.book.state, self._frame.ts_mono)

    def _undecoded(self, frame: Frame, reason: str, symbol: str = "") -> None:
        self.decode_errors += 1
        self._connection.decode_errors += 1
        if self._spell_fault():
            found = f"{reason[:120]}: {frame.payload[:80].decode(errors='replace')}"
            self._fault(
                FaultKind.DECODE_ERROR,
                symbol=symbol[:64],
                expected=f"a frame of {self.exchange.name}",
                found=found,
            )

    def _spell_fault(self) -> bool:
        self._faults_spelled += 1
        return self._faults_spelled <= FAULTS_PER_WINDOW

    def _own(self, frame: Frame, struct: type[_Own]) -> _Own | None:
        """Read a payload of our own producer."""
        try:
            return msgspec.json.decode(frame.payload, type=struct)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._undecoded(frame, str(error))
            return None

    def _next_index(self) -> int:
        index = self._index
        self._index += 1
        return index

    def _fault(
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
        self._faults.append(
            Fault(
                self._number,
                self._next_index(),
                kind,
                symbol,
                channel,
                expected[:200],
                found[:200],
                count,
                unit,
                self._frame.ts_recv,
            )
        )
