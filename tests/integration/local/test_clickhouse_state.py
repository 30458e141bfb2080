"""What a request may change, what it leaves behind, and who may send one."""

import threading
import uuid
from pathlib import Path

import pytest

from infra.local.clickhouse.process import ClickHouseServer
from tests.integration.local.conftest import Http, wait_until


def test_transport_parameters_never_reach_the_engine(http: Http, table: str) -> None:
    transport = {
        "session_id": "transport",
        "session_timeout": "10",
        "query_id": "q",
        "client_protocol_version": "54405",
        "wait_end_of_query": "1",
        "buffer_size": "1000",
        "quota_key": "k",
        "send_progress_in_http_headers": "1",
        "http_headers_progress_interval_ms": "1000",
        "cancel_http_readonly_queries_on_client_close": "1",
        "enable_http_compression": "1",
    }

    assert http.rows("SELECT 1", **transport) == [["1"]]
    assert http.post(f"INSERT INTO {table} VALUES (1, '')", **transport).status == 200


def test_state_of_a_request_does_not_reach_the_next(http: Http) -> None:
    http.rows("USE system")
    http.rows("SET max_block_size = 7")
    http.rows("CREATE TEMPORARY TABLE temporary (a UInt8)")
    http.rows("SELECT 1", max_block_size="9", database="system")

    query = "SELECT currentDatabase(), getSetting('max_block_size') != 7"
    assert http.rows(query) == [["default", "1"]]
    assert http.post("SELECT * FROM temporary").code == 60


def test_session_keeps_its_own_state_and_nothing_of_a_request(http: Http) -> None:
    session = {"session_id": uuid.uuid4().hex}
    http.rows("CREATE TEMPORARY TABLE temporary (a UInt8)", **session)
    http.rows("INSERT INTO temporary VALUES (1)", **session)
    http.rows("SET max_block_size = 7", **session)
    state = "SELECT currentDatabase(), getSetting('max_block_size'), count() FROM temporary"

    inside = http.rows(state, **session, max_block_size="9", database="default")
    http.rows("SELECT 1", **session, database="system", max_block_size="11", max_threads="1")
    http.post("SELECT nothing", **session, max_block_size="12")

    assert inside == [["default", "9", "1"]]
    assert http.rows(state, **session) == [["default", "7", "1"]]


def test_session_in_use_is_locked(http: Http) -> None:
    session = {"session_id": uuid.uuid4().hex}
    long = threading.Thread(target=lambda: http.rows("SELECT sleep(1.5)", **session))
    long.start()
    wait_until(lambda: http.rows("SELECT count() FROM system.processes")[0][0] == "2")

    answer = http.post("SELECT 1", **session)
    long.join()

    assert answer.code == 373
    assert http.rows("SELECT 1", **session) == [["1"]]


def test_session_that_must_exist_or_was_closed_is_not_found(http: Http) -> None:
    session = {"session_id": uuid.uuid4().hex}

    assert http.post("SELECT 1", **session, session_check="1").code == 372
    http.rows("SELECT 1", **session)
    http.rows("SELECT 1", **session, session_check="1", close_session="1")
    assert http.post("SELECT 1", **session, session_check="1").code == 372
    assert http.post("SELECT 1", **session, session_timeout="3601").code == 374


def test_get_only_reads(http: Http, table: str) -> None:
    statements = [
        f"INSERT INTO {table} VALUES (1, '')",
        f"INSERT INTO {table} SELECT 1, ''",
        f"DROP TABLE {table}",
        "CREATE TABLE x (a UInt8) ENGINE = Memory",
        "SYSTEM FLUSH LOGS",
    ]

    assert http.get(query="SELECT 1").body == b"1\n"
    for statement in statements:
        answer = http.get(query=statement)
        assert (answer.status, answer.code) == (500, 164), statement
    assert http.rows(f"SELECT count() FROM {table}") == [["0"]]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_requests_of_another_site_are_refused(
    http: Http, table: str, headers: dict[str, str]
) -> None:
    answer = http.post(f"INSERT INTO {table} VALUES (1, '')", headers)

    assert (answer.status, answer.code) == (403, 497)
    assert http.get(headers, query="SELECT 1").status == 403
    assert http.rows(f"SELECT count() FROM {table}") == [["0"]]


def test_password_is_asked_for_by_every_way(tmp_path: Path) -> None:
    with ClickHouseServer(tmp_path, password="right") as server:
        http = Http(server.url)
        basic = {"Authorization": "Basic ZGVmYXVsdDpyaWdodA=="}
        named = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "right"}

        assert http.post("SELECT 1", basic).status == 200
        assert http.post("SELECT 1", named).status == 200
        assert http.post("SELECT 1", user="default", password="right").status == 200
        for answer in (http.post("SELECT 1"), http.post("SELECT 1", password="wrong")):
            assert (answer.status, answer.code) == (403, 516)
        assert http.pool.request("GET", f"{http.url}/ping").status == 200
