"""The catalogues of instruments."""

import pytest

from simulator.instruments import catalogue
from simulator.settings import SettingsError


@pytest.mark.parametrize("venue", ["deribit", "binance", "kraken"])
def test_catalogue_of_500_has_distinct_symbols_with_room_to_trade(venue: str) -> None:
    listed = catalogue(venue, 500)

    assert len({instrument.symbol for instrument in listed}) == 500
    assert all(instrument.start >= 40 and instrument.order_lots >= 1 for instrument in listed)


def test_catalogue_starts_with_the_instruments_everybody_knows() -> None:
    assert [each.symbol for each in catalogue("deribit", 2)] == ["BTC-PERPETUAL", "ETH-PERPETUAL"]
    assert catalogue("binance", 1)[0].symbol == "BTCUSDT"
    assert catalogue("kraken", 1)[0].symbol == "BTC/USD"


def test_catalogue_asked_for_too_many_names_the_limit() -> None:
    with pytest.raises(SettingsError, match=r"kraken\.symbols must be at most \d+, got 100000"):
        catalogue("kraken", 100_000)
