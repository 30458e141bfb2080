"""Silences and windows: what they match, and from when on an incident is free."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.notify.silences import DAY_NS, Matchers, Once, Silence, Weekly, free_from
from core.stability.alerts import AlertKind, Phase, Severity
from tests.core.notify.alerts import EPOCH, S, alert_notice

NOTICE = alert_notice("a", Phase.OPEN, offset=0, ts=EPOCH)
EVERYTHING = Matchers()


@pytest.mark.parametrize(
    ("matchers", "matches"),
    [
        (Matchers(), True),
        (Matchers(exchanges=("kraken",)), True),
        (Matchers(exchanges=("deribit", "kra*")), True),
        (Matchers(exchanges=("deribit",)), False),
        (Matchers(symbols=("BTC*",), kinds=("gap",)), True),
        (Matchers(symbols=("BTC*",), kinds=("checksum",)), False),
        (Matchers(severities=("warning",), channels=("book",), shards=("shard",)), True),
        (Matchers(severities=("critical",)), False),
        (Matchers(channels=("trades",)), False),
        (Matchers(shards=("other",)), False),
    ],
)
def test_matchers_match_where_every_list_that_is_given_does(
    matchers: Matchers, matches: bool
) -> None:
    assert matchers.match(NOTICE) is matches


def test_matchers_say_what_they_match() -> None:
    assert Matchers(exchanges=("kraken",), kinds=("gap", "checksum")).text() == (
        "exchange kraken, kind gap or checksum"
    )
    assert EVERYTHING.text() == "everything"


@given(
    day=st.integers(0, 6),
    minute=st.integers(0, 24 * 60 - 1),
    length=st.integers(1, 7 * 24 * 60),
    at=st.integers(0, 4_000_000_000).map(lambda second: datetime.fromtimestamp(second, UTC)),
)
def test_weekly_window_is_that_of_the_calendar(
    day: int, minute: int, length: int, at: datetime
) -> None:
    window = Weekly((day,), minute * 60 * S, length * 60 * S)
    began = at.replace(hour=0, minute=0, second=0, microsecond=0)
    began += timedelta(days=day - began.weekday(), minutes=minute)
    if began > at:
        began -= timedelta(days=7)
    end = began + timedelta(minutes=length)

    found = window.end_of(_ns(at))

    assert found == (_ns(end) if at < end else None)


def test_weekly_window_of_several_days_ends_with_the_last_that_holds() -> None:
    """Monday and Tuesday, 36 hours each, from 12:00."""
    window = Weekly((0, 1), 12 * 3600 * S, 36 * 3600 * S)
    tuesday = _ns(datetime(2026, 11, 24, 13, tzinfo=UTC))

    assert window.end_of(tuesday) == _ns(datetime(2026, 11, 26, tzinfo=UTC))


def test_incident_is_free_where_windows_that_follow_one_another_end() -> None:
    silences = [
        Silence("a", EVERYTHING, Once(EPOCH - S, EPOCH + S), ""),
        Silence("b", EVERYTHING, Once(EPOCH + S, EPOCH + 3 * S), ""),
        Silence("c", Matchers(exchanges=("deribit",)), Once(EPOCH, EPOCH + 9 * S), ""),
        Silence("d", EVERYTHING, Once(EPOCH + 3 * S + 1, EPOCH + 9 * S), ""),
    ]

    assert free_from(NOTICE, EPOCH, silences) == EPOCH + 3 * S
    assert free_from(NOTICE, EPOCH, silences[2:]) == EPOCH


def test_incident_in_windows_without_an_end_is_looked_at_again_later() -> None:
    always = Silence("always", EVERYTHING, Weekly(tuple(range(7)), 0, DAY_NS), "")

    assert free_from(NOTICE, EPOCH, [always]) >= EPOCH + 90 * DAY_NS


def test_silence_holds_what_it_matches_inside_its_window() -> None:
    silence = Silence("a", Matchers(kinds=("gap",)), Once(EPOCH, EPOCH + S), "")
    other = alert_notice(
        "b", Phase.OPEN, offset=0, ts=0, kind=AlertKind.SILENCE, severity=Severity.CRITICAL
    )

    assert silence.holds(NOTICE, EPOCH) == EPOCH + S
    assert silence.holds(NOTICE, EPOCH + S) is None
    assert silence.holds(other, EPOCH) is None


def _ns(moment: datetime) -> int:
    return int(moment.timestamp()) * S + moment.microsecond * 1000
