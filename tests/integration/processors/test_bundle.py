"""`streamgauge bundle` takes an incident out of a real log, and verifies it with nothing else."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import pytest
from aiokafka import TopicPartition

from core.events import AlertBatch
from core.frames import FrameBatch
from infra.chaos.compared import Compared
from infra.chaos.virtual import VirtualLoop
from infra.chaos.virtual import run as virtual_time
from infra.chaos.world import VENUES
from schemas.codec import decode_events
from schemas.topics import ALERTS, event_topic, raw_topic
from tests.integration.processors.raw_log import ROOT, Log, Raw, Worker, merged, raw_records
from tests.integration.services import Kafka
from tests.processors.market import NS, Connection, batches

pytestmark = pytest.mark.timeout(500)

TOGETHER_MS = 25_000
"""Of the log of several venues, what is written at once."""


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


@pytest.fixture(scope="module")
def offset_price() -> list[list[Raw]]:
    """Raw records of three venues at one price, a few seconds of all of them at a time.

    That of BTC at kraken is 30 basis points off for half a minute, once all are known.
    """
    recorded: list[FrameBatch] = []

    async def act() -> None:
        worlds = Compared("1").worlds
        for world in worlds.values():
            world.recorded = recorded.append
        kraken = worlds["kraken"]
        await asyncio.sleep(940)
        kraken.venue.markets[kraken.symbols[0]].offset += 0.003
        await asyncio.sleep(30)
        kraken.venue.markets[kraken.symbols[0]].offset -= 0.003
        await asyncio.sleep(40)

    virtual_time(act(), VirtualLoop())
    raws = merged(raw_records(recorded, 0))
    begin = raws[0].ts_ms
    times = groupby(raws, lambda raw: (raw.ts_ms - begin) // TOGETHER_MS)
    return [list(together) for _, together in times]


@pytest.mark.timeout(900)
async def test_incident_of_venues_becomes_a_file_that_replays_to_its_alert(
    kafka: Kafka, tmp_path: Path, offset_price: list[list[Raw]]
) -> None:
    """A price of one venue of three, offset for a while; then its frames are gone from the log.

    What processors make of a log is written when they read it, here long after it happened.
    """
    log = Log(kafka.bootstrap, tmp_path, *VENUES)
    await log.create(retention_ms=-1)
    folder = tmp_path / "bundles"
    with following(tmp_path, folder, log.config), Worker(log, "worker") as worker:
        for together in offset_price:
            # All venues within what comparisons wait for, as when they are read as they come.
            await log.write(together)
            await log.wait_committed()
        worker.terminate()
        wait(lambda: len(list(folder.glob("*divergence-kraken*.zip"))) == 1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    made = run(tmp_path, "divergence/", "--output", "elsewhere/b.zip", "--json", config=log.config)
    verified = run(elsewhere, "--verify", "b.zip")
    partition = TopicPartition(raw_topic("kraken", log.prefix), 0)
    await log.forget(partition)
    bare = run(tmp_path, "divergence/", "--output", "elsewhere/c.zip", "--json", config=log.config)
    bare_verified = run(elsewhere, "--verify", "c.zip")

    assert made.returncode == 0, made.stderr + made.stdout
    outcome, without = json.loads(made.stdout), json.loads(bare.stdout)
    assert (outcome["equal"], outcome["resolves"]) == (True, True)
    assert outcome["alert_id"].startswith("divergence/kraken/BTC/USD/")
    assert outcome["raw_records"] > 100
    assert 0 < outcome["mids"] < 3 * 600
    (followed,) = folder.glob("*divergence-kraken*.zip")
    assert followed.read_bytes() == (elsewhere / "b.zip").read_bytes()
    assert (without["equal"], without["mids"]) == (True, outcome["mids"])
    assert without["raw_records"] == 0
    for each in (verified, bare_verified):
        assert each.returncode == 0, each.stderr + each.stdout
        assert "replays to its opening and resolution, byte for byte" in each.stdout


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
