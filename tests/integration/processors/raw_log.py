"""A raw log written by hand, workers over it in processes of their own, and what they published."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from core.exchanges import exchanges
from core.frames import FrameBatch
from core.pipeline import PipelineSettings
from infra.local.process import free_port
from infra.runtime.settings import load
from processors.broker import Broker
from processors.engine import PartitionEngine, RawRecord
from processors.venues import VenueEngine
from schemas.codec import decode_output, encode_frame_batch
from schemas.topics import DEAD_LETTERS, MIDS, OUTPUT_KINDS, event_topic, raw_topic

ROOT = Path(__file__).parents[3]
START_S = 120.0
WARMUP_S = 75
SNAPSHOT_INTERVAL_S = 20

Stream = tuple[str, str, str]
Mark = tuple[int, int]
Published = dict[tuple[str, Stream], dict[Mark, set[bytes]]]
"""By kind and stream: the values seen for each mark."""


class Raw(NamedTuple):
    """A raw record to be written; `ts_ms` is its Kafka timestamp."""

    exchange: str
    partition: int
    key: bytes
    value: bytes
    ts_ms: int


def raw_records(batches: Iterable[FrameBatch], partition: int) -> list[Raw]:
    """Return the raw records of one connection, stamped as if sent at once."""
    return [
        Raw(
            batch.address.exchange,
            partition,
            batch.address.shard.encode(),
            encode_frame_batch(batch),
            batch.frames[-1].ts_recv // 1_000_000,
        )
        for batch in batches
    ]


def merged(*connections: list[Raw]) -> list[Raw]:
    """Return the records of several connections in order of time."""
    return sorted((raw for records in connections for raw in records), key=lambda raw: raw.ts_ms)


class Log:
    """Topics of one test, under a prefix of their own; `exchanges` by name."""

    def __init__(self, bootstrap: str, folder: Path, *names: str, partitions: int = 2) -> None:
        self.bootstrap = bootstrap
        self.prefix = f"t{uuid.uuid4().hex[:12]}."
        self.group = f"{self.prefix}processor"
        self.partitions = partitions
        self.names = names
        self.config = folder / "streamgauge.toml"
        tables = "".join(f'[exchanges.{name}]\nsymbols = ["any"]\n' for name in names)
        self.config.write_text(
            f'[kafka]\nbootstrap = "{bootstrap}"\n'
            f'[topics]\nprefix = "{self.prefix}"\n'
            f"[producer]\nsnapshot_interval_s = {SNAPSHOT_INTERVAL_S}\n"
            f'[processor]\napp_id = "{self.group}"\nwarmup_s = {WARMUP_S}\n'
            f"session_timeout_ms = 6000\ncommit_interval_ms = 200\n"
            f'[runtime]\nlog_format = "json"\n{tables}'
        )

    async def create(self, *, retention_ms: int | None = None) -> None:
        """Make all topics; -1 ms keeps records of any time, None those of the broker's own."""
        raws = [raw_topic(name, self.prefix) for name in self.names]
        events = [event_topic(kind, self.prefix) for kind in (*OUTPUT_KINDS, DEAD_LETTERS)]
        kept = {} if retention_ms is None else {"retention.ms": str(retention_ms)}
        async with self._admin() as admin:
            await admin.create_topics(
                [
                    NewTopic(name, self.partitions, 1, topic_configs=kept)
                    for name in (*raws, *events)
                ]
            )

    async def write(self, records: Iterable[Raw]) -> None:
        """Append to the raw topics, in order."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, enable_idempotence=True, linger_ms=5
        )
        await producer.start()
        try:
            for raw in records:
                await producer.send(
                    raw_topic(raw.exchange, self.prefix),
                    raw.value,
                    key=raw.key,
                    partition=raw.partition,
                    timestamp_ms=raw.ts_ms,
                )
        finally:
            await producer.stop()

    async def append(self, topic: str, partition: int, value: bytes) -> None:
        """Append one record to any topic."""
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap)
        await producer.start()
        try:
            await producer.send_and_wait(topic, value, partition=partition)
        finally:
            await producer.stop()

    async def read(self, topic: str) -> list[Any]:
        """Return every record of a topic as it stands now."""
        found: list[Any] = []
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
        await consumer.start()
        try:
            tps = [TopicPartition(topic, number) for number in range(self.partitions)]
            ends = await consumer.end_offsets(tps)
            consumer.assign(tps)
            await consumer.seek_to_beginning()
            while any([await consumer.position(tp) < ends[tp] for tp in tps]):
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    found += records
        finally:
            await consumer.stop()
        return found

    async def published(self, *, of_mids: bool = False) -> Published:
        """Return what the event topics hold of what follows from the raw topics, or from `mids`."""
        held: Published = {}
        for kind in OUTPUT_KINDS:
            for record in await self.read(event_topic(kind, self.prefix)):
                header = decode_output(kind, record.value).header
                if of_mids is not bool(header.source):
                    stream = held.setdefault((kind, header.stream), {})
                    stream.setdefault(header.mark, set()).add(record.value)
        return held

    async def expected_of_mids(self) -> Published:
        """Return what one uninterrupted engine for each partition of `mids`, as it stands now,
        publishes."""
        engines: dict[int, VenueEngine] = {}
        held: Published = {}
        for record in await self.read(event_topic(MIDS, self.prefix)):
            number = record.partition
            made = VenueEngine(topic=record.topic, partition=number, letter_bytes=0)
            engine = engines.setdefault(number, made)
            raw = RawRecord(record.offset, record.key, record.value, 0)
            for kind, _, value in engine.feed(raw).outputs:
                header = decode_output(kind, value).header
                held.setdefault((kind, header.stream), {})[header.mark] = {value}
        return held

    async def progress(self, *topics: str) -> tuple[int, int]:
        """Return how many records of topics are committed, and how many there are; of the raw ones
        by default."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
        await consumer.start()
        try:
            async with Broker(load(self.config, environ={}).kafka, self.group) as broker:
                committed = await broker.committed()
            tps = [
                TopicPartition(topic, number)
                for topic in topics or [raw_topic(name, self.prefix) for name in self.names]
                for number in range(self.partitions)
            ]
            ends = await consumer.end_offsets(tps)
        finally:
            await consumer.stop()
        return sum(committed[tp].offset for tp in tps if tp in committed), sum(ends.values())

    async def wait_committed(self, at_least: int | None = None, timeout: float = 180.0) -> None:
        """Wait until `at_least` raw records are committed, by default all, and all of `mids`."""
        deadline = time.monotonic() + timeout
        while True:
            committed, end = await self.progress()
            if at_least is not None and committed >= at_least:
                return
            if committed >= end:
                # All that is committed is published: no more mids come.
                committed, end = await self.progress(event_topic(MIDS, self.prefix))
                if committed >= end:
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{committed} of {end} records are committed")
            await asyncio.sleep(0.05)

    async def limit(self, topic: str, *, max_message_bytes: int) -> None:
        """Change the size of the records that Kafka takes."""
        config = {"max.message.bytes": str(max_message_bytes)}
        async with self._admin() as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, config)])

    async def forget(self, partition: TopicPartition) -> None:
        """Delete all records that a partition has, as its retention does."""
        async with self._admin() as admin:
            await admin.delete_records({partition: RecordsToDelete(before_offset=-1)})

    async def delete(self, topic: str) -> None:
        """Delete a topic."""
        async with self._admin() as admin:
            await admin.delete_topics([topic])

    async def wait_gone(self, topic: str) -> None:
        """Wait until a deleted topic is not listed any more."""
        async with self._admin() as admin:
            deadline = time.monotonic() + START_S
            while topic in await admin.list_topics():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

    async def create_one(self, topic: str) -> None:
        """Make one topic; return when the broker lists it."""
        async with self._admin() as admin:
            await admin.create_topics([NewTopic(topic, self.partitions, 1)])
            deadline = time.monotonic() + START_S
            while topic not in await admin.list_topics():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[Any]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()


