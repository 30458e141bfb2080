"""ClickHouse as a sink sees it: what is stored of a partition, and inserts that are stored once.

Every call blocks and belongs in a thread. An insert carries the block's token; once its outcome
may be in doubt it also looks what is there (`check`), before and after. Before, so that even a
token that ClickHouse has forgotten cannot double a row. After, so that a token without rows cannot
lose one: a MergeTree notes the token before it names the part, and when it is killed between the
two it forgets the rows, yet takes every repeat of the token for a duplicate.

What an answer does not promise is that the rows outlast a loss of power: that is the tables'
`fsync_after_insert`, which a server's owner may set.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, DatabaseError, DataError

from core.blocks import BLOCK_COLUMNS, Block, Mark, Marks, Stream, restored_marks
from core.columns import picked
from core.events import FACT_PLACES
from core.rows import COLUMNS, TABLES, TIMES, Place
from infra.runtime.connections import clickhouse_arguments
from infra.runtime.settings import ClickHouseSettings
from schemas.tables import tables
from schemas.topics import ALERTS
from sinks.columns import column_types, plain_types

INSERT_SETTINGS: Final = {
    # An answer must mean that the rows are in the table. Servers gather inserts in memory by
    # default since 26.x, a profile may do so in any version, and tokens are not looked at there.
    "async_insert": 0,
    # Likewise the status of the answer: without this a server may send 200 as it begins, and an
    # error that comes later is text in the body, which no client reads.
    "wait_end_of_query": 1,
    # Where an operator has put a Distributed table in front, its shards are to answer first.
    "distributed_foreground_insert": 1,
    "insert_deduplicate": 1,
    # One block is one part in each partition of the table, so it is stored whole or not at all.
    "max_insert_threads": 1,
    "min_insert_block_size_rows": 1 << 40,
    "min_insert_block_size_bytes": 1 << 50,
    "max_partitions_per_insert_block": 0,
}
_BLOCKS: Final = "blocks"
_LOUD: Final = ("urllib3.connectionpool", "clickhouse_connect")
"""Loggers that warn of every failed request, whose error is raised, and logged, all the same."""
_TOKEN: Final = "insert_deduplication_token"
_TOKENS: Final = 4
"""Tokens of one block: each is spent only by a kill at one moment of its insert."""
_SHARED: Final = ("Replicated", "Shared")
_TABLE_REFUSALS: Final = frozenset(
    {
        10,  # NOT_FOUND_COLUMN_IN_BLOCK
        16,  # NO_SUCH_COLUMN_IN_TABLE
        20,  # NUMBER_OF_COLUMNS_DOESNT_MATCH
        36,  # BAD_ARGUMENTS
        44,  # ILLEGAL_COLUMN
        50,  # UNKNOWN_TYPE
        53,  # TYPE_MISMATCH
        62,  # SYNTAX_ERROR
    }
)
"""Errors that say that the table is not what it was, so that no insert succeeds."""
_VALUE_REFUSALS: Final = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        117,  # INCORRECT_DATA
        131,  # TOO_LARGE_STRING_SIZE
        190,  # SIZES_OF_ARRAYS_DONT_MATCH
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        407,  # DECIMAL_OVERFLOW
        469,  # VIOLATED_CONSTRAINT
        691,  # UNKNOWN_ELEMENT_OF_ENUM
    }
)
"""Errors that say that values do not fit, so that the same insert never succeeds.

