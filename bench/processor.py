"""Processor: from the raw log to the event topics, through a real Faust worker on a real Kafka.

Frames are book changes of 20 levels (and a trade to every fourth), as many to a record as a
producer writes. Measured are the frames per second of the worker's own CPU time, threads included;
the engine alone, without Faust and Kafka, split into its three steps; and a replay, which must
find every published byte equal.
"""

import asyncio
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.harness import Options, note, options, report
from core.exchanges import exchanges
from core.frames import Address, BatchBuilder, Frame, FrameBatch, FrameKind, TickStatus
from core.pipeline import PipelineSettings, ShardPipeline
from core.protocol import Shard
from infra.local.kafka import KafkaServer
from infra.local.process import free_port
from infra.runtime.settings import ProducerSettings, load
from processors.ranges import raw_ranges
from processors.replay import Replay
from schemas.codec import decode_frame_batch, encode_events, encode_frame_batch
from schemas.topics import DEAD_LETTERS, OUTPUT_KINDS, raw_topic

EXCHANGE: Final = "deribit"
SYMBOLS: Final = tuple(f"BENCH-{number}" for number in range(10))
LEVELS: Final = 20
BATCH_FRAMES: Final = ProducerSettings().batch_frames
FRAMES_PER_S: Final = 500
"""Of virtual time, so that there are as many ticks and samples as in life."""
DEPTH: Final = 200
GOAL_FRAMES: Final = 18_000
"""Frames written for each second that is to be measured."""
EPOCH: Final = 1_790_000_000_000_000_000
TIMEOUT_S: Final = 300.0
POLL_S: Final = 0.25
"""Between two looks at the metrics, s: writing them takes the worker 2 ms."""


class Market:
    """Seeded books of all symbols and the frames that describe them: `levels` a change, in books
    of `depth` a side."""

    def __init__(
        self,
        seed: int,
        symbols: Sequence[str] = SYMBOLS,
        *,
        levels: int = LEVELS,
        depth: int = DEPTH,
    ) -> None:
        self._random = random.Random(seed)
        self._symbols = tuple(symbols)
        self._levels = levels
        self._depth = depth
        self._mids = dict.fromkeys(symbols, 100_000)
        self._ids = dict.fromkeys(symbols, 1)
        self._trades = dict.fromkeys(symbols, 1)
        self._ns = EPOCH

    def frames(self) -> Iterator[Frame]:
        """Yield frames without end: opening, snapshots, then changes, trades and ticks."""
        shard = Shard(EXCHANGE, f"{EXCHANGE}-0", self._symbols, 0)
        yield self._frame(FrameKind.OPENING, b"", where="wss://bench.test")
        yield self._frame(FrameKind.PLAN, msgspec.json.encode(shard))
        yield self._frame(FrameKind.OPEN, b"")
        for symbol in self._symbols:
            yield self._frame(FrameKind.RECEIVED, self._book(symbol, "snapshot"))
        due = self._ns
        while True:
            symbol = self._random.choice(self._symbols)
            yield self._frame(FrameKind.RECEIVED, self._book(symbol, "change"))
            if self._random.random() < 0.25:
                yield self._frame(FrameKind.RECEIVED, self._trade(symbol))
            if self._ns >= due:
                due += 1_000_000_000
                status = msgspec.json.encode(TickStatus(connected=True))
                yield self._frame(FrameKind.TICK, status)

    def _book(self, symbol: str, kind: str) -> bytes:
        mid, before = self._mids[symbol], self._ids[symbol]
        self._ids[symbol] = after = before + self._random.randrange(1, 5)
        levels: dict[str, list[list[object]]] = {"bids": [], "asks": []}
        steps: Sequence[int] = range(1, self._depth + 1)
        if kind == "change":
            steps = sorted(self._random.sample(range(1, self._depth), self._levels // 2))
        for step in steps:
            for side, price in (("bids", mid - step), ("asks", mid + step)):
                size = self._random.randrange(1, 99_999)
                removed = kind == "change" and step > 5 and size < 30_000
                action = "delete" if removed else "change"
                levels[side].append([action, price / 2, 0.0 if removed else size / 10])
        data = {
            "type": kind,
            "timestamp": self._ns // 1_000_000 - 3,
            "instrument_name": symbol,
            "change_id": after,
            **({"prev_change_id": before} if kind == "change" else {}),
            **levels,
        }
        return self._notification(f"book.{symbol}.100ms", data)

    def _trade(self, symbol: str) -> bytes:
        self._trades[symbol] += 1
        trade = {
            "trade_seq": self._trades[symbol],
            "trade_id": str(self._trades[symbol]),
            "timestamp": self._ns // 1_000_000 - 3,
            "price": self._mids[symbol] / 2,
            "instrument_name": symbol,
            "direction": self._random.choice(("buy", "sell")),
            "amount": 10.0,
        }
        return self._notification(f"trades.{symbol}.100ms", [trade])

    def _notification(self, channel: str, data: object) -> bytes:
        params = {"channel": channel, "data": data}
        return msgspec.json.encode({"jsonrpc": "2.0", "method": "subscription", "params": params})

    def _frame(self, kind: FrameKind, payload: bytes, *, where: str = "") -> Frame:
        self._ns += 1_000_000_000 // FRAMES_PER_S
        return Frame(kind, self._ns, self._ns - EPOCH, where, payload)


def main(chosen: Options) -> None:
    """Measure the engine, a worker and a replay."""
    count = int(GOAL_FRAMES * chosen.seconds)
    note(f"making {count} frames")
    values = list(raw_values(count))
    engine = measure_engine(values)
    with tempfile.TemporaryDirectory() as folder:
        note("starting Kafka")
        with KafkaServer(Path(folder) / "kafka") as kafka:
            config = write_config(Path(folder), kafka.bootstrap)
            asyncio.run(fill(kafka.bootstrap, values))
            worker = measure_worker(config, count)
            compared = asyncio.run(replayed(config))
    figures = {
        "frames": count,
        "levels": LEVELS,
        "batch_frames": BATCH_FRAMES,
        "frames_s_core": round(worker["frames"] / worker["cpu_s"]),
        "frames_s": round(worker["frames"] / worker["wall_s"]),
        "worker_rss_mb": round(worker["rss_mb"], 1),
        "engine_frames_s_core": round(count / sum(engine["steps"].values())),
        "engine_us_frame": {
            step: round(seconds / count * 1e6, 2) for step, seconds in engine["steps"].items()
        },
        "replay_frames_s": round(compared["frames"] / compared["seconds"]),
        "replay_equal": compared["equal"],
    }
    report("processor", figures, engine["result"])
    if not compared["equal"]:
        sys.exit(1)


def raw_values(count: int) -> Iterator[bytes]:
    """Yield the values of raw records that hold `count` frames."""
    builder = BatchBuilder(Address(EXCHANGE, f"{EXCHANGE}-0", "A", EPOCH))
    frames = Market(seed=1).frames()
    for number in range(1, count + 1):
        builder.add(next(frames))
        if number % BATCH_FRAMES == 0 or number == count:
            batch = builder.cut()
            assert batch is not None
            yield encode_frame_batch(batch)


def measure_engine(values: list[bytes]) -> dict[str, Any]:
    """Return CPU seconds of each step over all records, and a digest of all that they gave."""
    pipeline = ShardPipeline(exchanges()[EXCHANGE], PipelineSettings())
    steps = dict.fromkeys(("decode", "pipeline", "encode"), 0.0)
    digest = hashlib.blake2b()
    for offset, value in enumerate(values):
        times = [time.process_time()]
        batch: FrameBatch = decode_frame_batch(value)
        times.append(time.process_time())
        events = pipeline.feed(batch)
        times.append(time.process_time())
        outputs = encode_events(events, 0, offset)
        times.append(time.process_time())
        for step, before, after in zip(steps, times, times[1:], strict=False):
            steps[step] += after - before
        for kind, output in outputs:
            digest.update(kind.encode() + output)
    return {"steps": steps, "result": digest.digest()}


def write_config(folder: Path, bootstrap: str) -> Path:
    """Write the settings of the worker and the replay."""
    config = folder / "streamgauge.toml"
    config.write_text(
        f'[kafka]\nbootstrap = "{bootstrap}"\n[exchanges.{EXCHANGE}]\nsymbols = ["any"]\n'
        '[runtime]\nlog_level = "warning"\nlog_format = "json"\n'
    )
    return config


async def fill(bootstrap: str, values: list[bytes]) -> None:
    """Make the topics and write the raw log."""
    topics = [raw_topic(EXCHANGE), *OUTPUT_KINDS, DEAD_LETTERS]
    # The records' virtual time is long ago: nothing may be deleted for its age.
    config = {"retention.ms": "-1"}
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs=config) for name in topics])
    await admin.close()
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, compression_type="lz4", linger_ms=20, max_batch_size=1 << 18
    )
    await producer.start()
    for offset, value in enumerate(values):
        ts_ms = EPOCH // 1_000_000 + offset * BATCH_FRAMES * 1000 // FRAMES_PER_S
        await producer.send(raw_topic(EXCHANGE), value, partition=0, timestamp_ms=ts_ms)
    await producer.stop()


