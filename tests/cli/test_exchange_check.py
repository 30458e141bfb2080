"""The doctor's look at an exchange: its REST address, and whether it lists what is subscribed."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from core.exchanges import exchanges
from core.protocol import Endpoints, Listing
from infra.cli.checks import Status
from infra.cli.checks.exchange import check_exchange, judge_symbols, listed
from infra.local.process import free_port

LISTING = Listing("/list", "symbol")
ENDPOINTS = Endpoints("wss://ws.example.com", "https://api.example.com", LISTING)
Serve = Callable[[web.Response], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return what serves one answer at `/list` and returns the address without that path."""
    runners = []

    async def start(answer: web.Response) -> str:
        async def answered(request: web.Request) -> web.Response:
            return answer

        app = web.Application()
        app.router.add_get("/list", answered)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


def test_listed_symbols_are_spelled_as_they_are_subscribed_to() -> None:
    listing = exchanges()["kraken"].endpoints.listing
    assert listing is not None
    body = b'{"XXBTZUSD":{"wsname": "XBT/USD"},"b":{"wsname":"XDG/XBT"},"c":{"altname":"no"}}'

    assert listed(body, listing) == {"BTC/USD", "DOGE/BTC"}


def test_symbols_that_are_listed_are_ok() -> None:
    assert judge_symbols("kraken", ["BTC/USD"], {"BTC/USD", "ETH/USD"}).status is Status.OK


@pytest.mark.parametrize(
    ("symbol", "meant"),
    [("BTCUSD", "BTC/USD"), ("btc/usd", "BTC/USD"), ("ETH-USD", "ETH/USD"), ("??", "")],
)
def test_symbol_that_is_not_listed_fails_with_what_may_be_meant(symbol: str, meant: str) -> None:
    finding = judge_symbols("kraken", [symbol, "BTC/USD"], {"BTC/USD", "ETH/USD"})

    assert finding.status is Status.FAILED
    assert finding.found == f"kraken does not list {symbol}"
    assert (f"did you mean {meant}?" in finding.advice) is bool(meant)


def test_many_unknown_symbols_are_not_all_named() -> None:
    finding = judge_symbols("kraken", [f"S{number}" for number in range(30)], {"A"})

    assert finding.found.endswith("S9 and 20 more")


def test_list_without_instruments_says_nothing_of_symbols() -> None:
    assert judge_symbols("kraken", ["BTC/USD"], set()).status is Status.WARNING


async def test_exchange_that_lists_the_symbols_is_ok(serve: Serve) -> None:
    url = await serve(web.json_response([{"symbol": "AAA"}, {"symbol": "BBB"}]))

    finding = await check_exchange("example", url + "/", ENDPOINTS, ["AAA"])

    assert finding is not None
    assert finding.status is Status.OK


async def test_address_that_does_not_know_the_list_fails(serve: Serve) -> None:
    url = await serve(web.json_response([]))

    finding = await check_exchange("example", url + "/api/v3", ENDPOINTS, ["AAA"])

    assert finding is not None
    assert finding.status is Status.FAILED
    assert "without a path" in finding.advice


async def test_exchange_that_refuses_its_list_is_a_warning(serve: Serve) -> None:
    url = await serve(web.Response(status=429))

    finding = await check_exchange("example", url, ENDPOINTS, ["AAA"])

    assert finding is not None
    assert finding.status is Status.WARNING


async def test_exchange_that_is_away_or_has_no_list_is_another_checks_finding() -> None:
    away = f"http://127.0.0.1:{free_port()}"
    without = Endpoints("wss://ws.example.com", "https://api.example.com")

    assert await check_exchange("example", away, ENDPOINTS, ["AAA"]) is None
    assert await check_exchange("example", away, without, ["AAA"]) is None
