"""What a tick closes: the window of every stream, its judgement, and its checkpoint when it is due.

It holds the statistics of the connection as a whole; those of a symbol are its instrument's. What a
frame means must not be known here.
"""

from collections.abc import Iterable
from typing import Final

from core.events import BookState, StreamCheckpoint
from core.facts import Facts
from core.frames import TickStatus
from core.instruments import Instruments
from core.memory import StreamMemory, read, write
from core.shapes import Shapes
from core.stability.connection import ConnectionStability
from core.stability.health import ConnectionWindow
from core.statistics import StreamStatistics
from core.sync import BookSync

BLIND_AGE_NS: Final = 5_000_000_000
"""Frames that wait for Kafka for longer say nothing of the exchange any more."""
LATE_NS: Final = 50_000_000
"""A producer that is later than this with its tick was too busy to stamp messages as they came."""
_NO_STATUS: Final = TickStatus(connected=False)
SCHEMA: Final = "schema"
"""The channel of the checkpoint in which it stands which fields messages have."""
_STAGGER_NS: Final = 1_000_000_000
"""Between the checkpoints of two streams of a connection, where there are ticks to make them."""


class Seconds:
    """The windows of one connection's streams; facts go to `facts`.

    `connection` counts all that comes on the socket, `data` the market data of all symbols.
    """

    def __init__(
        self,
        facts: Facts,
        instruments: Instruments,
        stability: ConnectionStability,
        checkpoint_interval_ns: int,
    ) -> None:
        self.connection = StreamStatistics("connection", "")
        self.data = StreamStatistics("data", "")
        self.shapes = Shapes()
        self._facts = facts
        self._instruments = instruments
        self._stability = stability
        self._checkpoint_interval_ns = checkpoint_interval_ns
        self._mono = 0
        """When the window was opened."""
        self._tick_ts: int | None = None
        """The last tick of this epoch, None before the first."""
        self._restored: dict[int, list[tuple[str, str, StreamMemory]]] = {}
        """By number of the tick: memories that the batch to come gives back, by stream."""

    def begin_epoch(self, mono: int) -> None:
        """A new socket begins at `mono`, monotonic ns."""
        self.connection = StreamStatistics("connection", "")
        self.data = StreamStatistics("data", "")
        self.connection.start(mono)
        self.data.start(mono)
        self._mono = mono
        self._tick_ts = None

    def restore(self, checkpoints: Iterable[StreamCheckpoint]) -> int:
        """Let the ticks to come give back what was written at them; return the unreadable."""
        unreadable = 0
        for checkpoint in checkpoints:
            memory = read(checkpoint.state)
            if memory is None:
                unreadable += 1
                continue
            stream = checkpoint.channel, checkpoint.symbol, memory
            self._restored.setdefault(checkpoint.number, []).append(stream)
        return unreadable

    def forget_restored(self) -> None:
        """What was not given back by now belongs to ticks that will not come."""
        if self._restored:
            self._restored = {}

    def tick(self, status: TickStatus | None) -> None:
        """Close the windows of all streams; `status` is None where the tick cannot be read."""
        facts, frame, stability = self._facts, self._facts.frame, self._stability
        # Clocks that jump may not make a window of negative length.
        window_ns = max(frame.ts_mono - self._mono, 0)
        self._mono = frame.ts_mono
        if status is not None:
            stability.follow(connected=status.connected)
        self.connection.decode_errors = facts.window_decode_errors
        facts.close_window()
        window = stability.window(
            window_ns,
            is_blind=status is not None and _is_blind(status),
            is_late=status is not None and status.late_ns >= LATE_NS,
        )
        self._close(self.connection, window, window_ns, None, status)
        self._close(self.data, window, window_ns, None)
        for instrument in self._instruments.by_symbol.values():
            self._close(instrument.book_stream, window, window_ns, instrument.book)
            self._close(instrument.trade_stream, window, window_ns, None)
        if status is not None:
            state = BookState.LIVE if status.connected else BookState.EMPTY
            self.connection.state(state, frame.ts_mono)
        for channel, symbol, memory in self._restored.get(facts.number, ()):
            self._recall(channel, symbol, memory)
        self._write_checkpoints(frame.ts_recv)

    def _close(
        self,
        stream: StreamStatistics,
        window: ConnectionWindow,
        window_ns: int,
        book: BookSync | None,
        status: TickStatus | None = None,
    ) -> None:
        facts, frame = self._facts, self._facts.frame
        second = stream.close(
            number=facts.number,
            index=facts.next_index(),
            ts=frame.ts_recv,
            ts_mono=frame.ts_mono,
            window_ns=window_ns,
            counters=None if book is None else book.counters,
            status=status or _NO_STATUS,
        )
        facts.seconds.append(self._stability.close(second, window))

    # -- what is remembered --

    def _recall(self, channel: str, symbol: str, memory: StreamMemory) -> None:
        if memory.health is not None:
            self._stability.triage.health[channel, symbol] = memory.health
        if channel == SCHEMA:
            self.shapes.by_kind = memory.shapes or {}
        elif channel == self.connection.channel:
            self.connection.recall(memory)
        elif channel == self.data.channel:
            self.data.recall(memory)
        else:
            self._instruments.recall(channel, symbol, memory)

    def _write_checkpoints(self, ts: int) -> None:
        """Write down the memory of the streams that are due at the tick of time `ts`.

        A stream is due at the first tick of an epoch and then at the first of each interval, which
        begins earlier the later its place. Only the tick before is asked: who began to read in the
        middle of the epoch writes the same. What the connection remembers comes with every other,
        because streams are judged by both.
        """
        before, self._tick_ts = self._tick_ts, ts
        interval = self._checkpoint_interval_ns

        def is_due(place: int) -> bool:
            shift = place * _STAGGER_NS
            return before is None or (ts + shift) // interval != (before + shift) // interval

        streams = [
            (instrument, stream)
            for instrument in self._instruments.by_symbol.values()
            for stream in (instrument.book_stream, instrument.trade_stream)
        ]
        due = [each for place, each in enumerate(streams, 1) if is_due(place)]
        if due or is_due(0):
            self._checkpoint(self.connection, self.connection.remember())
            self._checkpoint(self.data, self.data.remember())
        for instrument, stream in due:
            self._checkpoint(stream, instrument.remember(stream))
        if is_due(len(streams) + 1):
            self._write(SCHEMA, "", StreamMemory(shapes=self.shapes.by_kind))

    def _checkpoint(self, stream: StreamStatistics, memory: StreamMemory) -> None:
        memory.health = self._stability.triage.of((stream.channel, stream.symbol))
        self._write(stream.channel, stream.symbol, memory)

    def _write(self, channel: str, symbol: str, memory: StreamMemory) -> None:
        facts, state = self._facts, write(memory)
        facts.checkpoints.append(
            StreamCheckpoint(facts.number, facts.next_index(), channel, symbol, state)
        )


def _is_blind(status: TickStatus) -> bool:
    """Say whether our producer could not hand on all that came: that is no fault of the venue."""
    return status.paused_ns > 0 or status.queue_age_ns > BLIND_AGE_NS