def measure_worker(config: Path, count: int) -> dict[str, float]:
    """Run a worker over the whole log; figures are of the time after its first frames."""
    port = free_port()
    environ = {
        **os.environ,
        "STREAMGAUGE_CONFIG": str(config),
        "STREAMGAUGE__RUNTIME__HEALTH_PORT": str(port),
    }
    command = [sys.executable, "-m", "streamgauge", "process"]
    worker = subprocess.Popen(command, cwd=Path(__file__).parents[1], env=environ)
    try:
        first = _until(worker, port, 1)
        last = _until(worker, port, count)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(60)
    return {
        "frames": last["frames"] - first["frames"],
        "cpu_s": last["cpu_s"] - first["cpu_s"],
        "wall_s": last["wall_s"] - first["wall_s"],
        "rss_mb": last["rss_mb"],
    }


def _until(worker: "subprocess.Popen[bytes]", port: int, frames: int) -> dict[str, float]:
    """Return the worker's metrics when it has read `frames`."""
    deadline = time.monotonic() + TIMEOUT_S
    while worker.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            text = ""
        found = {
            "frames": _metric(text, "md_processor_frames_total"),
            "cpu_s": _metric(text, "md_process_cpu_seconds_total"),
            "rss_mb": _metric(text, "md_process_rss_bytes") / (1 << 20),
            "wall_s": time.monotonic(),
        }
        if found["frames"] >= frames:
            return found
        time.sleep(POLL_S)
    raise SystemExit(f"the worker did not read {frames} frames")


def _metric(text: str, name: str) -> float:
    found = re.search(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    return float(found.group(1)) if found else 0.0


async def replayed(config: Path) -> dict[str, Any]:
    """Recompute what the worker published and compare it."""
    settings = load(config, environ={})
    ranges = await raw_ranges(settings)
    comparison = await Replay(settings, ranges, lambda *_: None).compare()
    equal = bool(comparison.computed) and not comparison.differences
    return {"frames": comparison.frames, "seconds": comparison.seconds, "equal": equal}


if __name__ == "__main__":
    main(options(__doc__ or ""))
