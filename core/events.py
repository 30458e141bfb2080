"""The facts that are derived from frames: trades, books, faults, stability seconds, checkpoints.

Events are frozen and carry where they come from: `number` of the frame in its epoch and `index`
in that frame. With the batch's address this is the origin of a row, the same on every replay.
Times are ns since the epoch, UTC; prices and sizes are exact decimal text.
"""

from collections.abc import Sequence
from enum import IntEnum, IntFlag
from typing import Final

import msgspec

from core.frames import Address
from core.stability.alerts import Alert
from core.stability.score import Component
from core.stability.states import StreamState
from core.venues.mids import Mid
from core.venues.seconds import VenueSecond

FACT_PLACES: Final = 65_536
"""More than facts of one frame can be."""


class Side(IntEnum):
    """Side of the aggressor."""

    BUY = 1
    SELL = 2


class BookState(IntEnum):
    """How far a book can be trusted; only LIVE is published as live."""

    EMPTY = 0
    """Nothing known yet in this epoch."""
    SYNCING = 1
    """Changes are buffered, or a fresh snapshot is on its way as planned."""
    LIVE = 2
    """Every check that the venue allows has passed since the last snapshot."""
    STALE = 3
    """A check failed; waiting for a fresh snapshot."""


class Quality(IntFlag):
    """Marks on a row; 0 means nothing is known against it."""

    UNVERIFIED = 1
    """The book's content was not yet confirmed by a checksum or an audit since its snapshot."""
    AFTER_GAP = 2
    """Trades directly before this one are missing."""
    OUT_OF_ORDER = 4
    """Arrived after a trade with a higher venue sequence."""
    CLOCK_SKEWED = 8
    """The exchange's timestamp lies after our receive time."""
    SHALLOW = 16
    """Fewer levels than asked for are provable; the ladder is cut at the proven depth."""


