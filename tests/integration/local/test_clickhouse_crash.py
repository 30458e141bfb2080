"""What the local ClickHouse acknowledged is there after a kill, and nothing of a half insert.

Of the insert that the kill cut off, the token may be known and the rows not: a repeat is then taken
for a duplicate. That is the engine's way; `sinks/store.py` has spare tokens for it.
"""

import threading
from pathlib import Path

import pytest
import urllib3

from infra.local.clickhouse.process import ClickHouseServer
from infra.local.process import FolderInUseError
from tests.integration.local.conftest import Http, wait_until

ROWS = 20_000
KILLS = 3


def block(number: int) -> bytes:
    """An insert of one block, every row of which carries the block's number."""
    return b"INSERT INTO t FORMAT TSV\n" + b"%d\n" % number * ROWS


def insert_until_killed(http: Http, first: int) -> int:
    """Number of the first block that was not acknowledged."""
    number = first
    while True:
        try:
            answer = http.post(block(number), insert_deduplication_token=f"block-{number}")
        except urllib3.exceptions.HTTPError:
            return number
        assert answer.summary["written_rows"] == ROWS
        number += 1


def test_kill_in_an_insert_loop_loses_and_doubles_no_block(tmp_path: Path) -> None:
    server = ClickHouseServer(tmp_path)
    server.start()
    http = Http(server.url)
    http.rows(
        "CREATE TABLE t (block UInt32) ENGINE = MergeTree ORDER BY block"
        " SETTINGS non_replicated_deduplication_window = 1000"
    )
    number = 0
    for _ in range(KILLS):
        killer = threading.Timer(0.7, server.kill)
        killer.start()
        unknown = insert_until_killed(Http(server.url), number)
        killer.join()
        assert unknown > number
        server.start()
        http = Http(server.url)
        stored = http.rows("SELECT block, count() FROM t GROUP BY block ORDER BY block")
        # The last one may be there or not, but never in part; its token decides on the repeat.
        assert len(stored) in (unknown, unknown + 1)
        assert all(row == [str(at), str(ROWS)] for at, row in enumerate(stored))
        for token in (f"block-{unknown}", f"block-{unknown}-spare"):
            if http.rows(f"SELECT count() FROM t WHERE block = {unknown}") == [["0"]]:
                http.post(block(unknown), insert_deduplication_token=token)
        number = unknown + 1

    blocks = http.rows("SELECT count() / uniqExact(block), uniqExact(block) FROM t")
    detached = http.rows("SELECT count() FROM system.detached_parts")
    server.stop()
    assert blocks == [[str(ROWS), str(number)]]
    assert detached == [["0"]]


def test_stop_finishes_a_running_insert(tmp_path: Path) -> None:
    server = ClickHouseServer(tmp_path)
    server.start()
    http = Http(server.url)
    http.rows("CREATE TABLE t (block UInt32, pause UInt8) ENGINE = MergeTree ORDER BY block")
    status: list[int] = []

    def insert() -> None:
        query = "INSERT INTO t SELECT number, sleepEachRow(0.1) FROM numbers(10)"
        status.append(http.post(query).status)

    running = "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow(0.1)%'"
    inserting = threading.Thread(target=insert)
    inserting.start()
    wait_until(lambda: Http(server.url).rows(running) == [["2"]])
    stopped = server.stop()
    inserting.join()

    assert (stopped, status) == (0, [200])
    with server:
        assert Http(server.url).rows("SELECT count() FROM t") == [["10"]]


def test_second_start_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with ClickHouseServer(tmp_path) as server:
        with pytest.raises(FolderInUseError, match=f"pid {server.pid}"):
            ClickHouseServer(tmp_path).start()

        assert Http(server.url).rows("SELECT 1") == [["1"]]
