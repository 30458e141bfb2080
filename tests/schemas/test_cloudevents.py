"""Attributes of alerts as the Kafka binding of CloudEvents 1.0 wants them."""

import re

import msgspec
from hypothesis import given, settings

from core.events import Events
from core.wire import TS_MAX
from schemas.cloudevents import headers_of, rfc3339
from schemas.codec import encode_events
from schemas.topics import OUTPUT_KINDS
from tests.schemas.records import events

RFC_3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
NAME = re.compile(r"ce_[a-z0-9]{1,20}")


@given(events())
@settings(max_examples=30)
def test_alert_carries_all_required_attributes_in_its_headers(facts: Events) -> None:
    alert = msgspec.structs.replace(facts.alerts[0], ts=facts.alerts[0].ts % TS_MAX)
    facts = msgspec.structs.replace(facts, alerts=[alert])
    value = next(value for kind, value in encode_events(facts, 0, 0) if kind == "alerts")

    found = dict(headers_of("alerts", value) or [])

    assert found["ce_specversion"] == b"1.0"
    assert found["ce_type"] == b"org.streamgauge.alert.v1"
    assert found["ce_id"].decode() == f"{alert.alert_id}/{alert.phase.name.lower()}"
    assert found["ce_source"].startswith(b"/exchanges/")
    assert RFC_3339.fullmatch(found["ce_time"].decode())
    assert found["content-type"] == b"application/avro"
    assert all(NAME.fullmatch(name) for name in found if name != "content-type")


def test_other_records_are_no_events() -> None:
    assert [headers_of(kind, b"") for kind in OUTPUT_KINDS if kind != "alerts"] == [None] * 7


def test_time_is_cut_to_microseconds() -> None:
    assert rfc3339(1_700_000_000_123_456_789) == "2023-11-14T22:13:20.123456Z"