class Worker:
    """One worker process."""

    def __init__(
        self, log: Log, name: str, *, faust: bool = False, program: str = "", **settings: Any
    ) -> None:
        self.port = free_port()
        self._log_path = log.config.parent / f"{name}.log"
        arguments = ["-m", "streamgauge", "process"]
        if faust:
            arguments = ["-m", "faust", "-A", "processors.app", "worker", "-l", "info"]
        if program:
            arguments = ["-c", program]
        environ = {f"STREAMGAUGE__{key.upper()}": str(value) for key, value in settings.items()}
        with self._log_path.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "STREAMGAUGE_CONFIG": str(log.config),
                    "STREAMGAUGE__RUNTIME__HEALTH_PORT": str(self.port),
                    **environ,
                },
            )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def output(self) -> str:
        """All that the process has printed."""
        return self._log_path.read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the logged events of that name."""
        lines = [line for line in self.output.splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event.get("event") == name]

    def warm(self) -> list[dict[str, Any]]:
        """Return what was logged of engines of raw partitions that were warmed."""
        return [each for each in self.events("engine_warm") if ".raw." in each["topic"]]

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait(30)

    def pause(self) -> None:
        """Stop it without ending it."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def terminate(self) -> int:
        """Ask it to end; return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(60)

    def wait(self, timeout: float = 60) -> int:
        """Wait for its end; return its exit code."""
        return self._process.wait(timeout)

    def get(self, path: str) -> tuple[int, str]:
        """Ask its health server; status 0 while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def wait_ready(self) -> None:
        """Wait until it has partitions."""
        self.wait_until(lambda: self.get("/ready")[0] == 200)

    def wait_until(self, holds: Callable[[], bool], timeout: float = START_S) -> None:
        """Wait for something to become true while the process lives."""
        deadline = time.monotonic() + timeout
        while not holds():
            if self._process.poll() is not None:
                raise AssertionError(f"ended with {self._process.returncode}:\n{self.output}")
            if time.monotonic() > deadline:
                raise TimeoutError(self.output[-4000:])
            time.sleep(0.05)


