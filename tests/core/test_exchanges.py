"""Quirks of single venues, as their files' docstrings name them; the rest is in the conformance."""

import json
from typing import Any

import pytest

from core.events import Side
from core.exchanges import UnknownExchangeError, exchange_of, exchanges
from core.protocol import (
    Answer,
    DecodeError,
    Delta,
    Heartbeat,
    Ignored,
    Message,
    Notice,
    Shard,
    Snapshot,
    Subscribed,
    TradePrint,
    Unsubscribed,
)
from tests.core.transcripts import read_transcript

MS = 1_000_000


def decoded(name: str, message: object) -> list[Message]:
    payload = message if isinstance(message, bytes) else json.dumps(message).encode()
    return exchanges()[name].decode(payload)


def test_exchange_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(UnknownExchangeError, match=r"binance, .*deribit, .*kraken"):
        exchange_of("nowhere" * 50)


@pytest.mark.parametrize("name", sorted(exchanges()))
def test_exchange_module_says_how_its_books_are_kept_in_step(name: str) -> None:
    module = __import__(f"core.exchanges.{name}", fromlist=["EXCHANGE"])

    text = module.__doc__ or ""
    assert module.EXCHANGE is exchanges()[name]
    assert "Sync recipe" in text
    assert "read November 2026" in text


@pytest.mark.parametrize(
    ("name", "symbol", "wanted"),
    [
        ("binance", "BTCUSDT", "BTC/USD"),
        ("binance", "ETHFDUSD", "ETH/USD"),
        ("binance", "ETHBTC", "ETH/BTC"),
        ("binance", "BTCEUR", "BTC/EUR"),
        ("binance", "USDTTRY", "USDT/TRY"),
        ("binance", "ABCXYZ", ""),
        ("binance_usdm", "BTCUSDT", "BTC/USD"),
        ("binance_usdm", "BTCUSDT_270326", ""),
        ("deribit", "BTC-PERPETUAL", "BTC/USD"),
        ("deribit", "SOL_USDC-PERPETUAL", "SOL/USD"),
        ("deribit", "ETH_BTC", "ETH/BTC"),
        ("deribit", "BTC-25JUN27", ""),
        ("deribit", "BTC-25JUN27-90000-C", ""),
        ("deribit", "SOL_USDC-25JUN27", ""),
        ("kraken", "BTC/USD", "BTC/USD"),
        ("kraken", "USDC/USD", "USDC/USD"),
        ("kraken", "USD/USDT", ""),
        ("kraken", "BTC", ""),
        ("kraken_v1", "XBT/USD", "BTC/USD"),
        ("kraken_v1", "XDG/EUR", "DOGE/EUR"),
        ("kraken_futures", "PI_XBTUSD", "BTC/USD"),
        ("kraken_futures", "PF_ETHEUR", "ETH/EUR"),
        ("kraken_futures", "FI_XBTUSD_270326", ""),
    ],
)
def test_exchange_names_an_instrument_as_all_do_where_it_has_no_end(
    name: str, symbol: str, wanted: str
) -> None:
    assert exchanges()[name].instrument(symbol) == wanted


# -- Binance --


@pytest.mark.parametrize("name", ["binance", "binance_usdm"])
def test_binance_frames_in_the_envelope_of_a_combined_stream_mean_the_same(name: str) -> None:
    exchange = exchanges()[name]
    for payload in read_transcript(name).received():
        event = json.loads(payload)
        if "e" not in event:
            continue
        kind = "trade" if event["e"] == "trade" else "depth@100ms"
        stream = f"{event['s'].lower()}@{kind}".encode()
        for wrapped in (
            b'{"stream":"' + stream + b'","data":' + payload + b"}",
            b'{ "data": ' + payload + b', "stream": "' + stream + b'"}',
        ):
            assert exchange.decode(payload) == exchange.decode(wrapped)


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"stream": "btcusdt@depth20", "data": {"lastUpdateId": 1}}, [Ignored("depth20")]),
        ({"stream": "btcusdt@aggTrade", "data": {}}, [Ignored("aggTrade")]),
        ({"stream": "!ticker", "data": []}, [Ignored("")]),
        ({"e": "kline"}, [Ignored("kline")]),
        ({"e": "serverShutdown"}, [Notice("serverShutdown", ends_connection=True)]),
        ({"result": None, "id": 3}, [Subscribed(3)]),
        ({"id": 3, "error": {"code": 2, "msg": "no"}}, [Answer(3, "2 no")]),
        ({"error": {"code": 2, "msg": "no"}}, [Notice("2 no")]),
        ({"id": "x", "error": {"code": 2, "msg": "no"}}, [Notice("2 no")]),
        ({"id": "x", "result": None}, [Ignored("answer")]),
    ],
)
def test_binance_control_messages(message: Any, wanted: list[Message]) -> None:
    assert decoded("binance", message) == wanted


TRADE = {"e": "trade", "s": "S", "t": 5, "p": "1.50", "q": "2", "T": 7, "m": True}
DEPTH = {"e": "depthUpdate", "E": 9, "s": "S", "U": 5, "u": 6, "b": [["1", "2"]], "a": []}


