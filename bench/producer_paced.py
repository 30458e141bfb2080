"""Producer at the pace of a market: what a frame costs, by how long records are kept open.

Three venues send at an even pace, each frame in a write of its own. Few frames then share a record,
so each costs more than in `bench.producer`, here, in Kafka and in whatever reads records. Counted
are the processor times of the producer and of Kafka for each frame, and frames a record.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Final

import psutil

from bench.firehose import VENUES
from bench.harness import Options, note, options, report
from infra.local.kafka import KafkaServer
from infra.local.process import free_port

ROOT: Final = Path(__file__).resolve().parent.parent
SYMBOLS: Final = {"binance": "BTCUSDT", "deribit": "BTC-PERPETUAL", "kraken": "BTC/USD"}
AGES_MS: Final = (10, 25, 50, 100)
RATES: Final = (1_000, 4_000)
"""Frames a second of all venues together."""
WARMUP_S: Final = 1.5
LIMIT_S: Final = 60.0


def main(chosen: Options) -> None:
    """Measure each rate at each age and report."""
    figures = []
    with tempfile.TemporaryDirectory(prefix="bench-paced-") as folder:
        for rate in RATES[:1] if chosen.smoke else RATES:
            for age in AGES_MS[2:3] if chosen.smoke else AGES_MS:
                # A broker's first minute is its dearest: each gets a young one.
                with KafkaServer(Path(folder) / f"kafka-{rate}-{age}") as kafka:
                    measured = measure(rate, age, chosen.seconds, kafka, Path(folder))
                figures.append(measured)
                note(json.dumps(measured))
    settled = hashlib.blake2b(repr([(each["rate"], each["age_ms"]) for each in figures]).encode())
    report("producer_paced", {"measured": figures}, settled.digest())


def measure(
    rate: int,
    age_ms: int,
    seconds: float,
    kafka: KafkaServer,
    folder: Path,
    command: tuple[str, ...] = (sys.executable,),
) -> dict[str, Any]:
    """Let three venues send for some seconds and return the figures; `command` starts Python."""
    per_s = rate / len(VENUES)
    count = int(per_s * (seconds + 2 * WARMUP_S + 2))
    hoses = {name: _hose(name, count, per_s) for name in VENUES}
    health = free_port()
    config = folder / f"paced-{rate}-{age_ms}.toml"
    config.write_text(_settings(_ports(hoses), health, kafka.bootstrap, age_ms))
    run = [*command, "-m", "streamgauge", "--config", str(config)]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STREAMGAUGE")}
    subprocess.run(
        [sys.executable, *run[-4:], "topics"],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        timeout=LIMIT_S,
    )
    log = folder / "paced.log"
    with log.open("wb") as output:
        producer = subprocess.Popen([*run, "produce"], cwd=ROOT, stderr=output, env=environment)
    try:
        _wait_ready(health, log)
        for hose in hoses.values():
            assert hose.stdin is not None
            hose.stdin.write("go\n")
            hose.stdin.flush()
        time.sleep(WARMUP_S)
        watched = [psutil.Process(producer.pid), psutil.Process(kafka.pid)]
        before, counted, started = (
            [_cpu(each) for each in watched],
            _counts(health),
            time.monotonic(),
        )
        time.sleep(seconds)
        after, counts, wall = [_cpu(each) for each in watched], _counts(health), time.monotonic()
        producer.send_signal(signal.SIGTERM)
        assert producer.wait(30) == 0, log.read_text()[-2000:]
    finally:
        producer.kill()
        for hose in hoses.values():
            hose.kill()
            hose.communicate()
    frames, records = (late - early for late, early in zip(counts, counted, strict=True))
    producer_cpu, kafka_cpu = (late - early for late, early in zip(after, before, strict=True))
    return {
        "rate": rate,
        "age_ms": age_ms,
        "frames_per_s": round(frames / (wall - started)),
        "frames_a_record": round(frames / records, 2),
        "producer_us_a_frame": round(producer_cpu / frames * 1e6, 1),
        "kafka_us_a_frame": round(kafka_cpu / frames * 1e6, 1),
    }


def _hose(name: str, count: int, per_s: float) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "bench.firehose", name, str(count), str(per_s)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _ports(hoses: "dict[str, subprocess.Popen[str]]") -> dict[str, int]:
    ports = {}
    for name, hose in hoses.items():
        assert hose.stdout is not None
        ports[name] = int(hose.stdout.readline())
    return ports


def _settings(ports: dict[str, int], health: int, bootstrap: str, age_ms: int) -> str:
    tables = [
        f'[kafka]\nbootstrap = "{bootstrap}"\n[runtime]\nhealth_port = {health}\n'
        f"[producer]\nbatch_age_ms = {age_ms}\nsilence_timeout_ms = 600000\n"
        "snapshot_interval_s = 3600"
    ]
    tables += [
        f'[exchanges.{name}]\nwebsocket_url = "ws://127.0.0.1:{port}/"\n'
        f'rest_url = "http://127.0.0.1:{port}"\nsymbols = ["{SYMBOLS[name]}"]'
        for name, port in ports.items()
    ]
    return "\n".join(tables)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _counts(port: int) -> tuple[float, float]:
    """Return the frames and the records that were made so far, as of the last tick."""
    found = {"md_frames_total{": 0.0, "md_frame_batches_total{": 0.0}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            for name in found:
                if line.startswith(name):
                    found[name] += float(line.split()[-1])
    frames, records = found.values()
    return frames, records


def _wait_ready(port: int, log: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=10):
                return
        except OSError:
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)


if __name__ == "__main__":
    main(options("Producer: what a frame costs at the pace of a market."))
