"""Minutes, days, incidents and what they cost: what the views say of rows written by hand."""

import pytest

from tests.integration.quality.conftest import NS, Tables, at

HOUR = """
    SELECT sum(windows) AS windows, sum(observed_ns) AS observed_ns, sum(clean_ns) AS clean_ns,
        quantilesExactWeightedMerge(0.01, 0.1, 0.5)(score_state) AS scores,
        quantilesDDMerge(0.01, 0.5, 0.9, 0.99)(latency_p50_state) AS latencies,
        min(score_min) AS score_min, sum(gaps) AS gaps
    FROM stability_1m WHERE symbol = 'X' GROUP BY toStartOfHour(minute)
"""


def test_minutes_merge_into_the_quantiles_of_their_seconds(tables: Tables) -> None:
    """Row 36: what is asked of minutes is what their seconds say. A mean of minutes is not."""
    tables.seconds(0, 540, latency_p50_ns=1_000_000)
    tables.seconds(540, 54, latency_p50_ns=5_000_000, score=70.0, state="degraded")
    tables.seconds(594, 6, latency_p50_ns=90_000_000, score=12.34, state="unstable", gaps=1)

    hour = tables.one(HOUR)

    assert (hour["windows"], hour["observed_ns"], hour["clean_ns"]) == (600, 600 * NS, 540 * NS)
    assert list(hour["scores"]) == [12.3, 70.0, 100.0]
    assert hour["latencies"] == pytest.approx([1e6, 1e6, 5e6], rel=0.01)
    assert (hour["score_min"], hour["gaps"]) == (12.34, 6)


def test_scores_weigh_as_long_as_their_window_and_blind_ones_nothing(tables: Tables) -> None:
    tables.seconds(0, 4, score=50.0, state="unstable", window_ns=NS)
    tables.seconds(4, 1, score=90.0, window_ns=20 * NS)
    tables.seconds(5, 9, score=0.0, is_blind=True)

    hour = tables.one(HOUR)

    assert list(hour["scores"]) == [50.0, 50.0, 90.0]
    assert (hour["score_min"], hour["observed_ns"]) == (50.0, 24 * NS)


def daily(tables: Tables, where: str = "symbol = 'X'") -> list[dict[str, object]]:
    return tables.ask(f"SELECT * FROM quality_daily WHERE {where} ORDER BY day, channel")


def test_day_counts_what_was_observed_clean_and_proven(tables: Tables) -> None:
    tables.seconds(0, 8000)
    tables.seconds(8000, 600, state="degraded", score=75.0, missing=2, gaps=1)
    tables.seconds(8600, 40, is_blind=True, state="down", score=0.0)
    for second in range(4):
        tables.book(second, 100, quality=second % 2)

    day = daily(tables, "day = '2026-11-20'")[0]

    assert (day["expected_s"], day["observed_s"]) == (86_400, 8600.0)
    assert day["coverage"] == pytest.approx(8600 / 86_400)
    assert day["clean"] == pytest.approx(8000 / 8600)
    assert (day["usable"], day["rows"], day["verified"]) == (1.0, 4, 0.5)
    assert (day["missing"], day["gaps"], day["outages"], day["mtbf_s"]) == (1200, 600, 0, None)
    assert (day["score_p01"], day["score_p50"], day["score_min"]) == (75.0, 100.0, 75.0)


def test_day_counts_outages_and_not_its_beginning(tables: Tables) -> None:
    """Two outages of 3 and 5 s; the two seconds that it begins with are none."""
    tables.seconds(0, 2, state="connecting", score=25.0)
    tables.seconds(2, 100)
    tables.seconds(102, 3, state="down", score=0.0)
    tables.seconds(105, 100)
    tables.seconds(205, 4, state="down", score=0.0)
    tables.seconds(209, 1, state="syncing", score=40.0)
    tables.seconds(210, 100)

    day = daily(tables, "day = '2026-11-20'")[0]

    assert (day["outages"], day["outage_s"]) == (2, 10.0)
    assert (day["mtbf_s"], day["mttr_s"]) == (150.0, 5.0)


