"""Deribit's protocol: requests, errors, credits, heartbeats, history."""

import json
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from simulator.settings import DeribitSettings, Settings
from tests.integration.simulator.clients import SETTINGS, simulating

pytestmark = pytest.mark.integration

SYMBOL = "BTC-PERPETUAL"


def with_deribit(**changes: Any) -> Settings:
    assert SETTINGS.deribit is not None
    return replace(SETTINGS, deribit=replace(SETTINGS.deribit, **changes))


async def test_subscribe_ack_lacks_unknown_channels_and_has_its_own_order(tmp_path: Path) -> None:
    asked = [f"book.{SYMBOL}.raw", "book.NOT-THERE.raw", f"trades.{SYMBOL}.raw", "nonsense", ""]
    async with simulating(tmp_path) as world, world.connect("deribit") as socket:
        answer, _ = await socket.ask(
            {"jsonrpc": "2.0", "id": 1, "method": "public/subscribe", "params": {"channels": asked}}
        )

    assert answer["result"] == [f"trades.{SYMBOL}.raw", f"book.{SYMBOL}.raw"]
    assert answer["usDiff"] == answer["usOut"] - answer["usIn"] >= 0
    assert answer["testnet"] is False


@pytest.mark.parametrize(
    ("request_text", "code"),
    [
        ("{", -32700),
        ("[" * 100_000, -32700),
        ("[]", -32600),
        ('"text"', -32600),
        ('{"id":1,"method":5}', -32600),
        ('{"id":1,"method":"public/nothing"}', -32601),
        ('{"id":1,"method":"public/subscribe"}', -32602),
        ('{"id":1,"method":"public/subscribe","params":{"channels":"book"}}', -32602),
        ('{"id":1,"method":"public/subscribe","params":{"channels":[1]}}', -32602),
        ('{"id":1,"method":"public/subscribe","params":[]}', -32602),
        ('{"id":1,"method":"public/set_heartbeat","params":{"interval":5}}', -32602),
        ('{"id":1,"method":"public/set_heartbeat","params":{"interval":"x"}}', -32602),
        ('{"id":1,"method":"public/get_order_book","params":{"instrument_name":"X"}}', -32602),
        ('{"id":1,"method":"public/ticker","params":{}}', -32602),
    ],
)
async def test_wrong_request_gets_its_error_and_the_socket_lives(
    tmp_path: Path, request_text: str, code: int
) -> None:
    async with simulating(tmp_path) as world, world.connect("deribit") as socket:
        await socket.send(request_text)
        texts = await socket.until(lambda found: "error" in found)
        answer, _ = await socket.ask({"id": 2, "method": "public/test", "params": {}})

    assert json.loads(texts[-1])["error"]["code"] == code
    assert answer["result"] == {"version": "1.2.26"}


async def test_too_many_requests_get_error_10028_and_end_the_session(tmp_path: Path) -> None:
    settings = with_deribit(credits_max=1500.0, credits_per_s=1.0)
    async with simulating(tmp_path, settings) as world, world.connect("deribit") as socket:
        for number in (1, 2, 3):
            assert "result" in (await socket.ask({"id": number, "method": "public/get_time"}))[0]
        answer, _ = await socket.ask({"id": 4, "method": "public/get_time"})
        assert await socket.closed() is not None

    assert answer["error"] == {"code": 10028, "message": "too_many_requests", "data": None}


async def test_subscribe_calls_have_a_pool_of_their_own(tmp_path: Path) -> None:
    settings = with_deribit(subscribe_credits_max=6000.0, subscribe_credits_per_s=1.0)
    ask: dict[str, Any] = {"method": "public/subscribe", "params": {"channels": []}}
    async with simulating(tmp_path, settings) as world, world.connect("deribit") as socket:
        for number in (1, 2):
            assert "result" in (await socket.ask({"id": number, **ask}))[0]
        answer, _ = await socket.ask({"id": 3, **ask})

    assert answer["error"]["code"] == 10028


async def test_client_that_answers_test_requests_stays_connected(tmp_path: Path) -> None:
    settings = with_deribit(heartbeat_s_min=0.1)
    async with simulating(tmp_path, settings) as world, world.connect("deribit") as socket:
        params = {"interval": 0.1}
        answer, _ = await socket.ask({"id": 1, "method": "public/set_heartbeat", "params": params})
        assert answer["result"] == "ok"
        for number in range(2, 7):
            texts = await socket.until(
                lambda found: found.get("params") == {"type": "test_request"}, timeout=5
            )
            assert any(json.loads(text).get("params") == {"type": "heartbeat"} for text in texts)
            answer, _ = await socket.ask({"id": number, "method": "public/test"})
            assert answer["result"] == {"version": "1.2.26"}
        answer, _ = await socket.ask({"id": 9, "method": "public/disable_heartbeat"})

    assert answer["result"] == "ok"


