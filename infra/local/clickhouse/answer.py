"""What stands around a result: status, headers, and the encoding that the client asked for."""

import zlib
from collections.abc import Iterator, MutableMapping
from typing import Protocol

import lz4.frame
from backports import zstd

from infra.local.clickhouse.engine import Engine

# Below this nothing is gained, and a plain body can be read by eye.
COMPRESSED_BYTES_MIN = 1024

CONTENT_TYPES = {
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
    "TSVWithNames": "text/tab-separated-values; charset=UTF-8",
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/octet-stream",
}

# ClickHouse's error codes that are not a 500; its own list, by the numbers.
STATUSES = {
    **dict.fromkeys((6, 8, 15, 25, 26, 27, 36, 38, 41, 44, 53, 62, 72, 117, 167, 168, 321), 400),
    **dict.fromkeys((89, 271, 372, 374, 457), 400),
    **dict.fromkeys((46, 47, 50, 56, 60, 63, 73, 78, 81, 115), 404),
    **dict.fromkeys((192, 193, 497, 516), 403),
    48: 501,
    159: 408,
    202: 503,
    307: 413,
}


class _Compressor(Protocol):
    def compress(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


def error_status(code: int) -> int:
    """HTTP status of a ClickHouse error."""
    return STATUSES.get(code, 500)


def content_type(result_format: str | None) -> str:
    """Content-Type of a result."""
    return CONTENT_TYPES.get(result_format or "", "text/plain; charset=UTF-8")


def add_headers(headers: MutableMapping[str, str], engine: Engine, query_id: str) -> None:
    """Headers that every answer has."""
    headers["X-ClickHouse-Server-Display-Name"] = engine.host_name
    headers["X-ClickHouse-Timezone"] = engine.timezone
    if query_id.isprintable() and query_id.isascii():
        headers["X-ClickHouse-Query-Id"] = query_id


def compress(
    pieces: Iterator[bytes], accepted: str, size: int
) -> tuple[str | None, Iterator[bytes]]:
    """Pieces in an encoding that the client accepts, and its name; None if they stay plain."""
    wanted = [name.split(";")[0].strip().lower() for name in accepted.split(",")]
    if size < COMPRESSED_BYTES_MIN:
        return None, pieces
    for name in ("lz4", "zstd", "gzip", "deflate"):
        if name in wanted:
            return name, _compressed(name, pieces)
    return None, pieces


def _compressed(name: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    compressor, start = _compressor(name)
    yield start
    for piece in pieces:
        yield compressor.compress(piece)
    yield compressor.flush()


def _compressor(name: str) -> tuple[_Compressor, bytes]:
    """One frame for the whole result; the second value is how it starts."""
    if name == "lz4":
        frame = lz4.frame.LZ4FrameCompressor()
        return frame, frame.begin()
    if name == "zstd":
        return zstd.ZstdCompressor(level=1), b""
    return zlib.compressobj(1, wbits=31 if name == "gzip" else 15), b""