Source: ClickHouse src/Common/ErrorCodes.cpp.
"""


_UNKNOWN_TABLE: Final = 60
_UNKNOWN_DATABASE: Final = 81


class NoDatabaseError(Exception):
    """The database does not exist: nobody has made it, or it is called otherwise."""


class UnseenError(ClickHouseError):
    """Rows that were accepted are not there to be read: a replica is late, or rows were deleted."""


class Stored(msgspec.Struct, frozen=True):
    """The last block of a partition: its end, and the marks after it."""

    end: int
    marks: Marks


def is_missing(error: Exception) -> bool:
    """Say whether the database or a table does not exist."""
    known = (_UNKNOWN_TABLE, _UNKNOWN_DATABASE)
    return isinstance(error, DatabaseError) and error.code in known


def is_refusal(error: Exception) -> bool:
    """Say whether ClickHouse, or the client before it, refused the data themselves."""
    return (
        is_refusal_of_values(error)
        or isinstance(error, DataError)
        or (isinstance(error, DatabaseError) and error.code in _TABLE_REFUSALS)
    )


def is_refusal_of_values(error: Exception) -> bool:
    """Say whether ClickHouse may have refused some rows only: it would take others."""
    return isinstance(error, DatabaseError) and error.code in _VALUE_REFUSALS


class Store:
    """One client, shared by threads; it connects when it is first used, and again after errors."""

    def __init__(self, clickhouse: ClickHouseSettings, *, timeout_s: int) -> None:
        self._arguments = clickhouse_arguments(clickhouse, timeout_s=timeout_s)
        self._database = clickhouse.database
        self._client: Client | None = None
        self._lock = threading.Lock()
        for name in _LOUD:
            logging.getLogger(name).setLevel(logging.ERROR)

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def missing_columns(self) -> list[str]:
        """Return `table.column` of everything that this version writes and the database lacks.

        Raises:
            NoDatabaseError: there is no such database.
        """
        sql = "SELECT table, name FROM system.columns WHERE database = currentDatabase()"
        try:
            found = {(table, name) for table, name in self._rows(sql)}
        except DatabaseError as error:
            if error.code == _UNKNOWN_DATABASE:
                raise NoDatabaseError(self._database) from error
            raise
        return [
            f"{table.name}.{column.name}"
            for table in tables().values()
            for column in table.columns
            if (table.name, column.name) not in found
        ]

    def last_block(self, place: Place) -> Stored | None:
        """Return the last block of a partition, None where nothing was stored yet.

        Raises:
            BlockError: its marks cannot be read.
        """
        sql = (
            f"SELECT end_offset, marks FROM {_BLOCKS} WHERE {_PLACE}"
            " ORDER BY first_offset DESC LIMIT 1"
        )
        rows = self._rows(sql, **_parameters(place))
        return Stored(rows[0][0], restored_marks(rows[0][1])) if rows else None

    def rows_end(self, kind: str, place: Place, first: int) -> int:
        """Return the offset after the last one at or after `first` that has rows, else `first`."""
        names = _place_columns(kind)
        sql = (
            f"SELECT max({names.offset}) + 1, count() FROM {TABLES[kind]}"
            f" WHERE {names.condition} AND {names.offset} >= {{first:Int64}}"
        )
        ((end, count),) = self._rows(sql, **_parameters(place), first=first)
        return int(end) if count else first

    def marks_of_rows(
        self, kind: str, place: Place, first: int, end: int
    ) -> list[tuple[Stream, Mark]]:
        """Return the last origin of each stream in the rows of some offsets.

        The number is that of a frame, not of its record's first one, and of alerts that of
        `fact_number`. A repeat of the record is not beyond it, and the stream's next record is.
        """
        if kind == "dead_letters":
            stream = "log_id, consumer, concat(topic, '/', toString(partition))"
            mark, known = "tuple(0, max(offset))", "log_id != ''"
        else:
            number = f"number * {FACT_PLACES} + idx" if kind == ALERTS else "number"
            stream, mark, known = "exchange, shard, line", f"max((epoch, {number}))", "1"
        names = _place_columns(kind)
        sql = (
            f"SELECT {stream}, {mark} FROM {TABLES[kind]} WHERE {names.condition} AND {known}"
            f" AND {names.offset} >= {{first:Int64}} AND {names.offset} < {{end:Int64}}"
            " GROUP BY ALL"
        )
        rows = self._rows(sql, **_parameters(place), first=first, end=end)
        return [((a, b, c), (epoch, number)) for a, b, c, (epoch, number) in rows]

    def insert_rows(self, block: Block, *, check: bool) -> int:
        """Store the block's rows and return how many were sent; `check` sends what is absent.

        Raises:
            UnseenError: with `check`, rows that ClickHouse accepted are not to be seen.
        """
        kind, columns = block.rows.kind, block.rows.columns
        if not len(block.rows):
            return 0

        def absent() -> list[Sequence[Any]]:
            return self._absent(block, columns)

        types = column_types(kind)
        return self._insert(
            TABLES[kind], COLUMNS[kind], types, columns, block, absent if check else None
        )

    def insert_account(self, block: Block, *, check: bool) -> None:
        """Store the block's row of table `blocks`; `check` looks whether it is there.

        Raises:
            UnseenError: with `check`, the row that ClickHouse accepted is not to be seen.
        """
        columns = [[value] for value in block.accounting()]
        sql = f"SELECT count() FROM {_BLOCKS} WHERE {_PLACE} AND first_offset = {{first:Int64}}"

        def absent() -> list[list[Any]]:
            ((found,),) = self._rows(sql, **_parameters(block.place), first=block.first)
            return [[] for _ in columns] if found else columns

        types = plain_types(_BLOCKS, BLOCK_COLUMNS)
        self._insert(_BLOCKS, BLOCK_COLUMNS, types, columns, block, absent if check else None)

    def _absent(self, block: Block, columns: list[Sequence[Any]]) -> list[Sequence[Any]]:
        """Return the columns without the rows that are stored already."""
        kind, place = block.rows.kind, block.place
        names = _place_columns(kind)
        by_name = dict(zip(COLUMNS[kind], columns, strict=True))
        times = by_name[TIMES[kind]]
        # The times let ClickHouse pass over parts that cannot hold rows of this block.
        sql = (
            f"SELECT {names.offset}, {names.row} FROM {TABLES[kind]} WHERE {names.condition}"
            f" AND {names.offset} >= {{first:Int64}} AND {names.offset} < {{end:Int64}}"
            f" AND {TIMES[kind]} BETWEEN fromUnixTimestamp64Nano({{least:Int64}}, 'UTC')"
            f" AND fromUnixTimestamp64Nano({{most:Int64}}, 'UTC')"
        )
        stored = set(
            self._rows(
                sql,
                **_parameters(place),
                first=block.first,
                end=block.end,
                least=min(times),
                most=max(times),
            )
        )
        if not stored:
            return columns
        rows = [0] * len(times) if kind == "dead_letters" else by_name["row"]
        places = zip(by_name[names.offset], rows, strict=True)
        absent = [index for index, row in enumerate(places) if row not in stored]
        return [picked(column, absent) for column in columns]

    def _insert(
        self,
        table: str,
        names: Sequence[str],
        types: Sequence[Any],
        columns: Sequence[Sequence[Any]],
        block: Block,
        absent: Callable[[], Sequence[Sequence[Any]]] | None,
    ) -> int:
        """Send the columns, or what `absent` says is not there, until nothing is absent."""
        if absent is None:
            self._send(table, names, types, columns, block.token(table))
            return len(columns[0])
        sent = 0
        for spare in range(_TOKENS):
            columns = absent()
            if not len(columns[0]):
                return sent
            if spare and not self._has_tokens_of_its_own(table):
                break
            self._send(table, names, types, columns, block.token(table, spare))
            sent += len(columns[0])
        if len(absent()[0]):
            raise UnseenError(f"rows that were accepted into {table} are not there to be read")
        return sent

    def _send(
        self,
        table: str,
        names: Sequence[str],
        types: Sequence[Any],
        columns: Sequence[Sequence[Any]],
        token: str,
    ) -> None:
        client = self._connected()
        context = client.create_insert_context(
            table,
            names,
            column_types=types,
            column_oriented=True,
            settings=INSERT_SETTINGS | {_TOKEN: token},
            data=columns,
        )
        client.data_insert(context)

    def _has_tokens_of_its_own(self, table: str) -> bool:
        """Say whether one server alone keeps the rows and the tokens of `table`.

        Of replicated tables a token and its part are noted at once, and the reading replica may
        only be late.
        """
        sql = (
            "SELECT engine FROM system.tables"
            " WHERE database = currentDatabase() AND name = {table:String}"
        )
        ((engine,),) = self._rows(sql, table=table)
        return str(engine).endswith("MergeTree") and not str(engine).startswith(_SHARED)

    def _rows(self, sql: str, **parameters: Any) -> list[Any]:
        return list(self._connected().query(sql, parameters=parameters).result_rows)

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = clickhouse_connect.get_client(
                    **self._arguments, database=self._database
                )
            return self._client


class _Names(msgspec.Struct, frozen=True):
    """How a table names the place where its rows were read."""

    condition: str
    offset: str
    row: str


_PLACE: Final = (
    "log_id = {log_id:String} AND topic = {topic:String} AND partition = {partition:Int32}"
)
_EVENT_NAMES: Final = _Names(_PLACE, "offset", "row")
_LETTER_NAMES: Final = _Names(
    "letter_log_id = {log_id:String} AND letter_partition = {partition:Int32}", "letter_offset", "0"
)


def _place_columns(kind: str) -> _Names:
    return _LETTER_NAMES if kind == "dead_letters" else _EVENT_NAMES


def _parameters(place: Place) -> dict[str, Any]:
    return msgspec.structs.asdict(place)
