"""Producer: from a socket read to a record that Kafka has acknowledged.

A venue of our own sends valid frames of 300 to 600 bytes as fast as they are taken; the real
`streamgauge produce` records them into a real Kafka. Counted are the frames that Kafka has
acknowledged per second of the producer's own CPU time, start and end left out. Aim: 20,000.
"""

import asyncio
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
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.harness import Options, note, options, report
from core.frames import FrameKind
from infra.local.kafka import KafkaServer
from infra.local.process import free_port
from schemas.codec import decode_frame_batch
from schemas.topics import raw_topic

ROOT: Final = Path(__file__).resolve().parent.parent
SYMBOLS: Final = {"binance": "BTCUSDT", "deribit": "BTC-PERPETUAL", "kraken": "BTC/USD"}
FRAMES_PER_S: Final = 15_000
"""Frames sent for each second that was asked for."""
LIMIT_S: Final = 300.0


def main(chosen: Options) -> None:
    """Measure each exchange in turn and report."""
    count = int(FRAMES_PER_S * chosen.seconds)
    figures: dict[str, Any] = {}
    digest = hashlib.blake2b(digest_size=16)
    with (
        tempfile.TemporaryDirectory(prefix="bench-producer-") as folder,
        KafkaServer(Path(folder) / "kafka") as kafka,
    ):
        for exchange in SYMBOLS:
            asyncio.run(_make_topic(raw_topic(exchange), kafka.bootstrap))
            measured = measure(exchange, count, kafka.bootstrap, Path(folder))
            frames, size, received = asyncio.run(_received(raw_topic(exchange), kafka.bootstrap))
            assert frames >= count, f"{frames} of {count} frames in the log"
            digest.update(received)
            figures[exchange] = measured | {"frame_bytes_mean": round(size / frames)}
            note(f"{exchange}: {measured['frames_per_s_core']} frames/s a core")
    rates = [each["frames_per_s_core"] for each in figures.values()]
    lowest = {"frames_per_s_core_min": min(rates), "exchanges": figures}
    report("producer", lowest, digest.digest())


def measure(exchange: str, count: int, bootstrap: str, folder: Path) -> dict[str, Any]:
    """Let `count` frames of one exchange through and return the figures."""
    hose = subprocess.Popen(
        [sys.executable, "-m", "bench.firehose", exchange, str(count)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert hose.stdin is not None
    assert hose.stdout is not None
    health = free_port()
    config = folder / f"{exchange}.toml"
    config.write_text(_settings(exchange, int(hose.stdout.readline()), health, bootstrap))
    log = folder / f"{exchange}.log"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STREAMGAUGE")}
    with log.open("wb") as output:
        producer = subprocess.Popen(
            [sys.executable, "-m", "streamgauge", "--config", str(config), "produce"],
            cwd=ROOT,
            stderr=output,
            env=environment,
        )
    try:
        _wait(lambda: _status(health, "/ready")[0] == 200, log)
        time.sleep(0.5)
        process = psutil.Process(producer.pid)
        cpu, started = _cpu(process), time.monotonic()
        hose.stdin.write("go\n")
        hose.stdin.flush()
        _wait(lambda: _acknowledged(health) >= count, log)
        cpu, wall = _cpu(process) - cpu, time.monotonic() - started
        memory = process.memory_info().rss
        producer.send_signal(signal.SIGTERM)
        code = producer.wait(30)
        assert code == 0, log.read_text()[-2000:]
    finally:
        producer.kill()
        hose.kill()
        hose.communicate()
    return {
        "frames": count,
        "cpu_s": round(cpu, 3),
        "frames_per_s_core": round(count / cpu),
        "frames_per_s": round(count / wall),
        "rss_mb": memory >> 20,
    }


async def _make_topic(name: str, bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1)])
    await admin.close()


def _settings(exchange: str, port: int, health: int, bootstrap: str) -> str:
    return f"""
[kafka]
bootstrap = "{bootstrap}"
[runtime]
health_port = {health}
[producer]
silence_timeout_ms = 600000
snapshot_interval_s = 3600
[exchanges.{exchange}]
websocket_url = "ws://127.0.0.1:{port}/"
rest_url = "http://127.0.0.1:{port}"
symbols = ["{SYMBOLS[exchange]}"]
"""


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _wait(condition: Any, log: Path) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        time.sleep(0.1)


def _status(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except OSError:
        return 0, ""


def _acknowledged(port: int) -> int:
    """Return the frames that Kafka has, those of the connection's own life included."""
    found = {"md_frames_total{": 0.0, "md_queue_frames{": 0.0}
    for line in _status(port, "/metrics")[1].splitlines():
        for name in found:
            if line.startswith(name):
                found[name] += float(line.split()[-1])
    return int(found["md_frames_total{"] - found["md_queue_frames{"])


async def _received(topic: str, bootstrap: str) -> tuple[int, int, bytes]:
    """Return how many frames the exchange sent, their bytes, and a digest of them in order."""
    digest = hashlib.blake2b(digest_size=16)
    frames = size = 0
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    consumer.assign([partition])
    await consumer.seek_to_beginning(partition)
    end = (await consumer.end_offsets([partition]))[partition]
    while await consumer.position(partition) < end:
        for records in (await consumer.getmany(timeout_ms=500)).values():
            for record in records:
                for frame in decode_frame_batch(record.value).frames:
                    # Answers to our own pings depend on how long it took.
                    if frame.kind is FrameKind.RECEIVED and _is_market_data(frame.payload):
                        frames += 1
                        size += len(frame.payload)
                        digest.update(frame.payload)
    await consumer.stop()
    return frames, size, digest.digest()


def _is_market_data(payload: bytes) -> bool:
    message = json.loads(payload)
    return "e" in message or "channel" in message or message.get("method") == "subscription"


if __name__ == "__main__":
    main(options("Producer: socket read to acknowledged Kafka record."))
