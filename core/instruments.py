"""All symbols of one connection: which there are, and who is concerned by what the venue says.

It passes each message to its own symbol, and to no other. It must not know frames of our own
producer, ticks or the log.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from core.continuity import TradeIds
from core.events import FaultKind
from core.facts import Facts
from core.frames import Frame
from core.instrument import Instrument
from core.memory import StreamMemory
from core.protocol import (
    Answer,
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
from core.sync import BookSync

SYMBOLS_MAX: Final = 4096
"""Symbols followed on one connection when the log does not say which are planned."""
DEFAULT_DEPTH: Final = 1000
"""Depth of a truncating venue's book when the log does not say."""


class Instruments:
    """The symbols of one connection. `levels` and `lenient` as in `PipelineSettings`."""

    def __init__(self, exchange: Exchange, facts: Facts, *, levels: int, lenient: bool) -> None:
        self.by_symbol: dict[str, Instrument] = {}
        self._exchange = exchange
        self._facts = facts
        self._levels = levels
        self._lenient = lenient
        self._plan: Shard | None = None
        self._trade_ids: dict[str, TradeIds] = {}
        """Over epochs: a reconnect must show which trades were missed."""
        self._recalled: dict[str, dict[str, StreamMemory]] = {}
        """By symbol and channel: of symbols that no frame of this epoch has named yet."""
        self._acts: dict[type[Message], Callable[[Any], None]] = {
            Subscribed: self._subscribed,
            Unsubscribed: self._unsubscribed,
            SnapshotRequested: self._requested,
            Answer: self._answered,
            Notice: self._noticed,
        }

    def begin_epoch(self) -> None:
        """A new socket: nothing is planned or known yet."""
        self._plan = None
        self.by_symbol = {}
        self._recalled = {}

    def plan(self, plan: Shard) -> None:
        """Follow these symbols and no others; what is known of them stays."""
        if plan == self._plan:
            return
        self._plan = plan
        known = self.by_symbol
        self.by_symbol = {}
        for symbol in plan.symbols:
            instrument = known.get(symbol) or self._new(symbol)
            # A reader who starts in the middle of an epoch has not seen the venue's own word.
            instrument.book.subscribed(plan.book_depth)
            self.by_symbol[symbol] = instrument
        self._recalled = {}
        self._trade_ids = {
            symbol: ids for symbol, ids in self._trade_ids.items() if symbol in self.by_symbol
        }

    def recall(self, channel: str, symbol: str, memory: StreamMemory) -> None:
        """Go on from what a stream of this epoch remembered.

        No symbol is made known by it: who began to read in the middle of the epoch learns of a
        silent one from the next plan, and what it remembers waits until then.
        """
        instrument = self.by_symbol.get(symbol)
        if instrument is not None:
            instrument.recall(channel, memory)
        elif self._plan is None and len(self._recalled) < SYMBOLS_MAX:
            self._recalled.setdefault(symbol, {})[channel] = memory
            if memory.trade_ids is not None:
                # The epoch may end before its symbols are known; trade ids outlast it.
                self._ids(symbol).recall(memory.trade_ids)

    def take(self, messages: Iterable[Message], frame: Frame) -> None:
        """Take what a frame says."""
        known = self.by_symbol
        for message in messages:
            if isinstance(message, (Delta, TradePrint, Snapshot)):
                instrument = known.get(message.symbol) or self._instrument(message.symbol)
                if instrument is None:
                    continue
                if isinstance(message, Delta):
                    instrument.delta(message, frame)
                elif isinstance(message, TradePrint):
                    instrument.trade(message, frame)
                else:
                    instrument.snapshot(message, frame)
            else:
                act = self._acts.get(type(message))
                if act is not None:
                    act(message)

    def request_failed(self, messages: Iterable[Message]) -> None:
        """What we asked for will not come."""
        for message in messages:
            if isinstance(message, SnapshotRequested) and message.symbol in self.by_symbol:
                self.by_symbol[message.symbol].book.request_failed()

    def distrust(self) -> None:
        """Frames of our own are missing: no book of this connection can be continued."""
        for instrument in self.by_symbol.values():
            instrument.book.distrust()
            instrument.note_state()

    def disconnect(self) -> None:
        """The socket is gone."""
        for instrument in self.by_symbol.values():
            instrument.book.disconnect()
            instrument.note_state()

    def sample(self, frame: Frame) -> None:
        """Publish the top of every LIVE book as it stands before `frame`."""
        for instrument in self.by_symbol.values():
            instrument.sample(frame)

    def tell_mids(self, second: int) -> None:
        """Say what every book that is compared is worth as `second` begins, LIVE or not: so whoever
        compares knows that the venue has spoken."""
        mids = self._facts.mids
        compared = [each for each in self.by_symbol.values() if each.compared_as]
        mids += [each.mid(second, place) for place, each in enumerate(compared)]

    def _subscribed(self, message: Subscribed) -> None:
        for channel, reason in message.refused:
            self._facts.fault(FaultKind.SUBSCRIPTION_REJECTED, expected=channel, found=reason)
        for symbol, depth in message.depths:
            instrument = self._instrument(symbol)
            if instrument is not None:
                instrument.book.subscribed(depth)

    def _unsubscribed(self, message: Unsubscribed) -> None:
        instrument = self._instrument(message.symbol)
        if instrument is not None:
            instrument.book.unsubscribed()
            instrument.note_state()

    def _requested(self, message: SnapshotRequested) -> None:
        instrument = self._instrument(message.symbol)
        if instrument is not None:
            instrument.book.requested()

    def _answered(self, message: Answer) -> None:
        if message.error:
            self._facts.fault(FaultKind.EXCHANGE_ERROR, expected="success", found=message.error)

    def _noticed(self, message: Notice) -> None:
        kind = FaultKind.MAINTENANCE if message.ends_connection else FaultKind.EXCHANGE_ERROR
        self._facts.fault(kind, expected="none", found=message.text)

    def _instrument(self, symbol: str) -> Instrument | None:
        """Return the instrument, None (and a fault) when it was never subscribed."""
        instrument = self.by_symbol.get(symbol)
        if instrument is not None:
            return instrument
        if not symbol and len(self.by_symbol) == 1:
            return next(iter(self.by_symbol.values()))
        if symbol and self._plan is None and len(self.by_symbol) < SYMBOLS_MAX:
            instrument = self.by_symbol[symbol] = self._new(symbol)
            return instrument
        expected = "a subscribed symbol"
        self._facts.fault(FaultKind.UNKNOWN_SYMBOL, expected=expected, found=symbol[:64])
        return None

    def _new(self, symbol: str) -> Instrument:
        depth = DEFAULT_DEPTH if self._plan is None else self._plan.book_depth
        capabilities = self._exchange.capabilities
        book = BookSync(capabilities, depth, lenient=self._lenient)
        ids = self._ids(symbol)
        made = Instrument(
            symbol,
            book,
            ids,
            self._facts,
            capabilities,
            self._levels,
            compared_as=self._exchange.instrument(symbol),
        )
        for channel, memory in self._recalled.pop(symbol, {}).items():
            made.recall(channel, memory)
        return made

    def _ids(self, symbol: str) -> TradeIds:
        return self._trade_ids.setdefault(symbol, TradeIds())
