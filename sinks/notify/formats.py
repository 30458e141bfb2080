"""The receivers' formats: an alert becomes the HTTP request that a receiver understands.

Sources: Alertmanager API v2 `POST /alerts` (api/v2/openapi.yaml); CloudEvents 1.0.2, HTTP protocol
binding 3.1 and 3.2, and JSON format 3; Slack, "Incoming webhooks" and "Block Kit" (limits of
blocks); PagerDuty, "Events API v2", "Send an alert event".
"""

import hashlib
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

import msgspec

from core.notify.agenda import Task
from core.notify.notices import Notice
from core.stability.alerts import Phase, Severity
from schemas.cloudevents import attributes_of, rfc3339
from sinks.notify.wording import CLIENT, Links, facts, fields, headline

PAGERDUTY_URL: Final = "https://events.pagerduty.com/v2/enqueue"
ALERTS_PATH: Final = "/api/v2/alerts"
SUMMARY_CHARACTERS: Final = 1024
"""Longest summary of PagerDuty."""
DEDUP_KEY_CHARACTERS: Final = 255
HEADER_CHARACTERS: Final = 150
"""Longest header block of Slack."""
FIELD_CHARACTERS: Final = 2000
FIELDS: Final = 10
CONTEXT_CHARACTERS: Final = 3000
EXPIRES_AFTER: Final = 4
"""Intervals after which an Alertmanager forgets what it is not told again, as of Prometheus."""
_JSON: Final = "application/json"
_SAFE: Final = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"
"""What a header's value may hold as it is, besides letters and digits: no space, quote, percent."""
_MARKS: Final = {Severity.INFO: "🔵", Severity.WARNING: "🟠", Severity.CRITICAL: "🔴"}


class Request(msgspec.Struct, frozen=True):
    """What is posted: the body and its headers. Where to and with what login is not part of it."""

    body: bytes
    headers: dict[str, str]


# -- webhook --


def structured_event(task: Task, links: Links) -> Request:
    """Return an alert as one CloudEvent in structured mode: all of it in the JSON body."""
    notice = task.notice
    event: dict[str, Any] = {
        **attributes_of(notice.header, notice.alert),
        "datacontenttype": _JSON,
        "data": fields(task, links),
    }
    return _json(event, "application/cloudevents+json; charset=utf-8", task)


def binary_event(task: Task, links: Links) -> Request:
    """Return an alert as one CloudEvent in binary mode: attributes in headers, data in the body."""
    notice = task.notice
    request = _json(fields(task, links), _JSON, task)
    attributes = attributes_of(notice.header, notice.alert)
    headers = {f"ce-{name}": quote(text, safe=_SAFE) for name, text in attributes.items()}
    return Request(request.body, request.headers | headers)


# -- Alertmanager --


def alertmanager_alerts(
    tasks: Iterable[tuple[Notice, int]], links: Links, *, now: int, repeat_ns: int
) -> Request:
    """Return alerts for an Alertmanager, firing or resolved by their phase.

    Each comes with how often its like had opened before. What fires ends by itself unless it is
    told again in time. An alert's labels are its identity there: they are the same for every
    incident of one kind in one stream.
    """
    ends = rfc3339(now + EXPIRES_AFTER * repeat_ns)
    alerts = [_alertmanager_alert(notice, before, links, ends) for notice, before in tasks]
    return Request(msgspec.json.encode(alerts), {"Content-Type": _JSON})


def _alertmanager_alert(notice: Notice, before: int, links: Links, ends: str) -> dict[str, Any]:
    alert, address = notice.alert, notice.header.address
    task = Task("", notice, alert.ts, before)
    labels = {
        "alertname": alert.kind.name.lower(),
        "severity": alert.severity.name.lower(),
        "exchange": address.exchange,
        "shard": address.shard,
        "line": address.line,
        "channel": alert.channel,
        "symbol": alert.symbol,
    }
    said = {name.lower().replace(" ", "_"): text for name, text in facts(task)}
    annotations = {
        "summary": headline(task),
        "runbook_url": links.runbook(alert.kind),
        "alert_id": alert.alert_id,
        **said,
    }
    return {
        # A label without a value is the same as none.
        "labels": {name: text for name, text in labels.items() if text},
        "annotations": annotations,
        "startsAt": rfc3339(alert.ts_detected),
        "endsAt": rfc3339(alert.ts) if alert.phase is Phase.RESOLVE else ends,
        **({"generatorURL": links.source} if links.source else {}),
    }


