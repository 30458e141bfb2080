"""The state of everything now, from the newest second of each stream and the open incidents.

Fed with records of the topics `stability` and `alerts` in any order; asked with `now`. Streams are
rolled up to channels, connections and exchanges by the worst and by a lower quantile, never by a
mean: one dead stream of a hundred must show.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final

import msgspec

from core.events import AlertBatch, StabilityBatch, StreamSecond
from core.frames import Address
from core.stability.alerts import Alert, Phase
from core.stability.states import StreamState

_S: Final = 1_000_000_000
UNSEEN_NS: Final = 5 * _S
"""A stream whose newest second is older than this is not known, whatever it said."""
LOWER: Final = 0.1
"""The lower quantile of scores."""


class Standing(IntEnum):
    """What is known of a stream now, the worst first."""

    DOWN = 0
    UNKNOWN = 1
    """Nothing was heard of it lately: its producer or a processor has stopped, or is behind."""
    BLIND = 2
    """Our own producer does not see all that comes, so the state stands still."""
    CONNECTING = 3
    SYNCING = 4
    UNSTABLE = 5
    DEGRADED = 6
    STABLE = 7


class StreamStatus(msgspec.Struct, frozen=True):
    """One stream, as it was `heard_s` ago: how far our own pipeline is behind is no fault of its.

    `age_s` had passed then since its last frame; None before the first. `reason` is the binding
    component of the score, `badness` its value against `threshold`, in `unit`.
    """

    exchange: str
    shard: str
    line: str
    channel: str
    symbol: str
    standing: Standing
    score: float | None
    reason: str
    badness: float | None
    threshold: float | None
    unit: str
    age_s: float | None
    heard_s: float | None


class RollUp(msgspec.Struct, frozen=True):
    """Several streams as one: the worst of them, the lowest and a lower quantile of their scores.

    What it is of: `shard`, `line` and `channel` are empty where it is of all of them.
    """

    exchange: str
    shard: str
    line: str
    channel: str
    streams: int
    stable: int
    score_min: float | None
    score_p10: float | None
    worst: StreamStatus


class OpenIncident(msgspec.Struct, frozen=True):
    """An incident that has not resolved, open for `open_s`."""

    alert_id: str
    kind: str
    severity: str
    exchange: str
    shard: str
    line: str
    channel: str
    symbol: str
    started_ns: int
    open_s: float
    metric: str
    value: float
    threshold: float
    unit: str
    detail: str


class Status(msgspec.Struct, frozen=True):
    """Everything at `ts`, ns; `stable` is true only if all streams are and no incident is open."""

    ts: int
    stable: bool
    exchanges: list[RollUp]
    connections: list[RollUp]
    channels: list[RollUp]
    streams: list[StreamStatus]
    incidents: list[OpenIncident]


_Key = tuple[str, str, str, str, str]


class Overview:
    """Holds one second of each stream, and the alerts of incidents until they resolve."""

    def __init__(self, expected: Iterable[str] = ()) -> None:
        """Take the exchanges of which something must be heard."""
        self._expected = frozenset(expected)
        self._newest: dict[_Key, StreamSecond] = {}
        self._open: dict[str, tuple[Address, Alert]] = {}
        self._resolved: set[str] = set()

    def take_seconds(self, batch: StabilityBatch) -> None:
        """Take a record of `stability`."""
        address = batch.header.address
        for second in batch.seconds:
            place = address.exchange, address.shard, address.line, second.channel, second.symbol
            known = self._newest.get(place)
            if known is None or second.ts >= known.ts:
                self._newest[place] = second

    def take_alerts(self, batch: AlertBatch) -> None:
        """Take a record of `alerts`; a resolution holds even if it comes before its opening."""
        for alert in batch.alerts:
            if alert.phase is Phase.RESOLVE:
                self._open.pop(alert.alert_id, None)
                self._resolved.add(alert.alert_id)
            elif alert.alert_id not in self._resolved:
                self._open[alert.alert_id] = batch.header.address, alert

    def status(self, now: int) -> Status:
        """Return what is known at `now`, ns since the epoch."""
        streams = [_stream(place, second, now) for place, second in sorted(self._newest.items())]
        heard = {stream.exchange for stream in streams}
        streams += [_never_heard(exchange) for exchange in sorted(self._expected - heard)]
        incidents = [_incident(address, alert, now) for address, alert in self._open.values()]
        incidents.sort(key=lambda incident: (incident.started_ns, incident.alert_id))
        is_stable = all(stream.standing is Standing.STABLE for stream in streams)
        return Status(
            ts=now,
            stable=is_stable and bool(streams) and not incidents,
            exchanges=rolled_up(streams, ("exchange",)),
            connections=rolled_up(streams, ("exchange", "shard", "line")),
            channels=rolled_up(streams, ("exchange", "shard", "line", "channel")),
            streams=streams,
            incidents=incidents,
        )


def rolled_up(streams: Sequence[StreamStatus], by: Sequence[str]) -> list[RollUp]:
    """Return one roll-up for each group of streams that are equal in the fields `by`."""
    groups: dict[tuple[str, ...], list[StreamStatus]] = {}
    for stream in streams:
        groups.setdefault(tuple(getattr(stream, name) for name in by), []).append(stream)
    found = []
    for group in groups.values():
        scores = [stream.score for stream in group if stream.score is not None]
        named = {name: getattr(group[0], name) for name in by}
        found.append(
            RollUp(
                **dict.fromkeys(("exchange", "shard", "line", "channel"), "") | named,
                streams=len(group),
                stable=sum(stream.standing is Standing.STABLE for stream in group),
                score_min=min(scores, default=None),
                score_p10=lower_quantile(scores, LOWER),
                worst=min(group, key=badness_first),
            )
        )
    return found


def badness_first(stream: StreamStatus) -> tuple[int, float, str, str]:
    """Sort key: the worst standing first, then the lowest score."""
    score = 100.0 if stream.score is None else stream.score
    return stream.standing, score, stream.channel, stream.symbol


def lower_quantile(values: Sequence[float], share: float) -> float | None:
    """Return the largest value that at most `share` of the values lie below; None of none.

    Never more than any other definition gives: of fewer than 1 / share values it is the least.
    """
    return sorted(values)[int(len(values) * share)] if values else None


def _stream(place: _Key, second: StreamSecond, now: int) -> StreamStatus:
    heard_ns = max(now - second.ts, 0)
    standing = _standing(second, heard_ns)
    binding = second.score_binding
    is_known = standing is not Standing.UNKNOWN
    return StreamStatus(
        *place,
        standing=standing,
        score=second.score if is_known else None,
        reason="" if binding is None or not is_known else binding.name.lower(),
        badness=second.score_badness if is_known else None,
        threshold=second.score_threshold if is_known else None,
        unit=second.score_unit if is_known else "",
        age_s=None if second.age_ns is None else second.age_ns / _S,
        heard_s=heard_ns / _S,
    )


def _standing(second: StreamSecond, heard_ns: int) -> Standing:
    if heard_ns > UNSEEN_NS or second.state is None:
        return Standing.UNKNOWN
    if second.is_blind:
        return Standing.BLIND
    return _STANDINGS[second.state]


_STANDINGS: Final = {state: Standing[state.name] for state in StreamState}


def _never_heard(exchange: str) -> StreamStatus:
    return StreamStatus(
        *(exchange, "", "", "", ""),
        standing=Standing.UNKNOWN,
        score=None,
        reason="",
        badness=None,
        threshold=None,
        unit="",
        age_s=None,
        heard_s=None,
    )


def _incident(address: Address, alert: Alert, now: int) -> OpenIncident:
    return OpenIncident(
        alert_id=alert.alert_id,
        kind=alert.kind.name.lower(),
        severity=alert.severity.name.lower(),
        exchange=address.exchange,
        shard=address.shard,
        line=address.line,
        channel=alert.channel,
        symbol=alert.symbol,
        started_ns=alert.ts_effect,
        open_s=max(now - alert.ts_effect, 0) / _S,
        metric=alert.metric,
        value=alert.value,
        threshold=alert.threshold,
        unit=alert.unit,
        detail=alert.detail,
    )
