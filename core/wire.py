"""Types that every venue's wire structs share: bounded numbers, texts, times.

The bounds refuse what cannot be stored (ids over 62 bits, times after the year 2100), so that a
corrupt digit is a `DecodeError` and never an overflow further down.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec

from core.book import Level
from core.decimals import DecimalError, plain
from core.protocol import DecodeError, Shard

Id = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=4_102_444_800_000)]
Depth = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Crc = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=200)]
Number = Any
"""A JSON number whose text is kept: decoders with `float_hook=str` give str, or int."""

NS_PER_MS: Final = 1_000_000
PAYLOAD_MAX: Final = 8 << 20
"""Bytes of the longest frame that is decoded."""

_T = TypeVar("_T")


def decoder(wire: type[_T]) -> Callable[[bytes], _T]:
    """Return a function that reads JSON into `wire`, floats as their text.

    The function raises DecodeError for whatever is not such JSON.
    """
    decode = msgspec.json.Decoder(wire, float_hook=str).decode

    def read(payload: bytes) -> _T:
        try:
            return decode(payload)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise DecodeError(str(error)[:200]) from error

    return read


def number(value: Number) -> str:
    """Return the text of a JSON number.

    Raises:
        DecodeError: it is not a number.
    """
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    raise DecodeError(f"expected a number, found {type(value).__name__}")


def decimal_text(value: Number) -> str:
    """Return a number as plain decimal text.

    Raises:
        DecodeError: not a finite non-negative decimal.
    """
    try:
        return plain(number(value))
    except DecimalError as error:
        raise DecodeError(str(error)) from error


def nanoseconds(rfc3339: str) -> int:
    """Return ns since the epoch of an RFC 3339 time in UTC, exact to the microsecond.

    Raises:
        DecodeError: not such a time.
    """
    try:
        moment = datetime.fromisoformat(rfc3339)
    except ValueError as error:
        raise DecodeError(f"not an RFC 3339 time: {rfc3339[:40]!r}") from error
    if moment.tzinfo is None:
        raise DecodeError(f"time without zone: {rfc3339[:40]!r}")
    delta = moment - _EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1_000


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def query(url: str) -> tuple[str, dict[str, str]]:
    """Return the last path segment of a URL and its query, first values only."""
    parts = urlsplit(url)
    values = parse_qs(parts.query)
    return parts.path.rsplit("/", 1)[-1], {key: value[0] for key, value in values.items()}


def shards(
    exchange: str, symbols: Iterable[str], *, per_shard: int, book_depth: int
) -> list[Shard]:
    """Spread `symbols` in order over shards of at most `per_shard`."""
    names = tuple(dict.fromkeys(symbols))
    return [
        Shard(
            exchange,
            f"{exchange}-{start // per_shard}",
            names[start : start + per_shard],
            book_depth,
        )
        for start in range(0, len(names), per_shard)
    ]


def upserts(levels: Iterable[tuple[Number, Number]]) -> list[Level]:
    """Return levels of JSON numbers as text pairs."""
    return [(number(price), number(size)) for price, size in levels]


def encode(message: dict[str, Any]) -> str:
    """Return a message of ours as JSON text."""
    return msgspec.json.encode(message).decode()
