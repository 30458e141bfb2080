"""Fair prices: the same for all venues, reproducible, continued, and bounded."""

from itertools import pairwise
from math import log, sqrt
from statistics import pstdev

import pytest

from simulator.instruments import Instrument, catalogue
from simulator.prices import BASIS_BP, FairPrices, basis_of


def named(venue: str, symbol: str) -> Instrument:
    return next(each for each in catalogue(venue, 100) if each.symbol == symbol)


BTC = named("kraken", "BTC/USD"), named("binance", "BTCUSDT"), named("deribit", "BTC-PERPETUAL")


def test_level_is_the_same_at_all_venues_and_times() -> None:
    prices = FairPrices(7, 1e-4)
    for step in range(2000):
        levels = {prices.level(each, step / 7) for each in BTC}
        assert len(levels) == 1


def test_level_does_not_depend_on_who_asks_first_or_how_often() -> None:
    one, other = FairPrices(7, 1e-4), FairPrices(7, 1e-4)
    often = [one.level(BTC[0], step / 10) for step in range(301)]
    other.level(named("kraken", "ETH/USD"), 30.0)
    once = other.level(BTC[2], 30.0)

    assert once == often[-1]
    assert [other.level(BTC[1], step / 10) for step in range(301)] == often


def test_level_of_other_seed_is_another_one() -> None:
    assert FairPrices(7, 1e-4).level(BTC[0], 60.0) != FairPrices(8, 1e-4).level(BTC[0], 60.0)


def test_pair_of_two_coins_is_worth_what_they_are() -> None:
    prices = FairPrices(7, 1e-4)
    ratio = next(each for each in catalogue("kraken", 480) if each.symbol == "ETH/BTC")
    ether = named("kraken", "ETH/USD")

    found = prices.level(ratio, 600.0)

    assert found == prices.level(ether, 600.0) / prices.level(BTC[0], 600.0)
    assert found != 1.0


@pytest.mark.parametrize("wildness", [1.0, 10.0])
def test_volatility_is_the_one_asked_for(wildness: float) -> None:
    prices = FairPrices(7, 1e-4)
    prices.wildness = wildness
    levels = [log(prices.level(BTC[0], float(second))) for second in range(4000)]
    moves = [after - before for before, after in pairwise(levels)]

    assert 0.9e-4 * wildness < pstdev(moves) < 1.1e-4 * wildness


def test_level_of_the_wildest_market_stays_within_half_and_twice() -> None:
    prices = FairPrices(7, 0.01)
    levels = [prices.level(BTC[0], step * 10.0) for step in range(5000)]

    assert sqrt(0.5) * 0.999 <= min(levels) < max(levels) <= sqrt(2.0) * 1.001


def test_price_goes_on_where_an_earlier_session_ended() -> None:
    prices, first = FairPrices(7, 1e-4), FairPrices(7, 1e-4)
    prices.resume(BTC[0], 1.02, 5000)
    prices.resume(BTC[1], 1.5, 1)  # begun already: the first one counts

    assert prices.level(BTC[2], 0.0) == pytest.approx(1.02)
    moved = prices.level(BTC[2], 60.0) / 1.02
    assert moved != pytest.approx(first.level(BTC[2], 60.0), abs=1e-9)  # not the same moves again


def test_pair_of_two_coins_begins_neither() -> None:
    prices = FairPrices(7, 1e-4)
    ratio = next(each for each in catalogue("kraken", 480) if each.symbol == "ETH/BTC")
    prices.resume(ratio, 1.3, 1)

    assert prices.level(ratio, 0.0) == 1.0


def test_option_has_a_price_of_its_own() -> None:
    prices = FairPrices(7, 1e-4)
    first, second = [each for each in catalogue("deribit", 200) if each.kind == "option"][:2]
    prices.resume(first, 1.1, 1)

    assert prices.level(first, 0.0) == pytest.approx(1.1)
    assert prices.level(second, 0.0) == 1.0
    assert prices.level(second, 60.0) != prices.level(BTC[0], 60.0)


def test_basis_is_small_constant_and_each_venues_own() -> None:
    found = [basis_of(7, each) for each in BTC]

    assert found == [basis_of(7, each) for each in BTC]
    assert len(set(found)) == 3
    assert max(map(abs, found)) <= BASIS_BP * 1e-4
