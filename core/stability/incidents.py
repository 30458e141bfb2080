"""Incidents: evidence in, one opening and one resolution out.

    (none) --evidence--> OPEN --no evidence for the kind's clean time--> (none)

Evidence of an open incident is counted and holds it open. What happens to one stream while an
incident of the whole connection is open is part of that one: it is counted there and opens nothing.
Everything is remembered in the stream's own health, which is part of its checkpoint.
"""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from core.events import FaultKind
from core.stability.alerts import Alert, AlertKind, Finding, Phase, Severity

_S: Final = 1_000_000_000
CLEAN_NS: Final = 10 * _S
CLEAN_RECURRING_NS: Final = 60 * _S
"""How long there must be no evidence: what is rare by nature comes again within a minute."""
CLEAN_SILENCE_NS: Final = 20 * _S
"""Of a silent socket: a venue that asked for a sign of life meanwhile, and had no answer, closes it
up to a heartbeat's interval later."""
_RECURRING: Final = frozenset(
    {
        AlertKind.GAP,
        AlertKind.CHECKSUM,
        AlertKind.DUPLICATES,
        AlertKind.REORDERING,
        AlertKind.CROSSED_BOOK,
        AlertKind.SCHEMA,
        AlertKind.REJECTED,
        AlertKind.LOG_BROKEN,
        AlertKind.CLOCK,
        AlertKind.LOCAL_CLOCK,
    }
)
PARENTS: Final = frozenset(
    {
        AlertKind.DISCONNECTED,
        AlertKind.SILENCE,
        AlertKind.DATA_SILENCE,
        AlertKind.PIPELINE,
        AlertKind.LOG_BROKEN,
    }
)
"""Incidents of a connection that explain what its streams show meanwhile."""
EXPLAINED: Final[Mapping[AlertKind, frozenset[AlertKind]]] = {
    AlertKind.GAP: frozenset({AlertKind.REORDERING, AlertKind.SCHEMA}),
    AlertKind.REORDERING: frozenset({AlertKind.GAP, AlertKind.SCHEMA}),
    AlertKind.DUPLICATES: frozenset({AlertKind.REORDERING}),
    AlertKind.CHECKSUM: frozenset({AlertKind.SCHEMA}),
    AlertKind.LATENCY: frozenset({AlertKind.CLOCK, AlertKind.LOCAL_CLOCK, AlertKind.JITTER}),
    AlertKind.JITTER: frozenset({AlertKind.LATENCY}),
    AlertKind.DIVERGENCE: frozenset({AlertKind.FROZEN_PRICE}),
    AlertKind.FROZEN_PRICE: frozenset({AlertKind.DIVERGENCE}),
    AlertKind.BOOK_DOWN: frozenset(
        {
            AlertKind.GAP,
            AlertKind.REORDERING,
            AlertKind.CHECKSUM,
            AlertKind.CROSSED_BOOK,
            AlertKind.SCHEMA,
        }
    ),
}
"""By which open incidents of the same stream, or of the connection, a kind is explained: a change
that cannot be read is missing next, one that was overtaken may have been thought missing or
repeated, latency is the difference of two clocks, and a way that is worse is so in both
measures."""
SEVERITIES: Final[Mapping[AlertKind, Severity]] = {
    AlertKind.DISCONNECTED: Severity.CRITICAL,
    AlertKind.SILENCE: Severity.CRITICAL,
    AlertKind.DATA_SILENCE: Severity.CRITICAL,
    AlertKind.PIPELINE: Severity.CRITICAL,
    AlertKind.LOG_BROKEN: Severity.CRITICAL,
    AlertKind.BOOK_DOWN: Severity.CRITICAL,
}
"""Of what is not a warning."""
FAULT_ALERTS: Final[Mapping[FaultKind, AlertKind]] = {
    FaultKind.SEQUENCE_GAP: AlertKind.GAP,
    FaultKind.TRADE_GAP: AlertKind.GAP,
    FaultKind.CHECKSUM_MISMATCH: AlertKind.CHECKSUM,
    FaultKind.AUDIT_MISMATCH: AlertKind.CHECKSUM,
    FaultKind.CROSSED_BOOK: AlertKind.CROSSED_BOOK,
    FaultKind.DECODE_ERROR: AlertKind.SCHEMA,
    FaultKind.UNKNOWN_SYMBOL: AlertKind.SCHEMA,
    FaultKind.UNEXPECTED_BINARY: AlertKind.SCHEMA,
    FaultKind.UNREPRESENTABLE: AlertKind.SCHEMA,
    FaultKind.SUBSCRIPTION_REJECTED: AlertKind.REJECTED,
    FaultKind.EXCHANGE_ERROR: AlertKind.REJECTED,
    FaultKind.REQUEST_FAILED: AlertKind.REJECTED,
    FaultKind.DISCONNECTED: AlertKind.DISCONNECTED,
    FaultKind.CONNECT_FAILED: AlertKind.DISCONNECTED,
    FaultKind.FRAMES_DROPPED: AlertKind.PIPELINE,
    FaultKind.BUFFER_OVERFLOW: AlertKind.PIPELINE,
    FaultKind.FRAMES_LOST: AlertKind.LOG_BROKEN,
    FaultKind.CHAIN_BROKEN: AlertKind.LOG_BROKEN,
}
"""Faults that are evidence. A snapshot that came too old is asked for again and is none, nor is
the venue's word that it will close the connection, nor a field that nobody needs."""


