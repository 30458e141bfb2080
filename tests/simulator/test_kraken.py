"""Kraken's books: the checksum of the protocol's worked example, and the range rule."""

import json
from typing import Any
from zlib import crc32

import pytest

from simulator.market import Market
from simulator.matching import MatchingEngine
from simulator.prices import FairPrices
from simulator.settings import KrakenSettings, MarketSettings, Settings
from simulator.venues.kraken import Kraken
from simulator.venues.kraken_channels import BookChannel, checksum
from tests.simulator.conftest import OpenTruth, Subscriber

# A recorded snapshot of BTC/USD and the update after it, with the checksums that Kraken sent.
ASKS = (
    ("85600.5", "0.90679198"),
    ("85601.6", "0.21608516"),
    ("85601.7", "2.92050281"),
    ("85602.1", "0.00023300"),
    ("85603.0", "0.00770000"),
    ("85603.7", "2.92043523"),
    ("85604.4", "0.87632208"),
    ("85604.8", "0.00005100"),
    ("85606.2", "0.00116814"),
    ("85607.7", "2.92029921"),
)
BIDS = (
    ("85600.4", "0.20401971"),
    ("85599.6", "0.04385864"),
    ("85599.5", "0.17523456"),
    ("85597.8", "0.00005000"),
    ("85597.7", "2.92063885"),
    ("85596.3", "0.00005100"),
    ("85595.8", "0.00596174"),
    ("85595.2", "0.58888844"),
    ("85593.6", "2.92077632"),
    ("85592.0", "0.00005100"),
)


def steps(text: str) -> int:
    return int(text.replace(".", ""))


def worked_example() -> MatchingEngine:
    engine = MatchingEngine()
    for price, size in BIDS:
        engine.limit(steps(price), steps(size))
    for price, size in ASKS:
        engine.limit(-steps(price), steps(size))
    return engine


def test_checksum_of_the_worked_example_is_the_recorded_one() -> None:
    assert checksum(worked_example()) == 817_831_036


def test_checksum_after_the_example_s_update_is_the_recorded_one() -> None:
    engine = worked_example()

    engine.cancel_level(-steps("85601.6"))
    engine.limit(-steps("85608.0"), steps("0.04358176"))

    assert checksum(engine) == 3_973_935_795


def test_checksum_of_a_short_book_uses_what_is_there() -> None:
    engine = MatchingEngine()
    engine.limit(-12, 5)
    engine.limit(7, 40)

    assert checksum(engine) == crc32(b"125740")


class Client:
    """Keeps a book as Kraken tells its clients to: apply, cut to the depth, check."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sides: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}

    def read(self, text: str) -> dict[str, Any]:
        frame = json.loads(text, parse_float=str)
        data: dict[str, Any] = frame["data"][0]
        for name, side in self.sides.items():
            if frame["type"] == "snapshot":
                side.clear()
            for level in data[name]:
                if steps(level["qty"]):
                    side[level["price"]] = level["qty"]
                else:
                    side.pop(level["price"], None)
            for price in self.prices(name)[self.depth :]:
                del side[price]
        return data

    def prices(self, name: str) -> list[str]:
        return sorted(self.sides[name], key=float, reverse=name == "bids")

    def checksum(self) -> int:
        """Computed from the texts alone, as the protocol says."""
        digits = ""
        for name in ("asks", "bids"):
            for price in self.prices(name)[:10]:
                for text in (price, self.sides[name][price]):
                    digits += text.replace(".", "").lstrip("0")
        return crc32(digits.encode())

    def levels(self, name: str) -> list[tuple[int, int]]:
        return [(steps(price), steps(self.sides[name][price])) for price in self.prices(name)]


def true_levels(market: Market, depth: int, name: str) -> list[tuple[int, int]]:
    keys = market.top(depth)[0 if name == "bids" else 1]
    return [(abs(key), market.engine.sizes[key]) for key in keys]


@pytest.mark.parametrize(("depth", "levels"), [(10, 8), (10, 13), (10, 60), (25, 30)])
def test_book_of_a_client_that_truncates_equals_the_true_top(
    depth: int, levels: int, open_truth: OpenTruth, subscriber: Subscriber
) -> None:
    settings, truth = open_truth(
        Settings(market=MarketSettings(levels=levels, touched_min=1, touched_max=8))
    )
    kraken = Kraken(settings, KrakenSettings(symbols=1), truth, FairPrices(1, 1e-4))
    market = kraken.markets["BTC/USD"]
    channel = kraken.find_channel(f"book BTC/USD {depth}")
    assert isinstance(channel, BookChannel)
    kraken.subscribe(subscriber.connection, channel)
    channel.snapshot(subscriber.connection)
    client, last = Client(depth), 0

    for _ in range(1500):
        for frame in subscriber.take():
            data = client.read(frame.text)
            assert client.checksum() == data["checksum"]
            assert frame.sequence > last or not last
            last = frame.sequence
        for name in ("bids", "asks"):
            assert client.levels(name) == true_levels(market, depth, name)
        kraken._step(market)


def test_book_sends_no_delete_for_levels_pushed_out_of_range(
    open_truth: OpenTruth, subscriber: Subscriber
) -> None:
    settings, truth = open_truth(Settings(market=MarketSettings(levels=40)))
    kraken = Kraken(settings, KrakenSettings(symbols=1), truth, FairPrices(1, 1e-4))
    market = kraken.markets["BTC/USD"]
    channel = kraken.find_channel("book BTC/USD 10")
    assert channel is not None
    kraken.subscribe(subscriber.connection, channel)
    tenth, best = market.engine.bids[-10], market.engine.bids[-1]

    market.engine.begin()
    market.engine.limit(best + 1, 5)
    market.changes = [(best + 1, 0, 5)]
    channel.event()
    pushed_out = json.loads(subscriber.take()[0].text)["data"][0]["bids"]
    market.engine.begin()
    market.engine.cancel_level(best + 1)
    market.changes = [(best + 1, 5, 0)]
    channel.event()
    came_back = json.loads(subscriber.take()[0].text)["data"][0]["bids"]

    assert [level["price"] for level in pushed_out] == [(best + 1) / 10]
    assert [level["price"] for level in came_back] == [(best + 1) / 10, tenth / 10]
