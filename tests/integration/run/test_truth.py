"""The comparison with the truth can fail: every kind of wrong row is found and counted."""

import asyncio
from collections.abc import Callable
from typing import Any

import clickhouse_connect
import msgspec
import pytest
from aiohttp import web
from clickhouse_connect.driver.client import Client

from infra.run.truth import Truth, Venue, compare
from schemas.migrations import migrations
from tests.integration.services import ClickHouse

SINCE = 1_790_000_000_000_000_000
VENUES = {"binance": Venue(("BTCUSDT",), levels=25)}

Row = dict[str, Any]


def trade(number: int, price: str = "100.5") -> Row:
    return {
        "exchange": "binance",
        "symbol": "BTCUSDT",
        "trade_id": str(number),
        "price": price,
        "size": "0.25",
        "side": "buy",
        "ts_event": SINCE + number * 1_000_000,
        "ts_recv": SINCE + number * 1_000_000 + 5,
    }


def book(sequence: int, bid: str = "100") -> Row:
    return {
        "exchange": "binance",
        "symbol": "BTCUSDT",
        "sequence": sequence,
        "ts_recv": SINCE + sequence,
        "ts_sample": SINCE + sequence,
        "bid_prices": [bid, "99"],
        "bid_sizes": ["1", "2"],
        "ask_prices": ["101"],
        "ask_sizes": ["3"],
    }


def made(number: int, *, delivered: bool = True) -> Row:
    """A trade as the simulator tells it."""
    row = trade(number)
    return {
        "trade_id": number,
        "price": row["price"],
        "size": row["size"],
        "side": row["side"],
        "ts_event_ns": row["ts_event"],
        "delivered": delivered,
    }


TRUE_BOOK = {"bids": [["100", "1"], ["99", "2"]], "asks": [["101", "3"]]}


def insert(client: Client, table: str, rows: list[Row]) -> None:
    """Store rows as JSON, the way that keeps decimals exact."""
    lines = b"\n".join(msgspec.json.encode(_spelt(row)) for row in rows)
    client.raw_insert(table, insert_block=lines, fmt="JSONEachRow")


def _spelt(row: Row) -> Row:
    """Write times as ClickHouse reads them: seconds with nine decimals."""
    return {
        name: f"{value // 10**9}.{value % 10**9:09}" if name.startswith("ts_") else value
        for name, value in row.items()
    }


async def compared(client: Client, trades: list[Row], books: list[Row], truth: list[Row]) -> Truth:
    """Store rows and compare them with a truth that a server of ours tells."""
    if trades:
        insert(client, "trades", trades)
    if books:
        insert(client, "books", books)

    async def tell_trades(_: web.Request) -> web.Response:
        return web.Response(body=b"\n".join(msgspec.json.encode(each) for each in truth))

    async def tell_books(request: web.Request) -> web.Response:
        points = (await request.json())["at"]
        return web.json_response([TRUE_BOOK if point < 100 else None for point in points])

    app = web.Application()
    app.add_routes([web.get("/truth/trades", tell_trades), web.post("/truth/books", tell_books)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        return await compare(client, f"http://127.0.0.1:{port}", VENUES, since_ns=SINCE)
    finally:
        await runner.cleanup()


@pytest.fixture
def client(clickhouse: ClickHouse, database: str) -> Client:
    found: Client = clickhouse_connect.get_client(
        host=clickhouse.host,
        port=clickhouse.port,
        username=clickhouse.user,
        password=clickhouse.password,
        database=database,
        autogenerate_session_id=False,
    )
    for migration in migrations():
        for statement in migration.statements:
            found.command(statement)
    return found


def test_comparison_of_equal_rows_is_ok(client: Client) -> None:
    truth = asyncio.run(
        compared(
            client, [trade(1), trade(2)], [book(5)], [made(1), made(2), made(3, delivered=False)]
        )
    )

    assert truth.ok
    assert (truth.trades_expected, truth.trades_found) == (2, 2)
    assert (truth.books_compared, truth.books_equal) == (1, 1)


@pytest.mark.parametrize(
    ("trades", "field"),
    [
        ([trade(1)], "trades_missing"),
        ([trade(1), trade(2), trade(2)], "trades_doubled"),
        ([trade(1), trade(2, price="100.6")], "trades_wrong"),
        ([trade(1), trade(2), trade(9)], "trades_wrong"),
        ([trade(1), trade(2) | {"side": "sell"}], "trades_wrong"),
        ([trade(1), trade(2) | {"ts_event": SINCE}], "trades_wrong"),
    ],
    ids=["missing", "doubled", "price", "never made", "side", "time"],
)
def test_comparison_finds_a_wrong_trade(client: Client, trades: list[Row], field: str) -> None:
    truth = asyncio.run(compared(client, trades, [book(5)], [made(1), made(2)]))

    assert not truth.ok
    assert getattr(truth, field) == 1
    assert len(truth.examples) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda: book(5, bid="100.000000000000000001"),
        lambda: book(5) | {"ask_sizes": ["4"]},
        lambda: book(5) | {"bid_prices": ["100"], "bid_sizes": ["1"]},
        lambda: book(500),
    ],
    ids=["price", "size", "a level too few", "no such state"],
)
def test_comparison_finds_a_wrong_book(client: Client, spoil: Callable[[], Row]) -> None:
    truth = asyncio.run(compared(client, [trade(1)], [spoil()], [made(1)]))

    assert not truth.ok
    assert (truth.books_compared, truth.books_different) == (1, 1)


def test_comparison_of_nothing_is_not_ok(client: Client) -> None:
    assert not asyncio.run(compared(client, [], [], [])).ok
    assert not asyncio.run(compared(client, [trade(1)], [], [made(1)])).ok
