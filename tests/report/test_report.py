"""The report of a day: honest figures, words that hold, and a page that needs nothing else."""

import re
from datetime import date
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.report import plots, words
from infra.report.day import Day, Delivery, Heat, Incident, Latency, Lost, Outage, Recovered, Stream
from infra.report.page import page
from infra.report.text import text

ADDRESS = {"exchange": "kraken", "shard": "kraken-0", "line": "A"}
HOSTILE = '<script src="http://x.invalid"></script>&"'


def stream(channel: str = "book", symbol: str = "BTC/USD", **values: Any) -> Stream:
    """A stream that was observed for ten minutes, all of them clean."""
    known: dict[str, Any] = dict.fromkeys(Stream.__struct_fields__)
    known |= ADDRESS
    known |= {"channel": channel, "symbol": symbol, "expected_s": 86_400, "observed_s": 600.0}
    known |= {"coverage": 600 / 86_400, "clean": 1.0, "usable": 1.0, "outages": 0, "outage_s": 0.0}
    return Stream(**known | values)


def incident(started_s: float = 100.0, resolved_s: float | None = 160.0, **values: Any) -> Incident:
    known: dict[str, Any] = {
        "alert_id": f"gap/{started_s}", "channel": "book", "symbol": "BTC/USD", "kind": "gap",
        "severity": "warning", "started_s": started_s, "detected_s": started_s,
        "resolved_s": resolved_s, "cause": "expected 5, found 8", "stage": "venue", "children": 0,
        "stale_cost_bps": None,
    }  # fmt: skip
    return Incident(**ADDRESS | known | values)


def day(**values: Any) -> Day:
    """Ten minutes of one day, in steps of a minute."""
    scores = [100.0, 100.0, 85.0, 0.0, None, None, 95.0, 100.0, 100.0, 100.0]
    known: dict[str, Any] = {
        "day": date(2026, 11, 20), "made_at": "2026-11-21 00:10:00 UTC", "version": "0",
        "from_s": 0.0, "to_s": 600.0, "step_s": 60, "steps": 10,
        "streams": [stream(clean=0.9), stream("connection", "")],
        "incidents": [incident(stale_cost_bps=12.3)],
        "outages": [Outage(**ADDRESS, channel="connection", symbol="", from_s=180, to_s=240)],
        "heat": [Heat(**ADDRESS, channel="book", symbol="BTC/USD", scores=scores)],
        "latency": [Latency(**ADDRESS, p50_ns=[1e6] * 4 + [None] * 6, p99_ns=[2e7] * 10)],
        "lost": [Lost("kraken", "trade_gap", 2, 5, "trades")],
        "recovered": [Recovered("kraken", 5, 2, 3, 1)],
        "delivery": [Delivery("trades", 9, 10, 8, 2, 0, 0, 0, 8)],
        "dead_letters": 0,
    }  # fmt: skip
    return Day(**known | values)


@given(st.floats(0, 1))
def test_share_is_never_rounded_to_all_or_nothing(value: float) -> None:
    said = words.share(value)

    assert (said == "100 %") == (value == 1.0)
    assert (said == "0 %") == (value == 0.0)


def test_unknown_share_is_a_dash_and_no_figure() -> None:
    assert words.share(None) == words.number(None) == words.span(None) == words.UNKNOWN


def test_summary_says_what_was_worst_lost_and_kept() -> None:
    said = " ".join(words.summary(day()))

    for part in (
        "2 streams of kraken were recorded, for 10 min of the 24 h 00 min",
        "1 stream was clean all the time; the least clean was kraken BTC/USD book, 90 %",
        "There was 1 incident.",
        "The longest outage was kraken's, from 00:03:00 for 60 s.",
        "off by 12 bp at worst, after a gap of kraken BTC/USD at 00:01:40",
        "3 trades of the venues are missing, those of outages and restarts included",
        "2 trades came late and are stored",
        "all 8 rows are accounted for.",
    ):
        assert part in said


