"""The order flow: reproducible by seed, and shaped like a market."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from simulator.flow import OrderFlow
from simulator.instruments import Instrument, catalogue
from simulator.prices import FairPrices
from simulator.settings import MarketSettings

SETTINGS = MarketSettings(levels=60)
KRAKEN_BTC = catalogue("kraken", 1)[0]


def flow(
    seed: str = "1", settings: MarketSettings = SETTINGS, instrument: Instrument = KRAKEN_BTC
) -> OrderFlow:
    return OrderFlow(
        instrument, settings, seed=seed, events_per_s=10.0, fair=float(instrument.start)
    )


def advance(made: OrderFlow, instrument: Instrument = KRAKEN_BTC, *, steps: int) -> Iterator[None]:
    """Make events, ten a second, at the prices that all venues have in common."""
    prices = FairPrices(1, SETTINGS.volatility)
    for step in range(steps):
        made.step(instrument.start * prices.level(instrument, step / 10))
        yield


def history(made: OrderFlow, steps: int) -> tuple[list[object], dict[int, int]]:
    seen: list[object] = []
    for _ in advance(made, steps=steps):
        seen.append((dict(made.engine.before), list(made.engine.fills), made.crossing))
    return seen, dict(made.engine.sizes)


def test_flow_with_equal_seeds_makes_equal_events() -> None:
    assert history(flow("7"), 300) == history(flow("7"), 300)


def test_flow_with_other_seed_makes_other_events() -> None:
    assert history(flow("7"), 20) != history(flow("8"), 20)


@pytest.mark.parametrize(("venue", "place"), [("deribit", 0), ("deribit", 120), ("binance", 150)])
def test_flow_over_many_events_keeps_a_deep_uncrossed_book(venue: str, place: int) -> None:
    instrument = catalogue(venue, place + 1)[place]
    made = flow(instrument=instrument)
    engine = made.engine
    for _ in advance(made, instrument, steps=2000):
        assert engine.bids[-1] < -engine.asks[-1]
        assert min(engine.bids) > 0

    aimed = min(SETTINGS.levels, instrument.levels_max, instrument.start // 4)
    assert 0.5 * aimed <= len(engine.bids) <= 1.5 * aimed
    assert 0.5 * aimed <= len(engine.asks) <= 1.5 * aimed


def test_flow_touches_about_as_many_levels_as_asked_for() -> None:
    made = flow(settings=replace(SETTINGS, touched_min=6, touched_max=20))
    touched = []
    for _ in advance(made, steps=2000):
        touched.append(len(made.engine.before))

    assert min(touched) >= 6
    assert max(touched) <= 24
    assert 9 < sum(touched) / len(touched) < 14


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_flow_trades_in_the_share_of_events_asked_for(share: float) -> None:
    made = flow(settings=replace(SETTINGS, trade_share=share))
    trading = 0
    for _ in advance(made, steps=2000):
        trading += bool(made.engine.fills)

    assert abs(trading / 2000 - share) < 0.05


def middle(made: OrderFlow) -> float:
    return (made.engine.bids[-1] - made.engine.asks[-1]) / 2


def test_flow_stays_within_a_few_basis_points_of_the_fair_price() -> None:
    made = flow(settings=replace(SETTINGS, levels=12, touched_min=1, touched_max=3))
    prices = FairPrices(1, 2e-4)
    far = 0
    for step in range(2000):
        fair = KRAKEN_BTC.start * prices.level(KRAKEN_BTC, step / 4)
        made.step(fair)
        assert abs(middle(made) / fair - 1.0) < 12e-4
        far += abs(middle(made) / fair - 1.0) > 6e-4

    assert far < 20


@pytest.mark.parametrize("share", [0.003, -0.003])
def test_flow_whose_price_jumps_quotes_around_the_new_price_at_once(share: float) -> None:
    made = flow()
    start = float(KRAKEN_BTC.start)
    for _ in range(100):
        made.step(start)
    made.step(start * (1.0 + share))

    assert abs(middle(made) / start - 1.0 - share) < 6e-4
    assert made.engine.bids[-1] < -made.engine.asks[-1]
    assert min(len(made.engine.bids), len(made.engine.asks)) >= 3


def test_frozen_flow_goes_on_as_before_while_its_best_prices_stand() -> None:
    made = flow()
    for _ in advance(made, steps=100):
        pass
    best = made.engine.bids[-1], made.engine.asks[-1]
    made.is_frozen = True
    touched = fills = 0
    for step in range(2000):
        made.step(KRAKEN_BTC.start * (1.0 + step * 1e-5))
        touched += len(made.engine.before)
        fills += len(made.engine.fills)
        assert (made.engine.bids[-1], made.engine.asks[-1]) == best

    assert 9 < touched / 2000 < 14
    assert 300 < fills < 500
    assert 30 <= len(made.engine.bids) <= 90
    assert 30 <= len(made.engine.asks) <= 90


def test_frozen_flow_that_is_let_go_is_at_the_fair_price_again() -> None:
    made = flow()
    made.is_frozen = True
    fair = KRAKEN_BTC.start * 1.01
    made.step(fair)
    made.is_frozen = False
    made.step(fair)

    assert abs(middle(made) / fair - 1.0) < 6e-4