def test_nothing_observed_is_null_and_never_good(tables: Tables) -> None:
    """A stream that is gone is missed for a week, and one that was only blind is no better."""
    tables.seconds(0, 10)
    tables.seconds(0, 10, symbol="blind", is_blind=True)

    days = daily(tables)
    blind = daily(tables, "symbol = 'blind' AND day = '2026-11-20'")[0]

    assert [str(day["day"]) for day in days] == [f"2026-11-{number}" for number in range(20, 28)]
    for day in (*days[1:], blind):
        assert (day["observed_s"], day["coverage"]) == (0.0, 0.0)
        known = {name for name, value in day.items() if value is not None}
        assert known == {
            *("day", "exchange", "shard", "line", "channel", "symbol"),
            *("expected_s", "observed_s", "coverage"),
        }


def test_incident_says_cause_evidence_and_end(tables: Tables) -> None:
    tables.incident(100.0, 161.5, raw_partition=1, raw_offset=42)
    tables.incident(
        *(200.0, None),
        kind="latency", channel="data", symbol="", metric="latency", detail="",
        value=12.5, threshold=3.5, unit="times usual",
    )  # fmt: skip

    gap, latency = tables.ask("SELECT * FROM incidents ORDER BY started")

    assert (gap["started"], gap["resolved"], gap["duration_s"]) == (at(100), at(161.5), 61.5)
    assert (gap["cause"], gap["stage"], gap["worst"]) == ("expected 5, found 8", "venue", 4.0)
    evidence = ("epoch", "number", "raw_partition", "raw_offset")
    assert [gap[name] for name in evidence] == [7, 9, 1, 42]
    assert latency["cause"] == "latency: 12.5 times usual, more than 3.5"
    assert latency["stage"] == "venue or network"
    assert (latency["resolved"], latency["stale_cost_bps"]) == (None, None)


def test_row_35_stale_cost_is_how_far_off_the_held_book_was(tables: Tables) -> None:
    """100 was shown when 101 was true: 1/101. Books of before and later count for nothing."""
    for second, mid in ((97, 90), (99, 100), (104, 101), (105, 150)):
        tables.book(second, mid)
    tables.book(99, 200, symbol="Y")
    tables.book(105, 300, symbol="Y")
    tables.incident(100.0, 165.0)

    (cost,) = tables.ask("SELECT * FROM incident_costs")
    incident = tables.one("SELECT stale_cost_bps FROM incidents")

    assert (cost["mid_shown"], cost["mid_true"]) == (100.0, 101.0)
    assert (cost["shown_at"], cost["true_at"]) == (at(99), at(104))
    assert incident["stale_cost_bps"] == pytest.approx(1 / 101 * 1e4)


def test_row_35_cost_of_a_dead_connection_is_that_of_its_worst_book(tables: Tables) -> None:
    """Thirty minutes without a book; those of another line do not stand in for it."""
    for symbol, before, after in (("X", 100, 101), ("Y", 200, 190)):
        tables.book(99, before, symbol=symbol)
        tables.book(150, 500, symbol=symbol, line="B")
        tables.book(1900, after, symbol=symbol)
    tables.incident(100.0, 1910.0, kind="disconnected", channel="connection", symbol="")
    tables.incident(5000.0, None, kind="disconnected", channel="connection", symbol="")

    costs = tables.ask("SELECT alert_id, symbol FROM incident_costs ORDER BY symbol")
    first, still_open = tables.ask("SELECT stale_cost_bps FROM incidents ORDER BY started")

    assert [(cost["alert_id"], cost["symbol"]) for cost in costs] == [
        ("gap/100.0", "X"),
        ("gap/100.0", "Y"),
    ]
    assert first["stale_cost_bps"] == pytest.approx(10 / 190 * 1e4)
    assert still_open["stale_cost_bps"] is None


RANGE = "(since = '2026-11-20 00:00:00', until = '2026-11-21 00:00:00')"


