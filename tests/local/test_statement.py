"""Where an insert's statement ends, which format a result has, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.clickhouse.statement import (
    find_insert,
    first_word,
    output_format,
    reaches_out,
    tokens,
)


@pytest.mark.parametrize(
    ("body", "head", "data_format", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\x01\x02", b"INSERT INTO t ", "Native", b"\x01\x02"),
        (b"insert into t (a, b) format TSV\r\n1\t2", b"insert into t (a, b) ", "TSV", b"1\t2"),
        (b"INSERT INTO t FORMAT TSV \n\n1", b"INSERT INTO t ", "TSV", b"\n1"),
        (b'INSERT INTO t FORMAT JSONEachRow {"a":1}', b"INSERT INTO t ", "JSONEachRow", b'{"a":1}'),
        (b"INSERT INTO t VALUES (1),(2)", b"INSERT INTO t ", "Values", b"(1),(2)"),
        (b"INSERT INTO t(values) VALUES (1)", b"INSERT INTO t(values) ", "Values", b"(1)"),
        (b"INSERT INTO t FORMAT Values (1)", b"INSERT INTO t ", "Values", b"(1)"),
        (b"INSERT INTO format FORMAT TSV\n1", b"INSERT INTO format ", "TSV", b"1"),
        (b"INSERT INTO db.format FORMAT TSV\n1", b"INSERT INTO db.format ", "TSV", b"1"),
        (b"INSERT INTO TABLE values FORMAT CSV\n1", b"INSERT INTO TABLE values ", "CSV", b"1"),
        (
            b"INSERT INTO `a FORMAT b` (`c FORMAT`) FORMAT CSV\n1",
            b"INSERT INTO `a FORMAT b` (`c FORMAT`) ",
            "CSV",
            b"1",
        ),
        (
            b"/* FORMAT x */ INSERT INTO t -- FORMAT y\n SETTINGS s = 'FORMAT z' FORMAT TSV\n1",
            b"/* FORMAT x */ INSERT INTO t -- FORMAT y\n SETTINGS s = 'FORMAT z' ",
            "TSV",
            b"1",
        ),
        (b"INSERT INTO t FORMAT /* c */ TSV\n1", b"INSERT INTO t ", "TSV", b"1"),
        (
            b"INSERT INTO t SETTINGS a='it''s' FORMAT TSV",
            b"INSERT INTO t SETTINGS a='it''s' ",
            "TSV",
            b"",
        ),
    ],
)
def test_find_insert_finds_head_format_and_data(
    body: bytes, head: bytes, data_format: str, data: bytes
) -> None:
    insert = find_insert(body)

    assert insert is not None
    assert (head, data_format, data) == (insert.head, insert.data_format, body[insert.data_at :])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"SELECT 1 FORMAT TSV",
        b"SELECT 'INSERT INTO t VALUES (1)'",
        b"INSERT INTO t SELECT 1 FORMAT TSV",
        b"INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x",
        b"INSERT INTO t",
        b"INSERT INTO t FORMAT",
        b"INSERT INTO t (VALUES FORMAT",
        b"-- INSERT INTO t VALUES (1)",
    ],
)
def test_find_insert_leaves_other_statements_alone(body: bytes) -> None:
    assert find_insert(body) is None


@given(st.binary())
def test_find_insert_of_any_data_keeps_every_byte(data: bytes) -> None:
    head = b"INSERT INTO db.`t` (`a`, b) SETTINGS x = 1 FORMAT RowBinary\n"

    insert = find_insert(head + data)

    assert insert is not None
    assert data == (head + data)[insert.data_at :]


@given(st.binary())
def test_tokens_of_any_bytes_go_forward_and_stay_inside(statement: bytes) -> None:
    at = 0
    for token in tokens(statement):
        assert at <= token.start < token.end <= len(statement)
        at = token.end


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (b"SELECT 1", None),
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 format JSONEachRow;", "JSONEachRow"),
        (b"SELECT 1 FORMAT CSV SETTINGS max_threads = 1", "CSV"),
        (b"SELECT 1 FORMAT CSV -- FORMAT TSV", "CSV"),
        (b"SELECT 'x FORMAT JSON'", None),
        (b"SELECT format FROM t", None),
        (b"SELECT * FROM (SELECT 1 FORMAT JSON)", None),
        (b"SELECT `FORMAT` JSON", None),
    ],
)
def test_output_format_is_that_of_the_last_clause(statement: bytes, expected: str | None) -> None:
    assert expected == output_format(statement)


@pytest.mark.parametrize(
    "statement",
    [
        b"SELECT * FROM file('/etc/passwd')",
        b"SELECT file('/etc/passwd')",
        b"SELECT * FROM File /* c */ ('x')",
        b"SELECT * FROM `file`('x')",
        b"SELECT * FROM \"file\" ('x')",
        b"SELECT * FROM \xe2\x80\x9cfile\xe2\x80\x9d('x')",
        b"SELECT * FROM file\xc2\xa0('x')",
        b"SELECT * FROM url('file:///etc/passwd')",
        b"CREATE TABLE t (a Int8) ENGINE = File(TSV)",
        b"CREATE DATABASE d ENGINE = Filesystem('/')",
        b"INSERT INTO FUNCTION file('x') SELECT 1",
        b"SELECT 1 INTO OUTFILE 'x'",
        b"INSERT INTO t FROM INFILE 'x' FORMAT TSV",
        b"SELECT * FROM executable('x', TSV, 'a Int8')",
        b"SELECT '/* ' , file('x') , ' */'",
        b"SELECT $$ /* $$, file('x')",
    ],
)
def test_reaches_out_sees_ways_to_files_and_commands(statement: bytes) -> None:
    assert reaches_out(statement) is not None


@pytest.mark.parametrize(
    "statement",
    [
        b"SELECT file, url FROM t WHERE file = 'file('",
        b"SELECT * FROM numbers(3) -- file('x')",
        b"SELECT 1 /* file('x') */",
        b"SELECT $$ file('x') $$",
        b"SELECT profile(1)",
    ],
)
def test_reaches_out_lets_words_strings_and_comments_be(statement: bytes) -> None:
    assert reaches_out(statement) is None


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (b"select 1", "SELECT"),
        (b"((SELECT 1)) UNION ALL SELECT 2", "SELECT"),
        (b"/* a /* b */ c */ WITH 1 AS x SELECT x", "WITH"),
        (b"'SELECT'", ""),
        (b"", ""),
        (b"/* never closed", ""),
    ],
)
def test_first_word_skips_comments_and_brackets(statement: bytes, expected: str) -> None:
    assert expected == first_word(statement)