def test_binance_buyer_that_was_the_maker_means_a_sale() -> None:
    sale, purchase = decoded("binance", TRADE), decoded("binance", {**TRADE, "m": False})

    assert sale == [TradePrint("S", "5", 5, "1.50", "2", Side.SELL, 7 * MS)]
    assert purchase == [TradePrint("S", "5", 5, "1.50", "2", Side.BUY, 7 * MS)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("binance", {**DEPTH, "U": 7}),
        ("binance_usdm", {**DEPTH, "T": 9, "pu": 7}),
        ("binance", {**TRADE, "p": "-1"}),
        ("binance", {**TRADE, "q": "1e999"}),
        ("binance", {**TRADE, "T": 4_102_444_800_000}),
        ("binance", {**TRADE, "s": ""}),
    ],
)
def test_binance_events_that_cannot_be_are_refused(name: str, message: Any) -> None:
    with pytest.raises(DecodeError):
        decoded(name, message)


def test_binance_usdm_settlements_are_no_market_trades() -> None:
    assert decoded("binance_usdm", {**TRADE, "X": "NA"}) == [Ignored("settlement trade")]
    assert len(decoded("binance_usdm", {**TRADE, "X": "MARKET"})) == 1
    assert isinstance(decoded("binance_usdm", TRADE)[0], TradePrint)


def test_binance_usdm_change_is_chained_by_pu_and_covers_its_ids() -> None:
    change = {**DEPTH, "T": 9, "pu": 3}

    assert decoded("binance_usdm", change) == [Delta("S", 5, 3, 6, [("1", "2")], [], 9 * MS)]


@pytest.mark.parametrize(
    ("query", "limit"),
    [("&limit=1000", 1000), ("", 100), ("&limit=99999", 5000), ("&limit=0", 1), ("&limit=-4", 100)],
)
def test_binance_book_page_shows_as_many_levels_as_were_asked_for(query: str, limit: int) -> None:
    url = f"https://venue/api/v3/depth?symbol=BTCUSDT{query}"
    body = b'{"lastUpdateId":4,"bids":[["1","2"]],"asks":[]}'

    (book,) = exchanges()["binance"].decode_response(url, body)
    assert isinstance(book, Snapshot)
    assert (book.symbol, book.last, book.limit, book.requested) == ("BTCUSDT", 4, limit, True)


# -- Deribit --


def told(data: dict[str, object], channel: str = "book.S.100ms") -> dict[str, object]:
    params = {"channel": channel, "data": data}
    return {"jsonrpc": "2.0", "method": "subscription", "params": params}


BOOK: dict[str, object] = {"instrument_name": "S", "change_id": 9, "timestamp": 7}
SIDES: dict[str, object] = {"bids": [["new", 1.5, 2.0]], "asks": [["delete", 3.0, 0.0]]}


def test_deribit_removals_are_by_action_whatever_size_they_carry() -> None:
    change = {**BOOK, **SIDES, "type": "change", "prev_change_id": 8}

    (delta,) = decoded("deribit", told(change))
    assert delta == Delta("S", 9, 8, 9, [("1.5", "2.0")], [("3.0", "0")], 7 * MS)
    change["asks"] = [["delete", 3, 5]]
    (delta,) = decoded("deribit", told(change))
    assert isinstance(delta, Delta)
    assert delta.asks == [("3", "0")]


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"type": "snapshot"}, Snapshot),
        ({"type": "snapshot", "prev_change_id": 8}, Snapshot),
        ({}, Snapshot),
        ({"prev_change_id": 0}, Snapshot),
        ({"prev_change_id": 8}, Delta),
        ({"type": "change", "prev_change_id": 8}, Delta),
    ],
)
def test_deribit_books_of_every_year_are_told_apart(more: dict[str, object], kind: type) -> None:
    (message,) = decoded("deribit", told({**BOOK, **SIDES, **more}))

    assert type(message) is kind


@pytest.mark.parametrize(
    "more",
    [
        {"type": "change"},
        {"prev_change_id": 10},
        {"type": "other"},
        {"prev_change_id": 8, "bids": [["update", 1.5, 2.0]]},
        {"prev_change_id": 8, "asks": [["", 3.0, 0.0]]},
    ],
)
def test_deribit_changes_that_cannot_be_are_refused(more: dict[str, object]) -> None:
    with pytest.raises(DecodeError):
        decoded("deribit", told({**BOOK, **SIDES, **more}))


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (told({}, "book.S.none.10.100ms"), [Ignored("grouped book")]),
        (told({}, "ticker.S.100ms"), [Ignored("ticker")]),
        ({"id": 5, "error": {"code": 10028, "message": "x"}}, [Answer(5, "10028 x")]),
        ({"error": {"code": 10028, "message": "x"}}, [Notice("10028 x")]),
        ({"id": 5, "result": "ok"}, [Answer(5)]),
        ({"id": 5, "result": ["a", "b"]}, [Subscribed(5, ("a", "b"))]),
        ({"id": 5, "result": []}, [Subscribed(5)]),
        ({"method": "heartbeat", "params": {"type": "heartbeat"}}, [Heartbeat()]),
    ],
)
def test_deribit_control_messages(message: Any, wanted: list[Message]) -> None:
    assert decoded("deribit", message) == wanted


