"""A venue that sends a fixed number of frames as fast as they are taken, in a process of its own.

`python -m bench.firehose EXCHANGE FRAMES` prints its port, waits for a subscription and a line on
standard input, and then sends; a third argument is a pace to keep, frames a second. The frames are
valid: ids chain, and checksums are right, so that a reader has all the work that real ones would
give it.
"""

import asyncio
import json
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.protocol import State

CHUNK: Final = 64
"""Frames handed to the transport at once."""
LEVELS: Final = 5
"""Levels a side in one change."""
CYCLE: Final = 2000
"""Kraken's frames repeat after so many: then the book is what it was."""

Frames = Iterator[bytes]


def binance(symbol: str) -> tuple[list[bytes], Callable[[], Frames]]:
    """Return nothing to begin with, and depth events with a trade after every fourth."""
    levels = ",".join(f'["{61_000 + n}.37000000","0.{n:08}"]' for n in range(1, LEVELS + 1))
    depth = (
        f'{{"e":"depthUpdate","E":1633998512068,"s":"{symbol}","U":%d,"u":%d,'
        f'"b":[{levels}],"a":[{levels.replace("61", "62")}]}}'
    ).encode()
    trade = (
        f'{{"e":"trade","E":1723161255343,"s":"{symbol}","t":%d,"p":"61837.63000000",'
        '"q":"0.02000000","T":1723161255342,"m":true,"M":true}'
    ).encode()

    def frames() -> Frames:
        number = 1000
        while True:
            for _ in range(4):
                number += 1
                yield depth % (number, number)
            yield trade % number

    return [], frames


def deribit(symbol: str) -> tuple[list[bytes], Callable[[], Frames]]:
    """Return a snapshot, and chained changes."""
    levels = ",".join(f'["change",{61_000 + n}.5,{n}0.0]' for n in range(1, LEVELS + 1))
    asks = levels.replace("61", "62")
    body = (
        f'{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"book.{symbol}.100ms",'
        f'"data":{{"type":"%s","timestamp":1786563085228,"instrument_name":"{symbol}",'
        f'"prev_change_id":%d,"change_id":%d,"bids":[{levels}],"asks":[{asks}]}}}}}}'
    ).encode()

    def frames() -> Frames:
        number = 1000
        while True:
            yield body % (b"change", number, number + 1)
            number += 1

    return [body % (b"snapshot", 0, 1000)], frames


def kraken(symbol: str) -> tuple[list[bytes], Callable[[], Frames]]:
    """Return a snapshot of 25 levels, and a cycle of changes with their checksums."""
    sizes = {"bids": [5] * 25, "asks": [5] * 25}

    def level(side: str, place: int) -> tuple[str, str]:
        price = 61_000 - place if side == "bids" else 61_001 + place
        return f"{price}.5", f"0.{sizes[side][place]:08}"

    def message(kind: str, bids: list[int], asks: list[int]) -> bytes:
        digits = [
            text.replace(".", "").lstrip("0")
            for side in ("asks", "bids")
            for place in range(10)
            for text in level(side, place)
        ]
        parts = []
        for side, places in (("bids", bids), ("asks", asks)):
            levels = [level(side, place) for place in places]
            parts.append(
                f'"{side}":[' + ",".join(f'{{"price":{p},"qty":{q}}}' for p, q in levels) + "]"
            )
        checksum = zlib.crc32("".join(digits).encode())
        return (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}",{",".join(parts)},'
            f'"checksum":{checksum},"timestamp":"2026-10-06T08:04:56.000569Z"}}]}}'
        ).encode()

    first = message("snapshot", list(range(25)), list(range(25)))
    cycle = []
    for turn in range(CYCLE):
        places = [(turn + step) % 12 for step in range(4)]
        for side in sizes:
            for place in places:
                sizes[side][place] = 5 if turn > CYCLE - 20 else 1 + (turn * 7 + place) % 90_000
        cycle.append(message("update", places, places))

    def frames() -> Frames:
        while True:
            yield from cycle

    return [first], frames


