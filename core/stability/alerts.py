"""What an alert is: an incident of one stream that was opened or resolved.

One incident has one opening and one resolution, however often its evidence recurs meanwhile.
"""

from enum import IntEnum

import msgspec


class AlertKind(IntEnum):
    """What is wrong; the numbers are part of the Avro contract and never change."""

    DISCONNECTED = 1
    """The socket is gone, and that was not planned."""
    SILENCE = 2
    """The socket is open and nothing comes, for longer than the rhythm of the stream explains."""
    DATA_SILENCE = 3
    """Heartbeats come, but no market data of any symbol."""
    STREAM_SILENCE = 4
    """One symbol's channel is silent while others of the connection are not."""
    GAP = 5
    """Messages of the venue are missing."""
    CHECKSUM = 6
    """A book differs from what the venue says of it: by its checksum, or by a fresh snapshot."""
    DUPLICATES = 7
    """Messages come twice."""
    REORDERING = 8
    """Messages come late, after ones that follow them."""
    LATENCY = 9
    """Market data takes longer than usual."""
    JITTER = 10
    """The time that market data takes varies more than usual."""
    CROSSED_BOOK = 11
    """The best bid is at or above the best ask."""
    SCHEMA = 12
    """Frames that cannot be read, or of symbols that were never asked for."""
    REJECTED = 13
    """The venue refuses a subscription or a request, or reports an error."""
    BOOK_DOWN = 14
    """A book could not be brought back for half a minute."""
    PIPELINE = 15
    """Our own producer cannot hand on what comes: nothing is said of the venue meanwhile."""
    LOG_BROKEN = 16
    """Frames are missing or changed in the raw log itself."""
    CLOCK = 17
    """The venue's clock was set, or does not keep time."""
    LOCAL_CLOCK = 18
    """The wall clock of our own producer was set."""
    DIVERGENCE = 19
    """A venue's price is elsewhere than usual, compared with those of the others."""
    FROZEN_PRICE = 20
    """Messages come and a venue's price stands still, while those of the others move."""


class Severity(IntEnum):
    """How soon a person should look."""

    INFO = 1
    WARNING = 2
    CRITICAL = 3


class Phase(IntEnum):
    """What has happened to the incident."""

    OPEN = 1
    RESOLVE = 2


class Finding(msgspec.Struct, frozen=True):
    """Evidence of one kind of trouble in one stream: `value` against `threshold`, in `unit`.

    `ts_effect` is when the effect began, ns since the epoch, as far as the log shows.
    """

    kind: "AlertKind"
    ts_effect: int
    metric: str
    value: float
    threshold: float
    unit: str
    detail: str = ""


class Alert(msgspec.Struct, frozen=True, gc=False):
    """One opening or resolution, with the frame or tick that showed it as its origin.

    `alert_id` is the same for both and names the origin of the opening. `ts` is the receive time of
    that frame or tick; `ts_effect` is when the effect began, `ts_detected` when the incident was
    opened. `hits` and `children` count recurring evidence, and incidents of single streams that
    were part of this one; both are 0 when it opens.
    """

    number: int
    index: int
    alert_id: str
    phase: Phase
    kind: AlertKind
    severity: Severity
    channel: str
    symbol: str
    ts: int
    ts_effect: int
    ts_detected: int
    metric: str
    value: float
    threshold: float
    unit: str
    detail: str
    hits: int
    children: int
