"""The live table of a run, as a terminal of usual width shows it."""

import io

from rich.console import Console

from infra.run.screen import View, picture
from infra.run.watch import Flow, Lag

VIEW = View(
    elapsed_s=3600,
    seconds=None,
    flow=Flow(
        frames=12_345_678,
        trades=2_345_678,
        books=345_678,
        faults=12_345,
        latency_ms_p50=595.5,
        latency_ms_p99=11_085.8,
    ),
    rate=12_345.6,
    lag=Lag(raw=123, events=1234),
    memory={
        "kafka": 373.4,
        "clickhouse": 1055.1,
        "simulate": 159.3,
        "sink": 167.5,
        "process": 180.3,
        "produce": 161.6,
    },
    tops=[("deribit", "BTC-PERPETUAL", "86412.5 x 12000", "86413 x 340")],
)


def test_picture_fits_a_terminal_of_80_columns() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    console.print(picture(VIEW))
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()

    assert len(lines) == 6
    assert lines[1].split() == [
        *("frames/s", "frames", "trades", "books", "faults", "lag", "p50", "p99")
    ]
    assert "12346  12345678  2345678" in lines[2]
    assert "…" not in "".join(lines)
