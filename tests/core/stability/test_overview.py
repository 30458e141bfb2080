"""What is known now: the newest second of each stream, rolled up so that nothing bad can hide."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.events import AlertBatch, Header, StabilityBatch, StreamSecond
from core.frames import Address
from core.stability.alerts import Alert, AlertKind, Phase, Severity
from core.stability.overview import Overview, Standing, Status, lower_quantile
from core.stability.score import Component
from core.stability.states import StreamState

NS = 1_000_000_000
NOW = 1_000 * NS


def second(symbol: str, ts: int = NOW, **values: Any) -> StreamSecond:
    """A stable second of a book."""
    names = StreamSecond.__struct_fields__
    row: dict[str, Any] = dict.fromkeys(names[: names.index("state")], 0)
    row["book_state"] = None
    row |= {"channel": "book", "symbol": symbol, "ts": ts, "age_ns": NS // 2}
    return StreamSecond(**row | {"state": StreamState.STABLE, "score": 100.0} | values)


def header(exchange: str = "kraken") -> Header:
    return Header(Address(exchange, f"{exchange}-0", "A", 1), 1, 0, 0)


def status_of(*seconds: StreamSecond, expected: tuple[str, ...] = ("kraken",)) -> Status:
    overview = Overview(expected)
    overview.take_seconds(StabilityBatch(header(), list(seconds)))
    return overview.status(NOW)


def alert(phase: Phase, alert_id: str = "gap/1") -> Alert:
    return Alert(
        number=1, index=0, alert_id=alert_id, phase=phase, kind=AlertKind.GAP,
        severity=Severity.WARNING, channel="book", symbol="X", ts=NOW - NS, ts_effect=NOW - 2 * NS,
        ts_detected=NOW - NS, metric="sequence_gap", value=3.0, threshold=0.0, unit="update_ids",
        detail="", hits=0, children=0,
    )  # fmt: skip


def test_all_is_stable_only_if_every_stream_is() -> None:
    assert status_of(second("X"), second("Y")).stable
    assert not status_of(second("X"), second("Y", state=StreamState.DEGRADED)).stable


def test_one_dead_stream_of_a_hundred_shows_at_every_level() -> None:
    """Row 13: the roll-up is the worst and a lower quantile; a mean would say 99."""
    dead = second(
        "dead", state=StreamState.DOWN, score=0.0, score_binding=Component.LIVENESS,
        score_badness=9.0, score_threshold=2.0, score_unit="suspicion",
    )  # fmt: skip
    status = status_of(*(second(f"S{n}") for n in range(99)), dead)

    for rolled in (*status.exchanges, *status.connections, *status.channels):
        assert (rolled.streams, rolled.stable, rolled.score_min) == (100, 99, 0.0)
        assert (rolled.worst.symbol, rolled.worst.standing) == ("dead", Standing.DOWN)
        assert (rolled.worst.reason, rolled.worst.badness) == ("liveness", 9.0)
    assert len(status.exchanges) == len(status.connections) == len(status.channels) == 1


def test_what_was_not_heard_of_lately_is_unknown_and_never_stable() -> None:
    """Row 10: a statement that is old says nothing of now, however good it was."""
    status = status_of(second("X"), second("old", ts=NOW - 6 * NS))

    (old,) = (each for each in status.streams if each.symbol == "old")
    assert (old.standing, old.score, old.heard_s) == (Standing.UNKNOWN, None, 6.0)
    assert not status.stable


def test_an_exchange_of_which_nothing_is_heard_is_unknown() -> None:
    status = status_of(second("X"), expected=("kraken", "deribit"))

    assert [each.exchange for each in status.exchanges] == ["kraken", "deribit"]
    assert status.exchanges[1].worst.standing is Standing.UNKNOWN
    assert not status.stable
    assert not status_of(expected=()).stable


def test_own_delay_makes_no_stream_older() -> None:
    """What has waited in our pipeline for 3 s was half a second old when it was measured."""
    (stream,) = status_of(second("X", ts=NOW - 3 * NS)).streams

    assert (stream.age_s, stream.heard_s, stream.standing) == (0.5, 3.0, Standing.STABLE)


def test_blind_is_no_statement_about_the_venue() -> None:
    (stream,) = status_of(second("X", is_blind=True)).streams

    assert stream.standing is Standing.BLIND


def test_the_newest_second_counts_in_whatever_order_records_come() -> None:
    newest = second("X", state=StreamState.UNSTABLE, score=10.0)
    for seconds in ((second("X", ts=NOW - NS), newest), (newest, second("X", ts=NOW - NS))):
        assert status_of(*seconds).streams[0].standing is Standing.UNSTABLE


def test_incident_is_open_until_it_resolves_in_whatever_order_they_come() -> None:
    opening, resolution = alert(Phase.OPEN), alert(Phase.RESOLVE)
    for alerts, count in (((opening,), 1), ((opening, resolution), 0), ((resolution, opening), 0)):
        overview = Overview()
        overview.take_seconds(StabilityBatch(header(), [second("X")]))
        for each in alerts:
            overview.take_alerts(AlertBatch(header(), [each]))
        status = overview.status(NOW)

        assert len(status.incidents) == count
        assert status.stable == (not count)
        assert [each.open_s for each in status.incidents] == [2.0] * count


@given(st.lists(st.floats(0, 100), min_size=1, max_size=60), st.floats(0, 1, exclude_max=True))
def test_lower_quantile_has_at_most_its_share_below(scores: list[float], share: float) -> None:
    found = lower_quantile(scores, share)

    assert found is not None
    assert found in scores
    assert sum(score < found for score in scores) <= share * len(scores)


@given(st.lists(st.floats(0, 100), min_size=1), st.data())
def test_a_worse_score_never_raises_the_roll_up(scores: list[float], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(scores) - 1))
    worse = list(scores)
    worse[place] = data.draw(st.floats(0, scores[place]))

    found, before = lower_quantile(worse, 0.1), lower_quantile(scores, 0.1)
    assert found is not None
    assert before is not None
    assert found <= before