@pytest.mark.parametrize("channel", ["", "book", "book.", "trades.", "x.y.z", "book.A"])
def test_deribit_unsubscribing_of_odd_channels_is_read(channel: str) -> None:
    message = {"method": "public/unsubscribe", "params": {"channels": [channel]}}

    messages = exchanges()["deribit"].decode_sent(json.dumps(message).encode())
    assert all(isinstance(each, Unsubscribed) for each in messages)


# -- Kraken --


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ({"channel": "heartbeat"}, [Heartbeat()]),
        ({"channel": "status", "data": [{"system": "online"}]}, [Ignored("status")]),
        ({"channel": "status", "data": [{"system": "maintenance"}]}, [Notice("maintenance")]),
        ({"channel": "ohlc", "data": []}, [Ignored("ohlc")]),
        ({"method": "pong", "req_id": 8}, [Answer(8)]),
        ({"method": "ping", "success": False, "error": "x", "req_id": 8}, [Answer(8, "x")]),
        (
            {"method": "subscribe", "success": False, "error": "no", "symbol": "S", "req_id": 8},
            [Subscribed(8, refused=(("S", "no"),))],
        ),
        (
            {
                "method": "subscribe",
                "success": True,
                "result": {"channel": "book", "symbol": "S", "depth": 25},
            },
            [Subscribed(0, ("book:S",), depths=(("S", 25),))],
        ),
        ({"error": "malformed"}, [Notice("malformed")]),
    ],
)
def test_kraken_control_messages(message: Any, wanted: list[Message]) -> None:
    assert decoded("kraken", message) == wanted


@pytest.mark.parametrize(("asked", "kept"), [(1, 10), (10, 10), (11, 25), (400, 500), (9999, 1000)])
@pytest.mark.parametrize("name", ["kraken", "kraken_v1"])
def test_kraken_depth_is_the_next_that_is_offered(name: str, asked: int, kept: int) -> None:
    (shard,) = exchanges()[name].plan(["S"], per_shard=9, book_depth=asked)

    assert shard == Shard(name, f"{name}-0", ("S",), kept)


def test_kraken_frame_of_several_books_gives_each_its_own_change() -> None:
    data = ",".join(
        f'{{"symbol":"{symbol}","bids":[],"asks":[{{"price":1.10,"qty":0}}],"checksum":5}}'
        for symbol in ("A", "B")
    )
    payload = f'{{"channel":"book","type":"update","data":[{data}]}}'.encode()

    assert decoded("kraken", payload) == [
        Delta(symbol, 0, 0, 0, [], [("1.10", "0")], 0, 5) for symbol in ("A", "B")
    ]


def test_kraken_v1_update_of_both_sides_has_its_checksum_in_the_last_object() -> None:
    level = ["1.10", "2.00", "5.000001"]
    message = [1, {"a": [level]}, {"b": [[*level, "r"]], "c": "7"}, "book-10", "XBT/USD"]

    levels = [("1.10", "2.00")]
    assert decoded("kraken_v1", message) == [
        Delta("XBT/USD", 0, 0, 0, levels, levels, 5_000_001_000, 7)
    ]


@pytest.mark.parametrize(
    "message",
    [
        [],
        [1, 2, 3],
        [1, {"a": []}, {"b": []}, "book-10"],
        [1, {"a": [], "c": "x"}, "book-10", "S"],
        [1, {"a": [], "c": "99999999999"}, "book-10", "S"],
        [1, [["1", "1", "5", "x"]], "trade", "S"],
        [1, [["1", "1"]], "trade", "S"],
        [1, [["1", "-1", "5", "b"]], "trade", "S"],
        [1, {}, 5, "S"],
        {"x": 1},
    ],
)
def test_kraken_v1_messages_that_cannot_be_are_refused(message: Any) -> None:
    with pytest.raises(DecodeError):
        decoded("kraken_v1", message)


def test_kraken_futures_snapshot_may_hold_removals_and_exponents() -> None:
    message = {
        "feed": "book_snapshot",
        "product_id": "S",
        "timestamp": 7,
        "seq": 3,
        "bids": [{"price": 1e-05, "qty": 0.0}],
        "asks": [],
    }

    assert decoded("kraken_futures", message) == [Snapshot("S", 3, [("1e-05", "0.0")], [], 7 * MS)]


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        (
            {"event": "subscribed", "feed": "book", "product_ids": ["A"]},
            [Subscribed(0, ("book:A",))],
        ),
        ({"event": "error", "message": "bad"}, [Notice("bad")]),
        ({"event": "info", "version": 1}, [Ignored("info")]),
        ({"feed": "ticker"}, [Ignored("ticker")]),
    ],
)
def test_kraken_futures_control_messages(message: Any, wanted: list[Message]) -> None:
    assert decoded("kraken_futures", message) == wanted
