"""The ledger: what was done to a feed, when, and what a right alert says of it.

Plain values that can be written down and read again; nothing here knows how a fault was injected
or how an alert came about.
"""

import msgspec

from core.stability.alerts import Alert, AlertKind


class Target(msgspec.Struct, frozen=True):
    """Which alerts name a fault rightly: of one of these kinds, about this stream.

    `channels` and `symbol` are of the alert's stream; an alert about a connection has the channel
    `connection` or `data` and no symbol. Without `kinds` no detector of this version looks for
    it.
    """

    kinds: tuple[AlertKind, ...]
    channels: tuple[str, ...]
    symbol: str = ""

    def fits(self, alert: Alert) -> bool:
        """Say whether an alert names the fault rightly."""
        return (
            alert.kind in self.kinds
            and alert.channel in self.channels
            and alert.symbol == self.symbol
        )


class Injection(msgspec.Struct, kw_only=True):
    """One fault. Times are ns since the epoch, by the clock of the log.

    `ts_effect` is when its first effect could be seen by anyone who reads the log: the arrival of
    the first message that is wrong, or the time at which the first one that is missing would have
    come; None: there was none, and nothing could be detected. `excess_ns_per_s` is how fast
    latency grows, where that is the fault.
    """

    id: int
    fault: str
    """Its class, F1 to F15."""
    variant: str
    exchange: str
    shard: str
    channels: tuple[str, ...]
    """Of the streams that it is about; `connection` is all that comes."""
    symbol: str
    target: Target
    ts_start: int
    ts_end: int = 0
    ts_effect: int | None = None
    excess_ns_per_s: int = 0


class Observed(msgspec.Struct, frozen=True):
    """An alert and the connection that it came from."""

    exchange: str
    shard: str
    alert: Alert
