"""What an alert says: to people in words, to programs as fields; every format takes it from here.

Pure: an alert in, text out.
"""

from typing import Any, Final

import msgspec

from core.notify.agenda import Task
from core.stability.alerts import AlertKind, Phase
from schemas.cloudevents import rfc3339

CLIENT: Final = "Streamgauge"
_MEANINGS: Final = {
    AlertKind.DISCONNECTED: "the connection is lost",
    AlertKind.SILENCE: "nothing comes on the open connection",
    AlertKind.DATA_SILENCE: "heartbeats come, but no market data",
    AlertKind.STREAM_SILENCE: "one stream is silent while others are not",
    AlertKind.GAP: "messages are missing",
    AlertKind.CHECKSUM: "the book differs from the exchange's",
    AlertKind.DUPLICATES: "messages come twice",
    AlertKind.REORDERING: "messages come late, after ones that follow them",
    AlertKind.LATENCY: "market data takes longer than usual",
    AlertKind.JITTER: "the latency varies more than usual",
    AlertKind.CROSSED_BOOK: "the best bid is at or above the best ask",
    AlertKind.SCHEMA: "frames cannot be read, or nobody asked for them",
    AlertKind.REJECTED: "the exchange refuses a request",
    AlertKind.BOOK_DOWN: "a book could not be brought back",
    AlertKind.PIPELINE: "our own producer cannot hand on what comes",
    AlertKind.LOG_BROKEN: "frames are missing in the raw log",
    AlertKind.CLOCK: "the exchange's clock was set, or does not keep time",
    AlertKind.LOCAL_CLOCK: "our own producer's clock was set",
    AlertKind.DIVERGENCE: "the price left that of other exchanges",
    AlertKind.FROZEN_PRICE: "the price stands still, others' move",
}


class Links(msgspec.Struct, frozen=True):
    """Where deliveries point: `runbook_base_url` goes before a page's name, `source` may be ""."""

    runbook_base_url: str
    source: str

    def runbook(self, kind: AlertKind) -> str:
        """Return the page about a kind of alert."""
        return f"{self.runbook_base_url}{kind.name.lower()}.md"


def place(task: Task) -> str:
    """Return which stream it is about, such as `kraken book BTC/USD`."""
    address, alert = task.notice.header.address, task.notice.alert
    return " ".join(filter(None, (address.exchange, alert.channel, alert.symbol)))


def headline(task: Task) -> str:
    """Return one line that says what has happened where."""
    alert = task.notice.alert
    name = alert.kind.name.lower()
    if alert.phase is Phase.RESOLVE:
        return f"Resolved after {lasted(alert.ts - alert.ts_effect)}: {name} at {place(task)}"
    return f"{alert.severity.name}: {name} at {place(task)}: {_MEANINGS[alert.kind]}"


def facts(task: Task) -> list[tuple[str, str]]:
    """Return what a person should know, as names and values, none of them empty."""
    notice, alert = task.notice, task.notice.alert
    address = notice.header.address
    threshold = f" (threshold {alert.threshold:g})" if alert.threshold else ""
    # What has no measure but that it happened needs none beside its name.
    said = f"{alert.metric} {alert.value:g} {alert.unit}{threshold}"
    measured = [("Measured", said)] if alert.unit not in ("", "faults") else []
    found = [
        ("Stream", f"{place(task)} (shard {address.shard}, line {address.line})"),
        *measured,
        ("Effect began", rfc3339(alert.ts_effect)),
        ("Detected", rfc3339(alert.ts_detected)),
    ]
    if alert.phase is Phase.RESOLVE:
        found.append(("Resolved", rfc3339(alert.ts)))
        found.append(("Further evidence", f"{alert.hits}, of single streams {alert.children}"))
    if alert.detail:
        found.append(("Detail", alert.detail))
    if task.before and alert.phase is Phase.OPEN:
        found.append(("Opened before", f"{task.before} times lately"))
    return found


def fields(task: Task, links: Links) -> dict[str, Any]:
    """Return every field of an alert for programs; times are RFC 3339 in UTC."""
    notice, alert = task.notice, task.notice.alert
    header, address = notice.header, notice.header.address
    return {
        "alert_id": alert.alert_id,
        "phase": alert.phase.name.lower(),
        "kind": alert.kind.name.lower(),
        "severity": alert.severity.name.lower(),
        "summary": headline(task),
        "exchange": address.exchange,
        "shard": address.shard,
        "line": address.line,
        "channel": alert.channel,
        "symbol": alert.symbol,
        "ts": rfc3339(alert.ts),
        "ts_effect": rfc3339(alert.ts_effect),
        "ts_detected": rfc3339(alert.ts_detected),
        "metric": alert.metric,
        "value": alert.value,
        "threshold": alert.threshold,
        "unit": alert.unit,
        "detail": alert.detail,
        "hits": alert.hits,
        "children": alert.children,
        "opened_before": task.before,
        "runbook_url": links.runbook(alert.kind),
        "origin": {
            "epoch": address.epoch,
            "number": alert.number,
            "index": alert.index,
            "raw_partition": header.raw_partition,
            "raw_offset": header.raw_offset,
        },
        "log": {"partition": notice.partition, "offset": notice.offset},
    }


def lasted(ns: int) -> str:
    """Return a duration for people: `0.4 s`, `61 s`, `12 min`, `3 h 5 min`."""
    seconds = max(ns, 0) / 1e9
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
