"""From one connection's frames to facts: the heart of the processors, of replay and of rebuild.

`ShardPipeline` holds everything known of one shard and line, is fed with frame batches in order
and returns the facts they imply. It is a pure function of the log: no clock, no settings beyond
those given at the start. Frames lost, repeated or changed on our own way are found by their
number and digest chain, apart from what the venue lost.

What it remembers for longer than the recent log shows is written into the log itself: a checkpoint
a stream, now and then, at a tick. Who begins to read in the middle is given these back at the very
ticks at which they were made, and from then on says what one who never stopped says.
"""

from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import msgspec

from core.clock import ServerTime
from core.continuity import Bootstrap
from core.events import BookState, Events, FaultKind, StreamCheckpoint
from core.facts import Facts
from core.frames import (
    CHAIN_START,
    UNCONFIRMED,
    CloseReason,
    Dropped,
    Frame,
    FrameBatch,
    FrameKind,
    Resync,
    TickStatus,
    chained,
)
from core.instrument import Instrument
from core.instruments import Instruments
from core.protocol import (
    DecodeError,
    Delta,
    Exchange,
    Heartbeat,
    Message,
    Shard,
    Snapshot,
    TradePrint,
)
from core.seconds import Seconds
from core.stability.connection import ConnectionStability
from core.wire import PAYLOAD_MAX

_Own = TypeVar("_Own", Shard, CloseReason, Dropped, Resync, TickStatus)

_RECEIVED: Final = FrameKind.RECEIVED
_S: Final = 1_000_000_000
_RTT_DIGITS: Final = 18
"""Longest round trip that is believed, in digits of ns."""


class PipelineSettings(msgspec.Struct, frozen=True):
    """`book_levels` a side and `book_interval_ns` between samples; `lenient` as in BookSync.

    `checkpoint_interval_ns`, of ticks' `ts_recv`, is between two checkpoints of a stream.
    """

    book_levels: int = 25
    book_interval_ns: int = 1_000_000_000
    checkpoint_interval_ns: int = 30_000_000_000
    lenient: bool = False


