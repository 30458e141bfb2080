"""The recordings that `bench.decode` plays: whole, or only what carries books and trades.

cryptofeed 3.x speaks Kraken's v2 only, of which the recording is short: the long recording of v1
is spoken in v2 for it, with the same levels and the same checksums. Where there are no recordings,
a small session is made up, with books that are known without `core`.
"""

import gzip
import random
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.harness import RECORDINGS

WANTED: Final = {
    "binance": (b'"e":"depthUpdate"', b'"e":"trade"', b'"e":"aggTrade"'),
    "binance_usdm": (b'"e":"depthUpdate"', b'"e":"trade"', b'"e":"aggTrade"'),
    "deribit": (b'"channel":"book.', b'"channel":"trades.'),
    "kraken": (b'"channel":"book"', b'"channel":"trade"'),
    "kraken_v1": (b'"book-', b'"trade"'),
    "kraken_futures": (b'"feed":"book', b'"feed":"trade"'),
}
"""What a frame with a book or a trade contains, by exchange."""

SESSIONS: Final = (
    ("deribit/options-raw-2021-07-22.tsv.gz", "deribit"),
    ("binance/spot-2021-10-12.tsv.gz", "binance"),
    ("binance/spot-btcusdt-2024-08-08.tsv.gz", "binance"),
    ("binance/usdm-2021-07-22.tsv.gz", "binance_usdm"),
    ("binance/usdm-btcusdt-2024-08-08.tsv.gz", "binance_usdm"),
    ("kraken/v1-book1000-2021-04-17.tsv.gz", "kraken_v1"),
    ("kraken/v2-book10-btcusd-2026-10-06.tsv.gz", "kraken"),
    ("kraken/futures-v1-2021-07-22.tsv.gz", "kraken_futures"),
)
"""Undamaged sessions of more than a few book frames."""

SPOKEN_IN_V2: Final = ("kraken/v1-book1000-2021-04-17.tsv.gz", "kraken")


class Recording(msgspec.Struct, frozen=True):
    """A prepared file; `books` are the CRC-32 that its books must have at the end.

    `options` are what a peer must be told besides.
    """

    name: str
    exchange: str
    file: Path
    frames: int
    books: dict[str, int]
    options: dict[str, Any] = {}


def recorded(folder: Path) -> list[Recording]:
    """Write every recording to `folder`, as one plain file each that both sides read."""
    expected = msgspec.json.decode((RECORDINGS / "expected.json").read_bytes())
    recordings: list[Recording] = []

    def add(name: str, exchange: str, lines: list[bytes], source: str) -> None:
        books = {s: book["book_crc32"] for s, book in expected[source]["books"].items()}
        # A checksum is over the depth that was subscribed.
        options = {"max_depth": 10} if "book10-" in name else {}
        file = folder / f"{len(recordings)}.tsv"
        recordings.append(_written(file, name, exchange, lines, books, options))

    for name, exchange in SESSIONS:
        lines = _lines(name)
        add(name, exchange, lines, name)
        only = [line for line in lines if _is_wanted(line, exchange)]
        if len(only) < 0.9 * len(lines):
            add(f"{name} (books and trades)", exchange, only, name)
    name, exchange = SPOKEN_IN_V2
    add(f"{name} (in v2)", exchange, list(_in_v2(_lines(name))), name)
    return recordings


def made_up(folder: Path, frames: int = 600) -> Recording:
    """Write a session of Kraken's v2 whose books change size by size, seeded."""
    source = random.Random(1)
    symbols = ("AAA/USD", "BBB/USD", "CCC/USD")
    books = {symbol: _book(source) for symbol in symbols}
    messages = [_message(symbol, book, book) for symbol, book in books.items()]
    while len(messages) < frames:
        symbol = source.choice(symbols)
        side = source.choice(("bids", "asks"))
        price, size = source.choice(list(books[symbol][side])), _size(source)
        books[symbol][side][price] = size
        messages.append(_message(symbol, books[symbol], {side: {price: size}}))
    lines = [
        b"%d\tR\tws\t%b\n" % (1_790_000_000_000_000_000 + number * 20_000_000, message)
        for number, message in enumerate(messages)
    ]
    truth = {symbol: _crc32(book) for symbol, book in books.items()}
    options = {"max_depth": 10}
    return _written(folder / "made-up.tsv", "made up", "kraken", lines, truth, options)


