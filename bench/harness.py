"""What every benchmark shares: its options, the machine that it ran on, and its one line of JSON.

A benchmark is a module `bench/<name>.py` with a function `main(options)` that measures and ends
with `report(...)`. Standard output carries that one line and nothing else; what a person should
read meanwhile goes to standard error with `note(...)`.
"""

import argparse
import hashlib
import os
import platform
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

RECORDINGS: Final = Path(
    os.environ.get("STREAMGAUGE_RECORDINGS", "")
    or Path(__file__).resolve().parent.parent.parent / "shared" / "frames"
)
"""Folder of recorded frames; without it a benchmark that needs them says so and does nothing."""


class Options(msgspec.Struct, frozen=True):
    """`smoke` asks for one small round, to see that it works; `seconds` is the time to measure."""

    smoke: bool = False
    seconds: float = 10.0


def options(description: str) -> Options:
    """Read the options of a benchmark from the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--smoke", action="store_true", help="one small round")
    parser.add_argument("--seconds", type=float, default=10.0, help="time to measure, s")
    values = parser.parse_args()
    return Options(smoke=values.smoke, seconds=1.0 if values.smoke else values.seconds)


def machine() -> dict[str, Any]:
    """Return what a reader of the figures must know of this machine."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def report(benchmark: str, figures: dict[str, Any], result: bytes) -> None:
    """Print the benchmark's line; `result` is what it computed, shown as a hash."""
    line = {
        "benchmark": benchmark,
        **figures,
        "hash": hashlib.blake2b(result, digest_size=8).hexdigest(),
        "machine": machine(),
    }
    print(msgspec.json.encode(line).decode(), flush=True)  # noqa: T201 - this line is the output


def note(text: str) -> None:
    """Tell a person what goes on."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - standard error is for people


def _processor() -> str:
    """Return the processor's name, or as much of it as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
