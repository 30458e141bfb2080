"""CloudEvents 1.0 attributes of records, as Kafka headers in binary mode.

Whoever routes alerts need not decode them: headers say what happened to whom. Consumers may tell
repeats by `ce_source` and `ce_id`.
Source: CloudEvents 1.0.2 and its Kafka protocol binding, 3.2 (binary content mode).
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from core.events import AlertBatch, Header
from core.stability.alerts import Alert
from schemas.codec import decode_events
from schemas.topics import ALERTS

ALERT_TYPE: Final = "org.streamgauge.alert.v1"
CONTENT_TYPE: Final = "application/avro"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Headers = list[tuple[str, bytes]]


def headers_of(kind: str, value: bytes) -> Headers | None:
    """Return the headers of a record of topic kind `kind`, None for kinds that are no events."""
    if kind != ALERTS:
        return None
    batch = decode_events(kind, value)
    assert isinstance(batch, AlertBatch)
    (alert,) = batch.alerts
    attributes = {f"ce_{name}": text for name, text in attributes_of(batch.header, alert).items()}
    attributes["content-type"] = CONTENT_TYPE
    return [(name, text.encode()) for name, text in attributes.items()]


def attributes_of(header: Header, alert: Alert) -> dict[str, str]:
    """Return the attributes of an alert by name: the same on Kafka and over HTTP."""
    address, phase = header.address, alert.phase.name.lower()
    return {
        "specversion": "1.0",
        "id": f"{alert.alert_id}/{phase}",
        "source": f"/exchanges/{address.exchange}/{address.shard}/{address.line}",
        "type": ALERT_TYPE,
        "subject": ".".join(filter(None, (alert.channel, alert.symbol))),
        "time": rfc3339(alert.ts),
        "severity": alert.severity.name.lower(),
        "phase": phase,
        "alertkind": alert.kind.name.lower(),
        "alertkey": alert.alert_id,
    }


def rfc3339(ts: int) -> str:
    """Return ns since the epoch as a time of RFC 3339 in UTC, with microseconds."""
    moment = _EPOCH + timedelta(microseconds=ts // 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
