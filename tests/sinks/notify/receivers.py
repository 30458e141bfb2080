"""Receivers that take only what the published formats allow, written apart from what sends.

Each check reads a request as its vendor documents it and returns what it was about; anything that
the vendor would refuse, cut or ignore raises `RefusedError`.
Sources: PagerDuty "Events API v2" and "PD-CEF"; Alertmanager api/v2/openapi.yaml (postableAlert)
and types.Alert.Validate; CloudEvents 1.0.2, HTTP binding and JSON format; Slack, Block Kit.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")
LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
ATTRIBUTE = re.compile(r"[a-z0-9]{1,20}")
URI = re.compile(r"https?://[^\s<>\"]+")


class RefusedError(Exception):
    """What the vendor would not take."""


@dataclass(frozen=True)
class Got:
    """An alert as it arrived: which incident, `open` or `resolve`, and the body."""

    incident: str
    phase: str
    body: Any


def need(condition: object, said: str) -> None:
    """Refuse unless `condition`."""
    if not condition:
        raise RefusedError(said)


def moment(text: Any, what: str) -> datetime:
    """Return a time of RFC 3339."""
    need(isinstance(text, str) and RFC_3339.fullmatch(text), f"{what} is no RFC 3339 time: {text}")
    return datetime.fromisoformat(text)


def only(tree: Mapping[str, Any], required: set[str], optional: set[str], what: str) -> None:
    """Refuse missing and unknown keys."""
    need(not required - set(tree), f"{what} lacks {required - set(tree)}")
    need(not set(tree) - required - optional, f"{what} has unknown {set(tree)}")


def text(value: Any, what: str, most: int, least: int = 1) -> str:
    """Refuse what is no text of a length within limits."""
    need(isinstance(value, str) and least <= len(value) <= most, f"{what}: {value!r}")
    return str(value)


def loads(body: bytes) -> Any:
    """Parse JSON as strictly as RFC 8259: no NaN, no doubled keys."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(pairs)) == len(pairs), "a doubled key")
        return dict(pairs)

    def refuse(name: str) -> None:
        raise RefusedError(f"{name} is no JSON")

    return json.loads(body.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)


def pagerduty(headers: Mapping[str, str], body: bytes) -> list[Got]:
    """Check an event of PagerDuty's Events API v2."""
    need(headers["Content-Type"].startswith("application/json"), "content type")
    need(len(body) <= 512 * 1024, "an event is at most 512 kB")
    event = loads(body)
    top = {"payload", "client", "client_url", "links", "images"}
    only(event, {"routing_key", "event_action", "dedup_key"}, top, "event")
    text(event["routing_key"], "routing_key", 32, 32)
    key = text(event["dedup_key"], "dedup_key", 255)
    need(event["event_action"] in ("trigger", "resolve"), "event_action")
    if event["event_action"] == "resolve":
        return [Got(key, "resolve", event)]
    payload = event["payload"]
    optional = {"timestamp", "component", "group", "class", "custom_details"}
    only(payload, {"summary", "source", "severity"}, optional, "payload")
    text(payload["summary"], "summary", 1024)
    text(payload["source"], "source", 255)
    need(payload["severity"] in ("critical", "warning", "error", "info"), "severity")
    moment(payload["timestamp"], "timestamp")
    need(isinstance(payload["custom_details"], dict), "custom_details")
    for link in event.get("links", []):
        only(link, {"href"}, {"text"}, "link")
        need(URI.fullmatch(link["href"]), "href")
    return [Got(key, "open", event)]


def alertmanager(headers: Mapping[str, str], body: bytes) -> list[Got]:
    """Check postable alerts; the incident is their set of labels, as there."""
    need(headers["Content-Type"] == "application/json", "content type")
    alerts = loads(body)
    need(isinstance(alerts, list), "no list of alerts")
    found = []
    for alert in alerts:
        only(alert, {"labels"}, {"annotations", "startsAt", "endsAt", "generatorURL"}, "alert")
        labels = alert["labels"]
        need(labels and "alertname" in labels, "labels")
        for name, value in (*labels.items(), *alert["annotations"].items()):
            need(LABEL.fullmatch(name), f"name {name}")
            text(value, name, 10_000)
        starts, ends = moment(alert["startsAt"], "startsAt"), moment(alert["endsAt"], "endsAt")
        need(starts <= ends, "startsAt is after endsAt")
        if "generatorURL" in alert:
            need(URI.fullmatch(alert["generatorURL"]), "generatorURL")
        incident = json.dumps(labels, sort_keys=True)
        is_over = ends <= datetime.now(tz=ends.tzinfo)
        found.append(Got(incident, "resolve" if is_over else "open", alert))
    return found