class ShardPipeline:
    """State of one shard and line, over all its epochs."""

    def __init__(self, exchange: Exchange, settings: PipelineSettings) -> None:
        self.exchange = exchange
        self.settings = settings
        self.duplicate_batches = 0
        self._facts = Facts()
        self._instruments = Instruments(
            exchange, self._facts, levels=settings.book_levels, lenient=settings.lenient
        )
        self._epoch = 0
        self._next_number = -1
        self._chain = CHAIN_START
        begins_with_change = exchange.capabilities.bootstrap is Bootstrap.REQUEST
        self._stability = ConnectionStability(self._facts, begins_with_change=begins_with_change)
        self._seconds = Seconds(
            self._facts, self._instruments, self._stability, settings.checkpoint_interval_ns
        )
        self._looked: set[type[Message]] = set()
        """Kinds of messages of which one was looked at since the last tick."""
        self._sample_at = 0
        self._second = 0
        """That of the last frame, s of the wall clock: as one begins venues can be compared."""
        self._told: tuple[int, int, ServerTime] | None = None
        """The number and monotonic time of the last answer that told the venue's time."""
        self._takes: dict[FrameKind, Callable[[Frame], None]] = {
            FrameKind.OPENING: self._opening,
            FrameKind.OPEN: self._opened,
            FrameKind.RECEIVED_BINARY: self._received_binary,
            FrameKind.SENT: self._sent,
            FrameKind.REQUEST: self._requested,
            FrameKind.RESPONSE: self._responded,
            FrameKind.REQUEST_FAILED: self._request_failed,
            FrameKind.PING: self._pinged,
            FrameKind.PONG: self._ponged,
            FrameKind.TICK: self._ticked,
            FrameKind.CLOSE: self._closed,
            FrameKind.DROPPED: self._dropped,
            FrameKind.RESYNC: self._resynced,
            FrameKind.PLAN: self._planned,
        }

    @property
    def instruments(self) -> dict[str, Instrument]:
        """What is known of each symbol in this epoch."""
        return self._instruments.by_symbol

    @property
    def decode_errors(self) -> int:
        """Frames, or books' messages in them, that could not be read; over all epochs."""
        return self._facts.decode_errors

    def feed(self, batch: FrameBatch) -> Events:
        """Take the next batch and return the facts it implies."""
        if batch.frames and self._admit(batch):
            chain = chained(batch.chain_before, batch.frames)
            if chain != batch.chain:
                self._broken(chain, batch.chain)
            self._take(batch, is_intact=chain == batch.chain)
        self._seconds.forget_restored()
        return self._facts.take(batch.address, batch.number)

    def restore(self, checkpoints: Iterable[StreamCheckpoint]) -> int:
        """Let the next batch, in which these were made, give them back; return the unreadable.

        Each takes effect at its own tick: what the batch holds after that comes on top. So the
        epoch is the checkpoint's own, and how frames are cut into batches does not matter.
        """
        return self._seconds.restore(checkpoints)

    def _take(self, batch: FrameBatch, *, is_intact: bool) -> None:
        facts, received, stability = self._facts, self._received, self._stability
        number = batch.number
        known = 0  # What `_admit` found is weighed with the first frame.
        for frame in batch.frames:
            facts.number, facts.frame = number, frame
            number += 1
            if frame.ts_mono >= stability.due:
                stability.weigh(frame.ts_mono)
            if frame.ts_mono >= self._sample_at:
                self._sample_at = self._next_sample(frame.ts_mono)
                self._instruments.sample(frame)
            if frame.ts_recv // _S != self._second:
                self._second = frame.ts_recv // _S
                self._instruments.tell_mids(self._second)
            if frame.kind is _RECEIVED:
                received(frame)
            else:
                take = self._takes.get(frame.kind)
                if take is not None:
                    take(frame)
            if not is_intact:
                # Not even a snapshot of such a batch is what the venue sent.
                self._instruments.distrust()
            if len(facts.faults) > known or facts.overtaken or facts.repeated:
                stability.take(facts.faults[known:])
                known = len(facts.faults)
            facts.index = 0
        self._next_number = number
        self._chain = batch.chain

    # -- the log's own continuity --

    def _admit(self, batch: FrameBatch) -> bool:
        """Check number and chain; say whether the batch is to be taken.

        One that was taken before is not, nor one that repeats a part: whoever reads our facts
        knows records by their first frame. What it holds beyond that shows as lost.
        """
        facts = self._facts
        facts.address = batch.address
        facts.number, facts.frame, facts.index = batch.number, batch.frames[0], 0
        epoch = batch.address.epoch
        if epoch < self._epoch or (epoch == self._epoch and batch.number < self._next_number):
            self.duplicate_batches += 1
            return False
        if epoch > self._epoch:
            self._begin_epoch(epoch, batch)
        if batch.number > self._next_number:
            facts.fault(
                FaultKind.FRAMES_LOST,
                expected=f"frame {self._next_number}",
                found=f"frame {batch.number}",
                count=batch.number - self._next_number,
                unit="frames",
            )
            self._instruments.distrust()
        elif batch.chain_before != self._chain:
            self._broken(self._chain, batch.chain_before)
        return True

    def _begin_epoch(self, epoch: int, batch: FrameBatch) -> None:
        mono = batch.frames[0].ts_mono
        # Who begins to read in the middle of an epoch has not lost what is before.
        begins_here = not self._epoch and batch.number > 0
        self._next_number = batch.number if begins_here else 0
        self._chain = batch.chain_before if begins_here else CHAIN_START
        self._epoch = epoch
        self._told = None
        self._instruments.begin_epoch()
        self._stability.begin_epoch()
        self._seconds.begin_epoch(mono)
        self._sample_at = self._next_sample(mono)
        self._second = batch.frames[0].ts_recv // _S

    def _broken(self, expected: bytes, found: bytes) -> None:
        self._facts.fault(FaultKind.CHAIN_BROKEN, expected=expected.hex(), found=found.hex())
        self._instruments.distrust()

    def _next_sample(self, mono: int) -> int:
        interval = self.settings.book_interval_ns
        return (mono // interval + 1) * interval

    # -- what the venue says, and what we say to it --

    def _received(self, frame: Frame) -> None:
        payload = frame.payload
        size = len(payload)
        self._seconds.connection.count(size, frame.ts_mono)
        if size > PAYLOAD_MAX:
            self._undecoded(f"a frame of {size} bytes")
            return
        try:
            messages = self.exchange.decode(payload)
        except DecodeError as error:
            self._undecoded(str(error))
            return
        facts = self._facts
        self._instruments.take(messages, frame)
        if messages:
            first = messages[0]
            if type(first) not in self._looked:
                self._look(type(first), payload)
            if type(first) is Delta or type(first) is TradePrint:
                transit = frame.ts_recv - first.ts_event if first.ts_event else None
                if facts.overtaken or facts.repeated:
                    # How long that took is no measure of how long messages take.
                    transit = None
                self._seconds.data.frame(facts.number, size, frame.ts_mono, transit)
            elif type(first) is Snapshot:
                # Its time may be that of a change long ago.
                self._seconds.data.frame(facts.number, size, frame.ts_mono, None)
            elif type(first) is ServerTime:
                self._told = facts.number, frame.ts_mono, first
            elif type(first) is Heartbeat:
                self._seconds.connection.heartbeats.add(frame.ts_mono)

    def _look(self, kind: type[Message], payload: bytes) -> None:
        """Look at the fields of the first message of its kind since the last tick."""
        self._looked.add(kind)
        change = self._seconds.shapes.look(kind.__name__, payload)
        if change is not None:
            new, gone = ", ".join(change.new) or "none", ", ".join(change.gone) or "none"
            self._facts.fault(
                FaultKind.SCHEMA_DRIFT,
                expected=f"the fields of {kind.__name__} as before",
                found=f"new: {new}; gone: {gone}",
                count=len(change.new) + len(change.gone),
                unit="fields",
            )

    def _received_binary(self, frame: Frame) -> None:
        size = len(frame.payload)
        self._seconds.connection.count(size, frame.ts_mono)
        found = f"{size} bytes, {frame.payload[:16].hex()}"
        self._facts.fault(FaultKind.UNEXPECTED_BINARY, expected="text", found=found)

    def _sent(self, frame: Frame) -> None:
        try:
            messages = self.exchange.decode_sent(frame.payload)
        except DecodeError as error:
            self._undecoded(str(error))
            return
        self._instruments.take(messages, frame)

    def _requested(self, frame: Frame) -> None:
        if self._asks_time(frame):
            self._stability.asks_time(frame.ts_mono)
        self._instruments.take(self.exchange.decode_request(frame.where), frame)

    def _asks_time(self, frame: Frame) -> bool:
        path = self.exchange.endpoints.time
        return bool(path) and frame.where.endswith(path)

    def _responded(self, frame: Frame) -> None:
        if len(frame.payload) > PAYLOAD_MAX:
            self._undecoded(f"a body of {len(frame.payload)} bytes")
            return
        try:
            messages = self.exchange.decode_response(frame.where, frame.payload)
        except DecodeError as error:
            self._undecoded(str(error))
            return
        if messages and isinstance(messages[0], ServerTime):
            self._stability.answered_time(frame.ts_mono, messages[0])
        self._instruments.take(messages, frame)

    def _request_failed(self, frame: Frame) -> None:
        found = frame.payload[:200].decode(errors="replace")
        self._facts.fault(FaultKind.REQUEST_FAILED, expected=frame.where, found=found)
        self._instruments.request_failed(self.exchange.decode_request(frame.where))

    # -- what our own producer says --

    def _planned(self, frame: Frame) -> None:
        plan = self._own(frame, Shard)
        if plan is not None:
            self._instruments.plan(plan)
            self._stability.triage.keep_only(self.instruments)

    def _opening(self, frame: Frame) -> None:
        self._stability.opening()

    def _opened(self, frame: Frame) -> None:
        self._stability.opened()
        self._seconds.connection.state(BookState.LIVE, frame.ts_mono)

    def _closed(self, frame: Frame) -> None:
        reason = self._own(frame, CloseReason) or CloseReason(0, "unknown", "network")
        if not reason.planned:
            failed = reason.by == "handshake"
            self._facts.fault(
                FaultKind.CONNECT_FAILED if failed else FaultKind.DISCONNECTED,
                expected="an open connection",
                found=f"{reason.code} {reason.reason} by {reason.by}",
            )
        self._stability.closed()
        self._seconds.connection.state(BookState.EMPTY, frame.ts_mono)
        self._instruments.disconnect()

    def _pinged(self, frame: Frame) -> None:
        self._seconds.connection.heartbeats.add(frame.ts_mono)

    def _ponged(self, frame: Frame) -> None:
        digits = frame.payload
        if digits.isdigit() and len(digits) <= _RTT_DIGITS:
            rtt = self._seconds.connection.heartbeat_rtt_ns = int(digits)
            # The answer that was measured is the frame before.
            number, received, told = self._told or (-1, 0, None)
            if told is not None and number == self._facts.number - 1:
                self._stability.told_time(received - rtt, received, told)

    def _dropped(self, frame: Frame) -> None:
        dropped = self._own(frame, Dropped)
        self._facts.fault(
            FaultKind.FRAMES_DROPPED,
            expected="every frame kept",
            found="unknown" if dropped is None else dropped.reason,
            count=None if dropped is None else dropped.count,
            unit="" if dropped is None else "frames",
        )
        self._instruments.distrust()

    def _resynced(self, frame: Frame) -> None:
        resync = self._own(frame, Resync)
        # What is wrong with a book, this pipeline sees for itself; silence on a channel it cannot.
        if resync is not None and resync.reason == UNCONFIRMED:
            self._facts.fault(
                FaultKind.SUBSCRIPTION_REJECTED,
                symbol=resync.symbol,
                expected=resync.expected,
                found=resync.found,
            )

    def _ticked(self, frame: Frame) -> None:
        self._seconds.tick(self._own(frame, TickStatus))
        self._looked.clear()

    def _own(self, frame: Frame, struct: type[_Own]) -> _Own | None:
        """Read a payload of our own producer."""
        try:
            return msgspec.json.decode(frame.payload, type=struct)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            self._undecoded(str(error))
            return None

    def _undecoded(self, reason: str) -> None:
        self._facts.undecoded(reason, f"a frame of {self.exchange.name}")
