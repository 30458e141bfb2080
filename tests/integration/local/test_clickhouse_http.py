"""ClickHouse's HTTP protocol in front of the engine, request by request."""

import gzip
import socket
import subprocess
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import lz4.frame
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.local.clickhouse.body import MEMORY_BYTES
from infra.local.clickhouse.process import ClickHouseServer
from infra.local.clickhouse.server import Limits
from tests.integration.local.conftest import Http, wait_until

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}
DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.decompress,
    "zstd": zstd.decompress,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


@pytest.mark.parametrize("path", ["/ping", "/"])
def test_ping_answers_ok(http: Http, path: str) -> None:
    response = http.pool.request("GET", http.url + path)

    assert (response.status, response.data) == (200, b"Ok.\n")


def test_query_in_the_body_answers_its_rows(http: Http) -> None:
    answer = http.post("SELECT number, 'x' FROM numbers(2)", query_id="my-query")

    assert answer.body == b"0\tx\n1\tx\n"
    assert answer.headers["X-ClickHouse-Format"] == "TabSeparated"
    assert answer.headers["Content-Type"].startswith("text/tab-separated-values")
    assert answer.headers["X-ClickHouse-Query-Id"] == "my-query"
    assert answer.headers["X-ClickHouse-Timezone"]
    assert (answer.summary["read_rows"], answer.summary["result_rows"]) == (2, 2)


def test_statement_in_the_url_stands_before_the_body(http: Http, table: str) -> None:
    answer = http.post("1\tx\n2\ty\n", query=f"INSERT INTO {table} FORMAT TSV")

    assert answer.summary["written_rows"] == 2
    assert http.rows(f"SELECT sum(a) FROM {table}") == [["3"]]
    assert http.post("+ 1", query="SELECT 1").body == b"2\n"


@pytest.mark.parametrize(
    ("parameters", "headers", "query", "expected"),
    [
        ({}, {}, "SELECT 1 AS x FORMAT JSONEachRow", "JSONEachRow"),
        ({"default_format": "CSV"}, {}, "SELECT 1", "CSV"),
        ({}, {"X-ClickHouse-Format": "CSV"}, "SELECT 1", "CSV"),
        ({"default_format": "CSV"}, {}, "SELECT 1 FORMAT Pretty", "Pretty"),
        ({}, {}, "SELECT 1 WHERE 0", "TabSeparated"),
        ({}, {}, "EXISTS nothing", "TabSeparated"),
        ({}, {}, "CREATE DATABASE IF NOT EXISTS default", None),
    ],
)
def test_format_is_chosen_by_statement_parameter_or_header(
    http: Http,
    parameters: dict[str, str],
    headers: dict[str, str],
    query: str,
    expected: str | None,
) -> None:
    answer = http.post(query, headers, **parameters)

    assert answer.status == 200
    assert answer.headers.get("X-ClickHouse-Format") == expected


def test_totals_stand_behind_the_rows(http: Http) -> None:
    query = "SELECT number % 2 AS k, count() FROM numbers(5) GROUP BY k WITH TOTALS ORDER BY k"

    assert http.post(query).body == b"0\t3\n1\t2\n\n0\t5\n"


@pytest.mark.parametrize("encoding", sorted(COMPRESS))
def test_insert_of_several_frames_stores_every_block(http: Http, table: str, encoding: str) -> None:
    blocks = [
        http.post(f"SELECT number + {first} AS a, 'b' AS b FROM numbers(40000) FORMAT Native").body
        for first in (0, 40_000, 80_000)
    ]
    blocks[0] = f"INSERT INTO {table} (a, b) FORMAT Native\n".encode() + blocks[0]
    body = b"".join(COMPRESS[encoding](block) for block in blocks)

    answer = http.post(body, {"Content-Encoding": encoding})

    assert answer.summary["written_rows"] == 120_000
    expected = [["120000", str(sum(range(120_000)))]]
    assert http.rows(f"SELECT count(), sum(a) FROM {table}") == expected


@pytest.mark.parametrize("encoding", sorted(COMPRESS))
def test_insert_of_a_body_cut_short_stores_nothing(http: Http, table: str, encoding: str) -> None:
    rows = b"".join(b"%d\tx\n" % number for number in range(50_000))
    body = COMPRESS[encoding](f"INSERT INTO {table} FORMAT TSV\n".encode() + rows)

    answer = http.post(body[:-20], {"Content-Encoding": encoding})

    assert (answer.status, answer.code) == (400, 271)
    assert http.rows(f"SELECT count() FROM {table}") == [["0"]]


