"""What the truth calls delivered is what a client got: trade for trade, book for book.

The clients subscribe, read for a while, unsubscribe, and read all up to the acknowledgement.
"""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.simulator.clients import (
    DEADLINE_S,
    TOP,
    BinanceReader,
    DeribitReader,
    KrakenReader,
    Ladder,
    Socket,
    Trade,
    World,
    by_sequence,
    differences,
    plain,
    simulating,
)

pytestmark = pytest.mark.integration

SECONDS = 2.0


async def read_for(socket: Socket, reader: Any, seconds: float) -> None:
    """Give a reader what arrives within some seconds."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        text = await socket.receive()
        assert text is not None
        reader.read(text)


def assert_exact(true: list[Trade], got: list[Trade], times: int = 1) -> None:
    """Every delivered trade was received as often as it was handed out, and nothing else was."""
    delivered = {trade["sequence"]: trade for trade in true if trade["delivered"]}
    assert len(delivered) > 10
    assert by_sequence(got).keys() == delivered.keys()
    for sequence, trade in by_sequence(got).items():
        assert trade == {key: delivered[sequence][key] for key in trade}
    assert len(got) == len(delivered) * times
    assert {trade["delivered"] for trade in delivered.values()} == {times}
    sequences = sorted(delivered)
    assert sequences == list(range(sequences[0], sequences[-1] + 1))


@pytest.mark.parametrize("interval", ["raw", "100ms"])
async def test_deribit_client_gets_exactly_what_was_delivered(
    tmp_path: Path, interval: str
) -> None:
    async with simulating(tmp_path) as world, world.connect("deribit") as socket:
        symbols = ("BTC-PERPETUAL", "ETH-PERPETUAL")
        channels = [f"{kind}.{each}.{interval}" for each in symbols for kind in ("book", "trades")]
        reader = DeribitReader()
        params = {"channels": channels}
        ack, _ = await socket.ask({"id": 1, "method": "public/subscribe", "params": params})
        assert sorted(ack["result"]) == sorted(channels)
        await read_for(socket, reader, SECONDS)
        ack, before = await socket.ask({"id": 2, "method": "public/unsubscribe", "params": params})
        for text in before:
            reader.read(text)
        assert sorted(ack["result"]) == sorted(channels)

        for symbol in symbols:
            assert_exact(await world.trades("deribit", symbol), reader.trades[symbol])
            book = reader.books[f"book.{symbol}.{interval}"]
            assert len(book.tops) > 10
            assert await differences(world, "deribit", symbol, book) == []


@pytest.mark.parametrize("path", ["", "/btcusdt@depth@100ms", "?streams"])
async def test_binance_client_gets_exactly_what_was_delivered(tmp_path: Path, path: str) -> None:
    async with simulating(tmp_path) as world:
        streams = [
            f"{symbol}@{kind}"
            for symbol in ("btcusdt", "ethusdt")
            for kind in ("depth@100ms", "trade", "bookTicker", "aggTrade")
        ]
        if path == "?streams":
            url = world.ws("binance").replace("/ws", "/stream?streams=") + "/".join(streams)
            async with world.http.ws_connect(url, autoping=False) as ws:
                await check_binance(world, Socket(ws), streams)
        else:
            async with world.connect("binance", path) as socket:
                ask = {"method": "SUBSCRIBE", "params": streams, "id": 1}
                assert (await socket.ask(ask))[0] == {"result": None, "id": 1}
                await check_binance(world, socket, streams)


def pair(price: object, size: object) -> tuple[str, str]:
    return plain(price), plain(size)


async def check_binance(world: World, socket: Socket, streams: list[str]) -> None:
    reader = BinanceReader()
    await read_for(socket, reader, 0.4)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        url = f"{world.rest('binance')}/depth?symbol={symbol}&limit=1000"
        reader.snapshot(symbol, await world.get(url))
    await read_for(socket, reader, SECONDS)
    ask = {"method": "UNSUBSCRIBE", "params": streams, "id": "bye"}
    _, before = await socket.ask(ask)
    for text in before:
        reader.read(text)

    for symbol in ("BTCUSDT", "ETHUSDT"):
        assert_exact(await world.trades("binance", symbol), reader.trades[symbol])
        book = reader.books[symbol]
        assert len(book.tops) > 10
        assert await differences(world, "binance", symbol, book) == []
        same = 0
        for ticker in reader.tickers[symbol]:
            if ticker["u"] in book.tops:
                same += 1
                top = book.tops[ticker["u"]]
                assert pair(ticker["b"], ticker["B"]) == top["bids"][0]
                assert pair(ticker["a"], ticker["A"]) == top["asks"][0]
        assert same > 3


@pytest.mark.parametrize("depth", [10, 25])
async def test_kraken_client_gets_exactly_what_was_delivered(tmp_path: Path, depth: int) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        symbols = ["BTC/USD", "ETH/USD"]
        reader = KrakenReader(depth)
        book = {"channel": "book", "symbol": symbols, "depth": depth}
        trade = {"channel": "trade", "symbol": symbols, "snapshot": True}
        for number, params in enumerate((book, trade)):
            ask = {"method": "subscribe", "params": params, "req_id": number}
            _, before = await socket.ask(ask, "req_id")
            for text in before:
                reader.read(text)
        await read_for(socket, reader, SECONDS)
        trade.pop("snapshot")
        for number, params in enumerate((trade, book), start=10):
            await socket.send({"method": "unsubscribe", "params": params, "req_id": number})
        for _ in range(4):  # one ack per symbol and channel
            texts = await socket.until(lambda found: found.get("req_id") in (10, 11))
            assert '"success":true' in texts[-1]
            for text in texts:
                reader.read(text)

        for symbol in symbols:
            true = await world.trades("kraken", symbol)
            assert_exact(true, reader.trades[symbol])
            assert 1 <= len(reader.history[symbol]) <= 50
            known = by_sequence(true)
            for made in reader.history[symbol]:
                assert made == {key: known[made["sequence"]][key] for key in made}
            assert len(reader.books[symbol].tops) > 50
            assert await differences(world, "kraken", symbol, reader.books[symbol]) == []


async def test_two_sockets_count_twice_and_share_no_state(tmp_path: Path) -> None:
    async with (
        simulating(tmp_path) as world,
        world.connect("kraken") as early,
        world.connect("kraken") as late,
    ):
        ask = {
            "method": "subscribe",
            "params": {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": False},
            "req_id": 1,
        }
        readers = KrakenReader(10), KrakenReader(10)
        for socket, reader in zip((early, late), readers, strict=True):
            await socket.ask(ask, "req_id")
            await read_for(socket, reader, 0.7)
        bye = ask | {"method": "unsubscribe", "req_id": 2}
        for socket, reader in zip((early, late), readers, strict=True):
            _, before = await socket.ask(bye, "req_id")
            for text in before:
                reader.read(text)

        true = await world.trades("kraken", "BTC/USD")
        got = [by_sequence(reader.trades["BTC/USD"]).keys() for reader in readers]
        assert {trade["sequence"]: trade["delivered"] for trade in true if trade["delivered"]} == {
            sequence: (sequence in got[0]) + (sequence in got[1]) for sequence in got[0] | got[1]
        }
        assert got[0] & got[1]


async def test_deribit_ticker_shows_the_best_of_the_book_at_its_time(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("deribit") as socket:
        reader = DeribitReader()
        channels = ["book.BTC-PERPETUAL.100ms", "ticker.BTC-PERPETUAL.100ms"]
        ask = {"id": 1, "method": "public/subscribe", "params": {"channels": channels}}
        await socket.ask(ask)
        books: dict[int, Ladder] = {}
        tickers: dict[int, Ladder] = {}
        async with asyncio.timeout(DEADLINE_S):
            while len(books.keys() & tickers.keys()) < 10:
                texts = await socket.until(lambda found: found.get("method") == "subscription")
                frame = json.loads(texts[-1], parse_float=Decimal)["params"]
                data = frame["data"]
                if frame["channel"].startswith("book"):
                    reader.read(texts[-1])
                    books[data["timestamp"]] = reader.books[channels[0]].top(1)
                else:
                    tickers[data["timestamp"]] = {
                        "bids": [pair(data["best_bid_price"], data["best_bid_amount"])],
                        "asks": [pair(data["best_ask_price"], data["best_ask_amount"])],
                    }

        for moment in books.keys() & tickers.keys():
            # A machine that was stopped for a while makes several states in one millisecond.
            if len(await world.states("deribit", "BTC-PERPETUAL", moment)) == 1:
                assert books[moment] == tickers[moment]


async def test_truth_of_many_points_is_answered_within_seconds(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("deribit") as socket:
        reader = DeribitReader()
        params = {"channels": ["book.BTC-PERPETUAL.raw"]}
        await socket.ask({"id": 1, "method": "public/subscribe", "params": params})
        await read_for(socket, reader, SECONDS)
        tops = reader.books["book.BTC-PERPETUAL.raw"].tops
        points = [sequence for sequence in tops for _ in range(40)][:5000]
        begun = asyncio.get_running_loop().time()

        answered = await world.books("deribit", "BTC-PERPETUAL", points)

        assert asyncio.get_running_loop().time() - begun < 10
        assert answered == [tops[point] for point in points]
        assert len(answered[0]["bids"] if answered[0] else []) == TOP
