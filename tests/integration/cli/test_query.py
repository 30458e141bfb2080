"""`streamgauge query` against ClickHouse: formats, parameters, errors, large answers."""

import json
import os
import pty
import select
import subprocess
import sys
import time

import pytest

from infra.local.process import free_port
from tests.integration.cli.conftest import CHECKOUT, DEADLINE_S, Command


def test_pipe_gets_names_and_tab_separated_rows(
    streamgauge: Command, environ: dict[str, str]
) -> None:
    result = streamgauge(
        "query", "SELECT 1 AS a, 'x\ty' AS b, toDecimal64('1.5', 4) AS c", **environ
    )

    assert result.stdout == "a\tb\tc\n1\tx\\ty\t1.5\n"
    assert (result.returncode, result.stderr) == (0, "")


def test_json_gives_one_object_a_row(streamgauge: Command, environ: dict[str, str]) -> None:
    result = streamgauge("query", "SELECT number AS n FROM numbers(3)", "--json", **environ)

    assert [json.loads(line) for line in result.stdout.splitlines()] == [
        {"n": 0},
        {"n": 1},
        {"n": 2},
    ]


def test_sql_of_standard_input_takes_parameters(
    streamgauge: Command, environ: dict[str, str]
) -> None:
    result = streamgauge(
        "query", "-", "--param", "text=it's", stdin="SELECT {text:String} AS t", **environ
    )

    assert result.stdout == "t\nit\\'s\n"


def test_statements_without_an_answer_work(streamgauge: Command, environ: dict[str, str]) -> None:
    created = streamgauge(
        "query", "CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a", **environ
    )
    inserted = streamgauge("query", "INSERT INTO t VALUES (1), (2)", **environ)

    assert (created.returncode, created.stdout) == (0, "")
    assert (inserted.returncode, inserted.stdout) == (0, "")
    assert streamgauge("query", "SELECT sum(a) AS s FROM t", **environ).stdout == "s\n3\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["SELEC 1"], 1, "Syntax error"),
        (["SELECT * FROM absent"], 1, "streamgauge migrate"),
        ([""], 2, "empty"),
        (["SELECT 1", "--json", "--tsv"], 2, "exclude"),
        (["SELECT 1", "--param", "x"], 2, "NAME=VALUE"),
        (["SELECT throwIf(number = 5) FROM numbers(9)"], 1, "throwIf"),
    ],
)
def test_wrong_query_ends_in_one_line_and_a_code(
    streamgauge: Command, environ: dict[str, str], arguments: list[str], code: int, said: str
) -> None:
    result = streamgauge("query", *arguments, **environ)

    assert result.returncode == code
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_password_says_where_the_password_goes(
    streamgauge: Command, environ: dict[str, str]
) -> None:
    environ["STREAMGAUGE__CLICKHOUSE__PASSWORD"] = "certainly-not-this"
    environ["STREAMGAUGE__CLICKHOUSE__USER"] = "nobody"

    result = streamgauge("query", "SELECT 1", **environ)

    assert result.returncode == 1
    assert "certainly-not-this" not in result.stderr
    assert "STREAMGAUGE__CLICKHOUSE__PASSWORD" in result.stderr


def test_clickhouse_that_is_away_is_named_with_what_to_do(streamgauge: Command) -> None:
    port = str(free_port())

    result = streamgauge("query", "SELECT 1", STREAMGAUGE__CLICKHOUSE__PORT=port)

    assert result.returncode == 1
    assert f"127.0.0.1:{port}" in result.stderr
    assert "streamgauge run" in result.stderr


def test_large_answer_passes_whole(streamgauge: Command, environ: dict[str, str]) -> None:
    result = streamgauge("query", "SELECT number FROM numbers(300000)", **environ)

    lines = result.stdout.splitlines()
    assert len(lines) == 300_001
    assert lines[-1] == "299999"


def test_terminal_gets_an_aligned_table(environ: dict[str, str]) -> None:
    sql = "SELECT number * 100 AS n, concat('t', toString(number)) AS text FROM numbers(1005)"
    output = on_terminal(["query", sql], environ | {"NO_COLOR": "1"})

    lines = output.splitlines()
    assert lines[0].split() == ["n", "text"]
    assert lines[1].split() == ["0", "t0"]
    assert lines[3].index("t2") == lines[1].index("t0")
    assert len(lines) == 1 + 1000 + 1
    assert "5 rows more" in lines[-1]
    assert "\x1b" not in output


def on_terminal(arguments: list[str], environ: dict[str, str]) -> str:
    """Return what the command writes on a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "streamgauge", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | environ | {"PYTHONPATH": str(CHECKOUT), "COLUMNS": "80", "TERM": "xterm"},
    )
    os.close(theirs)
    output = bytearray()
    deadline = time.monotonic() + DEADLINE_S
    while select.select([ours], [], [], max(0.0, deadline - time.monotonic()))[0]:
        try:
            piece = os.read(ours, 65_536)
        except OSError:
            # Linux answers so when the other side has closed the terminal.
            break
        if not piece:
            break
        output += piece
    os.close(ours)
    assert process.wait(timeout=DEADLINE_S) == 0, output.decode()
    return output.decode()