def replay(log: Log, *arguments: str, **settings: object) -> tuple[int, dict[str, Any]]:
    """Run `streamgauge replay`; return its exit code and its JSON."""
    done = run(log, "--json", *arguments, **settings)
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def run(log: Log, *arguments: str, **settings: object) -> "subprocess.CompletedProcess[str]":
    """Run `streamgauge replay` to its end."""
    environ = {f"STREAMGAUGE__{key.upper()}": str(value) for key, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "streamgauge", "replay", *arguments],
        cwd=ROOT,
        env={**os.environ, "STREAMGAUGE_CONFIG": str(log.config), **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def of_raw_topics(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a replay says of the ranges of raw topics, without those of `mids`."""
    return [row for row in report["raw"] if ".raw." in row["topic"]]


def expected(records: Iterable[Raw]) -> Published:
    """Return what one uninterrupted engine for each partition publishes."""
    engines: dict[tuple[str, int], PartitionEngine] = {}
    held: Published = {}
    for raw in records:
        place = (raw.exchange, raw.partition)
        engine = engines.get(place)
        if engine is None:
            engine = engines[place] = PartitionEngine(
                exchanges()[raw.exchange], PipelineSettings(), topic="raw", partition=raw.partition
            )
        fed = engine.feed(RawRecord(engine.next_offset or 0, raw.key, raw.value, 0))
        for kind, _, value in fed.outputs:
            if kind in OUTPUT_KINDS:
                header = decode_output(kind, value).header
                held.setdefault((kind, header.stream), {})[header.mark] = {value}
    return held
