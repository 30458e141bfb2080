"""Alerts for tests of what is told: notices by hand."""

from core.events import Header, fact_number
from core.frames import Address
from core.notify.notices import Notice
from core.stability.alerts import Alert, AlertKind, Phase, Severity

S = 1_000_000_000
EPOCH = 1_790_000_000 * S


def alert_notice(
    incident: str,
    phase: Phase,
    *,
    offset: int,
    ts: int,
    number: int | None = None,
    kind: AlertKind = AlertKind.GAP,
    severity: Severity = Severity.WARNING,
    exchange: str = "kraken",
    symbol: str = "BTC/USD",
) -> Notice:
    """Return the notice of an alert; `number`, by which repeats show, is `offset` by default."""
    alert = Alert(
        number=offset if number is None else number,
        index=0,
        alert_id=incident,
        phase=phase,
        kind=kind,
        severity=severity,
        channel="book",
        symbol=symbol,
        ts=ts,
        ts_effect=ts - S,
        ts_detected=ts,
        metric="sequence_gap",
        value=1.0,
        threshold=0.0,
        unit="update_ids",
        detail="",
        hits=0,
        children=0,
    )
    header = Header(Address(exchange, "shard", "A", EPOCH), fact_number(alert), 0, offset)
    return Notice(header, alert, 0, offset, incident.encode())
