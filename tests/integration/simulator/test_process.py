"""The simulator as a process: its ready line, its end, determinism by seed, a second start."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.simulator.clients import DEADLINE_S, KrakenReader, Socket

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def process(
    *arguments: str, program: str = "simulator", end: signal.Signals = signal.SIGTERM
) -> AsyncIterator[dict[str, Any]]:
    """Run the simulator, yield its ready line, end it; it must end by itself with exit code 0."""
    command = (sys.executable, "-m", *program.split(), *arguments)
    running = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert running.stdout is not None
    assert running.stderr is not None
    try:
        async with asyncio.timeout(DEADLINE_S):
            line = await running.stdout.readline()
        assert line, (await running.stderr.read()).decode()
        yield json.loads(line)
        running.send_signal(end)
        async with asyncio.timeout(DEADLINE_S):
            code = await running.wait()
        assert code == (0 if end is not signal.SIGKILL else -signal.SIGKILL)
        assert await running.stderr.read() == b""
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()


async def trades_of(control: str, venue: str, symbol: str) -> list[dict[str, Any]]:
    async with aiohttp.ClientSession() as http:
        params = {"venue": venue, "symbol": symbol}
        async with http.get(f"{control}/truth/trades", params=params) as answer:
            return [json.loads(line) for line in (await answer.text()).splitlines()]


@pytest.mark.parametrize("program", ["simulator", "streamgauge simulate"])
async def test_process_says_where_it_is_and_ends_on_a_signal(tmp_path: Path, program: str) -> None:
    folder = str(tmp_path / "simulator")
    async with (
        process("--folder", folder, "--symbols", "3", program=program) as ready,
        aiohttp.ClientSession() as http,
    ):
        async with http.get(f"{ready['control']}/truth/status") as answer:
            status = await answer.json()
        async with http.ws_connect(ready["venues"]["kraken"]["websocket_url"]) as ws:
            assert "status" in await ws.receive_str()

    assert ready["ready"] is True
    assert ready["seed"] == status["seed"] == 1
    assert ready["venues"]["binance"]["symbols"] == ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
    assert list(status["venues"]) == ["deribit", "binance", "kraken"]


async def test_process_takes_the_ports_it_is_given(tmp_path: Path) -> None:
    with_free = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    base = with_free.sockets[0].getsockname()[1]
    with_free.close()
    await with_free.wait_closed()
    arguments = ("--folder", str(tmp_path), "--port-base", str(base), "--venues", "deribit")
    async with process(*arguments) as ready:
        assert ready["venues"]["deribit"]["port"] == base
        assert ready["control"].endswith(f":{base + 3}")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--venues", "okx"], 2, "'okx' is not one of"),
        (["--symbols", "100000"], 2, "symbols must be at most"),
        (["--rate", "0"], 2, "rate must be positive"),
        (["--fault-kinds", "explode"], 2, "'explode' is not one of"),
        (["--tape", "/nowhere.tsv"], 2, "No such file"),
    ],
)
async def test_process_with_wrong_setting_ends_with_its_name(
    tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    for program in (["simulator"], ["streamgauge", "simulate"]):
        running = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *program, "--folder", str(tmp_path), *arguments),
            stderr=subprocess.PIPE,
            cwd=ROOT,
        )
        async with asyncio.timeout(DEADLINE_S):
            _, text = await running.communicate()

        assert running.returncode == code
        assert said in text.decode()
        assert "Traceback" not in text.decode()


async def test_two_processes_with_one_seed_make_the_same_trades_and_books(tmp_path: Path) -> None:
    told: list[list[Any]] = []
    for name, seed in (("a", "7"), ("b", "7"), ("c", "8")):
        arguments = ("--folder", str(tmp_path / name), "--seed", seed, "--symbols", "2")
        async with process(*arguments, "--rate", "600") as ready:
            made: list[dict[str, Any]] = []
            async with asyncio.timeout(DEADLINE_S):
                while len(made) < 40:
                    await asyncio.sleep(0.1)
                    made = await trades_of(ready["control"], "deribit", "BTC-PERPETUAL")
            body = {"venue": "binance", "symbol": "BTCUSDT", "depth": 100}
            points = list(range(50_093_000_001, 50_093_001_000))
            async with (
                aiohttp.ClientSession() as http,
                http.post(f"{ready['control']}/truth/books", json=body | {"at": points}) as answer,
            ):
                books = await answer.json()
        told.append([[{**each, "ts_event_ns": 0} for each in made[:40]], books[:300]])

    assert told[0] == told[1]
    assert told[0] != told[2]
    assert sum(book is not None for book in told[0][1]) > 10


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
async def test_second_start_continues_where_the_first_one_ended(
    tmp_path: Path, end: signal.Signals
) -> None:
    """Also after a kill: what was sent is in the truth, and no trade id is used twice."""
    arguments = ("--folder", str(tmp_path), "--symbols", "2", "--rate", "600")
    readers: list[KrakenReader] = []
    true: list[dict[str, Any]] = []
    books: list[Any] = []
    for signal_number in (end, signal.SIGTERM):
        async with process(*arguments, end=signal_number) as ready, aiohttp.ClientSession() as http:
            async with http.ws_connect(ready["venues"]["kraken"]["websocket_url"]) as ws:
                socket, reader = Socket(ws), KrakenReader(10)
                for number, channel in enumerate(("trade", "book")):
                    params = {"channel": channel, "symbol": ["BTC/USD"]}
                    ask = {"method": "subscribe", "params": params, "req_id": number}
                    for text in (await socket.ask(ask, "req_id"))[1]:
                        reader.read(text)
                while len(reader.trades.get("BTC/USD", [])) < 30:
                    reader.read(await socket.receive() or "")
            true = await trades_of(ready["control"], "kraken", "BTC/USD")
            readers.append(reader)
            body = {"venue": "kraken", "symbol": "BTC/USD", "depth": 8}
            at = [point for each in readers for point in each.books["BTC/USD"].tops]
            url = f"{ready['control']}/truth/books"
            async with http.post(url, json=body | {"at": at}) as answer:
                books = await answer.json()

    known = {trade["sequence"]: trade for trade in true}
    assert sorted(known) == list(range(min(known), max(known) + 1))
    for reader in readers:
        for trade in reader.trades["BTC/USD"]:
            assert trade == {key: known[trade["sequence"]][key] for key in trade}
    first, second = ([each["sequence"] for each in reader.trades["BTC/USD"]] for reader in readers)
    assert max(first) < min(second)
    held = [top for each in readers for top in each.books["BTC/USD"].tops.values()]
    told = [
        {side: [tuple(level) for level in levels] for side, levels in book.items()}
        for book in books
    ]
    assert told == held


async def test_process_says_goodbye_to_its_clients(tmp_path: Path) -> None:
    async def read_to_the_end(socket: Socket) -> list[str]:
        texts: list[str] = []
        while (text := await socket.receive()) is not None:
            texts.append(text)
        return texts

    async with aiohttp.ClientSession() as http:
        async with process("--folder", str(tmp_path), "--symbols", "1") as ready:
            ws = await http.ws_connect(
                ready["venues"]["binance"]["websocket_url"] + "/btcusdt@trade"
            )
            reading = asyncio.create_task(read_to_the_end(Socket(ws)))
        texts = await reading

    assert '"e":"serverShutdown"' in texts[-1]
    assert ws.close_code == 1001
