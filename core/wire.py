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
Milliseconds = Annotated[int, msgspec.Meta(ge=0, lt=4_102_444_800_000)]
Microseconds = Annotated[int, msgspec.Meta(ge=0, lt=4_102_444_800_000_000)]
Depth = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Crc = Annotated[int, msgspec.Meta(ge=0, lt=1 << 32)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=200)]
Number = Any
"""A JSON number whose text is kept: decoders with `float_hook=str` give str, or int."""

NS_PER_MS: Final = 1_000_000
NS_PER_US: Final = 1_000
TS_MAX: Final = 4_102_444_800 * 1_000_000_000 - 1
"""Latest time that is believed, ns: the end of 2099."""
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


def level(price: Number, size: Number) -> Level:
    """Return a level of JSON numbers as text.

    Raises:
        DecodeError: one is not a number.
    """
    return number(price), number(size)


def decimal_text(value: Number) -> str:
    """Return a number as plain decimal text.

    Raises:
        DecodeError: not a finite non-negative decimal.
    """
    try:
        return plain(value if type(value) is str else number(value))
    except DecimalError as error:
        raise DecodeError(str(error)) from error


def nanoseconds(rfc3339: str) -> int:
    """Return ns since the epoch of an RFC 3339 time, exact to the microsecond.

    Raises:
        DecodeError: not such a time, or not one from 1970 to 2099.
    """
    try:
        delta = datetime.fromisoformat(rfc3339) - _EPOCH
    except (ValueError, TypeError) as error:
        # A TypeError: there is no zone, so the moment is unknown.
        raise DecodeError(f"not an RFC 3339 time: {rfc3339[:40]!r}") from error
    if not 0 <= delta.days < _DAYS_MAX:
        raise DecodeError(f"a time out of range: {rfc3339[:40]!r}")
    return (delta.days * 86_400 + delta.seconds) * 1_000_000_000 + delta.microseconds * 1_000


def nanoseconds_of(seconds: str) -> int:
    """Return ns since the epoch of decimal seconds, exact.

    Raises:
        DecodeError: not such a time, or not one from 1970 to 2099.
    """
    whole, _, fraction = seconds.partition(".")
    digits = whole + fraction[:9].ljust(9, "0")
    if not (whole and len(digits) <= _NS_DIGITS and digits.isdecimal() and digits.isascii()):
        raise DecodeError(f"expected seconds, found {seconds[:40]!r}")
    ns = int(digits)
    if ns > TS_MAX:
        raise DecodeError(f"a time out of range: {seconds[:40]!r}")
    return ns


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS_MAX: Final = (datetime(2100, 1, 1, tzinfo=UTC) - _EPOCH).days
_NS_DIGITS: Final = 19


def query(url: str) -> tuple[str, dict[str, str]]:
    """Return the last path segment of a URL and its query, first values only; what is no URL has
    neither."""
    try:
        parts = urlsplit(url)
        values = parse_qs(parts.query)
    except ValueError:
        return "", {}
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


def encode(message: dict[str, Any]) -> str:
    """Return a message of ours as JSON text."""
    return msgspec.json.encode(message).decode()
