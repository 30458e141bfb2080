"""`streamgauge bundle` takes an incident out of a real log, and verifies it with nothing else."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.events import AlertBatch
from schemas.codec import decode_events
from schemas.topics import ALERTS, event_topic
from tests.integration.processors.raw_log import ROOT, Log, Worker, merged, raw_records
from tests.integration.services import Kafka
from tests.processors.market import NS, Connection, batches

pytestmark = pytest.mark.timeout(500)


def run(
    folder: Path, *arguments: str, config: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run `streamgauge bundle` in a folder of its own; without `config` it knows no server."""
    clean = {name: value for name, value in os.environ.items() if "STREAMGAUGE" not in name}
    options = ["--config", str(config)] if config else []
    return subprocess.run(
        [sys.executable, "-m", "streamgauge", *options, "bundle", *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        cwd=folder,
        env=clean | {"PYTHONPATH": str(ROOT)},
    )


async def test_incident_becomes_a_file_that_replays_to_its_alert(
    kafka: Kafka, tmp_path: Path
) -> None:
    """A gap of one line of two on one partition, long after the beginning of the log."""
    log = Log(kafka.bootstrap, tmp_path, "deribit")
    start = (int(time.time()) - 1200) * NS
    own = Connection("deribit", epoch=start, gap_at_s=150)
    other = Connection("deribit", epoch=start + 7, line="B", gap_at_s=153)
    await log.create()
    await log.write(
        merged(
            raw_records(batches(own, seconds=230), 1), raw_records(batches(other, seconds=230), 1)
        )
    )
    with Worker(log, "worker") as worker:
        await log.wait_committed()
        worker.terminate()
    alerts = []
    for record in await log.read(event_topic(ALERTS, log.prefix)):
        batch = decode_events(ALERTS, record.value)
        assert isinstance(batch, AlertBatch)
        alerts += [(batch.header.address.line, alert) for alert in batch.alerts]
    alert_id = next(alert.alert_id for line, alert in alerts if line == "A")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    made = run(tmp_path, alert_id, "--output", "elsewhere/b.zip", "--json", config=log.config)
    verified = run(elsewhere, "--verify", "b.zip")
    part = run(tmp_path, "gap/deribit/deribit-0/B", config=log.config)
    several = run(tmp_path, "gap/", config=log.config)
    none = run(tmp_path, "no-such-alert", config=log.config)

    assert made.returncode == 0, made.stderr + made.stdout
    outcome = json.loads(made.stdout)
    assert (outcome["equal"], outcome["resolves"], outcome["alert_id"]) == (True, True, alert_id)
    assert verified.returncode == 0, verified.stderr + verified.stdout
    assert "replays to its opening and resolution, byte for byte" in verified.stdout
    assert part.returncode == 0, part.stderr + part.stdout
    assert (tmp_path / f"incident-{_dashed(part.stdout.split()[0])}.zip").is_file()
    assert (several.returncode, none.returncode) == (1, 1)
    assert "is part of 2 alerts" in several.stderr
    assert "no alert no-such-alert" in none.stderr
    assert "STREAMGAUGE" not in str(outcome)


async def test_followed_incidents_become_files_though_the_bundler_is_killed(
    kafka: Kafka, tmp_path: Path
) -> None:
    log = Log(kafka.bootstrap, tmp_path, "deribit")
    start = (int(time.time()) - 1200) * NS
    own = Connection("deribit", epoch=start, gap_at_s=150)
    other = Connection("deribit", epoch=start + 7, line="B", gap_at_s=153)
    await log.create()
    folder = tmp_path / "bundles"
    with following(tmp_path, folder, log.config):
        await log.write(
            merged(
                raw_records(batches(own, seconds=230), 1),
                raw_records(batches(other, seconds=230), 1),
            )
        )
        with Worker(log, "worker") as worker:
            await log.wait_committed()
            worker.terminate()
        wait(lambda: len(list(folder.glob("*.zip"))) >= 1)
    with following(tmp_path, folder, log.config):
        wait(lambda: len(list(folder.glob("*.zip"))) >= 2)

    first, second = sorted(folder.glob("*.zip"))
    demanded = run(
        tmp_path, "gap/deribit/deribit-0/A", "--output", "a.zip", "--json", config=log.config
    )
    assert demanded.returncode == 0, demanded.stderr + demanded.stdout
    assert first.read_bytes() == (tmp_path / "a.zip").read_bytes()
    for file in (first, second):
        verified = run(tmp_path, "--verify", str(file))
        assert verified.returncode == 0, verified.stderr + verified.stdout
        assert "opening and resolution, byte for byte" in verified.stdout


@contextmanager
def following(place: Path, folder: Path, config: Path) -> Iterator[None]:
    """Run a bundler that has its partitions, and kill it."""
    clean = {name: value for name, value in os.environ.items() if "STREAMGAUGE" not in name}
    environ = clean | {"PYTHONPATH": str(ROOT), "STREAMGAUGE__RUNTIME__HEALTH_PORT": "-1"}
    log_file = place / "bundler.log"
    with log_file.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "streamgauge", "--config", str(config), "bundle", "--follow",
             str(folder)],
            cwd=place, env=environ, stderr=output,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while b"partitions_taken_up" not in log_file.read_bytes():
                assert process.poll() is None, log_file.read_text()
                assert time.monotonic() < deadline, log_file.read_text()
                time.sleep(0.1)
            yield
        finally:
            process.kill()
            process.wait()
            log_file.unlink()


def wait(holds: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_wrong_arguments_and_files_end_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.zip").write_text("text")

    both, absent, wrong = (
        run(tmp_path, *arguments)
        for arguments in ((), ("--verify", "absent.zip"), ("--verify", "text.zip"))
    )

    assert (both.returncode, absent.returncode, wrong.returncode) == (2, 2, 1)
    assert "give an ALERT_ID, or --verify FILE, or --follow FOLDER" in both.stderr
    assert "text.zip: no zip archive" in wrong.stderr


def _dashed(alert_id: str) -> str:
    return "".join(c if c.isalnum() or c == "." else "-" for c in alert_id)