def test_insert_with_a_wrong_row_says_where_and_stores_nothing(http: Http, table: str) -> None:
    answer = http.post(f"INSERT INTO {table} FORMAT TSV\n1\tx\nfoo\ty\n")

    assert (answer.status, answer.code) == (400, 27)
    assert "at row 2" in answer.text
    assert http.rows(f"SELECT count() FROM {table}") == [["0"]]


def test_insert_larger_than_memory_goes_over_disk(http: Http, table: str) -> None:
    line = b"7\t" + b"x" * 998 + b"\n"
    count = MEMORY_BYTES * 2 // len(line)

    answer = http.post(f"INSERT INTO {table} FORMAT TSV\n".encode() + line * count)

    assert answer.summary["written_rows"] == count
    assert http.rows(f"SELECT count(), uniqExact(b) FROM {table}") == [[str(count), "1"]]


def test_insert_that_selects_from_the_body_is_refused_not_lost(http: Http, table: str) -> None:
    answer = http.post(f"INSERT INTO {table} SELECT a, '' FROM input('a UInt8') FORMAT TSV\n1\n")

    assert (answer.status, answer.code) == (501, 48)


def test_insert_with_the_same_token_is_stored_once(http: Http, table: str) -> None:
    http.rows(f"ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = 10")

    for _ in range(2):
        http.rows(f"INSERT INTO {table} VALUES (1, 'x')", insert_deduplication_token="token")

    assert http.rows(f"SELECT count() FROM {table}") == [["1"]]


@pytest.mark.parametrize(
    ("query", "parameters", "status", "code"),
    [
        ("SELECT * FROM nothing", {}, 404, 60),
        ("SELEC 1", {}, 400, 62),
        ("", {}, 400, 62),
        ("SELECT 1; SELECT 2", {}, 400, 62),
        ("SELECT 1", {"nothing": "1"}, 404, 115),
        ("SELECT 1", {"x' = 1, y": "1"}, 404, 115),
        ("SELECT 1", {"database": "nothing`"}, 404, 81),
        ("SELECT 1 FORMAT Nothing", {}, 404, 73),
        ("SELECT {a:UInt8}", {"param_a": "x"}, 400, 457),
        ("SELECT throwIf(number = 200000) FROM numbers(300000)", {}, 500, 395),
        ("INSERT INTO nothing VALUES (1)", {}, 404, 60),
        ("SELECT * FROM file('/etc/passwd', LineAsString)", {}, 403, 497),
        ("SELECT 1 INTO OUTFILE '/tmp/out'", {}, 403, 497),
        ("SELECT 1", {"compress": "1"}, 501, 48),
    ],
)
def test_errors_have_clickhouse_code_status_and_message(
    http: Http, query: str, parameters: dict[str, str], status: int, code: int
) -> None:
    answer = http.post(query, **parameters)

    assert (answer.status, answer.code) == (status, code)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")


def test_parameters_are_bound_by_the_engine(http: Http, table: str) -> None:
    text = "it's\\ta tab"

    assert http.rows("SELECT {x:String}", param_x=text) == [["it\\'s\\ta tab"]]
    http.rows("INSERT INTO {t:Identifier} SELECT 5, ''", param_t=table)
    http.rows("INSERT INTO {t:Identifier} FORMAT TSV\n6\t\n", param_t=table)
    assert http.rows("SELECT sum(a) FROM {t:Identifier}", param_t=table) == [["11"]]


def test_form_holds_the_query_and_its_parameters(http: Http) -> None:
    fields = {"query": "SELECT length({x:String})", "param_x": "y" * 100_000}

    response = http.pool.request("POST", http.url, fields=fields)

    assert response.data == b"100000\n"


def test_form_with_an_external_table_is_refused(http: Http) -> None:
    table = ("t.tsv", b"1\n")

    response = http.pool.request("POST", http.url, fields={"query": "SELECT * FROM t", "t": table})

    assert response.status == 501


@pytest.mark.parametrize("encoding", sorted(DECOMPRESS))
@pytest.mark.parametrize("rows", [10_000, 1_000_000])
def test_result_is_compressed_as_the_client_asks(http: Http, encoding: str, rows: int) -> None:
    query = f"SELECT number FROM numbers({rows})"

    answer = http.post(query, {"Accept-Encoding": f"br, {encoding}"}, enable_http_compression="1")

    assert answer.headers["Content-Encoding"] == encoding
    expected = b"".join(b"%d\n" % number for number in range(rows))
    assert DECOMPRESS[encoding](answer.body) == expected


def test_result_stays_plain_when_compression_is_off_or_the_result_is_small(http: Http) -> None:
    query = "SELECT number FROM numbers(10000)"
    accept = {"Accept-Encoding": "lz4"}

    assert "Content-Encoding" not in http.post(query, accept, enable_http_compression="0").headers
    assert "Content-Encoding" not in http.post("SELECT 1", accept).headers


