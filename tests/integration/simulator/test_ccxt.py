"""Proof by a client that is not ours: ccxt pro, unmodified, pointed at the simulator's URLs.

It loads the markets over REST, subscribes to trades and books of every venue, and what it holds is
the truth. Its URLs are all that is set.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt.pro
import pytest

from tests.integration.simulator.clients import (
    DEADLINE_S,
    Ladder,
    World,
    by_sequence,
    micros,
    plain,
    simulating,
)

pytestmark = pytest.mark.integration

DEPTH = 10
BOOKS, TRADES = 40, 40  # how many are compared per symbol


def deribit(world: World) -> Any:
    rest = world.rest("deribit").removesuffix("/api/v2")
    return ccxt.pro.deribit({"urls": {"api": {"rest": rest, "ws": world.ws("deribit")}}})


def binance(world: World) -> Any:
    api = {"public": world.rest("binance"), "ws": {"spot": world.ws("binance")}}
    return ccxt.pro.binance(
        {"urls": {"api": api}, "options": {"defaultType": "spot", "fetchMarkets": ["spot"]}}
    )


def kraken(world: World) -> Any:
    rest = world.rest("kraken").removesuffix("/0")
    api = {"public": rest, "ws": {"publicV2": world.ws("kraken")}}
    return ccxt.pro.kraken({"urls": {"api": api}})


Sequences = Callable[[World, str, Any], Awaitable[list[int]]]


async def deribit_sequences(world: World, symbol: str, book: Any) -> list[int]:
    """ccxt keeps a Deribit book's timestamp, not its change id: ask the truth which it was."""
    return await world.states("deribit", symbol, book["timestamp"])


async def binance_sequences(world: World, symbol: str, book: Any) -> list[int]:
    return [int(book["nonce"])]


async def kraken_sequences(world: World, symbol: str, book: Any) -> list[int]:
    return [micros(book["datetime"])] if book["datetime"] else []  # a snapshot sets none


VENUES: dict[
    str,
    tuple[Callable[[World], Any], Sequences, dict[str, str]],  # ccxt's symbols and the venue's
] = {
    "deribit": (
        deribit,
        deribit_sequences,
        {"BTC/USD:BTC": "BTC-PERPETUAL", "ETH/USD:ETH": "ETH-PERPETUAL"},
    ),
    "binance": (binance, binance_sequences, {"BTC/USDT": "BTCUSDT", "ETH/USDT": "ETHUSDT"}),
    "kraken": (kraken, kraken_sequences, {"BTC/USD": "BTC/USD", "ETH/USD": "ETH/USD"}),
}


def top(book: Any) -> Ladder:
    return {
        side: [(plain(repr(level[0])), plain(repr(level[1]))) for level in book[side][:DEPTH]]
        for side in ("bids", "asks")
    }


async def watch_books(exchange: Any, symbol: str) -> list[dict[str, Any]]:
    """Return what ccxt's book was after each of its updates."""
    seen: list[dict[str, Any]] = []
    while len(seen) < BOOKS:
        book = await exchange.watch_order_book(symbol)
        names = {key: book[key] for key in ("nonce", "timestamp", "datetime")}
        seen.append({**names, "top": top(book)})
    return seen


async def watch_trades(exchange: Any, symbol: str) -> dict[str, Any]:
    """Return ccxt's trades by id."""
    seen: dict[str, Any] = {}
    while len(seen) < TRADES:
        for trade in await exchange.watch_trades(symbol):
            seen[trade["id"]] = trade
    return seen


@pytest.mark.parametrize("venue", list(VENUES))
async def test_ccxt_pro_holds_the_true_books_and_trades(tmp_path: Path, venue: str) -> None:
    make, sequences_of, symbols = VENUES[venue]
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(simulating(tmp_path))
        exchange = make(world)
        stack.push_async_callback(exchange.close)
        async with asyncio.timeout(2 * DEADLINE_S):
            await exchange.load_markets()
            watching = [watch_books(exchange, symbol) for symbol in symbols]
            watching += [watch_trades(exchange, symbol) for symbol in symbols]  # type: ignore[misc]
            seen: list[Any] = await asyncio.gather(*watching)

        assert set(symbols) == set(exchange.symbols)
        books, trades = seen[: len(symbols)], seen[len(symbols) :]
        for symbol, held, made in zip(symbols.values(), books, trades, strict=True):
            await compare_books(world, venue, symbol, held, sequences_of)
            await compare_trades(world, venue, symbol, made)


async def compare_books(
    world: World, venue: str, symbol: str, held: list[dict[str, Any]], sequences_of: Sequences
) -> None:
    named = [(await sequences_of(world, symbol, book), book["top"]) for book in held]
    compared = 0
    for sequences, top_held in named:
        if sequences:
            compared += 1
            assert top_held in await world.books(venue, symbol, sequences, DEPTH)
            assert len(top_held["bids"]) == len(top_held["asks"]) == DEPTH
    assert compared > BOOKS // 2


async def compare_trades(world: World, venue: str, symbol: str, made: dict[str, Any]) -> None:
    true = await world.trades(venue, symbol)
    known = {trade["trade_id"]: trade for trade in true}
    for identity, trade in made.items():
        expected = known[identity]
        assert plain(repr(trade["price"])) == expected["price"]
        assert plain(repr(trade["amount"])) == expected["size"]
        assert trade["side"] == expected["side"]
        assert trade["timestamp"] == expected["ts_event_ns"] // 1_000_000
    sequences = sorted(known[identity]["sequence"] for identity in made)
    delivered = [number for number, trade in by_sequence(true).items() if trade["delivered"]]
    assert sequences == list(range(sequences[0], sequences[-1] + 1))
    assert set(delivered) & set(range(sequences[0], sequences[-1] + 1)) <= set(sequences)
    assert Decimal(true[0]["price"]) > 0
