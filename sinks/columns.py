"""Column types for inserts: the buffers of `core.rows` already hold what goes on the wire.

clickhouse-connect builds, compresses and sends the request; these types replace its conversion of
every single value, which costs more than all the rest. They only write.
"""

import sys
from array import array
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import Any, Final

from clickhouse_connect.datatypes.base import ClickHouseType, TypeDef
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.datatypes.string import String
from clickhouse_connect.driver.insert import InsertContext

from core.columns import DECIMAL_BYTES, NullableNumbers, Packed
from core.rows import COLUMNS, TABLES, Place, RowBuffer
from schemas.tables import tables

assert sys.byteorder == "little", "columns are written as they lie in memory"

_DECIMAL: Final = "Decimal(38, 18)"
_LADDER: Final = f"Array({_DECIMAL})"
_LOW_CARDINALITY: Final = "LowCardinality(String)"


class _Raw(ClickHouseType, registered=False):
    """A type whose values are on the wire as they are in the buffer."""

    def __init__(self, name: str, byte_size: int) -> None:
        super().__init__(TypeDef())
        self._name = name
        self.byte_size = byte_size

    @property
    def name(self) -> str:
        """The type as ClickHouse spells it."""
        return self._name


class _Numbers(_Raw, registered=False):
    """Integers, times and enums, from an array of the right width."""

    def _write_column_binary(
        self, column: Sequence[Any], dest: bytearray, ctx: InsertContext
    ) -> None:
        assert isinstance(column, array)
        assert column.itemsize == self.byte_size
        dest += column.tobytes()


class _Nullable(_Raw, registered=False):
    """64-bit numbers and times that may be null."""

    def _write_column_binary(
        self, column: Sequence[Any], dest: bytearray, ctx: InsertContext
    ) -> None:
        assert isinstance(column, NullableNumbers)
        dest += column.nulls
        dest += column.values.tobytes()


class _Decimals(_Raw, registered=False):
    """Decimals in their stored form."""

    def _write_column_binary(
        self, column: Sequence[Any], dest: bytearray, ctx: InsertContext
    ) -> None:
        assert isinstance(column, Packed)
        dest += column.data


class _Ladders(_Raw, registered=False):
    """Arrays of decimals, each as the stored bytes of its elements."""

    def _data_size(self, sample: Any) -> int:
        return 8 + sum(map(len, sample)) // max(1, len(sample))

    def _write_column_binary(
        self, column: Sequence[Any], dest: bytearray, ctx: InsertContext
    ) -> None:
        dest += array("Q", accumulate(len(ladder) // DECIMAL_BYTES for ladder in column)).tobytes()
        dest += b"".join(column)


class _Names(String, registered=False):
    """Low-cardinality text, its dictionary found without a step of Python for every row."""

    base_type = "String"

    def _build_lc_dictionary(
        self, column: Sequence[Any], ctx: InsertContext
    ) -> tuple[list[Any], list[int]]:
        index = list(dict.fromkeys(column))
        numbers = {name: number for number, name in enumerate(index)}
        return index, list(map(numbers.__getitem__, column))


@cache
def column_types(kind: str) -> list[ClickHouseType]:
    """Return the types that write `RowBuffer.columns` of `kind`, in the same order."""
    table = tables()[TABLES[kind]]
    empty = RowBuffer(kind, Place("", "", 0)).columns
    return [
        _column_type(table.column(name).type, column)
        for name, column in zip(COLUMNS[kind], empty, strict=True)
    ]


def plain_types(table: str, names: Sequence[str]) -> list[ClickHouseType]:
    """Return clickhouse-connect's own types of some columns of a table."""
    return [get_from_name(tables()[table].column(name).type) for name in names]


def _column_type(name: str, column: Sequence[Any]) -> ClickHouseType:
    if name == _DECIMAL:
        return _Decimals(name, DECIMAL_BYTES)
    if name == _LADDER:
        return _Ladders(name, 0)
    if name == _LOW_CARDINALITY:
        return _Names(TypeDef(wrappers=("LowCardinality",)))
    if isinstance(column, NullableNumbers):
        return _Nullable(name, 1 + column.values.itemsize)
    if isinstance(column, array):
        return _Numbers(name, column.itemsize)
    return get_from_name(name)