async def test_client_that_ignores_a_test_request_is_disconnected(tmp_path: Path) -> None:
    settings = with_deribit(heartbeat_s_min=0.1)
    async with simulating(tmp_path, settings) as world, world.connect("deribit") as socket:
        params = {"interval": 0.1}
        await socket.ask({"id": 1, "method": "public/set_heartbeat", "params": params})

        assert await socket.closed(timeout=5) == 1000


async def test_more_sockets_than_allowed_get_http_429(tmp_path: Path) -> None:
    settings = with_deribit(connections_max=1)
    async with simulating(tmp_path, settings) as world, world.connect("deribit"):
        url = world.ws("deribit").replace("ws:", "http:")
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
        async with world.http.get(url, headers=upgrade) as answer:
            assert answer.status == 429
            assert int(answer.headers["Retry-After"]) >= 1


async def test_http_methods_answer_as_over_the_socket(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world:
        base = f"{world.rest('deribit')}/public"
        instruments = (await world.get(f"{base}/get_instruments?currency=any&kind=future"))[
            "result"
        ]
        book = (await world.get(f"{base}/get_order_book?instrument_name={SYMBOL}&depth=5"))[
            "result"
        ]
        true = await world.books("deribit", SYMBOL, [book["change_id"]], 5)
        async with world.http.get(f"{base}/get_order_book?instrument_name=X") as answer:
            refused = answer.status, (await answer.json())["error"]["code"]

    assert [each["instrument_name"] for each in instruments] == [SYMBOL, "ETH-PERPETUAL"]
    assert instruments[0]["tick_size"] == Decimal("0.5")
    assert true[0] is not None
    for side in ("bids", "asks"):
        got = [[Decimal(text) for text in level] for level in true[0][side]]
        assert book[side] == got
    assert book["best_bid_price"] == book["bids"][0][0]
    assert refused == (400, -32602)


async def test_trade_history_fills_a_hole_in_either_order(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("deribit") as socket:
        channels = {"channels": [f"trades.{SYMBOL}.raw"]}
        await socket.ask({"id": 1, "method": "public/subscribe", "params": channels})
        live: list[dict[str, Any]] = []
        while len(live) < 30:
            texts = await socket.until(lambda found: found.get("method") == "subscription")
            live += json.loads(texts[-1])["params"]["data"]
        first = live[4]["trade_seq"]
        ask = {"instrument_name": SYMBOL, "start_seq": first, "count": 20, "sorting": "asc"}
        method = "public/get_last_trades_by_instrument"
        rising, _ = await socket.ask({"id": 2, "method": method, "params": ask})
        ask |= {"end_seq": first + 9, "sorting": "desc"}
        falling, _ = await socket.ask({"id": 3, "method": method, "params": ask})

    assert rising["result"]["trades"] == live[4:24]
    assert rising["result"]["has_more"] is True
    assert falling["result"] == {"trades": live[13:3:-1], "has_more": False}


async def test_repeated_subscription_sends_no_second_snapshot(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("deribit") as socket:
        params = {"channels": [f"book.{SYMBOL}.raw"]}
        kinds: list[str] = []
        for number in (1, 2):
            await socket.ask({"id": number, "method": "public/subscribe", "params": params})
            for _ in range(3):
                texts = await socket.until(lambda found: found.get("method") == "subscription")
                kinds.append(json.loads(texts[-1])["params"]["data"]["type"])
        answer, _ = await socket.ask({"id": 3, "method": "public/unsubscribe_all", "params": {}})
        assert answer["result"] == "ok"
        await socket.ask({"id": 4, "method": "public/subscribe", "params": params})
        texts = await socket.until(lambda found: found.get("method") == "subscription")

    assert kinds == ["snapshot", *["change"] * 5]
    assert json.loads(texts[-1])["params"]["data"]["type"] == "snapshot"


def test_default_limits_are_the_documented_ones() -> None:
    made = DeribitSettings()

    assert (made.credits_max, made.credits_per_s, made.credits_per_request) == (50_000, 10_000, 500)
    assert (made.subscribe_credits_max, made.subscribe_credits_per_request) == (30_000, 3_000)
    assert (made.connections_max, made.heartbeat_s_min) == (32, 10)
