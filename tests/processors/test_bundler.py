"""What a bundler owes, and where it reads from again after its end."""

from types import SimpleNamespace

from core.stability.alerts import Phase
from processors.bundle import alert_of
from processors.bundler import Pending
from processors.capture import TAIL_MAX_MS
from tests.processors.test_bundle import captured

OPENING, RESOLUTION = captured().alerts


def record(offset: int, value: bytes | None) -> SimpleNamespace:
    return SimpleNamespace(offset=offset, timestamp=1000, value=value)


def test_incident_is_due_when_it_is_resolved() -> None:
    pending = Pending()
    assert alert_of(OPENING.value).phase is Phase.OPEN
    alert_id = alert_of(OPENING.value).alert_id

    pending.note(record(7, OPENING.value), 5000)
    assert pending.due(5000) is None
    pending.note(record(9, RESOLUTION.value), 6000)

    assert pending.due(6000) == alert_id


def test_incident_that_goes_on_is_due_after_as_long_as_a_bundle_reaches() -> None:
    pending = Pending()
    pending.note(record(7, OPENING.value), 5000)

    assert pending.due(5000 + TAIL_MAX_MS - 1) is None
    assert pending.due(5000 + TAIL_MAX_MS) == alert_of(OPENING.value).alert_id


def test_nothing_is_settled_from_the_oldest_incident_on() -> None:
    pending = Pending()
    assert pending.settled() is None
    pending.note(record(3, b"no alert"), 1)
    assert pending.settled() == 4
    pending.note(record(7, OPENING.value), 1)
    pending.note(record(8, RESOLUTION.value), 2)

    assert pending.settled() == 7
    pending.incidents.clear()
    assert pending.settled() == 9


def test_resolution_alone_and_repeated_records_owe_nothing_more() -> None:
    pending = Pending()
    pending.note(record(4, RESOLUTION.value), 1)
    assert not pending.incidents
    pending.note(record(5, OPENING.value), 1)
    pending.note(record(6, OPENING.value), 1)

    assert [each.offset for each in pending.incidents.values()] == [5]
