"""The order flow: reproducible by seed, and shaped like a market."""

from dataclasses import replace

import pytest

from simulator.flow import OrderFlow
from simulator.instruments import Instrument, catalogue
from simulator.settings import MarketSettings

SETTINGS = MarketSettings(levels=60)
KRAKEN_BTC = catalogue("kraken", 1)[0]


def flow(
    seed: str = "1", settings: MarketSettings = SETTINGS, instrument: Instrument = KRAKEN_BTC
) -> OrderFlow:
    return OrderFlow(instrument, settings, seed=seed, events_per_s=10.0)


def history(made: OrderFlow, steps: int) -> tuple[list[object], dict[int, int]]:
    seen: list[object] = []
    for _ in range(steps):
        made.step()
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
    for _ in range(2000):
        made.step()
        assert engine.bids[-1] < -engine.asks[-1]
        assert min(engine.bids) > 0

    aimed = min(SETTINGS.levels, instrument.levels_max, instrument.start // 4)
    assert 0.5 * aimed <= len(engine.bids) <= 1.5 * aimed
    assert 0.5 * aimed <= len(engine.asks) <= 1.5 * aimed


def test_flow_touches_about_as_many_levels_as_asked_for() -> None:
    made = flow(settings=replace(SETTINGS, touched_min=6, touched_max=20))
    touched = []
    for _ in range(2000):
        made.step()
        touched.append(len(made.engine.before))

    assert min(touched) >= 6
    assert max(touched) <= 24
    assert 9 < sum(touched) / len(touched) < 14


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_flow_trades_in_the_share_of_events_asked_for(share: float) -> None:
    made = flow(settings=replace(SETTINGS, trade_share=share))
    trading = 0
    for _ in range(2000):
        made.step()
        trading += bool(made.engine.fills)

    assert abs(trading / 2000 - share) < 0.05