def test_row_38_trade_carries_the_quality_of_its_second(tables: Tables) -> None:
    """Clean, in an unstable second, during an incident, marked itself, and in no known second."""
    tables.seconds(10, 10, channel="trades")
    tables.seconds(20, 1, channel="trades", state="unstable", score=40.0)
    tables.seconds(21, 10, channel="trades")
    tables.incident(24.0, 26.0, alert_id="away", channel="connection", symbol="")
    tables.incident(10.0, 30.0, alert_id="of the book", channel="book")
    tables.incident(10.0, 30.0, alert_id="of another", channel="trades", symbol="Y")
    for second, quality in ((12.5, 0), (19.5, 0), (25.0, 0), (28.0, 2), (40.0, 0)):
        tables.trade(second, quality=quality)

    rows = tables.ask(f"SELECT * FROM trades_quality{RANGE} ORDER BY ts_recv")

    assert [row["is_clean"] for row in rows] == [True, False, False, False, False]
    assert [row["state"] for row in rows] == ["stable", "unstable", "stable", "stable", None]
    assert [list(row["incident_ids"]) for row in rows] == [[], [], ["away"], [], []]
    assert (rows[1]["score"], rows[4]["score"]) == (40.0, None)


def test_row_38_book_carries_the_quality_of_its_second(tables: Tables) -> None:
    tables.seconds(10, 20)
    tables.incident(24.0, 26.0, alert_id="own")
    for second, quality in ((12, 0), (13, 1), (14, 16), (25, 0)):
        tables.book(second, 100, quality=quality)

    rows = tables.ask(f"SELECT * FROM books_quality{RANGE} ORDER BY ts_sample")

    assert [row["is_clean"] for row in rows] == [True, True, False, False]
    assert list(rows[3]["incident_ids"]) == ["own"]
    assert [row["mid"] for row in rows] == [100.0] * 4


def test_book_of_a_venue_whose_price_is_in_doubt_is_not_clean(tables: Tables) -> None:
    """Incidents of venues are of no connection: their shard is the instrument."""
    venue = {"shard": "X/USD", "line": "", "epoch": 0}
    tables.seconds(0, 60)
    tables.incident(20, 30, alert_id="frozen", kind="frozen_price", **venue)
    tables.incident(40, 50, alert_id="other", kind="divergence", symbol="Y", **venue)
    tables.incident(40, 50, alert_id="shard", shard="kraken-1")
    for second in (10, 25, 45):
        tables.book(second, 100)

    rows = tables.ask(f"SELECT * FROM books_quality{RANGE} ORDER BY ts_sample")

    assert [row["is_clean"] for row in rows] == [True, False, True]
    assert [list(row["incident_ids"]) for row in rows] == [[], ["frozen"], []]


def test_trade_at_a_price_in_doubt_is_not_clean(tables: Tables) -> None:
    """Incidents of a venue's price are its book's; of all that is a book's they alone count."""
    venue = {"shard": "X/USD", "line": "", "epoch": 0}
    tables.seconds(0, 60, channel="trades")
    tables.incident(20, 30, alert_id="frozen", kind="frozen_price", **venue)
    tables.incident(30, 40, alert_id="divergent", kind="divergence", **venue)
    tables.incident(40, 50, alert_id="other symbol", kind="divergence", symbol="Y", **venue)
    tables.incident(40, 50, alert_id="other venue", kind="divergence", exchange="x", **venue)
    tables.incident(40, 50, alert_id="other shard", channel="trades", shard="kraken-1")
    tables.incident(40, 50, alert_id="of the book", channel="book")
    for second in (10, 25, 35, 45):
        tables.trade(second)

    rows = tables.ask(f"SELECT * FROM trades_quality{RANGE} ORDER BY ts_recv")

    assert [row["is_clean"] for row in rows] == [True, False, False, True]
    assert [list(row["incident_ids"]) for row in rows] == [[], ["frozen"], ["divergent"], []]


def test_books_of_the_largest_prices_have_a_mid_and_empty_ones_none(tables: Tables) -> None:
    tables.book(1, 10**20 - 2)
    tables.book(2, 100, ask_prices=[], ask_sizes=[])

    rows = tables.ask("SELECT mid FROM books ORDER BY ts_recv")

    assert [row["mid"] for row in rows] == [1e20, None]
