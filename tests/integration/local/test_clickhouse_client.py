"""clickhouse-connect, unmodified and with its defaults, against the local server."""

import decimal
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clickhouse_connect
import psutil
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from infra.local.clickhouse.process import ClickHouseServer

COLUMNS = {
    "id": "UInt64",
    "ts": "DateTime64(9)",
    "symbol": "LowCardinality(String)",
    "price": "Decimal(38, 18)",
    "sizes": "Array(Int64)",
}
SCHEMA = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
RSS_BYTES_MAX = 1 << 30


def connect(server: ClickHouseServer, **options: Any) -> Client:
    return clickhouse_connect.get_client(host=server.host, port=server.port, **options)


@pytest.fixture
def client(server: ClickHouseServer) -> Iterator[Client]:
    with connect(server) as connected:
        yield connected


@pytest.fixture
def table(client: Client) -> Iterator[str]:
    name = f"t_{uuid.uuid4().hex}"
    client.command(
        f"CREATE TABLE {name} ({SCHEMA}) ENGINE = MergeTree ORDER BY (symbol, ts)"
        " SETTINGS non_replicated_deduplication_window = 1000"
    )
    yield name
    client.command(f"DROP TABLE {name}")


def columns(rows: int) -> list[list[object]]:
    price = decimal.Decimal("61234.5")
    return [
        list(range(rows)),
        [1_700_000_000_000_000_000 + number for number in range(rows)],
        ["BTC-USD"] * rows,
        [price] * rows,
        [[1, 2, 3]] * rows,
    ]


def insert(client: Client, table: str, rows: int, token: str) -> int:
    summary = client.insert(
        table,
        columns(rows),
        column_names=list(COLUMNS),
        column_type_names=list(COLUMNS.values()),
        column_oriented=True,
        settings={"insert_deduplication_token": token},
    )
    return summary.written_rows


@pytest.mark.parametrize("compress", [True, "lz4", "zstd", "gzip", False])
def test_insert_of_several_blocks_stores_every_row_once(
    server: ClickHouseServer, table: str, compress: bool | str
) -> None:
    with connect(server, compress=compress) as client:
        written = [insert(client, table, 100_000, token) for token in ("a", "b", "a")]
        stored = client.query(f"SELECT count(), uniqExact(id), sum(price) FROM {table}").first_row

    assert written == [100_000, 100_000, 100_000]
    assert stored == (200_000, 100_000, decimal.Decimal("61234.5") * 200_000)


def test_query_gives_back_exact_values(client: Client, table: str) -> None:
    insert(client, table, 3, "a")

    result = client.query(f"SELECT id, toUnixTimestamp64Nano(ts), price, sizes FROM {table}")

    price = decimal.Decimal("61234.5")
    assert result.result_rows == [
        (number, 1_700_000_000_000_000_000 + number, price, [1, 2, 3]) for number in range(3)
    ]
    assert result.summary["read_rows"] == "3"


def test_query_binds_parameters_in_the_url_and_in_a_form(client: Client) -> None:
    for text in ("it's\ta \\ tab", "x" * 10_000):
        result = client.query("SELECT {text:String}", parameters={"text": text})
        assert result.first_row == (text,)


def test_query_of_no_rows_knows_its_columns(client: Client, table: str) -> None:
    assert client.query(f"SELECT * FROM {table} LIMIT 0").column_names == tuple(COLUMNS)


def test_row_blocks_of_a_large_query_are_complete(client: Client) -> None:
    with client.query_row_block_stream("SELECT number FROM numbers(500000)") as blocks:
        assert sum(len(block) for block in blocks) == 500_000


def test_command_answers_values_and_errors(client: Client) -> None:
    assert client.command("SELECT 7") == 7
    assert client.command("SELECT 'x' WHERE 0") == ""
    with pytest.raises(DatabaseError) as raised:
        client.query("SELECT * FROM nothing")
    assert (raised.value.code, raised.value.name) == (60, "UNKNOWN_TABLE")


def test_session_of_the_client_keeps_a_temporary_table(client: Client) -> None:
    client.command("CREATE TEMPORARY TABLE temporary (a UInt8)")
    client.insert("temporary", [[1], [2]], column_names=["a"])

    assert client.query("SELECT sum(a) FROM temporary").first_row == (3,)


def test_raw_insert_takes_any_format(client: Client, table: str) -> None:
    rows = b"\n".join(b'{"id": %d, "symbol": "x"}' % number for number in range(10))

    summary = client.raw_insert(table, insert_block=rows, fmt="JSONEachRow")

    assert summary.written_rows == 10


def test_clients_insert_side_by_side_in_bounded_memory(
    server: ClickHouseServer, table: str
) -> None:
    def work(name: int) -> None:
        with connect(server, autogenerate_session_id=False) as client:
            for number in range(5):
                insert(client, table, 100_000, f"{name}-{number}")

    workers = [threading.Thread(target=work, args=(name,)) for name in range(3)]
    for worker in workers:
        worker.start()
    peak = 0
    while any(worker.is_alive() for worker in workers):
        peak = max(peak, psutil.Process(server.pid).memory_info().rss)
        workers[0].join(0.02)
    for worker in workers:
        worker.join()

    with connect(server) as client:
        assert client.command(f"SELECT count() FROM {table}") == 1_500_000
    assert peak < RSS_BYTES_MAX


def test_wrong_password_is_an_authentication_error(tmp_path: Path) -> None:
    with ClickHouseServer(tmp_path, password="right") as server:
        with connect(server, password="right") as client:
            assert client.command("SELECT 1") == 1
        with pytest.raises(DatabaseError) as raised:
            connect(server, password="wrong")

    assert raised.value.code == 516