VENUES: Final = {"binance": binance, "deribit": deribit, "kraken": kraken}


def answers(exchange: str, message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a venue says to a message of ours."""
    if exchange == "binance":
        return [{"result": None, "id": message["id"]}]
    if exchange == "deribit":
        channels = message["params"].get("channels")
        return [{"jsonrpc": "2.0", "id": message["id"], "result": channels or "ok"}]
    if message["method"] == "ping":
        return [{"method": "pong", "req_id": message["req_id"]}]
    params = message["params"]
    return [
        {
            "method": message["method"],
            "req_id": message["req_id"],
            "success": True,
            "result": {"channel": params["channel"], "symbol": symbol},
        }
        for symbol in params["symbol"]
    ]


def subscribed_symbol(exchange: str, message: dict[str, Any]) -> str | None:
    """Return the symbol whose book a message subscribes to, None for other messages."""
    if exchange == "binance" and message["method"] == "SUBSCRIBE":
        return str(message["params"][0]).partition("@")[0].upper()
    params = message.get("params", {})
    if exchange == "deribit" and message["method"] == "public/subscribe":
        return str(params["channels"][0]).split(".")[1]
    if exchange == "kraken" and message["method"] == "subscribe" and params["channel"] == "book":
        return str(params["symbol"][0])
    return None


async def main(exchange: str, count: int, per_s: float) -> None:
    """Serve until standard input ends."""
    go = asyncio.Event()

    async def behave(peer: ServerConnection) -> None:
        sending: asyncio.Task[None] | None = None
        async for text in peer:
            message = json.loads(text)
            for answer in answers(exchange, message):
                await peer.send(json.dumps(answer))
            symbol = subscribed_symbol(exchange, message)
            if symbol is not None and sending is None:
                first, frames = VENUES[exchange](symbol)
                for frame in first:
                    await peer.send(frame, text=True)
                sending = asyncio.create_task(
                    pace(peer, frames(), count, go, per_s)
                    if per_s
                    else send(peer, frames(), count, go)
                )

    async with serve(
        behave, "127.0.0.1", 0, ping_interval=None, compression=None, process_request=page
    ) as server:
        sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
        sys.stdout.flush()
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            if line.strip() == "go":
                go.set()


def page(peer: ServerConnection, request: Request) -> Response | None:
    """Return Binance's book as it is before the first change; other paths are sockets."""
    if not request.path.startswith("/api/v3/depth"):
        return None
    bids, asks = ([[f"{price}.37000000", "1"]] for price in (61_000, 62_000))
    body = json.dumps({"lastUpdateId": 1000, "bids": bids, "asks": asks}).encode()
    headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
    return Response(200, "OK", headers, body)


async def send(peer: ServerConnection, frames: Frames, count: int, go: asyncio.Event) -> None:
    """Send `count` frames, many in one write: this process must not be the slower one."""
    await go.wait()
    left = count
    while left:
        number = min(CHUNK, left)
        left -= number
        peer.transport.write(b"".join(_wire(next(frames)) for _ in range(number)))
        # The transport holds 64 kB at most before this waits for the reader.
        await peer.drain()


async def pace(
    peer: ServerConnection, frames: Frames, count: int, go: asyncio.Event, per_s: float
) -> None:
    """Send `count` frames at an even pace, each in a write of its own, as a market does."""
    await go.wait()
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number in range(count):
        wait = started + number / per_s - loop.time()
        if wait > 0:
            await asyncio.sleep(wait)
        if peer.state is not State.OPEN:
            return
        peer.transport.write(_wire(next(frames)))
        await peer.drain()


def _wire(payload: bytes) -> bytes:
    """Return a text message as a server sends it (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes((0x81, size)) + payload
    return b"\x81\x7e" + size.to_bytes(2, "big") + payload


if __name__ == "__main__":
    pace_per_s = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), pace_per_s))
