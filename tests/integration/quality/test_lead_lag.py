"""Which venue's price is first: what the view says of prices whose delays are known."""

import random
from itertools import accumulate, combinations
from math import exp, sqrt

import pytest

from schemas.tables import views
from tests.integration.quality.conftest import Tables

SEED = 20_261_120
STEPS = 10
"""Of the walk that all prices follow, in a second."""
SECONDS = 21_600
RANGE = "(since = '2026-11-20 00:00:00', until = '2026-11-21 00:00:00')"


def walk(seconds: int, seed: int = SEED) -> list[float]:
    """Return logarithms of a price that walks by 1 bp in a second, STEPS a second."""
    draw = random.Random(seed)
    step = 1e-4 / sqrt(STEPS)
    return list(accumulate(draw.gauss(0, step) for _ in range(seconds * STEPS)))


def prices(
    path: list[float], delay_s: float, *, noise_bps: float = 0.3, seed: int = 1
) -> list[float]:
    """Return a venue's mid of every second: the path `delay_s` ago, at most 10, with its noise."""
    draw = random.Random(seed)
    late = round(delay_s * STEPS)
    return [
        100 * exp(path[at - late] + draw.gauss(0, noise_bps * 1e-4))
        for at in range(10 * STEPS, len(path), STEPS)
    ]


def lead_lag(tables: Tables, where: str = "true") -> list[dict[str, object]]:
    return tables.ask(
        f"SELECT * FROM lead_lag{RANGE} WHERE {where} ORDER BY exchange, other_exchange"
    )


def test_row_33_lead_is_by_how_much_one_price_is_behind_the_other(tables: Tables) -> None:
    """Of every pair, below a second and beyond, from six hours of seconds.

    Products of returns that have nothing to do with each other scatter like the variance, so the
    sum of k c(k) over lags of -5 to 5 does by sqrt(110 / seconds) of it: 0.071 s, and 0.085 s with
    noise that makes the variance larger by a fifth. Twice that keeps 0, 0.3 and 1.4 s apart, too.
    """
    delays = {"a": 0.3, "b": 0.0, "c": 1.4, "d": 0.0}
    path = walk(SECONDS + 10)
    for seed, (exchange, delay) in enumerate(delays.items()):
        tables.mids(exchange, 0, prices(path, delay, seed=seed))

    rows = lead_lag(tables)

    pairs = list(combinations(delays, 2))
    assert [(row["exchange"], row["other_exchange"]) for row in rows] == pairs
    for row, (first, other) in zip(rows, pairs, strict=True):
        delay = delays[other] - delays[first]
        assert row["seconds"] == SECONDS - 11, f"seed {SEED}: {row}"
        assert row["lead_s"] == pytest.approx(delay, abs=0.15), f"seed {SEED}: {row}"
        assert row["lead_error_s"] == pytest.approx(0.085, rel=0.25), f"seed {SEED}: {row}"
        assert row["best_lag_s"] == round(delay), f"seed {SEED}: {row}"


def test_correlation_is_the_share_that_both_show_in_one_second(tables: Tables) -> None:
    """1.3 s behind, 0.7 of what moves both is in c(1); noise of 0.5 bp makes 1 bp^2 1.5."""
    path = walk(SECONDS + 10)
    tables.mids("a", 0, prices(path, 0.0, noise_bps=0.5, seed=1))
    tables.mids("b", 0, prices(path, 1.3, noise_bps=0.5, seed=2))

    (row,) = lead_lag(tables)

    # Correlations scatter by 1 / sqrt(seconds): 0.007.
    assert row["correlation"] == pytest.approx(0.0, abs=0.02)
    assert row["best_lag_s"] == 1
    assert row["best_correlation"] == pytest.approx(0.7 / 1.5, abs=0.02)


def test_prices_with_nothing_in_common_have_no_lead(tables: Tables) -> None:
    """By chance they have a little: of the other price and its inverse, one has it above zero."""
    first, other = (prices(walk(3610, seed), 0.0, seed=seed) for seed in (1, 2))
    for instrument, mids in (("X/USD", other), ("USD/X", [1 / mid for mid in other])):
        tables.mids("a", 0, first, instrument=instrument)
        tables.mids("b", 0, mids, instrument=instrument)

    rows = lead_lag(tables)

    assert [row["seconds"] for row in rows] == [3589] * 2
    assert [(row["lead_s"], row["lead_error_s"]) for row in rows] == [(None, None)] * 2
    # Correlations scatter by 1 / sqrt(seconds).
    assert [row["correlation"] for row in rows] == [pytest.approx(0.0, abs=3 / 60)] * 2


