"""Reading tapes."""

import gzip
from pathlib import Path

import pytest

from simulator.settings import SettingsError
from simulator.tape import Line, Tape, TapeServer, read

TEXT = (
    "# exchange: somewhere\n"
    "100\tC\twss://x.example/ws\t\n"
    '100\tS\tws\t{"method":"SUBSCRIBE"}\n'
    '200\tR\tws\t{"a":1}\n'
    '300\tH\thttps://x.example/api/v3/depth?symbol=A&limit=5\t{"lastUpdateId":7}\n'
    '400\tH\thttps://x.example/api/v3/depth?symbol=A&limit=5\t{"lastUpdateId":8}\n'
    '0\tR\tws\t{"b":2}\n'
)


@pytest.mark.parametrize("packed", [False, True])
def test_read_of_a_tape_gives_its_records(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(gzip.compress(TEXT.encode()) if packed else TEXT.encode())

    lines = list(read(path))

    assert [line.kind for line in lines] == ["C", "S", "R", "H", "H", "R"]
    assert lines[2] == Line(200, "R", "ws", '{"a":1}')


@pytest.mark.parametrize("wrong", ["", "1\tR\tws", "x\tR\tws\tp", "1\tQ\tws\tp", "\x00\xff"])
def test_read_of_a_wrong_line_names_it(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(f"# x: y\n1\tR\tws\tp\n{wrong}\n", encoding="utf-8")

    with pytest.raises(SettingsError, match="data line 2 is not frames-tsv v1"):
        list(read(path))


def test_read_of_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        list(read(tmp_path / "none.tsv"))


def test_tape_gives_the_bodies_of_a_url_in_order_and_repeats_the_last(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(TEXT)
    tape = Tape(path)

    asked = ["/api/v3/depth?symbol=A&limit=5", "/api/v3/depth?symbol=A&limit=5", "/api/v3/depth"]
    assert [tape.body(target) for target in asked] == [
        '{"lastUpdateId":7}',
        '{"lastUpdateId":8}',
        '{"lastUpdateId":8}',
    ]
    assert tape.body("/api/v3/trades") is None
    assert (tape.frames, tape.waits) == (2, True)


@pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
def test_tape_server_with_impossible_speed_is_refused(tmp_path: Path, speed: float) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(TEXT)

    with pytest.raises(SettingsError, match="speed must be 0 or more"):
        TapeServer([path], speed=speed)