def test_result_larger_than_memory_goes_over_disk(http: Http) -> None:
    count = MEMORY_BYTES // 4

    answer = http.post(f"SELECT number FROM numbers({count}) FORMAT RowBinary")

    assert len(answer.body) == count * 8
    assert answer.summary["result_rows"] == count


def test_client_that_leaves_while_sending_leaves_nothing(
    server: ClickHouseServer, http: Http, table: str
) -> None:
    head = f"POST / HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: 1000000\r\n\r\n"
    with socket.create_connection((server.host, server.port)) as connection:
        body = f"INSERT INTO {table} FORMAT TSV\n" + "1\tx\n" * 10_000
        connection.sendall((head + body).encode())

    # The next answers come after the server has seen the connection close.
    for _ in range(3):
        assert http.rows(f"SELECT count() FROM {table}") == [["0"]]


def test_query_of_a_client_that_leaves_is_cancelled(server: ClickHouseServer, http: Http) -> None:
    query = "SELECT count() FROM numbers(100000000000) WHERE number % 3 = 1"
    head = f"POST / HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: {len(query)}\r\n\r\n"
    running = (
        "SELECT count() FROM system.processes WHERE elapsed > 0.1"
        " AND query LIKE '%100000000000)%' AND query NOT LIKE '%processes%'"
    )
    with socket.create_connection((server.host, server.port)) as connection:
        connection.sendall((head + query).encode())
        wait_until(lambda: http.rows(running) == [["1"]])

    wait_until(lambda: http.rows(running) == [["0"]])


def test_requests_beyond_the_waiting_are_to_be_tried_again(http: Http) -> None:
    count = Limits().threads + Limits().waiting_max + 10
    with ThreadPoolExecutor(count) as clients:
        query = "SELECT sleep(0.3)"
        answers = list(clients.map(lambda _: Http(http.url).post(query), range(count)))

    refused = [answer for answer in answers if answer.status != 200]
    assert 1 <= len(refused) <= 10
    assert {(answer.status, answer.code) for answer in refused} == {(503, 202)}
    assert http.rows("SELECT 1") == [["1"]]


def test_query_that_waits_is_dropped_with_its_client(server: ClickHouseServer, http: Http) -> None:
    """All threads are busy, one query waits and its client leaves: it never runs."""

    def send(query: str) -> socket.socket:
        head = f"POST / HTTP/1.1\r\nHost: {server.host}\r\nContent-Length: {len(query)}\r\n\r\n"
        connection = socket.create_connection((server.host, server.port))
        connection.sendall((head + query).encode())
        # Answers that need no thread, so that the server has read the query before the next step.
        for _ in range(20):
            assert http.get(compress="1", query="SELECT 1").status == 501
        return connection

    busy = [send("SELECT sleep(2)") for _ in range(Limits().threads)]
    send("CREATE TABLE never (a UInt8) ENGINE = Memory").close()
    for connection in busy:
        with connection:
            assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")

    assert http.rows("EXISTS never") == [["0"]]


def test_queries_run_while_rows_are_inserted(http: Http, table: str) -> None:
    rows = b"".join(b"%d\tx\n" % number for number in range(20_000))
    body = f"INSERT INTO {table} FORMAT TSV\n".encode() + rows
    failures: list[str] = []
    inserted = threading.Event()

    def query() -> None:
        while not inserted.is_set():
            answer = http.post(f"SELECT count() % 20000 FROM {table}")
            if answer.body != b"0\n":
                failures.append(answer.text)

    readers = [threading.Thread(target=query) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(20):
        assert http.post(body).summary["written_rows"] == 20_000
    inserted.set()
    for reader in readers:
        reader.join()

    assert failures == []
    assert http.rows(f"SELECT count() FROM {table}") == [["400000"]]


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(
    body=st.binary(max_size=200) | st.text(max_size=100).map(str.encode),
    encoding=st.sampled_from(["", "lz4", "zstd", "gzip", "nothing"]),
)
def test_server_survives_any_body(http: Http, body: bytes, encoding: str) -> None:
    answer = http.post(body, {"Content-Encoding": encoding} if encoding else None)

    assert answer.status == 200 or answer.code > 0
    assert http.rows("SELECT 1") == [["1"]]


def test_curl_gets_json(server: ClickHouseServer) -> None:
    command = [
        "curl",
        "--silent",
        "--compressed",
        server.url,
        "-d",
        "SELECT 1 AS x FORMAT JSONEachRow",
    ]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)

    assert done.stdout == b'{"x":1}\n'