class FaultKind(IntEnum):
    """What was wrong; the numbers are part of the Avro contract and never change."""

    SEQUENCE_GAP = 1
    CHECKSUM_MISMATCH = 2
    CROSSED_BOOK = 3
    AUDIT_MISMATCH = 4
    TRADE_GAP = 5
    DECODE_ERROR = 6
    UNKNOWN_SYMBOL = 7
    SUBSCRIPTION_REJECTED = 8
    EXCHANGE_ERROR = 9
    DISCONNECTED = 10
    CONNECT_FAILED = 11
    REQUEST_FAILED = 12
    FRAMES_LOST = 13
    CHAIN_BROKEN = 14
    FRAMES_DROPPED = 15
    BUFFER_OVERFLOW = 16
    SNAPSHOT_TOO_OLD = 17
    UNREPRESENTABLE = 18
    UNEXPECTED_BINARY = 19
    MAINTENANCE = 20
    SCHEMA_DRIFT = 21


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One execution as the exchange reported it.

    `sequence` is the venue's own contiguous counter where it has one. `ts_recv` is the receive
    time of its frame.
    """

    number: int
    index: int
    symbol: str
    trade_id: str
    sequence: int | None
    price: str
    size: str
    side: Side
    ts_event: int
    ts_recv: int
    quality: int


class BookSnapshot(msgspec.Struct, frozen=True):
    """The top of a LIVE book at a sampling tick.

    Ladders are best first, equal in length per side, as integers: the value is
    `mantissa * 10**-exponent`. `sequence` is the venue's id of this state, None where it has
    none. `ts_event` is the exchange's time of the last applied change, None where only a snapshot
    without a time was seen; `ts_recv` is when we received it, `ts_sample` when the sample was
    taken. `digest` is CRC-32 of these levels' canonical text (see `core.book.ladder_crc32`).
    """

    number: int
    index: int
    symbol: str
    sequence: int | None
    ts_event: int | None
    ts_recv: int
    ts_sample: int
    quality: int
    price_exponent: int
    size_exponent: int
    bid_prices: list[int]
    bid_sizes: list[int]
    ask_prices: list[int]
    ask_sizes: list[int]
    digest: int


class Fault(msgspec.Struct, frozen=True, gc=False):
    """A recorded fact about bad data.

    `symbol` is empty when the whole connection is concerned. `count` is the size of the loss in
    `unit` (`trades`, `update_ids`, `frames`), None where the venue cannot tell.
    """

    number: int
    index: int
    kind: FaultKind
    symbol: str
    channel: str
    expected: str
    found: str
    count: int | None
    unit: str
    ts_recv: int


class StreamSecond(msgspec.Struct, frozen=True, kw_only=True):
    """What one stream did between two ticks.

    A stream is (channel, symbol); the connection itself is channel `connection`, symbol empty.
    `ts` is the closing tick, `window_ns` the monotonic time since the tick before. Latencies are
    `ts_recv - ts_event`, signed, over the frames of the window, None when there were none.
    """

    number: int
    index: int
    channel: str
    symbol: str
    ts: int
    window_ns: int
    frames: int
    bytes: int
    age_ns: int | None
    """Since the last frame of this stream (monotonic); None before the first of the epoch."""
    latency_count: int
    latency_min_ns: int | None
    latency_p50_ns: int | None
    latency_p90_ns: int | None
    latency_p99_ns: int | None
    latency_max_ns: int | None
    jitter_ns: int | None
    """Mean |D| of RFC 3550 6.4.1 over the window: how much consecutive transit times differ. Not
    smoothed over windows, so that it depends on nothing older than its window."""
    heartbeat_rtt_ns: int | None
    gaps: int
    missing: int
    duplicates: int
    out_of_order: int
    checksums_ok: int
    checksums_bad: int
    audits_ok: int
    audits_bad: int
    decode_errors: int
    resyncs: int
    book_state: BookState | None
    """At the end of the window; None for streams that are not books."""
    empty_ns: int
    syncing_ns: int
    live_ns: int
    stale_ns: int
    """Time in each book state; `live_ns` of the connection is the time the socket was open."""
    queue_frames: int
    queue_age_ns: int
    paused_ns: int
    gap_max_ns: int | None = None
    """The longest time between two frames of which the later one came in the window; None before
    the second frame of the epoch, and in windows without a frame."""
    clock_offset_ns: int | None = None
    """Of channels `connection` and `data`: the venue's clock minus our wall clock at the end of the
    window; None where the venue has not told its time on this socket. Added to a latency it gives
    the time that the message took, within `clock_uncertainty_ns`."""
    clock_uncertainty_ns: int | None = None
    heartbeats: int = 0
    """Of channel `connection`: heartbeats and protocol pings that the venue sent by itself."""
    heartbeat_interval_p50_ns: int | None = None
    heartbeat_interval_max_ns: int | None = None
    """Times from one of them to the next, of those that ended in the window; None where none did.
    """
    state: StreamState | None = None
    """From here on as in `core.stability.judgement`; None in records from before there was one."""
    is_blind: bool = False
    score: float | None = None
    score_version: int = 0
    score_binding: Component | None = None
    score_badness: float | None = None
    score_threshold: float | None = None
    score_unit: str = ""
    score_liveness: float | None = None
    score_integrity: float | None = None
    score_latency: float | None = None
    score_book: float | None = None
    score_continuity: float | None = None
    score_order: float | None = None
    score_jitter: float | None = None


class StreamCheckpoint(msgspec.Struct, frozen=True, gc=False):
    """What one stream remembers at a tick, for whoever begins to read later.

    Streams are named as in `StreamSecond`. `state` is a `core.memory.StreamMemory`, as it was when
    the tick of frame `number` had closed the window.
    """

    number: int
    index: int
    channel: str
    symbol: str
    state: bytes


class Events(msgspec.Struct):
    """All facts of one raw record, or of one closed second of an exchange's instrument, in order of
    origin."""

    address: Address
    number: int
    trades: list[Trade]
    books: list[BookSnapshot]
    faults: list[Fault]
    seconds: list[StreamSecond]
    alerts: list[Alert] = []
    checkpoints: list[StreamCheckpoint] = []
    mids: list[Mid] = []
    venues: list[VenueSecond] = []


class Header(msgspec.Struct, frozen=True, gc=False):
    """What every record on an event topic says of the raw record it was derived from.

    `number` is that of the raw record's first frame. On one topic (address.epoch, number) of one
    shard and line only grows, so a repeated record shows by one comparison. What is derived from
    `mids` has the partition and offset of those, an instrument in place of the shard, no line, and
    the second as its number.
    """

    address: Address
    number: int
    raw_partition: int
    raw_offset: int

    @property
    def stream(self) -> tuple[str, str, str]:
        """Exchange, shard, line: whose records are in order."""
        address = self.address
        return address.exchange, address.shard, address.line

    @property
    def source(self) -> str:
        """The exchange whose raw topic was read; empty for what is derived from `mids`."""
        return self.address.exchange if self.address.line else ""

    @property
    def mark(self) -> tuple[int, int]:
        """Epoch and number: grows from record to record of one stream."""
        return self.address.epoch, self.number


class TradeBatch(msgspec.Struct, frozen=True):
    """A record of topic `trades`, by columns of equal length; fields as in `Trade`.

    `sequences` holds -1 where the venue has none.
    """

    header: Header
    numbers: Sequence[int]
    indices: Sequence[int]
    symbols: list[str]
    trade_ids: list[str]
    sequences: Sequence[int]
    prices: list[str]
    sizes: list[str]
    sides: bytes
    ts_event: Sequence[int]
    ts_recv: Sequence[int]
    quality: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)


class BookBatch(msgspec.Struct, frozen=True):
    """A record of topic `books`."""

    header: Header
    books: list[BookSnapshot]

    def __len__(self) -> int:
        return len(self.books)


class FaultBatch(msgspec.Struct, frozen=True):
    """A record of topic `faults`."""

    header: Header
    faults: list[Fault]

    def __len__(self) -> int:
        return len(self.faults)


class StabilityBatch(msgspec.Struct, frozen=True):
    """A record of topic `stability`."""

    header: Header
    seconds: list[StreamSecond]

    def __len__(self) -> int:
        return len(self.seconds)


class AlertBatch(msgspec.Struct, frozen=True):
    """A record of topic `alerts`: one alert, so that each is an event of its own for its readers.

    One raw record may show several, so `header.number` is that of the alert: see `fact_number`.
    """

    header: Header
    alerts: list[Alert]

    def __len__(self) -> int:
        return len(self.alerts)


def fact_number(fact: Alert | Mid) -> int:
    """Return what grows from fact to fact of one epoch: its frame, then its place in it."""
    return fact.number * FACT_PLACES + fact.index


class VenueBatch(msgspec.Struct, frozen=True):
    """A record of topic `venues`: one exchange and instrument in one second."""

    header: Header
    venues: list[VenueSecond]

    def __len__(self) -> int:
        return len(self.venues)


class MidBatch(msgspec.Struct, frozen=True):
    """A record of topic `mids`: one mid, because its instrument is its key; `header.number` as of
    `AlertBatch`. Read by processors, never stored as rows."""

    header: Header
    mids: list[Mid]

    def __len__(self) -> int:
        return len(self.mids)


class CheckpointBatch(msgspec.Struct, frozen=True):
    """A record of topic `checkpoints`: read by processors, never stored as rows."""

    header: Header
    checkpoints: list[StreamCheckpoint]

    def __len__(self) -> int:
        return len(self.checkpoints)


EventBatch = TradeBatch | BookBatch | FaultBatch | StabilityBatch | AlertBatch | VenueBatch
OutputBatch = EventBatch | CheckpointBatch | MidBatch
