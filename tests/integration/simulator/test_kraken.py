"""Kraken's protocol: acks, errors, heartbeats, REST."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator.settings import MarketSettings, Settings
from tests.integration.simulator.clients import SETTINGS, plain, simulating

pytestmark = pytest.mark.integration


def subscribe(number: int, **params: object) -> dict[str, Any]:
    return {"method": "subscribe", "params": params, "req_id": number}


def with_kraken(**changes: Any) -> Settings:
    assert SETTINGS.kraken is not None
    return replace(SETTINGS, kraken=replace(SETTINGS.kraken, **changes))


async def test_first_frame_is_the_status(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        status = json.loads(await socket.receive() or "")

    assert status["channel"] == "status"
    assert status["data"][0]["system"] == "online"
    assert status["data"][0]["api_version"] == "v2"


async def test_every_symbol_gets_its_own_ack_and_wrong_ones_an_error(tmp_path: Path) -> None:
    symbols = ["BTC/USD", "XX/YY", "ETH/USD", "BTC/USD"]
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        await socket.send(subscribe(5, channel="book", symbol=symbols, depth=25))
        texts: list[dict[str, Any]] = []
        while len(texts) < 4:
            found = await socket.until(lambda found: found.get("req_id") == 5)
            texts.append(json.loads(found[-1]))

    first, unknown, second, again = texts
    assert first["result"] == {
        "channel": "book",
        "symbol": "BTC/USD",
        "depth": 25,
        "snapshot": True,
    }
    assert unknown["error"] == "Currency pair not supported XX/YY"
    assert (unknown["success"], unknown["symbol"]) == (False, "XX/YY")
    assert second["success"] is True
    assert again["error"] == "Already subscribed"


@pytest.mark.parametrize(
    ("request_text", "said"),
    [
        ("{", "Malformed request"),
        ("[" * 100_000, "Malformed request"),
        ("[]", "Malformed request"),
        ('{"method":"dance"}', "Unsupported method"),
        ('{"method":"subscribe"}', "params"),
        ('{"method":"subscribe","params":{"channel":"nothing"}}', "Channel not supported"),
        ('{"method":"subscribe","params":{"channel":["book"]}}', "Channel not supported"),
        ('{"method":"subscribe","params":{"channel":"book"}}', "symbol"),
        ('{"method":"subscribe","params":{"channel":"book","symbol":"BTC/USD"}}', "symbol"),
        (
            '{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":11}}',
            "depth not supported",
        ),
        (
            '{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":[]}}',
            "depth not supported",
        ),
        (
            '{"method":"subscribe","params":{"channel":"trade","symbol":[{}]}}',
            "Currency pair not supported",
        ),
        (
            '{"method":"subscribe","params":{"channel":"trade","symbol":["A"],"snapshot":5}}',
            "snapshot",
        ),
        (
            '{"method":"unsubscribe","params":{"channel":"trade","symbol":["BTC/USD"]}}',
            "Subscription Not Found",
        ),
    ],
)
async def test_wrong_request_gets_its_error_and_the_socket_lives(
    tmp_path: Path, request_text: str, said: str
) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        await socket.send(request_text)
        texts = await socket.until(lambda found: "error" in found)
        pong, _ = await socket.ask({"method": "ping", "req_id": 3}, "req_id")

    assert said in json.loads(texts[-1])["error"]
    assert json.loads(texts[-1])["success"] is False
    assert pong["method"] == "pong"


async def test_unsubscribe_must_name_the_depth(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        await socket.ask(subscribe(1, channel="book", symbol=["BTC/USD"], depth=100), "req_id")
        answers = []
        for number, depth in ((2, 10), (3, 100)):
            params = {"channel": "book", "symbol": ["BTC/USD"], "depth": depth}
            ask = {"method": "unsubscribe", "params": params, "req_id": number}
            answers.append((await socket.ask(ask, "req_id"))[0])

    assert answers[0]["error"] == "Subscription Not Found"
    assert answers[1]["success"] is True


async def test_heartbeats_come_into_silence_only_after_a_subscription(tmp_path: Path) -> None:
    settings = replace(with_kraken(heartbeat_s=0.2, rate=0.01), market=MarketSettings(levels=20))
    async with simulating(tmp_path, settings) as world, world.connect("kraken") as socket:
        pong, before = await socket.ask({"method": "ping", "req_id": 1}, "req_id")
        await socket.ask(subscribe(2, channel="trade", symbol=["BTC/USD"]), "req_id")
        for _ in range(3):
            await socket.until(lambda found: found == {"channel": "heartbeat"}, timeout=5)

    assert pong["method"] == "pong"
    assert not any("heartbeat" in text for text in before)


async def test_busy_socket_gets_heartbeats_only_into_silence(tmp_path: Path) -> None:
    settings = with_kraken(heartbeat_s=0.3, rate=400.0)
    async with simulating(tmp_path, settings) as world, world.connect("kraken") as socket:
        await socket.ask(subscribe(1, channel="book", symbol=["BTC/USD", "ETH/USD"]), "req_id")
        last, quiet = time.monotonic(), []
        for _ in range(300):
            text = await socket.receive() or ""
            if "heartbeat" in text:
                quiet.append(time.monotonic() - last)
            last = time.monotonic()

    assert all(silence > 0.25 for silence in quiet)
    assert len(quiet) < 10


async def test_socket_without_subscription_is_closed_after_a_while(tmp_path: Path) -> None:
    settings = with_kraken(idle_s=0.3)
    async with simulating(tmp_path, settings) as world, world.connect("kraken") as socket:
        assert await socket.closed(timeout=5) == 1000


async def test_instrument_channel_states_the_precision_of_every_pair(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        ack, _ = await socket.ask(subscribe(1, channel="instrument"), "req_id")
        texts = await socket.until(lambda found: found.get("channel") == "instrument")
        again, _ = await socket.ask(subscribe(2, channel="instrument"), "req_id")

    pair = json.loads(texts[-1])["data"]["pairs"][0]
    assert ack["success"] is True
    assert (pair["symbol"], pair["price_precision"], pair["qty_precision"]) == ("BTC/USD", 1, 8)
    assert again["error"] == "Already subscribed"


async def test_rest_knows_pairs_by_all_their_names(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world:
        base = f"{world.rest('kraken')}/public"
        pairs = (await world.get(f"{base}/AssetPairs"))["result"]
        assets = (await world.get(f"{base}/Assets"))["result"]
        depths = [
            (await world.get(f"{base}/Depth?pair={name}&count=3"))["result"]["XXBTZUSD"]
            for name in ("XXBTZUSD", "XBTUSD", "BTC/USD")
        ]
        unknown = await world.get(f"{base}/Depth?pair=NOPE")
        status = await world.get(f"{base}/SystemStatus")
        now = await world.get(f"{base}/Time")

    assert pairs["XXBTZUSD"]["wsname"] == "XBT/USD"
    assert (pairs["XXBTZUSD"]["pair_decimals"], pairs["XETHZUSD"]["lot_decimals"]) == (1, 8)
    assert assets["XXBT"]["altname"] == "XBT"
    assert all(len(depth["bids"]) == len(depth["asks"]) == 3 for depth in depths)
    assert unknown["error"] == ["EQuery:Unknown asset pair"]
    assert status["result"]["status"] == "online"
    assert now["result"]["unixtime"] > 1_700_000_000


async def test_rest_trades_continue_from_where_they_ended(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world:
        url = f"{world.rest('kraken')}/public/Trades?pair=XBTUSD&count=3"
        first = (await world.get(url))["result"]
        since = int(first["last"]) - 1_000_000_000_000
        whole: list[int] = []
        for _ in range(3):
            page = (await world.get(f"{url}&since={since}"))["result"]
            whole += [trade[6] for trade in page["XXBTZUSD"]]
            since = int(page["last"])
        true = await world.trades("kraken", "BTC/USD")

    assert whole == [trade["sequence"] for trade in true[: len(whole)]]
    assert len(whole) >= 9
    price, size, moment, side, kind, _, number = first["XXBTZUSD"][-1]
    made = next(trade for trade in true if trade["sequence"] == number)
    assert (plain(price), plain(size)) == (made["price"], made["size"])
    assert side == made["side"][0]
    assert kind in "ml"
    assert int(moment * 1_000_000_000) == made["ts_event_ns"]
