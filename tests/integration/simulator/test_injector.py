"""Every kind of fault, as a client sees it, and the ledger of what was done."""

import asyncio
import json
import socket as sockets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from simulator.injector import KINDS
from tests.integration.simulator.clients import (
    DEADLINE_S,
    SETTINGS,
    KrakenReader,
    Socket,
    World,
    by_sequence,
    checksum,
    simulating,
)

pytestmark = pytest.mark.integration

SYMBOL = "BTC/USD"


async def listen(socket: Socket, *channels: str, symbol: str = SYMBOL) -> list[str]:
    """Subscribe to Kraken's channels of one symbol; return what came before the acks."""
    texts: list[str] = []
    for number, channel in enumerate(channels):
        params = {"channel": channel, "symbol": [symbol]}
        ask = {"method": "subscribe", "params": params, "req_id": number}
        texts += (await socket.ask(ask, "req_id"))[1]
    return texts


def sequences(texts: list[str], channel: str) -> list[Any]:
    """Return timestamps of books or ids of trades, updates only, in the order of arrival."""
    found: list[Any] = []
    for text in texts:
        frame = json.loads(text)
        if (frame.get("channel"), frame.get("type")) == (channel, "update"):
            for data in frame["data"]:
                found.append(data["timestamp"] if channel == "book" else data["trade_id"])
    return found


async def read(socket: Socket, count: int, channel: str) -> list[str]:
    """Return texts up to the `count`th update of a channel."""
    texts: list[str] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(sequences(texts, channel)) < count:
            texts.append(await socket.receive() or "")
    return texts


async def read_all(socket: Socket, reader: KrakenReader, count: int) -> None:
    for _ in range(count):
        reader.read(await socket.receive() or "")


