"""`python -m bench`: every benchmark in turn, each in a process of its own, one JSON line each.

python -m bench                 all of them
python -m bench decode sink     these
python -m bench --smoke         one small round of each, to see that they work
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.harness import note

FOLDER: Final = Path(__file__).resolve().parent
ORDER: Final = ("decode", "producer", "processor", "sink", "endtoend")
"""Stages in the order of the data; benchmarks that are not named here come last."""
LIMIT_S: Final = 1_800
"""Longest time that one benchmark may take, s."""


def benchmarks() -> list[str]:
    """Return the names of all benchmarks: modules here that define `main`."""
    found = [path.stem for path in sorted(FOLDER.glob("*.py")) if "\ndef main(" in path.read_text()]
    own = Path(__file__).stem
    rank = {name: place for place, name in enumerate(ORDER)}
    return sorted((name for name in found if name != own), key=lambda name: rank.get(name, 99))


def main() -> int:
    """Run the benchmarks that were asked for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure every stage.")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(benchmarks())}; none for all")
    parser.add_argument("--smoke", action="store_true", help="one small round of each")
    parser.add_argument("--seconds", type=float, help="time to measure for each, s")
    values = parser.parse_args()
    unknown = set(values.names) - set(benchmarks())
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {benchmarks()}")
    failed = [name for name in values.names or benchmarks() if not _run(name, values)]
    if failed:
        note(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _run(name: str, values: argparse.Namespace) -> bool:
    command = [sys.executable, "-m", f"bench.{name}"]
    if values.smoke:
        command.append("--smoke")
    if values.seconds is not None:
        command.append(f"--seconds={values.seconds}")
    note(f"-- {name}")
    try:
        done = subprocess.run(command, cwd=FOLDER.parent, timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        note(f"{name}: still running after {LIMIT_S} s, ended")
        return False
    return done.returncode == 0


if __name__ == "__main__":
    raise SystemExit(main())
