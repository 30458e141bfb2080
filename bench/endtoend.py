"""End to end: from the simulated exchanges' sockets to rows in ClickHouse, on one machine.

`streamgauge run` in a folder of its own, once at 1,000 frames/s for the latency from socket read to
row and once at more than 4,000 frames/s for what the machine sustains: the lag must not grow. Each
run ends with its comparison of every trade and book with the simulator's truth; a run that is not
`ok` fails the benchmark. Give `--seconds 600` to see whether memory grows.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.harness import Options, note, options, report

LOADS: Final = {
    "latency": ("--symbols", "25", "--rate", "900"),
    "sustained": ("--symbols", "80", "--rate", "5500"),
}
SMOKE: Final = {"smoke": ("--symbols", "3", "--rate", "100")}
SECONDS: Final = 60.0
SMOKE_SECONDS: Final = 4.0
MARGIN_S: Final = 300.0
"""Longest time for the start, the end and the comparison of a run, s."""
SHOWN: Final = (
    *("seconds", "frames", "frames_per_s", "trades", "books", "faults", "latency_ms", "lag"),
    *("lag_max", "lag_per_s", "cpu_cores", "rss_mb", "rss_mb_per_min", "truth"),
)


def main(given: Options) -> None:
    """Run every load and report all of them."""
    loads = SMOKE if given.smoke else LOADS
    seconds = SMOKE_SECONDS if given.smoke else max(given.seconds, SECONDS)
    runs = {name: run(load, seconds) for name, load in loads.items()}
    figures = {name: {key: run[key] for key in SHOWN} for name, run in runs.items()}
    # What is computed differs from run to run; that it was the truth does not.
    proven = {
        name: [run["ok"], run["truth"]["trades_missing"], run["truth"]["books_different"]]
        for name, run in runs.items()
    }
    report("endtoend", figures, msgspec.json.encode(proven))
    if not all(run["ok"] for run in runs.values()):
        raise SystemExit("a run was not ok")


def run(load: tuple[str, ...], seconds: float) -> dict[str, Any]:
    """Run the pipeline in a fresh folder and return its report."""
    with tempfile.TemporaryDirectory(prefix="streamgauge-bench-") as folder:
        command = [sys.executable, "-m", "streamgauge", "run", "--folder", folder]
        command += ["--seconds", f"{seconds:.0f}", *load]
        note(" ".join(command[1:]))
        done = subprocess.run(
            command,
            cwd=Path(__file__).resolve().parent.parent,
            stdout=subprocess.PIPE,
            timeout=seconds + MARGIN_S,
            check=False,
        )
    lines = done.stdout.splitlines()
    if not lines:
        raise SystemExit(f"the run ended with exit code {done.returncode} and no report")
    found: dict[str, Any] = msgspec.json.decode(lines[-1])
    return found


if __name__ == "__main__":
    main(options(__doc__ or ""))
