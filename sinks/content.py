"""The content of rows as sums, computed alike from a record and from ClickHouse.

Every column becomes an integer (text its CRC-32, a time its ns, a float its bits, null zero), so
that one query compares all values of all rows of a record without moving them. Nothing is rounded;
sums are modulo 2**128, as those of ClickHouse's Int128 are.
"""

from array import array
from collections.abc import Sequence
from functools import cache
from typing import Any, Final
from zlib import crc32

from core.columns import DECIMAL_BYTES, NullableNumbers, Packed
from core.rows import COLUMNS, TABLES, RowBuffer
from schemas.tables import tables

_PLACE: Final = {"log_id", "topic", "partition", "offset", "row"}
_HALF: Final = 1 << 127
_LETTER_PLACE: Final = {"letter_log_id", "letter_partition", "letter_offset"}


@cache
def compared(kind: str) -> tuple[str, ...]:
    """Return the columns that are compared: all but the place by which rows are found."""
    place = _LETTER_PLACE if kind == "dead_letters" else _PLACE
    return tuple(name for name in COLUMNS[kind] if name not in place)


def sums_sql(kind: str) -> str:
    """Return the aggregates that ClickHouse computes, in the order of `compared`."""
    table = tables()[TABLES[kind]]
    return ", ".join(f"sum({_integer(name, table.column(name).type)})" for name in compared(kind))


def sums(buffer: RowBuffer) -> tuple[int, ...]:
    """Return the same sums of rows in memory."""
    table = tables()[TABLES[buffer.kind]]
    columns = dict(zip(COLUMNS[buffer.kind], buffer.columns, strict=True))
    return tuple(
        _wrapped(_sum(columns[name], ladders=table.column(name).type.startswith("Array(")))
        for name in compared(buffer.kind)
    )


def _wrapped(value: int) -> int:
    return (value + _HALF) % (2 * _HALF) - _HALF


def _integer(name: str, kind: str) -> str:
    """Return SQL for the integer that stands for a value of this type."""
    nullable = kind.startswith("Nullable(")
    inner = kind.removeprefix("Nullable(").removesuffix(")") if nullable else kind
    if inner.startswith("DateTime64"):
        value = f"toUnixTimestamp64Nano({name})"
    elif inner == "Float64":
        # Its bits: floating sums depend on the order.
        zero = "toFloat64(0)"
        return f"toInt128(reinterpretAsInt64({f'ifNull({name}, {zero})' if nullable else name}))"
    elif inner.startswith("Enum"):
        value = f"CAST({name}, '{'Nullable(Int16)' if nullable else 'Int16'}')"
    elif "String" in inner:
        value = f"CRC32({name})"
    elif inner.startswith("Array(Decimal"):
        return f"arraySum(x -> reinterpretAsInt128(x), {name})"
    elif inner.startswith("Decimal"):
        return f"reinterpretAsInt128({name})"
    else:
        value = name
    return f"toInt128({f'ifNull({value}, 0)' if nullable else value})"


def _sum(column: Sequence[Any], *, ladders: bool) -> int:
    if ladders:
        return sum(map(_decimals, column))
    if isinstance(column, Packed):
        return _decimals(column.data)
    if isinstance(column, NullableNumbers):
        column = column.values
    if isinstance(column, array) and column.typecode == "d":
        column = array("q", column.tobytes())
    if isinstance(column, list):
        return sum(map(_number, column))
    return sum(column)


def _number(value: Any) -> int:
    if value is None:
        return 0
    if isinstance(value, str):
        value = value.encode()
    return crc32(value) if isinstance(value, bytes) else int(value)


def _decimals(data: bytes | bytearray) -> int:
    ends = range(DECIMAL_BYTES, len(data) + 1, DECIMAL_BYTES)
    return sum(
        int.from_bytes(data[end - DECIMAL_BYTES : end], "little", signed=True) for end in ends
    )