def structured_event(headers: Mapping[str, str], body: bytes) -> list[Got]:
    """Check a CloudEvent in structured mode."""
    kind, _, parameters = headers["Content-Type"].partition(";")
    need(kind == "application/cloudevents+json", "content type")
    need(parameters.strip() in ("", "charset=utf-8"), "charset")
    need(not [name for name in headers if name.lower().startswith("ce-")], "both modes at once")
    event = loads(body)
    attributes = {name: value for name, value in event.items() if name != "data"}
    return [_event(attributes, event["data"], headers)]


def binary_event(headers: Mapping[str, str], body: bytes) -> list[Got]:
    """Check a CloudEvent in binary mode."""
    attributes = {}
    for name, value in headers.items():
        if name.lower().startswith("ce-"):
            need(
                all(0x21 <= ord(each) <= 0x7E for each in value), f"{name} is not encoded: {value}"
            )
            need('"' not in value, f"{name} has a quote")
            attributes[name.lower().removeprefix("ce-")] = unquote(value)
    need("datacontenttype" not in attributes, "the content type is its own header")
    attributes["datacontenttype"] = headers["Content-Type"]
    return [_event(attributes, loads(body), headers)]


def _event(attributes: Mapping[str, Any], data: Any, headers: Mapping[str, str]) -> Got:
    need({"id", "source", "specversion", "type"} <= set(attributes), "a required attribute")
    for name, value in attributes.items():
        need(ATTRIBUTE.fullmatch(name), f"attribute {name}")
        text(value, name, 4096)
        need(not any(ord(each) < 0x20 or 0x7F <= ord(each) <= 0x9F for each in value), name)
    need(attributes["specversion"] == "1.0", "specversion")
    need(attributes["type"].startswith("org.streamgauge."), "type is no reverse DNS name of ours")
    moment(attributes["time"], "time")
    need(attributes["datacontenttype"] == "application/json", "datacontenttype")
    need(data["alert_id"] == attributes["alertkey"], "alertkey")
    for name in ("ts", "ts_effect", "ts_detected"):
        moment(data[name], name)
    need(data["value"] is None or math.isfinite(data["value"]), "value")
    sent = headers["Idempotency-Key"]
    need(sent[0] == sent[-1] == '"' and sent.isascii(), "Idempotency-Key is no quoted string")
    need(unquote(sent[1:-1]) == attributes["id"], "Idempotency-Key is not the id")
    return Got(data["alert_id"], data["phase"], {"attributes": attributes, "data": data})


def slack(headers: Mapping[str, str], body: bytes) -> list[Got]:
    """Check a message for an incoming webhook, with its blocks."""
    need(headers["Content-Type"].startswith("application/json"), "content type")
    message = loads(body)
    only(message, {"text"}, {"blocks"}, "message")
    text(message["text"], "text", 4000)
    need(1 <= len(message["blocks"]) <= 50, "blocks")
    for block in message["blocks"]:
        _block(block)
    context = message["blocks"][-1]["elements"][-1]["text"]
    incident = unescaped(context.rpartition("`")[0].rpartition("`")[2])
    resolved = message["text"].startswith("✅")
    return [Got(incident, "resolve" if resolved else "open", message)]


def _block(block: Mapping[str, Any]) -> None:
    match block["type"]:
        case "header":
            only(block, {"type", "text"}, {"block_id"}, "header")
            need(block["text"]["type"] == "plain_text", "a header is plain")
            text(block["text"]["text"], "header", 150)
        case "section":
            only(block, {"type"}, {"text", "fields", "accessory", "block_id"}, "section")
            need(block.get("text") or 1 <= len(block["fields"]) <= 10, "fields")
            for field in block["fields"]:
                _mrkdwn(field, 2000)
        case "context":
            only(block, {"type", "elements"}, {"block_id"}, "context")
            need(1 <= len(block["elements"]) <= 10, "elements")
            for element in block["elements"]:
                _mrkdwn(element, 3000)
        case other:
            raise RefusedError(f"block {other}")


def _mrkdwn(tree: Mapping[str, Any], most: int) -> None:
    only(tree, {"type", "text"}, set(), "text object")
    need(tree["type"] == "mrkdwn", "mrkdwn")
    said = text(tree["text"], "text", most)
    # What is left of & < > after links and entities would be taken for markup.
    bare = re.sub(r"<https?://[^<>|]+>|&(amp|lt|gt);", "", said)
    need(not re.search(r"[&<>]", bare), f"unescaped: {said}")


def unescaped(said: str) -> str:
    """Return a text of Slack's as it was."""
    return said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


CHECKS: dict[str, Callable[[Mapping[str, str], bytes], list[Got]]] = {
    "pagerduty": pagerduty,
    "alertmanager": alertmanager,
    "structured": structured_event,
    "binary": binary_event,
    "slack": slack,
}
