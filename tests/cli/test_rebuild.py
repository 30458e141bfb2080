"""`streamgauge rebuild` on files that are right, wrong, cut short or no files at all."""

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from infra.cli import rebuild

SESSION = [
    "# exchange: deribit",
    "# channels: book.*.raw",
    '1\tR\tws\t{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.X.raw","data":'
    '{"type":"snapshot","timestamp":1,"instrument_name":"X","change_id":7,'
    '"bids":[["new",10.5,3.0]],"asks":[["new",11.0,40.0]]}}}',
    '2\tR\tws\t{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.X.raw","data":'
    '[{"timestamp":2,"instrument_name":"X","trade_seq":5,"trade_id":"a","price":10.5,'
    '"amount":1.0,"direction":"sell"}]}}',
    "3\tR\tws\t{not json",
]


def _write(path: Path, lines: list[str], *, compressed: bool = True) -> Path:
    text = "".join(f"{line}\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if compressed else text)
    return path


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(rebuild.command, [str(argument) for argument in arguments])


@pytest.mark.parametrize("compressed", [True, False])
def test_rebuild_session_prints_one_json_line(tmp_path: Path, compressed: bool) -> None:
    file = _write(tmp_path / "session.tsv.gz", SESSION, compressed=compressed)

    result = _run(file, "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout) == {
        "file": str(file),
        "exchange": "deribit",
        "frames": 3,
        "trades": 1,
        "decode_errors": 1,
        "ignored": {},
        "books": {
            "X": {
                "bid_levels": 1,
                "ask_levels": 1,
                "best_bid": ["10.5", "3"],
                "best_ask": ["11", "40"],
                "book_crc32": 3468667071,
                "last_seq": 7,
                "in_sync": True,
                "snapshots": 1,
                "gaps": 0,
                "duplicates": 0,
                "crossed": 0,
                "checksum_ok": 0,
                "checksum_bad": 0,
            }
        },
    }


def test_rebuild_session_prints_plain_table(tmp_path: Path) -> None:
    result = _run(_write(tmp_path / "session.tsv.gz", SESSION))

    assert result.exit_code == 0
    assert "3 frames, 1 trade, 1 that could not be read, 1 book\n" in result.stdout
    assert "X           in sync   1 + 1      10.5        11          1  -" in result.stdout
    assert "\x1b" not in result.stdout


def test_rebuild_counts_what_is_not_needed(tmp_path: Path) -> None:
    frame = '1\tR\tws\t{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","s":"BTCUSDT"}}'

    result = _run(_write(tmp_path / "session.tsv.gz", ["# exchange: binance", frame, frame]))

    assert result.exit_code == 0
    assert "2 frames, 0 trades" in result.stdout
    assert "not needed: aggTrade 2" in result.stdout


def test_rebuild_without_books_prints_no_table(tmp_path: Path) -> None:
    result = _run(_write(tmp_path / "empty.tsv.gz", SESSION[:2]))

    assert result.exit_code == 0
    assert "0 books" in result.stdout
    assert "instrument" not in result.stdout


def test_rebuild_as_another_exchange_says_that_nothing_could_be_read(tmp_path: Path) -> None:
    lines = ["# exchange: deribit", "1\tR\tws\tno frame", "2\tR\tws\tnor this"]

    result = _run(_write(tmp_path / "session.tsv.gz", lines))

    assert result.exit_code == 1
    assert "no frame could be read as one of deribit's" in result.stderr


def test_rebuild_named_exchange_wins_over_header(tmp_path: Path) -> None:
    file = _write(tmp_path / "session.tsv.gz", ["# exchange: something else", *SESSION[1:]])

    result = _run(file, "--exchange", "deribit", "--json")

    assert json.loads(result.stdout)["exchange"] == "deribit"


def test_rebuild_unknown_exchange_option_is_refused(tmp_path: Path) -> None:
    result = _run(_write(tmp_path / "session.tsv.gz", SESSION), "--exchange", "nowhere")

    assert result.exit_code == 2
    assert "no exchange is called 'nowhere'; there are binance" in result.stderr


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["# exchange: nowhere", *SESSION[1:]], "line 1: no exchange is called 'nowhere'"),
        (SESSION[2:], "line 1: expected a header `# exchange: NAME`"),
        ([*SESSION, "1\tR\tws"], "line 6: expected 4 columns, found 3"),
        ([*SESSION, "one\tR\tws\t{}"], "line 6: expected a time in ns, found 'one'"),
        ([*SESSION, "1\tQ\tws\t{}"], "line 6: expected kind C, S, R or H, found 'Q'"),
    ],
)
def test_rebuild_malformed_file_is_named_and_others_are_done(
    tmp_path: Path, lines: list[str], message: str
) -> None:
    bad = _write(tmp_path / "bad.tsv.gz", lines)
    good = _write(tmp_path / "good.tsv.gz", SESSION)

    result = _run(bad, good, "--json")

    assert result.exit_code == 1
    assert f"{bad}: {message}" in result.stderr
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == [str(good)]


def test_rebuild_truncated_gzip_names_last_line(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f"{line}\n" for line in SESSION[:2] + SESSION[2:] * 500).encode())
    file = tmp_path / "cut.tsv.gz"
    file.write_bytes(whole[: len(whole) // 2])

    result = _run(file)

    assert result.exit_code == 1
    assert f"{file}: " in result.stderr
    assert "the compressed data ends too early" in result.stderr


def test_rebuild_broken_gzip_says_so(tmp_path: Path) -> None:
    file = tmp_path / "broken.tsv.gz"
    file.write_bytes(gzip.compress(b"# exchange: deribit\n")[:-8] + b"12345678")

    result = _run(file)

    assert result.exit_code == 1
    assert "CRC check failed" in result.stderr


@pytest.mark.parametrize(
    "content", [b"# exchange: deribit\n1\tR\tws\t\xff\xfe\n", b"\x1f\x8b\x08junk"]
)
def test_rebuild_file_that_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "binary.tsv"
    file.write_bytes(content)

    result = _run(file)

    assert result.exit_code == 1
    assert str(file) in result.stderr


def test_rebuild_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    result = _run(tmp_path / "none.tsv.gz", tmp_path)

    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr
    assert "Is a directory" in result.stderr


def test_rebuild_endless_line_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "LINE_CHARACTERS_MAX", 100)

    result = _run(_write(tmp_path / "session.tsv.gz", SESSION))

    assert result.exit_code == 1
    assert "line 3: longer than 100 characters" in result.stderr


@pytest.mark.parametrize("content", [b"no tape\n", b"\x8f\xff\x00", b"", b"\x1f\x8b\x08junk"])
def test_rebuild_bad_file_between_good_ones_is_named_and_the_others_are_done(
    tmp_path: Path, content: bytes
) -> None:
    first = _write(tmp_path / "first.tsv.gz", SESSION)
    bad = tmp_path / "bad"
    bad.write_bytes(content)
    last = _write(tmp_path / "last.tsv.gz", SESSION)

    result = _run(first, bad, last, "--json")

    assert result.exit_code == 1
    assert f"error: {bad}: " in result.stderr
    assert result.stderr.count("\n") == 1
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == [
        str(first),
        str(last),
    ]
