"""Columns of rows in memory: as ClickHouse's native format has them, so that writing copies.

A column is an `array` (integers), a list (text), or one of the two here. All of them extend,
slice and pick; a value that does not fit is refused when it is added.
"""

import struct
from array import array
from collections.abc import Iterable, Sequence
from typing import Any, Final, overload

from core.decimals import DecimalError, mantissa, plain

DECIMAL_SCALE: Final = 18
DECIMAL_BYTES: Final = 16
"""A decimal is stored as ClickHouse's own Decimal(38, 18): little-endian, times 10**18."""

_DECIMAL_LIMIT: Final = 10**38
_POWERS: Final[tuple[int, ...]] = tuple(10**places for places in range(DECIMAL_SCALE + 1))
_CACHE_MAX: Final = 16_384


class Packed(Sequence[bytes]):
    """Values of `width` bytes each, without an object for every one."""

    def __init__(self, width: int, data: bytes | bytearray = b"") -> None:
        self.width = width
        self.data = bytearray(data)

    def __len__(self) -> int:
        return len(self.data) // self.width

    @overload
    def __getitem__(self, key: int) -> bytes: ...
    @overload
    def __getitem__(self, key: slice) -> "Packed": ...
    def __getitem__(self, key: int | slice) -> "bytes | Packed":
        width = self.width
        if isinstance(key, slice):
            first, end, step = key.indices(len(self))
            assert step == 1
            return Packed(width, self.data[first * width : end * width])
        if not 0 <= key < len(self):
            raise IndexError(key)
        return bytes(self.data[key * width : (key + 1) * width])

    def __delitem__(self, key: slice) -> None:
        first, end, step = key.indices(len(self))
        assert step == 1
        del self.data[first * self.width : end * self.width]

    def extend(self, values: "Packed") -> None:
        """Add the values of another column of the same width."""
        assert values.width == self.width
        self.data += values.data


class NullableNumbers(Sequence[int | float | None]):
    """Signed 64-bit integers (`typecode` q) or doubles (d), each of which may be null."""

    def __init__(self, typecode: str, values: Sequence[int | float | None] = ()) -> None:
        self.nulls = bytearray()
        self.values: array[Any] = array(typecode)
        self.extend(values)

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, key: int) -> int | float | None: ...
    @overload
    def __getitem__(self, key: slice) -> "NullableNumbers": ...
    def __getitem__(self, key: int | slice) -> "int | float | NullableNumbers | None":
        if isinstance(key, slice):
            part = NullableNumbers(self.values.typecode)
            part.nulls, part.values = self.nulls[key], self.values[key]
            return part
        return None if self.nulls[key] else self.values[key]

    def __delitem__(self, key: slice) -> None:
        del self.nulls[key]
        del self.values[key]

    def extend(self, values: Sequence[int | float | None]) -> None:
        """Add values, each of which may be null."""
        self.values.extend([0 if value is None else value for value in values])
        self.nulls += bytes([value is None for value in values])

    def extend_positive(self, values: Sequence[int]) -> None:
        """Add integers of which negative ones stand for null."""
        if values and min(values) < 0:
            self.extend([None if value < 0 else value for value in values])
        else:
            self.values.extend(values)
            self.nulls += bytes(len(values))


def picked(column: Sequence[Any], indices: Sequence[int]) -> Sequence[Any]:
    """Return the values of `column` at `indices`, as a column of the same kind."""
    values = [column[index] for index in indices]
    if isinstance(column, Packed):
        return Packed(column.width, b"".join(values))
    if isinstance(column, NullableNumbers):
        return NullableNumbers(column.values.typecode, values)
    return array(column.typecode, values) if isinstance(column, array) else values


class StoredDecimals(dict[str, bytes]):
    """Decimal text to its stored form, remembered because numbers recur; emptied when full.

    Prices recur, sizes seldom do: kept together, sizes would push prices out.
    """

    def column(self, texts: Iterable[str]) -> Packed:
        """Return a column of decimals.

        Raises:
            DecimalError: a text is not a decimal that can be stored exactly.
        """
        return Packed(DECIMAL_BYTES, b"".join([self[text] for text in texts]))

    def __missing__(self, text: str) -> bytes:
        if len(self) >= _CACHE_MAX:
            self.clear()
        whole, _, decimals = text.partition(".")
        digits = whole + decimals
        places = DECIMAL_SCALE - len(decimals)
        if digits.isascii() and digits.isdigit() and whole and decimals and places >= 0:
            scaled = int(digits) * _POWERS[places]
        else:
            scaled = mantissa(plain(text), DECIMAL_SCALE)
        if scaled >= _DECIMAL_LIMIT:
            raise DecimalError(f"number out of range: {text[:40]!r}")
        stored = self[text] = scaled.to_bytes(DECIMAL_BYTES, "little")
        return stored


def decimal_text(stored: bytes) -> str:
    """Return a stored decimal as plain text with all its decimals, for people and tests."""
    digits = str(abs(value := int.from_bytes(stored, "little", signed=True)))
    digits = digits.rjust(DECIMAL_SCALE + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-DECIMAL_SCALE]}.{digits[-DECIMAL_SCALE:]}"


def ladder(mantissas: Sequence[int], exponent: int) -> bytes:
    """Return the decimals `mantissa * 10**-exponent` in their stored form, one after the other."""
    if not 0 <= exponent <= 2 * DECIMAL_SCALE:
        raise DecimalError(f"an exponent of {exponent}; expected 0 to {2 * DECIMAL_SCALE}")
    count = len(mantissas)
    if exponent <= DECIMAL_SCALE:
        factor = _POWERS[DECIMAL_SCALE - exponent]
        try:
            # One integer with 128 bits for each level: below 2**64 times 10**18 none runs over.
            lanes = struct.pack("<" + "Q8x" * count, *mantissas)
        except struct.error:
            scaled = [value * factor for value in mantissas]
        else:
            joined = int.from_bytes(lanes, "little") * factor
            return joined.to_bytes(count * DECIMAL_BYTES, "little")
    else:
        divisor = 10 ** (exponent - DECIMAL_SCALE)
        if any(value % divisor for value in mantissas):
            raise DecimalError(f"more than {DECIMAL_SCALE} decimals in a ladder")
        scaled = [value // divisor for value in mantissas]
    return b"".join([value.to_bytes(DECIMAL_BYTES, "little", signed=True) for value in scaled])
