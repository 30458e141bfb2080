"""What is posted is what the vendors take: by our strict readers, and by vendors' own libraries."""

import json
import math
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from core.events import Header
from core.frames import Address
from core.notify.agenda import Task
from core.notify.notices import Notice
from core.stability.alerts import Alert, AlertKind, Phase, Severity
from core.wire import TS_MAX
from sinks.notify import formats
from sinks.notify.formats import Request
from sinks.notify.wording import Links, fields, headline, lasted
from tests.sinks.notify import receivers
from tests.sinks.notify.receivers import Got

KEY = "0123456789abcdef0123456789abcdef"
S = 1_000_000_000
LINKS = Links("https://runbooks.example/", "https://dashboard.example/d/1")
# Names come from venues and people: anything but control characters, which no venue's JSON holds.
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40)
NAMES = TEXTS.filter(str.strip)
MOMENTS = st.integers(0, TS_MAX - 10**18)
ALERTS = st.builds(
    Alert,
    number=st.integers(0, 2**40),
    index=st.integers(0, 100),
    alert_id=st.text(st.characters(codec="utf-8", exclude_characters="`\n"), min_size=1).map(
        lambda text: "".join(each for each in text if each.isprintable()) or "x"
    ),
    phase=st.sampled_from(Phase),
    kind=st.sampled_from(AlertKind),
    severity=st.sampled_from(Severity),
    channel=st.sampled_from(["connection", "data", "book", "trades"]),
    symbol=st.just("") | NAMES,
    ts=MOMENTS,
    ts_effect=MOMENTS,
    ts_detected=MOMENTS,
    metric=NAMES,
    value=st.floats(),
    threshold=st.floats(allow_nan=False),
    unit=TEXTS,
    detail=st.text(st.characters(codec="utf-8"), max_size=3000),
    hits=st.integers(0, 2**40),
    children=st.integers(0, 2**40),
)


def _in_order(alert: Alert) -> Alert:
    import msgspec

    effect, detected, ts = sorted((alert.ts_effect, alert.ts_detected, alert.ts))
    return msgspec.structs.replace(alert, ts_effect=effect, ts_detected=detected, ts=ts)


TASKS = st.builds(
    lambda alert, exchange, shard, before: Task(
        "receiver",
        Notice(Header(Address(exchange, shard, "A", 1), 1, 2, 3), _in_order(alert), 4, 5, b""),
        0,
        before,
    ),
    alert=ALERTS,
    exchange=st.sampled_from(["kraken", "binance_usdm"]),
    shard=NAMES,
    before=st.integers(0, 20),
)
EVERY = settings(max_examples=150)


def task(**given: Any) -> Task:
    """An alert with everything that a person would look at."""
    fields_: dict[str, Any] = {
        "number": 7,
        "index": 1,
        "alert_id": "gap/kraken/kraken-0/A/book/BTC/USD/1-7",
        "phase": Phase.OPEN,
        "kind": AlertKind.GAP,
        "severity": Severity.WARNING,
        "channel": "book",
        "symbol": "BTC/USD",
        "ts": 1_790_000_061 * S,
        "ts_effect": 1_790_000_000 * S,
        "ts_detected": 1_790_000_001 * S,
        "metric": "sequence_gap",
        "value": 3.0,
        "threshold": 0.0,
        "unit": "update_ids",
        "detail": "expected <5>, found 8 & 9",
        "hits": 2,
        "children": 1,
    }
    alert = Alert(**fields_ | given)
    header = Header(Address("kraken", "kraken-0", "A", 1), 1, 2, 3)
    return Task("chat", Notice(header, alert, 4, 5, b""), 0, before=3)


def read(check: str, request: Request) -> list[Got]:
    return receivers.CHECKS[check](request.headers, request.body)


@given(TASKS)
@EVERY
def test_pagerduty_takes_every_alert(each: Task) -> None:
    (got,) = read("pagerduty", formats.pagerduty_event(each, LINKS, KEY))

    assert got.phase == each.phase.name.lower()
    assert got.incident == formats.dedup_key(each.alert_id)
    assert got.body["routing_key"] == KEY


@given(TASKS)
@EVERY
def test_webhook_takes_every_alert_in_structured_mode(each: Task) -> None:
    request = formats.structured_event(each, LINKS)
    (got,) = read("structured", request)
    event = from_http_event(HTTPMessage(request.headers, request.body))

    assert (got.incident, got.phase) == (each.alert_id, each.phase.name.lower())
    assert event.get_id() == f"{each.alert_id}/{got.phase}"
    assert event.get_data() == got.body["data"]


@given(TASKS)
@EVERY
def test_webhook_takes_every_alert_in_binary_mode(each: Task) -> None:
    request = formats.binary_event(each, LINKS)
    (got,) = read("binary", request)
    event = from_http_event(HTTPMessage(request.headers, request.body))
    whole = from_http_event(
        HTTPMessage(*_parts(formats.structured_event(each, LINKS))),
    )

    assert (got.incident, got.phase) == (each.alert_id, each.phase.name.lower())
    assert event.get_attributes() == whole.get_attributes()
    assert event.get_data() == whole.get_data()


