"""Venues that follow one fair price: how far apart they are, and how a later start continues."""

from dataclasses import replace
from pathlib import Path

import pytest

from simulator.market import Market
from simulator.prices import FairPrices
from simulator.settings import (
    BinanceSettings,
    DeribitSettings,
    KrakenSettings,
    MarketSettings,
    Settings,
)
from simulator.truth import Truth
from simulator.venue import Venue
from simulator.venues.binance import Binance
from simulator.venues.deribit import Deribit
from simulator.venues.kraken import Kraken
from tests.simulator.conftest import OpenTruth

BITCOIN = {"deribit": "BTC-PERPETUAL", "binance": "BTCUSDT", "kraken": "BTC/USD"}
WILD = Settings(market=MarketSettings(levels=40, volatility=1e-3))


def opened(settings: Settings, truth: Truth) -> dict[str, Venue]:
    prices = FairPrices(settings.seed, settings.market.volatility)
    rate = 20.0
    return {
        "deribit": Deribit(settings, DeribitSettings(symbols=2, rate=rate), truth, prices),
        "binance": Binance(settings, BinanceSettings(symbols=2, rate=rate), truth, prices),
        "kraken": Kraken(settings, KrakenSettings(symbols=2, rate=rate), truth, prices),
    }


def bitcoin(venues: dict[str, Venue]) -> list[Market]:
    return [venue.markets[BITCOIN[name]] for name, venue in venues.items()]


def level(market: Market) -> float:
    """Return a market's price as a multiple of the catalogue's, without its basis."""
    engine = market.engine
    middle = (engine.bids[-1] - engine.asks[-1]) / 2
    return middle / market.instrument.start / (1.0 + market.basis)


def test_middles_of_all_venues_stay_close_to_one_price_that_moves(open_truth: OpenTruth) -> None:
    settings, truth = open_truth(replace(WILD, market=replace(WILD.market, volatility=1e-4)))
    venues = opened(settings, truth)
    apart: list[float] = []
    seen: list[float] = []
    for second in range(1, 301):
        for venue in venues.values():
            venue.run(float(second), float("inf"))
        levels = [level(market) for market in bitcoin(venues)]
        apart.append(max(levels) - min(levels))
        seen.append(levels[0])

    assert max(seen) - min(seen) > 10e-4
    assert sorted(apart)[150] < 3e-4
    assert max(apart) < 12e-4


@pytest.mark.parametrize("order", [("deribit", "kraken", "binance"), ("binance", "deribit")])
def test_books_do_not_depend_on_which_venue_is_driven_first(
    order: tuple[str, ...], open_truth: OpenTruth, tmp_path: Path
) -> None:
    books: list[dict[str, dict[int, int]]] = []
    for names in (("deribit", "binance", "kraken"), order):
        settings = replace(WILD, folder=tmp_path / str(len(books)))
        truth = Truth(settings)
        venues = opened(settings, truth)
        for second in range(1, 31):
            for name in names:
                venues[name].run(float(second), float("inf"))
        books.append(
            {name: dict(venues[name].markets[BITCOIN[name]].engine.sizes) for name in order}
        )
        truth.close()

    assert books[0] == books[1]


def test_later_start_goes_on_at_the_price_of_the_earlier_one(tmp_path: Path) -> None:
    settings = replace(WILD, folder=tmp_path)
    truth = Truth(settings)
    venues = opened(settings, truth)
    for venue in venues.values():
        venue.run(120.0, float("inf"))
    before = [level(market) for market in bitcoin(venues)]
    truth.close()
    truth = Truth(settings)
    after = [level(market) for market in bitcoin(opened(settings, truth))]
    truth.close()

    assert abs(before[0] - 1.0) > 20e-4
    assert max(after) - min(after) < 10e-4
    assert after == pytest.approx(before, abs=20e-4)