# -- Slack --


def slack_message(task: Task, links: Links) -> Request:
    """Return an alert as a message for an incoming webhook of Slack, or of what speaks likewise.

    `text` is what notifications show, and all that some others than Slack do.
    """
    alert = task.notice.alert
    mark = "✅" if alert.phase is Phase.RESOLVE else _MARKS[alert.severity]
    line = f"{mark} {headline(task)}"
    runbook = links.runbook(alert.kind)
    shown = [
        {"type": "mrkdwn", "text": _cut(f"*{name}*\n{_escaped(text)}", FIELD_CHARACTERS)}
        for name, text in facts(task)[:FIELDS]
    ]
    context = [f"Runbook: {_link(runbook)}", f"`{_escaped(alert.alert_id)}`"]
    if links.source:
        context.insert(1, _link(links.source))
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": _cut(line, HEADER_CHARACTERS)}},
        {"type": "section", "fields": shown},
        {
            "type": "context",
            "elements": [{"type": "mrkdwn", "text": _cut(" · ".join(context), CONTEXT_CHARACTERS)}],
        },
    ]
    body = {"text": f"{_escaped(line)}\nRunbook: {_link(runbook)}", "blocks": blocks}
    return Request(msgspec.json.encode(body), {"Content-Type": f"{_JSON}; charset=utf-8"})


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _link(url: str) -> str:
    return f"<{url}>" if url.startswith("http") else _escaped(url)


# -- PagerDuty --


def pagerduty_event(task: Task, links: Links, routing_key: str) -> Request:
    """Return an alert as an event of PagerDuty: `trigger` or `resolve` of one `dedup_key`."""
    alert = task.notice.alert
    event: dict[str, Any] = {"routing_key": routing_key, "dedup_key": dedup_key(alert.alert_id)}
    if alert.phase is Phase.RESOLVE:
        event["event_action"] = "resolve"
        return _json(event, _JSON, task)
    runbook, source = links.runbook(alert.kind), links.source
    urls = ((runbook, f"Runbook: {alert.kind.name.lower()}"), (source, CLIENT))
    found = [{"href": url, "text": text} for url, text in urls if url.startswith("http")]
    event |= {
        "event_action": "trigger",
        "payload": _pagerduty_payload(task, links),
        "client": CLIENT,
        **({"client_url": source} if source else {}),
        **({"links": found} if found else {}),
    }
    return _json(event, _JSON, task)


def _pagerduty_payload(task: Task, links: Links) -> dict[str, Any]:
    alert, address = task.notice.alert, task.notice.header.address
    parts = (address.exchange, address.shard, address.line, alert.channel, alert.symbol)
    return {
        "summary": _cut(headline(task), SUMMARY_CHARACTERS),
        "source": "/".join(filter(None, parts)),
        "severity": alert.severity.name.lower(),
        "timestamp": rfc3339(alert.ts_detected),
        "component": alert.channel,
        "group": address.exchange,
        "class": alert.kind.name.lower(),
        "custom_details": fields(task, links),
    }


def dedup_key(alert_id: str) -> str:
    """Return the key by which PagerDuty knows an incident: its id, or a digest of a longer one."""
    if len(alert_id) <= DEDUP_KEY_CHARACTERS:
        return alert_id
    return hashlib.sha256(alert_id.encode()).hexdigest()


def _json(body: Any, content_type: str, task: Task) -> Request:
    alert = task.notice.alert
    name = f"{alert.alert_id}/{alert.phase.name.lower()}"
    # A header is ASCII; the draft of the header wants its value between quotes.
    headers = {"Content-Type": content_type, "Idempotency-Key": f'"{quote(name, safe=_SAFE)}"'}
    return Request(msgspec.json.encode(body), headers)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