@given(TASKS)
@EVERY
def test_slack_takes_every_alert(each: Task) -> None:
    (got,) = read("slack", formats.slack_message(each, LINKS))

    assert (got.incident, got.phase) == (each.alert_id, each.phase.name.lower())
    for block in got.body["blocks"]:
        parsed = Block.parse(block)
        assert parsed is not None
        parsed.validate_json()
        assert parsed.to_dict() == block


@given(st.lists(TASKS, min_size=1, max_size=5))
@EVERY
def test_alertmanager_takes_every_alert(some: list[Task]) -> None:
    notices = [(each.notice, each.before) for each in some]
    request = formats.alertmanager_alerts(notices, LINKS, now=TS_MAX - 10**15, repeat_ns=60 * S)
    found = read("alertmanager", request)

    assert len(found) == len(some)
    for got, each in zip(found, some, strict=True):
        assert got.body["annotations"]["alert_id"] == each.alert_id
        ends = datetime.fromisoformat(got.body["endsAt"])
        if each.phase is Phase.RESOLVE:
            assert abs(ends.timestamp() - each.notice.alert.ts / 1e9) < 1e-3
        else:
            assert ends > datetime(2099, 1, 1, tzinfo=UTC)


def test_alertmanager_knows_the_incidents_of_one_stream_by_the_same_labels() -> None:
    """So that an end, or a repeat, is of what is open there."""
    one, other = task(alert_id="a"), task(alert_id="b", phase=Phase.RESOLVE, value=9.0)
    request = formats.alertmanager_alerts(
        [(one.notice, 0), (other.notice, 0)], LINKS, now=1_790_000_010 * S, repeat_ns=60 * S
    )

    first, second = json.loads(request.body)
    assert first["labels"] == second["labels"]
    assert first["startsAt"] == second["startsAt"] == "2026-09-21T14:13:21.000000Z"
    assert first["endsAt"] == "2026-09-21T14:17:30.000000Z"
    assert second["endsAt"] == "2026-09-21T14:14:21.000000Z"


def test_person_reads_what_happened_where_and_what_to_do() -> None:
    message = json.loads(formats.slack_message(task(), LINKS).body)
    shown = {each["text"].split("\n")[0]: each["text"] for each in message["blocks"][1]["fields"]}

    assert message["text"] == (
        "🟠 WARNING: gap at kraken book BTC/USD: messages are missing\n"
        "Runbook: <https://runbooks.example/gap.md>"
    )
    assert shown["*Measured*"] == "*Measured*\nsequence_gap 3 update_ids"
    assert shown["*Detail*"] == "*Detail*\nexpected &lt;5&gt;, found 8 &amp; 9"
    assert shown["*Opened before*"] == "*Opened before*\n3 times lately"


def test_person_reads_how_long_it_was() -> None:
    assert headline(task(phase=Phase.RESOLVE)) == "Resolved after 61 s: gap at kraken book BTC/USD"
    assert [lasted(ns) for ns in (4 * 10**8, 61 * S, 720 * S, 11_100 * S, -5)] == [
        *("0.4 s", "61 s", "12 min", "3 h 5 min", "0.0 s")
    ]


def test_runbook_that_is_no_address_is_text_and_no_link() -> None:
    links = Links("docs/runbooks/", "")
    message = json.loads(formats.slack_message(task(), links).body)
    event = json.loads(formats.pagerduty_event(task(), links, KEY).body)

    assert message["text"].endswith("Runbook: docs/runbooks/gap.md")
    assert "links" not in event
    assert event["payload"]["custom_details"]["runbook_url"] == "docs/runbooks/gap.md"


def test_value_that_is_no_number_is_null() -> None:
    found = json.loads(formats.structured_event(task(value=math.nan), LINKS).body)

    assert found["data"]["value"] is None


@pytest.mark.parametrize("kind", AlertKind)
def test_each_kind_has_a_meaning_and_a_runbook_in_every_delivery(kind: AlertKind) -> None:
    each = task(kind=kind)

    assert LINKS.runbook(kind) == f"https://runbooks.example/{kind.name.lower()}.md"
    assert len(headline(each)) < 100
    assert fields(each, LINKS)["runbook_url"] == LINKS.runbook(kind)


def test_long_incident_has_a_short_key_of_its_own() -> None:
    short, long = "x" * 255, "x" * 256

    assert formats.dedup_key(short) == short
    assert len(formats.dedup_key(long)) == 64
    assert formats.dedup_key(long) != formats.dedup_key(long + "y")


def _parts(request: Request) -> tuple[dict[str, str], bytes]:
    return request.headers, request.body