def test_six_hundred_seconds_are_enough_and_fewer_are_not(tables: Tables) -> None:
    """Eleven are of no use: the first price has no change, five on each side no neighbours."""
    path = walk(621)
    for symbol, instrument, count in (("X", "X/USD", 611), ("Y", "Y/USD", 610)):
        for exchange, delay in (("a", 0.0), ("b", 1.0)):
            mids = prices(path, delay, noise_bps=0)[:count]
            tables.mids(exchange, 0, mids, symbol=symbol, instrument=instrument)

    (enough,) = lead_lag(tables, "instrument = 'X/USD'")
    (short,) = lead_lag(tables, "instrument = 'Y/USD'")

    assert (enough["seconds"], short["seconds"]) == (600, 599)
    assert all(value is not None for value in enough.values())
    known = {name for name, value in short.items() if value is not None}
    assert known == {
        *("instrument", "exchange", "symbol", "other_exchange", "other_symbol", "seconds")
    }


def test_price_that_never_moves_is_null_and_not_a_number(tables: Tables) -> None:
    tables.mids("a", 0, [100.0] * 1000)
    tables.mids("b", 0, prices(walk(1010), 0.0))

    (row,) = lead_lag(tables)

    measures = ("correlation", "best_lag_s", "best_correlation", "lead_s", "lead_error_s")
    assert row["seconds"] == 989
    assert [row[name] for name in measures] == [None] * 5


def test_one_jump_that_two_prices_share_is_no_lead(tables: Tables) -> None:
    """It is all that they have in common, and one second is not many."""
    tables.mids("a", 0, [100.0] * 500 + [101.0] * 500)
    tables.mids("b", 0, [100.0] * 502 + [101.0] * 498)

    (row,) = lead_lag(tables)

    assert (row["best_lag_s"], row["best_correlation"]) == (2, pytest.approx(1.0))
    assert (row["lead_s"], row["lead_error_s"]) == (None, None)


def test_jumps_that_are_repeated_exactly_have_a_lead_without_error(tables: Tables) -> None:
    """One in twenty seconds, three seconds later each time: no second says anything else."""
    draw = random.Random(SEED)
    jumps = [draw.choice((-20e-4, 20e-4)) if at % 20 == 10 else 0.0 for at in range(2000)]
    mids = [100 * exp(log) for log in accumulate(jumps)]
    tables.mids("a", 0, mids)
    tables.mids("b", 3, mids)

    (row,) = lead_lag(tables)

    assert (row["best_lag_s"], row["best_correlation"]) == (3, pytest.approx(1.0))
    assert row["lead_s"] == pytest.approx(3.0)
    assert row["lead_error_s"] == pytest.approx(0.0, abs=1e-3)


def test_seconds_without_a_fresh_price_on_both_sides_do_not_count(tables: Tables) -> None:
    """A price that is absent, null or stale at one second takes two changes with it. Of the first
    these are two seconds, of the other those within five of them: twelve."""
    holes: dict[str, tuple[list[float | None], bool]] = {
        "absent": ([], True),
        "null": ([None], True),
        "stale": ([100.0], False),
    }
    whole = prices(walk(2010), 0.0)
    for instrument, (hole, is_fresh) in holes.items():
        for exchange, at_s in (("a", 500), ("b", 1500)):
            venue = {"instrument": instrument}
            tables.mids(exchange, 0, whole[:at_s], **venue)
            if hole:
                tables.mids(exchange, at_s, hole, is_fresh=is_fresh, **venue)
            tables.mids(exchange, at_s + 1, whole[at_s + 1 :], **venue)

    rows = lead_lag(tables)

    assert len(rows) == 3
    assert [row["seconds"] for row in rows] == [2000 - 11 - 2 - 12] * 3
    assert [row["correlation"] for row in rows] == [pytest.approx(1.0)] * 3


def test_only_the_range_counts_and_only_other_exchanges(tables: Tables) -> None:
    """Two symbols of one exchange are no pair; a venue that others never meet has no row."""
    whole = prices(walk(3610), 0.0)
    tables.mids("a", -1800, whole)
    tables.mids("a", -1800, whole, symbol="Y")
    tables.mids("b", -1800, whole)
    tables.mids("c", -7200, whole)

    rows = lead_lag(tables)

    pairs = [(row["exchange"], row["symbol"], row["other_exchange"]) for row in rows]
    assert sorted(pairs) == [("a", "X", "b"), ("a", "Y", "b")]
    assert [row["seconds"] for row in rows] == [1800 - 11] * 2


def test_columns_are_those_of_the_dictionary(tables: Tables) -> None:
    """The database does not hold a view with parameters to the columns that it names."""
    found = tables.ask(f"DESCRIBE lead_lag{RANGE}")

    said = [(column.name, column.type) for column in views()["lead_lag"].columns]
    assert [(row["name"], row["type"]) for row in found] == said