class Incident(msgspec.Struct, array_like=True):
    """An open incident: its opening, and what has come since."""

    alert_id: str
    ts_effect: int
    ts_detected: int
    metric: str
    threshold: float
    unit: str
    worst: float
    clean_ns: int = 0
    hits: int = 0
    children: int = 0


class Incidents(msgspec.Struct, array_like=True):
    """The open incidents of one stream."""

    open: dict[AlertKind, Incident] = {}

    def explains(self) -> Incident | None:
        """Return the open incident of the connection that others are part of."""
        for kind, incident in self.open.items():
            if kind in PARENTS:
                return incident
        return None

    def strike(self, finding: Finding) -> bool:
        """Take evidence; say whether an incident of its kind was open already."""
        incident = self.open.get(finding.kind)
        if incident is None:
            return False
        incident.hits += 1
        incident.clean_ns = 0
        incident.worst = max(incident.worst, finding.value)
        return True

    def pass_time(
        self, passed_ns: int, shown: Collection[AlertKind]
    ) -> list[tuple[AlertKind, Incident]]:
        """Close and return the incidents that were clean for long enough.

        `shown` are the kinds that the window just closed is evidence of.
        """
        closed: list[tuple[AlertKind, Incident]] = []
        for kind, incident in list(self.open.items()):
            if kind in shown:
                continue
            incident.clean_ns += passed_ns
            if incident.clean_ns >= _clean_ns(kind):
                closed.append((kind, incident))
                del self.open[kind]
        return closed


def _clean_ns(kind: AlertKind) -> int:
    """Return how long there must be no evidence of an incident."""
    if kind is AlertKind.SILENCE:
        return CLEAN_SILENCE_NS
    return CLEAN_RECURRING_NS if kind in _RECURRING else CLEAN_NS


def incident_alert(
    phase: Phase,
    kind: AlertKind,
    incident: Incident,
    *,
    stream: tuple[str, str],
    origin: tuple[int, int],
    ts: int,
    detail: str,
) -> Alert:
    """Return what is said of an incident of `stream` (channel, symbol) at `ts`, ns.

    `origin` is the number of what showed it, and the place of the alert in that.
    """
    return Alert(
        number=origin[0],
        index=origin[1],
        alert_id=incident.alert_id,
        phase=phase,
        kind=kind,
        severity=SEVERITIES.get(kind, Severity.WARNING),
        channel=stream[0],
        symbol=stream[1],
        ts=ts,
        ts_effect=incident.ts_effect,
        ts_detected=incident.ts_detected,
        metric=incident.metric,
        value=incident.worst,
        threshold=incident.threshold,
        unit=incident.unit,
        detail=detail,
        hits=incident.hits,
        children=incident.children,
    )
