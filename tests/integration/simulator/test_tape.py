"""Tapes played over a real socket, and their bodies over HTTP."""

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest

from simulator.tape import TapeServer, read

pytestmark = pytest.mark.integration

FRAMES = Path(__file__).parents[4] / "shared" / "frames"
DEADLINE_S = 20.0

TEXT = (
    "# exchange: somewhere\n"
    "1000000000\tC\twss://x.example/ws\t\n"
    '2000000000\tS\tws\t{"method":"SUBSCRIBE"}\n'
    '2000000000\tR\tws\t{"a":1}\n'
    '2500000000\tH\thttps://x.example/api/v3/depth?symbol=A\t{"lastUpdateId":7}\n'
    '3000000000\tR\tws\t{"b":2}\n'
    '0\tR\tws\t{"c":3}\n'
)


@pytest.fixture
def tape(tmp_path: Path) -> Path:
    path = tmp_path / "short.tsv"
    path.write_text(TEXT)
    return path


async def play(server: TapeServer, path: str, count: int, *, speaks: bool = True) -> list[str]:
    url = f"ws://127.0.0.1:{server.port}/{path}"
    async with aiohttp.ClientSession() as http, http.ws_connect(url, max_msg_size=0) as ws:
        if speaks:
            await ws.send_str('{"method":"SUBSCRIBE"}')
        async with asyncio.timeout(DEADLINE_S):
            return [await ws.receive_str() for _ in range(count)]


@pytest.mark.parametrize(("speed", "least", "most"), [(0.0, 0.0, 10.0), (2.0, 0.5, 10.0)])
async def test_tape_is_played_at_the_speed_asked_for(
    tape: Path, speed: float, least: float, most: float
) -> None:
    async with TapeServer([tape], speed=speed) as server:
        begun = asyncio.get_running_loop().time()
        texts = await play(server, "ws/api/v2", 3)
        took = asyncio.get_running_loop().time() - begun

    assert texts == ['{"a":1}', '{"b":2}', '{"c":3}']
    assert least <= took <= most


async def test_tape_waits_for_a_client_that_has_to_subscribe(tape: Path) -> None:
    async with TapeServer([tape], speed=0.0) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await play(server, "", 1, speaks=False)


async def test_tape_serves_bodies_by_path(tape: Path) -> None:
    async with TapeServer([tape]) as server, aiohttp.ClientSession() as http:
        base = f"http://127.0.0.1:{server.port}"
        async with http.get(f"{base}/api/v3/depth?symbol=A") as answer:
            assert await answer.json() == {"lastUpdateId": 7}
        async with http.get(f"{base}/api/v3/ticker") as answer:
            assert answer.status == 404


async def test_tapes_are_chosen_by_the_end_of_the_path(tape: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tsv"
    other.write_text('5\tR\tws\t{"other":true}\n')
    async with TapeServer([tape, other], speed=0.0) as server:
        assert await play(server, "other", 1) == ['{"other":true}']
        assert await play(server, "short", 1) == ['{"a":1}']
        assert list(server.describe()["tapes"]) == ["short", "other"]  # type: ignore[call-overload]


@pytest.mark.skipif(not FRAMES.is_dir(), reason="the recorded frames are not on this machine")
async def test_recorded_session_arrives_unchanged() -> None:
    path = FRAMES / "binance" / "spot-2021-10-12.tsv.gz"
    recorded = [line.payload for line in read(path) if line.kind == "R"]
    async with TapeServer([path], speed=0.0) as server:
        texts = await play(server, "stream", len(recorded), speaks=False)
        url = f"http://127.0.0.1:{server.port}/api/v3/depth?symbol=NKNUSDT&limit=1000"
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            body = json.loads(await answer.text())

    assert texts == recorded
    assert body["lastUpdateId"] == 499869752