async def test_drop_loses_the_frames_that_the_ledger_names(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        await listen(socket, "trade")
        await read(socket, 5, "trade")
        entry = await world.inject(kind="drop", venue="kraken", symbol=SYMBOL, channel="trades")
        got = sequences(await read(socket, 15, "trade"), "trade")
        ended = await world.ended(entry["id"])
        true = by_sequence(await world.trades("kraken", SYMBOL))

    lost = ended["affected"][0]["trades"]
    known = sorted([*got, *lost])
    assert known == list(range(known[0], known[-1] + 1))
    assert ended["affected_count"] == 1
    assert ended["connection"] == "kraken-1"
    assert all(true[number]["delivered"] == 0 for number in lost)
    assert all(true[number]["delivered"] == 1 for number in got)


async def test_duplicate_sends_a_frame_twice(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        await listen(socket, "trade")
        entry = await world.inject(kind="duplicate", venue="kraken", channel="trades", count=2)
        got = sequences(await read(socket, 15, "trade"), "trade")
        ended = await world.ended(entry["id"])
        true = by_sequence(await world.trades("kraken", SYMBOL))

    twice = [number for frame in ended["affected"] for number in frame["trades"]]
    assert [number for number in sorted(set(got)) if got.count(number) == 2] == twice
    assert all(true[number]["delivered"] == 1 for number in got)


async def test_reorder_swaps_two_frames(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        await listen(socket, "trade")
        entry = await world.inject(kind="reorder", venue="kraken", channel="trades")
        got = sequences(await read(socket, 20, "trade"), "trade")
        ended = await world.ended(entry["id"])

    late = ended["affected"][0]["trades"]
    assert got != sorted(got)
    assert sorted(got) == list(range(min(got), max(got) + 1))
    assert got.index(late[0]) > got.index(late[-1] + 1)


async def test_corrupt_digit_breaks_the_checksum_once_and_then_for_good(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        reader = KrakenReader(10)
        for text in await listen(socket, "book"):
            reader.read(text)
        entry = await world.inject(kind="corrupt_digit", venue="kraken", channel="book")
        with pytest.raises(AssertionError):
            await read_all(socket, reader, 200)
        ended = await world.ended(entry["id"])

    assert ended["affected_count"] == 1
    assert ended["affected"][0]["was"]


async def test_corrupt_checksum_leaves_the_book_right(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        reader, wrong = KrakenReader(10), []
        for text in await listen(socket, "book"):
            reader.read(text)
        entry = await world.inject(kind="corrupt_checksum", venue="kraken")
        for _ in range(60):
            text = await socket.receive() or ""
            try:
                reader.read(text)
            except AssertionError:
                wrong.append(json.loads(text)["data"][0]["checksum"])
                assert checksum(reader.books[SYMBOL]) == wrong[0] ^ 1
        ended = await world.ended(entry["id"])

    assert len(wrong) == ended["affected_count"] == 1


async def test_corrupt_checksum_is_refused_where_there_are_none(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world:
        url = f"{world.simulator.control_url}/inject"
        body = {"kind": "corrupt_checksum", "venue": "binance"}
        async with world.http.post(url, json=body) as answer:
            assert answer.status == 400
            assert "only kraken" in (await answer.json())["error"]


async def test_silence_stops_data_but_not_heartbeats(tmp_path: Path) -> None:
    assert SETTINGS.kraken is not None
    settings = replace(SETTINGS, kraken=replace(SETTINGS.kraken, heartbeat_s=0.2))
    async with simulating(tmp_path, settings) as world, world.connect("kraken") as socket:
        await listen(socket, "book", "trade")
        entry = await world.inject(kind="silence", venue="kraken", duration_s=1.0)
        await socket.until(lambda found: found == {"channel": "heartbeat"}, timeout=5)
        silent = await socket.until(lambda found: found.get("channel") == "book")
        ended = await world.ended(entry["id"])

    assert all("heartbeat" in text for text in silent[:-1])
    assert len(silent) >= 3
    assert ended["affected_count"] > 50
    assert (ended["end_ns"] - ended["start_ns"]) / 1e9 >= 1.0


async def test_delay_holds_all_frames_back_in_their_order(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        await listen(socket, "trade")
        await read(socket, 3, "trade")
        await world.inject(kind="delay", venue="kraken", delay_s=0.5, duration_s=0.8)
        texts, ages = [], []
        for _ in range(120):
            text = await socket.receive() or ""
            texts.append(text)
            frame = json.loads(text)
            if frame.get("type") == "update":
                stamp = frame["data"][0]["timestamp"].rstrip("Z")[-9:]
                ages.append((time.time() % 60 - float(stamp)) % 60)
        got = sequences(texts, "trade")

    assert got == list(range(got[0], got[-1] + 1))
    assert max(ages) >= 0.5
    assert min(ages) < 0.5


@pytest.mark.parametrize("mode", ["clean", "abort"])
async def test_disconnect_ends_the_socket_as_asked(tmp_path: Path, mode: str) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        await listen(socket, "book")
        entry = await world.inject(kind="disconnect", venue="kraken", mode=mode, code=1013)
        code = await socket.closed()
        async with world.connect("kraken") as another:
            assert "status" in (await another.receive() or "")

    assert code == (1013 if mode == "clean" else 1006)
    assert entry["parameters"]["mode"] == mode


async def test_half_open_socket_neither_reads_nor_writes_until_it_is_cut(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        await listen(socket, "book")
        await world.inject(kind="half_open", venue="kraken", duration_s=1.0)
        await socket.send({"method": "ping", "req_id": 77})
        texts: list[str] = []
        begun = time.monotonic()
        while (text := await socket.receive()) is not None:
            texts.append(text)

    assert time.monotonic() - begun > 0.8
    assert not any("pong" in text for text in texts)
    assert socket.ws.close_code == 1006


@pytest.mark.parametrize("venue", ["deribit", "binance", "kraken"])
async def test_refused_venue_closes_its_port_and_opens_it_again(tmp_path: Path, venue: str) -> None:
    async with simulating(tmp_path) as world, world.connect(venue) as socket:
        port = int(str(world.simulator.addresses[venue]["port"]))
        entry = await world.inject(kind="refuse", venue=venue, duration_s=0.8)
        assert await socket.closed() == 1006
        with pytest.raises(ConnectionRefusedError):
            sockets.create_connection(("127.0.0.1", port), timeout=1).close()
        await world.ended(entry["id"])
        async with asyncio.timeout(DEADLINE_S), world.connect(venue) as again:
            assert not again.ws.closed


async def follow(socket: Socket, reader: KrakenReader, updates: int) -> list[Any]:
    """Return best bid and ask after each of so many updates of the book, checksums checked."""
    seen = []
    for text in await read(socket, updates, "book"):
        reader.read(text)
        if SYMBOL in reader.books:
            book = reader.books[SYMBOL]
            seen.append((book.prices("bids")[0], book.prices("asks")[0]))
    return seen


async def test_frozen_price_stands_still_while_valid_updates_and_trades_go_on(
    tmp_path: Path,
) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        reader = KrakenReader(10)
        for text in await listen(socket, "book", "trade"):
            reader.read(text)
        before = await follow(socket, reader, 100)
        entry = await world.inject(kind="frozen_price", venue="kraken", duration_s=60)
        await follow(socket, reader, 50)  # sent before
        traded = len(reader.trades[SYMBOL])
        frozen = await follow(socket, reader, 100)
        traded = len(reader.trades[SYMBOL]) - traded
        held = {
            name: {market.flow.is_frozen for market in venue.markets.values()}
            for name, venue in world.simulator.venues.items()
        }

    assert len(set(before)) > 5
    assert len(set(frozen)) == 1
    assert traded > 5
    assert held == {"kraken": {True}, "binance": {False}, "deribit": {False}}
    assert entry["parameters"] == {"duration_s": 60}


async def test_frozen_price_ends_and_can_be_asked_for_once(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world:
        market = world.simulator.venues["kraken"].markets[SYMBOL]
        body = {"kind": "frozen_price", "venue": "kraken"}
        entry = await world.inject(**body, symbol=SYMBOL, duration_s=0.3)
        async with world.http.post(f"{world.simulator.control_url}/inject", json=body) as answer:
            refusal = answer.status, (await answer.json())["error"]
        await world.ended(entry["id"])

        assert refusal == (400, "the price stands still already at kraken")
        assert not market.flow.is_frozen


@pytest.mark.parametrize("offset_bp", [30, -80])
async def test_price_offset_moves_the_whole_book_and_back(tmp_path: Path, offset_bp: int) -> None:
    def middle() -> float:
        bid, ask = seen[-1]
        return float(bid + ask) / 2

    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        reader = KrakenReader(10)
        for text in await listen(socket, "book"):
            reader.read(text)
        seen = await follow(socket, reader, 20)
        before = middle()
        body = {"kind": "price_offset", "venue": "kraken", "symbol": SYMBOL}
        entry = await world.inject(**body, offset_bp=offset_bp, duration_s=3)
        seen = await follow(socket, reader, 100)
        during = middle()
        await world.ended(entry["id"])
        seen = await follow(socket, reader, 400)
        after = middle()

    assert entry["parameters"] == {"duration_s": 3, "offset_bp": offset_bp}
    assert abs((during / before - 1) * 1e4 - offset_bp) < 12
    assert abs((after / before - 1) * 1e4) < 12


async def test_http_429_meets_rest_and_handshakes_for_its_time(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world:
        entry = await world.inject(kind="http_429", venue="binance", duration_s=0.5)
        async with world.http.get(f"{world.rest('binance')}/time") as answer:
            assert answer.status == 429
            assert answer.headers["Retry-After"] == "1"
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with world.connect("binance"):
                pass
        await world.ended(entry["id"])
        assert "serverTime" in await world.get(f"{world.rest('binance')}/time")

    assert refused.value.status == 429


async def test_clock_of_a_venue_is_wrong_for_its_time_and_no_other(tmp_path: Path) -> None:
    async def ahead_s(venue: str, path: str) -> float:
        sent = time.time()
        told = await world.get(world.rest(venue) + path)
        middle = (sent + time.time()) / 2
        known: float = told["serverTime"] if venue == "binance" else told["usOut"] / 1000
        return known / 1000 - middle

    binance, deribit = ("binance", "/time"), ("deribit", "/public/get_time")
    async with simulating(tmp_path) as world:
        entry = await world.inject(kind="clock_step", venue="binance", offset_s=-7, duration_s=1)
        during = [await ahead_s(*each) for each in (binance, deribit)]
        with pytest.raises(AssertionError, match="wrong already"):
            await world.inject(kind="clock_step", venue="binance")
        ended = await world.ended(entry["id"])
        after = await ahead_s(*binance)

    assert entry["parameters"] == {"duration_s": 1, "offset_s": -7}
    assert abs(during[0] + 7) < 0.5
    assert abs(during[1]) < 0.5
    assert abs(after) < 0.5
    # The ledger keeps the true time.
    assert abs(ended["end_ns"] - ended["start_ns"] - 1e9) < 0.5e9


@pytest.mark.parametrize(
    "variant", ["invalid_json", "truncated", "nested", "binary", "huge", "not_a_number"]
)
async def test_garbage_comes_between_good_frames(tmp_path: Path, variant: str) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        await listen(socket, "trade")
        await world.inject(kind="garbage", venue="kraken", variant=variant, bytes=100_000, count=2)
        odd: list[object] = []
        good: list[str] = []
        async with asyncio.timeout(DEADLINE_S):
            while len(odd) < 2 or len(good) < 5:
                message = await socket.ws.receive(DEADLINE_S)
                if message.type is aiohttp.WSMsgType.TEXT and '"channel":"trade"' in message.data:
                    good.append(message.data)
                elif message.type is aiohttp.WSMsgType.BINARY or "{" not in message.data[1:9]:
                    odd.append(message.data)

    numbers = sequences(good, "trade")
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    assert odd[0] == odd[1]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "needs `kind`, one of disconnect, "),
        ({"kind": "drop"}, "needs `venue`, one of deribit, "),
        (
            {"kind": "corrupt_checksum", "venue": "kraken", "channel": "trades"},
            "only the channel book has checksums",
        ),
        ({"kind": "explode", "venue": "kraken"}, "kind must be one of"),
        ({"kind": "drop", "venue": "okx"}, "venue must be one of"),
        ({"kind": "drop", "venue": "kraken", "symbol": "NO/NO"}, "symbol must be one of"),
        ({"kind": "drop", "venue": "kraken", "channel": "news"}, "channel must be one of"),
        ({"kind": "drop", "venue": "kraken", "count": -1}, "count must be between"),
        ({"kind": "drop", "venue": "kraken", "duration_s": 1e9}, "duration_s must be between"),
        ({"kind": "drop", "venue": "kraken", "colour": "red"}, "unknown key 'colour'"),
        ({"kind": "drop", "venue": "kraken", "connection": "kraken-9"}, "no socket"),
        ({"kind": "drop", "venue": "kraken"}, "no socket of kraken is subscribed"),
        ([], "must be an object"),
        ("text", "must be an object"),
    ],
)
async def test_fault_that_cannot_be_is_refused_with_a_reason(
    tmp_path: Path, body: object, said: str
) -> None:
    async with simulating(tmp_path) as world:
        url = f"{world.simulator.control_url}/inject"
        async with world.http.post(url, json=body) as answer:
            assert answer.status == 400
            assert said in (await answer.json())["error"]
        async with world.http.post(url, data=b"{") as answer:
            assert answer.status == 400
        assert await world.ledger() == []


async def test_scheduled_checksum_faults_are_where_checksums_are(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world, world.connect("kraken") as socket:
        await listen(socket, "trade", "book")
        injector = world.simulator.injector
        assert injector is not None
        drawn = [injector.random_request(("corrupt_checksum",)) for _ in range(50)]

    assert {(body["venue"], body["channel"]) for body in drawn} == {("kraken", "book")}


async def test_control_port_lists_its_paths(tmp_path: Path) -> None:
    async with simulating(tmp_path) as world:
        listed = await world.get(f"{world.simulator.control_url}/")
        served = {
            f"{route.method} {route.resource.canonical}"
            for route in world.simulator.control.app.router.routes()
            if route.resource is not None and route.method != "HEAD"
        }

    assert {line.partition("?")[0] for line in listed} == served - {"GET /"}


async def test_schedule_injects_faults_of_all_kinds_and_the_venues_go_on(tmp_path: Path) -> None:
    settings = replace(SETTINGS, faults_per_minute=3000.0, seed=5)
    async with simulating(tmp_path, settings) as world:
        entries = await suffer(world, 4.0)
        async with asyncio.timeout(DEADLINE_S):
            while world.simulator.injector and world.simulator.injector.injected < 40:
                await suffer(world, 0.5)
        entries = await world.ledger()

    assert [entry["id"] for entry in entries] == list(range(1, len(entries) + 1))
    assert {entry["kind"] for entry in entries} > {"disconnect", "refuse", "http_429"}
    assert {entry["kind"] for entry in entries} <= set(KINDS)
    assert len({entry["venue"] for entry in entries}) == 3


async def suffer(world: World, seconds: float) -> list[dict[str, Any]]:
    """Stay connected to all venues for some seconds, whatever happens."""
    subscriptions: dict[str, dict[str, Any]] = {
        "deribit": {
            "id": 1,
            "method": "public/subscribe",
            "params": {"channels": ["book.BTC-PERPETUAL.raw", "trades.BTC-PERPETUAL.raw"]},
        },
        "binance": {"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms"], "id": 1},
        "kraken": {
            "method": "subscribe",
            "params": {"channel": "book", "symbol": [SYMBOL]},
            "req_id": 1,
        },
    }
    end = time.monotonic() + seconds

    async def stay(venue: str) -> None:
        while time.monotonic() < end:
            try:
                async with world.connect(venue) as socket:
                    await socket.send(subscriptions[venue])
                    async with asyncio.timeout_at(
                        asyncio.get_running_loop().time() + end - time.monotonic()
                    ):
                        while await socket.receive() is not None:
                            pass
            except (aiohttp.ClientError, OSError, TimeoutError):
                await asyncio.sleep(0.05)

    await asyncio.gather(*(stay(venue) for venue in subscriptions))
    return await world.ledger()


async def test_ledger_outlives_a_restart_and_its_numbers_continue(tmp_path: Path) -> None:
    entries: list[dict[str, Any]] = []
    for _ in range(2):
        async with simulating(tmp_path) as world:
            await world.inject(kind="http_429", venue="deribit", duration_s=60)
            entries = await world.ledger()

    assert [entry["id"] for entry in entries] == [1, 2]
    assert entries[0]["end_ns"] is not None
