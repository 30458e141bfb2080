"""The truth on disk: what was written is what is answered, over segments and restarts."""

from dataclasses import replace
from pathlib import Path

import pytest

from simulator import truth_reader
from simulator.market import Market, Trade
from simulator.prices import FairPrices
from simulator.settings import (
    BinanceSettings,
    DeribitSettings,
    KrakenSettings,
    MarketSettings,
    Settings,
    SettingsError,
    VenueSettings,
)
from simulator.truth import Truth
from simulator.truth_reader import Level, Top, Units, plain
from simulator.venue import Venue
from simulator.venues.binance import Binance
from simulator.venues.deribit import Deribit
from simulator.venues.kraken import Kraken
from tests.simulator.conftest import OpenTruth

SMALL = Settings(market=MarketSettings(levels=30), segment_bytes=1 << 16)
VENUES = {"deribit": Deribit, "binance": Binance, "kraken": Kraken}


def open_venue(name: str, settings: Settings, truth: Truth, symbols: int = 1) -> Venue:
    own: dict[str, VenueSettings] = {
        "deribit": DeribitSettings(symbols=symbols),
        "binance": BinanceSettings(symbols=symbols),
        "kraken": KrakenSettings(symbols=symbols),
    }
    prices = FairPrices(settings.seed, settings.market.volatility)
    venue: Venue = VENUES[name](settings, own[name], truth, prices)
    return venue


def top(market: Market, depth: int) -> Top:
    instrument, sizes = market.instrument, market.engine.sizes
    units = Units(
        instrument.tick, instrument.price_decimals, instrument.lot, instrument.size_decimals
    )

    def levels(keys: list[int]) -> list[Level]:
        return [[units.price(abs(key)), units.size(sizes[key])] for key in keys]

    bids, asks = market.top(depth)
    return {"bids": levels(bids), "asks": levels(asks)}


@pytest.mark.parametrize("name", list(VENUES))
def test_books_at_every_sequence_equal_those_that_were(name: str, open_truth: OpenTruth) -> None:
    settings, truth = open_truth(SMALL)
    venue = open_venue(name, settings, truth)
    market = next(iter(venue.markets.values()))
    expected: dict[int, Top] = {}
    for _ in range(1500):
        venue._step(market)
        expected[market.sequence] = top(market, 12)

    folder = venue.folder(market.symbol)
    asked = sorted(expected, key=lambda sequence: sequence % 97)  # in no order
    assert len(truth_reader.segments(folder)) > 3
    assert truth_reader.books(folder, asked, 12) == [expected[sequence] for sequence in asked]


def test_books_at_numbers_that_were_no_state_are_none(open_truth: OpenTruth) -> None:
    settings, truth = open_truth(SMALL)
    venue = open_venue("binance", settings, truth)
    market = venue.markets["BTCUSDT"]
    states = set()
    for _ in range(50):
        venue._step(market)
        states.add(market.sequence)
    first, last = min(states), max(states)

    asked = [0, 1, *range(first, last + 10), 1 << 60]
    answered = truth_reader.books(venue.folder("BTCUSDT"), asked, 1)

    assert [book is not None for book in answered] == [number in states for number in asked]


def test_trades_come_back_once_in_order_with_their_deliveries(open_truth: OpenTruth) -> None:
    settings, truth = open_truth(SMALL)
    venue = open_venue("kraken", settings, truth)
    market = venue.markets["BTC/USD"]
    made: list[Trade] = list(market.history)
    for _ in range(1500):
        venue._step(market)
        made += market.trades
    truth.deliver(market, [made[-1].sequence, made[5].sequence])
    truth.flush()
    truth.deliver(market, [made[5].sequence])
    truth.flush()

    found = list(truth_reader.trades(venue.folder("BTC/USD")))

    assert [trade for trade, _, _ in found] == made
    delivered = {trade.sequence: count for trade, count, _ in found if count}
    assert delivered == {made[-1].sequence: 1, made[5].sequence: 2}
    assert [trade.sequence for trade in made] == list(
        range(made[0].sequence, made[0].sequence + len(made))
    )


@pytest.mark.parametrize("key", ["sequence", "tag", "ts_event"])
def test_history_from_any_number_starts_at_the_first_trade_at_or_above(
    key: str, open_truth: OpenTruth
) -> None:
    settings, truth = open_truth(SMALL)
    venue = open_venue("binance", settings, truth)
    market = venue.markets["BTCUSDT"]
    made: list[Trade] = list(market.history)
    for _ in range(1500):
        venue._step(market)
        made += market.trades

    for trade in made[::40]:
        first = getattr(trade, key)
        expected = [each for each in made if getattr(each, key) >= first][:7]
        assert truth_reader.history(venue.folder("BTCUSDT"), first, 7, key) == expected


@pytest.mark.parametrize("name", list(VENUES))
def test_second_start_continues_all_numbers_and_keeps_the_old_truth(
    name: str, tmp_path: Path
) -> None:
    settings = replace(SMALL, folder=tmp_path)
    sessions = []
    folder = tmp_path
    for _ in range(2):
        truth = Truth(settings)
        venue = open_venue(name, settings, truth)
        market = next(iter(venue.markets.values()))
        folder = venue.folder(market.symbol)
        books = {market.sequence: top(market, 5)}
        for _ in range(60):
            venue._step(market)
            books[market.sequence] = top(market, 5)
        truth.close()
        sessions.append(books)
    first, second = sessions

    assert max(first) < min(second)
    asked = [*first, *second]
    assert truth_reader.books(folder, asked, 5) == [*first.values(), *second.values()]
    sequences = [trade.sequence for trade, _, _ in truth_reader.trades(folder)]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))
    tags = [trade.tag for trade, _, _ in truth_reader.trades(folder)]
    assert name == "kraken" or tags == sorted(tags)


def test_truth_of_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    settings = replace(SMALL, folder=tmp_path)
    truth = Truth(settings)

    with pytest.raises(SettingsError, match="in use by another simulator"):
        Truth(settings)

    truth.close()
    Truth(settings).close()


def test_reader_stops_before_a_record_cut_short(open_truth: OpenTruth) -> None:
    settings, truth = open_truth(SMALL)
    venue = open_venue("binance", settings, truth)
    market = venue.markets["BTCUSDT"]
    for _ in range(20):
        venue._step(market)
    segment = truth_reader.segments(venue.folder("BTCUSDT"))[-1]
    whole = list(truth_reader.records(truth_reader.load(segment)))

    segment.write_bytes(segment.read_bytes()[:-3])

    assert list(truth_reader.records(truth_reader.load(segment))) == whole[:-1]
    assert list(truth_reader.trades(venue.folder("BTCUSDT")))


def test_oldest_segments_beyond_the_limit_are_deleted(open_truth: OpenTruth) -> None:
    settings, truth = open_truth(replace(SMALL, segments_max=2))
    venue = open_venue("binance", settings, truth)
    market = venue.markets["BTCUSDT"]
    opening = market.sequence
    for _ in range(1500):
        venue._step(market)

    folder = venue.folder("BTCUSDT")
    assert len(truth_reader.segments(folder)) == 2
    assert truth_reader.books(folder, [opening, market.sequence], 3) == [None, top(market, 3)]


@pytest.mark.parametrize(
    ("units", "decimals", "text"),
    [(0, 8, "0"), (5, 0, "5"), (100, 2, "1"), (120, 2, "1.2"), (5, 5, "0.00005"), (10, 0, "10")],
)
def test_plain_text_has_no_exponent_and_no_trailing_zero(
    units: int, decimals: int, text: str
) -> None:
    assert plain(units, decimals) == text