def test_row_37_accounts_that_do_not_add_up_are_said_and_nothing_else() -> None:
    """Row 37: a row that is gone, a hole and lost offsets each show."""
    for changed, said in (
        ({"stored": 7}, "7 rows are in the table"),
        ({"holes": 1}, "1 hole or overlap"),
        ({"missing": 3}, "3 offsets were gone"),
        ({"duplicates": 1}, "facts are not rows and duplicates"),
    ):
        account = msgspec.structs.replace(day().delivery[0], **changed)
        found = day(delivery=[account])

        assert "accounts of trades do not add up" in " ".join(words.summary(found))
        assert "accounted for" not in text(found)
        assert said in text(found)
        assert said in page(found)


def test_day_without_a_record_says_so_and_claims_nothing() -> None:
    empty = day(
        from_s=0.0, to_s=0.0, steps=0, streams=[], incidents=[], outages=[], heat=[], latency=[],
        lost=[], recovered=[], delivery=[],
    )  # fmt: skip

    for said in (text(empty), page(empty)):
        assert "Nothing was recorded on this day" in said
        assert "100 %" not in said


def test_stream_of_which_nothing_is_known_makes_its_venue_unknown_not_good() -> None:
    missed = stream(observed_s=0.0, coverage=0.0, clean=None, usable=None, outages=None)
    (venue,) = words.venues(day(streams=[missed, stream("connection", "")]))

    assert (venue.coverage, venue.clean, venue.usable) == (0.0, None, None)
    said = " ".join(words.summary(day(streams=[missed])))
    assert "Of 1 stream nothing is known" in said


def test_venue_is_as_good_as_its_worst_stream() -> None:
    streams = [stream(symbol=str(n), score_p10=100.0) for n in range(99)]
    (venue,) = words.venues(day(streams=[*streams, stream(clean=0.1, score_p10=3.0)]))

    assert (venue.clean, venue.score_p10) == (0.1, 3.0)


class Asked(HTMLParser):
    """Collects every attribute that could make a browser ask for something, and open tags."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.asked += [name for name, _ in attrs if name in ("src", "href", "xlink:href", "style")]
        if tag in ("script", "link", "img", "iframe", "object"):
            self.asked.append(tag)
        if tag not in ("meta", "rect", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "line", "circle", "polyline"):
            assert self.open.pop() == tag


def test_page_is_well_formed_and_asks_for_nothing() -> None:
    hostile = day(
        streams=[stream(symbol=HOSTILE, clean=0.5)],
        incidents=[incident(symbol=HOSTILE, cause=HOSTILE, kind="schema")],
        heat=[Heat(**ADDRESS, channel="book", symbol=HOSTILE, scores=[1.0] * 10)],
        lost=[Lost("kraken", "trade_gap", 1, None, HOSTILE)],
    )
    for found in (day(), hostile):
        made = page(found)
        parser = Asked()
        parser.feed(made)

        assert (parser.asked, parser.open) == ([], [])
        assert not re.search(r"url\(|@import", made)
        assert "<script" not in made


def test_heat_map_shows_what_was_not_observed_as_such() -> None:
    drawn = plots.heat_map(day())

    assert [plots.shade(score) for score in (None, 0, 100, 90, 89.9, 60)] == [
        *("s", "s0", "s5", "s5", "s4", "s3")
    ]
    assert drawn.count("nothing observed") == 1
    assert "00:03:00 to 00:04:00: score 0" in drawn


@given(st.lists(st.tuples(st.floats(0, 500), st.floats(0, 100) | st.none()), max_size=20))
def test_incidents_of_one_lane_never_overlap(spans: list[tuple[float, float | None]]) -> None:
    incidents = [incident(at, None if long is None else at + long) for at, long in spans]
    lanes = plots._lanes(incidents, 600.0)

    assert sum(map(len, lanes)) == len(incidents)
    for lane in lanes:
        for before, after in pairwise(lane):
            assert before.resolved_s is not None
            assert before.resolved_s <= after.started_s


@pytest.mark.parametrize("values", [{"streams": [stream(latency_p50_ns=5.0)]}, {"latency": []}])
def test_text_lines_fit_a_mail(values: dict[str, Any]) -> None:
    assert max(map(len, text(day(**values)).splitlines())) <= 140
