"""`streamgauge run` as a user starts it: everything real, on one machine, in a fresh folder."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 240


def start(folder: Path, *options: str) -> "subprocess.Popen[str]":
    """Start a run in `folder`; it shares no settings with this machine's user."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STREAMGAUGE")}
    return subprocess.Popen(
        [sys.executable, "-m", "streamgauge", "run", "--folder", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment,
    )


def finished(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Wait for the end and return the report of the last line."""
    output, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, said[-4000:] + output[-2000:]
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    return report


@pytest.mark.timeout(600)
def test_run_twice_in_one_folder_stores_the_truth_and_continues(tmp_path: Path) -> None:
    """Every trade once and right, every book equal to the true one, no lag left."""
    first = finished(start(tmp_path, "--seconds", "8", "--rate", "200"))
    second = finished(start(tmp_path, "--seconds", "6", "--rate", "200", "--seed", "2"))

    for report in (first, second):
        truth = report["truth"]
        assert report["ok"], report
        assert truth["trades_expected"] == truth["trades_found"] > 20
        assert truth["books_compared"] == truth["books_equal"] > 20
        assert report["lag"] == {"raw": 0, "events": 0}
        assert report["frames"] > report["trades"] > 0
    assert second["rows"]["trades"] == first["trades"] + second["trades"]


@pytest.mark.timeout(600)
def test_run_interrupted_ends_in_order_and_reports(tmp_path: Path) -> None:
    """Ctrl-C is a clean end: exit code 0 and a whole report."""
    process = start(tmp_path, "--rate", "200")
    assert process.stderr is not None
    for line in process.stderr:
        if "frames/s" in line and not line.strip().startswith("0 s"):
            break
    process.send_signal(signal.SIGINT)
    report = finished(process)

    assert report["ok"], report
    assert not (tmp_path / "run.toml").exists()
