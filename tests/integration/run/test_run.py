"""`streamgauge run` as a user starts it: everything real, on one machine, in a fresh folder."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

DEADLINE_S = 240

# Whole runs want the usual ports, and both cores.
pytestmark = pytest.mark.alone


def start(folder: Path, *options: str, **environ: str) -> "subprocess.Popen[str]":
    """Start a run in `folder`; it shares no settings with this machine's user."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STREAMGAUGE")}
    environment |= environ
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
    said = reported(tmp_path)
    assert "36 streams of binance, deribit and kraken were recorded" in said
    assert "What the sinks have read from Kafka is stored once" in said


def reported(folder: Path) -> str:
    """Return what `streamgauge report` says of what a run has left."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STREAMGAUGE")}
    command = [sys.executable, "-m", "streamgauge", "report", "--text", "--folder", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=DEADLINE_S, cwd=folder, env=environment
    )
    assert done.returncode == 0, done.stderr
    return " ".join(done.stdout.split())


@pytest.mark.timeout(600)
def test_run_interrupted_ends_in_order_and_reports(tmp_path: Path) -> None:
    """Ctrl-C is a clean end: exit code 0 and a whole report."""
    process = start(tmp_path, "--rate", "200")
    wait_for(process, "frames/s", skip=1)
    process.send_signal(signal.SIGINT)
    report = finished(process)

    assert report["ok"], report
    assert not (tmp_path / "run.toml").exists()


ELSEWHERE = {
    "STREAMGAUGE__KAFKA__BOOTSTRAP": "127.0.0.1:1",
    "STREAMGAUGE__CLICKHOUSE__HOST": "database.invalid",
    "STREAMGAUGE__EXCHANGES__KRAKEN__WEBSOCKET_URL": "wss://exchange.invalid",
    "STREAMGAUGE__EXCHANGES__KRAKEN__SYMBOLS": "NO/SUCH",
    "STREAMGAUGE__PROCESSOR__BOOK_LEVELS": "7",
}


@pytest.mark.timeout(600)
def test_run_uses_its_own_servers_whatever_addresses_the_environment_has(tmp_path: Path) -> None:
    """Simulated data must never reach a real broker or database; other settings count."""
    running = start(tmp_path, "--rate", "200", **ELSEWHERE)
    wait_for(running, "frames/s", skip=2)
    refused = start(tmp_path, "--seconds", "5")
    _, said = refused.communicate(timeout=DEADLINE_S)

    assert refused.returncode == 1
    assert f"belongs to a running streamgauge run (pid {running.pid})" in said
    config = tomllib.loads((tmp_path / "run.toml").read_text())
    assert config["processor"]["book_levels"] == 7
    running.send_signal(signal.SIGINT)
    assert finished(running)["ok"]


@pytest.mark.timeout(600)
def test_run_interrupted_while_it_starts_ends_at_once(tmp_path: Path) -> None:
    process = start(tmp_path)
    wait_for(process, "starting sink")
    process.send_signal(signal.SIGINT)
    output, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert output == ""
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not (tmp_path / "run.toml").exists()


def wait_for(process: "subprocess.Popen[str]", text: str, *, skip: int = 0) -> None:
    """Read what a run says until it has said `text` more than `skip` times."""
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            if not skip:
                return
            skip -= 1
    raise AssertionError(f"it ended without {text!r}")
