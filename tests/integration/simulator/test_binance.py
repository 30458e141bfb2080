"""Binance's protocol: requests, pings, limits, REST weights, history."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator.settings import Settings
from tests.integration.simulator.clients import DEADLINE_S, SETTINGS, simulating

pytestmark = pytest.mark.integration


def with_binance(**changes: Any) -> Settings:
    assert SETTINGS.binance is not None
    return replace(SETTINGS, binance=replace(SETTINGS.binance, **changes))


async def test_subscriptions_are_listed_even_where_the_symbol_is_unknown(tmp_path: Path) -> None:
    streams = ["btcusdt@trade", "nosuch@depth", "BTCUSDT@trade"]
    async with simulating(tmp_path) as world, world.connect("binance", "/0") as socket:
        ack, _ = await socket.ask({"method": "SUBSCRIBE", "params": streams, "id": "a"})
        listed, _ = await socket.ask({"method": "LIST_SUBSCRIPTIONS", "id": 2})
        await socket.ask({"method": "UNSUBSCRIBE", "params": ["nosuch@depth"], "id": 3})
        left, _ = await socket.ask({"method": "LIST_SUBSCRIPTIONS", "id": 4})

    assert ack == {"result": None, "id": "a"}
    assert listed["result"] == ["0", *streams]
    assert left["result"] == ["0", "btcusdt@trade", "BTCUSDT@trade"]


@pytest.mark.parametrize(
    ("request_text", "code"),
    [
        ("{", 3),
        ("[" * 100_000, 3),
        ("5", 2),
        ('{"method":"DANCE","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":"x","id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":[5],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["a@trade"],"id":-1}', 2),
        ('{"method":"SUBSCRIBE","params":["a@trade"],"id":{"x":1}}', 2),
        ('{"method":"SET_PROPERTY","params":["x",1],"id":1}', 0),
        ('{"method":"SET_PROPERTY","params":["combined",1],"id":1}', 1),
    ],
)
async def test_wrong_request_gets_its_error_and_the_socket_lives(
    tmp_path: Path, request_text: str, code: int
) -> None:
    async with simulating(tmp_path) as world, world.connect("binance") as socket:
        await socket.send(request_text)
        texts = await socket.until(lambda found: "error" in found)
        answer, _ = await socket.ask({"method": "LIST_SUBSCRIPTIONS", "id": 7})

    assert json.loads(texts[-1])["error"]["code"] == code
    assert answer["result"] == []


async def test_property_combined_wraps_the_payloads(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("binance", "/btcusdt@depth@100ms") as s:
        assert "stream" not in json.loads((await s.until(lambda found: "u" in found))[-1])
        params = ["combined", True]
        await s.ask({"method": "SET_PROPERTY", "params": params, "id": 1})
        answer, _ = await s.ask({"method": "GET_PROPERTY", "params": ["combined"], "id": 2})
        texts = await s.until(lambda found: "stream" in found)

    assert answer["result"] is True
    assert json.loads(texts[-1])["stream"] == "btcusdt@depth@100ms"


async def test_more_messages_than_allowed_in_a_second_end_the_socket(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("binance") as socket:
        for number in range(6):
            await socket.send({"method": "LIST_SUBSCRIPTIONS", "id": number})

        assert await socket.closed() == 1008


async def test_more_streams_than_allowed_are_refused(tmp_path: Path) -> None:
    settings = with_binance(streams_max=2)
    async with simulating(tmp_path, settings) as world, world.connect("binance") as socket:
        ask = {"method": "SUBSCRIBE", "params": ["a@trade", "b@trade", "c@trade"], "id": 1}

        assert "more than 2 streams" in (await socket.ask(ask))[0]["error"]["msg"]


async def test_client_that_answers_pings_stays_and_one_that_does_not_is_closed(
    tmp_path: Path,
) -> None:
    settings = with_binance(ping_interval_s=0.2, pong_timeout_s=0.4)
    async with (
        simulating(tmp_path, settings) as world,
        world.connect("binance", "/btcusdt@bookTicker") as good,
        world.connect("binance", "/btcusdt@bookTicker") as deaf,
    ):
        deaf.deaf = True
        reading = asyncio.create_task(good.closed())

        assert await deaf.closed(timeout=5) == 1008
        assert not reading.done()
        reading.cancel()


async def test_socket_is_closed_at_the_end_of_its_life_after_an_announcement(
    tmp_path: Path,
) -> None:
    settings = with_binance(lifetime_s=0.6)
    async with simulating(tmp_path, settings) as world, world.connect("binance") as socket:
        await socket.until(lambda found: found.get("e") == "serverShutdown", timeout=5)

        assert await socket.closed(timeout=5) == 1008


async def test_injected_shutdown_is_announced_and_then_happens(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("binance") as socket:
        entry = await world.inject(kind="shutdown", venue="binance", duration_s=0.3)
        await socket.until(lambda found: found.get("e") == "serverShutdown", timeout=5)

        assert await socket.closed(timeout=5) == 1012
        ended = await world.ended(entry["id"])
        assert len(ended["parameters"]["announced"]) == 1


async def test_depth_limits_its_levels_and_states_its_weight(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world:
        url = f"{world.rest('binance')}/depth?symbol=BTCUSDT&limit="
        used = 0
        body: dict[str, Any] = {}
        for limit, weight in ((5, 5), (100, 5), (101, 25), (501, 50), (1001, 250), (5000, 250)):
            async with world.http.get(f"{url}{limit}") as answer:
                used += weight
                assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(used)
                body = await answer.json()
                assert len(body["bids"]) == len(body["asks"]) or limit > 5
                assert len(body["bids"]) <= limit
        true = await world.books("binance", "BTCUSDT", [body["lastUpdateId"]], 1000)

    assert true[0] is not None
    assert [float(price) for price, _ in true[0]["bids"]] == [float(p) for p, _ in body["bids"]]


async def test_weight_over_the_budget_gets_429_until_the_minute_ends(tmp_path: Path) -> None:
    settings = with_binance(weight_per_minute_max=499)
    async with simulating(tmp_path, settings) as world:
        url = f"{world.rest('binance')}/depth?symbol=BTCUSDT&limit=5000"
        statuses = []
        for _ in range(4):  # a minute may end between two of them, not between three
            async with world.http.get(url) as answer:
                statuses.append(answer.status)
                if answer.status == 429:
                    assert 1 <= int(answer.headers["Retry-After"]) <= 60
                    assert (await answer.json())["code"] == -1003

    assert 429 in statuses
    assert statuses[0] == 200


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("depth", -1102),
        ("depth?symbol=NOPE", -1121),
        ("depth?symbol=BTCUSDT&limit=x", -1100),
        ("trades?symbol=BTCUSDT&limit=-5", -1100),
        ("aggTrades?symbol=BTCUSDT&fromId=1e3", -1100),
    ],
)
async def test_wrong_rest_request_gets_its_code(tmp_path: Path, path: str, code: int) -> None:
    async with (
        simulating(tmp_path) as world,
        world.http.get(f"{world.rest('binance')}/{path}") as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["code"] == code


async def test_trade_lists_agree_with_the_streams(tmp_path: Path) -> None:
    async with (
        simulating(tmp_path) as world,
        world.connect("binance", "/btcusdt@trade/btcusdt@aggTrade") as socket,
    ):
        live: dict[str, list[dict[str, Any]]] = {"trade": [], "aggTrade": []}
        async with asyncio.timeout(DEADLINE_S):
            while len(live["aggTrade"]) < 25:
                frame = json.loads(await socket.receive() or "{}")
                live[frame["e"]].append(frame)
        base, first = world.rest("binance"), live["trade"][3]["t"]
        query = f"historicalTrades?symbol=BTCUSDT&fromId={first}&limit=10"
        trades = json.loads(await (await world.http.get(f"{base}/{query}")).text())
        query = f"aggTrades?symbol=BTCUSDT&fromId={live['aggTrade'][3]['a']}&limit=10"
        aggregates = json.loads(await (await world.http.get(f"{base}/{query}")).text())
        recent = json.loads(
            await (await world.http.get(f"{base}/trades?symbol=BTCUSDT&limit=5")).text()
        )

    for made, seen in zip(trades, live["trade"][3:13], strict=True):
        assert (made["id"], made["price"], made["qty"]) == (seen["t"], seen["p"], seen["q"])
        assert (made["time"], made["isBuyerMaker"]) == (seen["T"], seen["m"])
    for made, seen in zip(aggregates, live["aggTrade"][3:13], strict=True):
        assert made == {key: seen[key] for key in made}
    assert [each["id"] for each in recent] == list(range(recent[0]["id"], recent[0]["id"] + 5))


async def test_exchange_information_states_the_steps(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world:
        info = await world.get(f"{world.rest('binance')}/exchangeInfo")
        one = await world.get(f"{world.rest('binance')}/exchangeInfo?symbol=ETHUSDT")
        now = await world.get(f"{world.rest('binance')}/time")

    filters = {each["filterType"]: each for each in info["symbols"][0]["filters"]}
    assert [each["symbol"] for each in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
    assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
    assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
    assert [each["symbol"] for each in one["symbols"]] == ["ETHUSDT"]
    assert now["serverTime"] > 1_700_000_000_000