def _book(source: random.Random) -> dict[str, dict[str, str]]:
    return {
        "bids": {f"{1000 - place}.5": _size(source) for place in range(10)},
        "asks": {f"{1001 + place}.5": _size(source) for place in range(10)},
    }


def _size(source: random.Random) -> str:
    return f"{source.randrange(1, 50)}.{source.randrange(10**7):07}1"


def _message(
    symbol: str, book: dict[str, dict[str, str]], shown: dict[str, dict[str, str]]
) -> bytes:
    sides = {
        side: ",".join([f'{{"price":{p},"qty":{q}}}' for p, q in shown.get(side, {}).items()])
        for side in ("bids", "asks")
    }
    digits = [
        text.replace(".", "").lstrip("0")
        for side in ("asks", "bids")
        for level in book[side].items()
        for text in level
    ]
    kind = "snapshot" if shown is book else "update"
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}",'
        f'"bids":[{sides["bids"]}],"asks":[{sides["asks"]}],'
        f'"checksum":{zlib.crc32("".join(digits).encode())},'
        '"timestamp":"2026-09-21T12:00:00.000000Z"}]}'
    ).encode()


def _crc32(book: dict[str, dict[str, str]]) -> int:
    """Return the CRC-32 of the canonical text, as the recordings' README defines it."""
    lines = [
        f"{mark} {price} {size}\n"
        for mark, side in (("b", "bids"), ("a", "asks"))
        for price, size in book[side].items()
    ]
    return zlib.crc32("".join(lines).encode())


def _lines(name: str) -> list[bytes]:
    with gzip.open(RECORDINGS / name, "rb") as lines:
        return [line for line in lines if not line.startswith(b"#")]


def _is_wanted(line: bytes, exchange: str) -> bool:
    kind = line.split(b"\t", 2)[1]
    return kind != b"R" or any(mark in line for mark in WANTED[exchange])


def _written(
    file: Path,
    name: str,
    exchange: str,
    lines: list[bytes],
    books: dict[str, int],
    options: dict[str, Any],
) -> Recording:
    file.write_bytes(b"".join(lines))
    frames = sum(line.split(b"\t", 2)[1] == b"R" for line in lines)
    return Recording(name, exchange, file, frames, books, options)


def _in_v2(lines: list[bytes]) -> Iterator[bytes]:
    """Say the book frames of a v1 session as v2 says them; numbers keep their text."""
    for line in lines:
        received, kind, where, payload = line.rstrip(b"\n").split(b"\t", 3)
        if kind == b"R" and payload.startswith(b"[") and b'"book-' in payload:
            message = _book_in_v2(msgspec.json.decode(payload), int(received))
            yield b"\t".join((received, kind, where, message)) + b"\n"


def _book_in_v2(parts: list[Any], received: int) -> bytes:
    sides: dict[str, list[list[str]]] = {}
    for part in parts[1:-2]:
        sides |= part
    is_snapshot = "as" in sides or "bs" in sides
    book = [
        f'"{side}":['
        + ",".join(
            f'{{"price":{level[0]},"qty":{level[1]}}}'
            for level in sides.get(short + "s" * is_snapshot, ())
        )
        + "]"
        for side, short in (("bids", "b"), ("asks", "a"))
    ]
    if "c" in sides:
        book.append(f'"checksum":{sides["c"]}')
    seconds, fraction = divmod(received // 1000, 1_000_000)
    book.append(f'"timestamp":"{_rfc3339(seconds)}.{fraction:06}Z"')
    kind = "snapshot" if is_snapshot else "update"
    data = f'{{"symbol":"{parts[-1]}",{",".join(book)}}}'
    return f'{{"channel":"book","type":"{kind}","data":[{data}]}}'.encode()


def _rfc3339(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
