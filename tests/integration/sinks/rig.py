"""A log of events written by hand, sinks over it in processes, and what they stored."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.client import AIOKafkaClient
from clickhouse_connect.driver.client import Client

from infra.cli.migrate import migrate
from infra.cli.topics import make_topics
from infra.local.process import free_port
from infra.runtime.log_identity import log_ids
from infra.runtime.settings import Settings, load
from schemas.topics import DEAD_LETTERS, EVENT_KINDS, event_topic
from tests.integration.services import ClickHouse, Kafka
from tests.integration.sinks.facts import TABLES, named, rows_sql
from tests.integration.sinks.records import PARTITIONS, Records

ROOT = Path(__file__).parents[3]
DEADLINE_S = 150.0
SESSION_MS = 6_000
END_S = 40.0
OUTPUT_CHARACTERS = 3_000


class Rig:
    """Topics, a group and a database of one test."""

    def __init__(self, kafka: Kafka, clickhouse: ClickHouse, database: str) -> None:
        self.name = uuid.uuid4().hex[:12]
        self.environment = {
            "STREAMGAUGE__KAFKA__BOOTSTRAP": kafka.bootstrap,
            "STREAMGAUGE__CLICKHOUSE__HOST": clickhouse.host,
            "STREAMGAUGE__CLICKHOUSE__PORT": str(clickhouse.port),
            "STREAMGAUGE__CLICKHOUSE__USER": clickhouse.user,
            "STREAMGAUGE__CLICKHOUSE__PASSWORD": clickhouse.password,
            "STREAMGAUGE__CLICKHOUSE__DATABASE": database,
            "STREAMGAUGE__TOPICS__PREFIX": f"{self.name}.",
            "STREAMGAUGE__TOPICS__EVENT_PARTITIONS": str(PARTITIONS),
            "STREAMGAUGE__SINK__GROUP": f"{self.name}-sink",
            "STREAMGAUGE__SINK__BLOCK_AGE_MS": "100",
            "STREAMGAUGE__SINK__SESSION_TIMEOUT_MS": str(SESSION_MS),
            "STREAMGAUGE__SINK__RETRY_INITIAL_MS": "50",
            "STREAMGAUGE__SINK__RETRY_CAP_MS": "500",
        }
        self.kafka = kafka
        self.clickhouse = clickhouse
        self.database = database
        self.facts: Counter[str] = Counter()
        """Facts of each kind that were written for the first time."""

    @property
    def produced(self) -> int:
        """Trades that were written for the first time."""
        return self.facts["trades"]

    @property
    def settings(self) -> Settings:
        """The settings of every process of this rig."""
        return load(environ=self.environment, folder=Path("/nowhere"))

    async def prepare(self) -> None:
        """Make topics and tables."""
        await make_topics(self.settings)
        await asyncio.to_thread(migrate, self.settings.clickhouse)

    def topic(self, kind: str) -> str:
        """The name of an event topic."""
        return event_topic(kind, f"{self.name}.")

    def query(self, sql: str) -> list[Any]:
        """Ask the database."""
        with self._client() as client:
            return list(client.query(sql).result_rows)

    def command(self, sql: str) -> None:
        """Tell the database."""
        with self._client() as client:
            client.command(sql)

    def _client(self) -> Client:
        return clickhouse_connect.get_client(
            host=self.clickhouse.host,
            port=self.clickhouse.port,
            username=self.clickhouse.user,
            password=self.clickhouse.password,
            database=self.database,
            autogenerate_session_id=False,
        )

    def count(self, table: str = "trades") -> int:
        """Rows of a table."""
        return int(self.query(f"SELECT count() FROM {table}")[0][0])

    def stored_in(self, partition: int) -> int:
        """Trades of one partition."""
        return int(self.query(f"SELECT count() FROM trades WHERE partition = {partition}")[0][0])

    async def stored(self, rows: int, table: str = "trades", timeout_s: float = DEADLINE_S) -> None:
        """Wait until a table has at least so many rows."""
        await eventually(lambda: self.count(table) >= rows, f"{rows} rows in {table}", timeout_s)

    async def settled(self, timeout_s: float = DEADLINE_S) -> None:
        """Wait until everything in the log is accounted for, letters included."""
        deadline = time.monotonic() + timeout_s
        while True:
            # Blocks first: letters are in the log before the block that posted them is accounted.
            blocks = await asyncio.to_thread(self.block_ends)
            ends = await self.log_ends()
            behind = {place: (blocks.get(place), end) for place, end in ends.items() if end}
            behind = {place: both for place, both in behind.items() if both[0] != both[1]}
            if not behind:
                return
            assert time.monotonic() < deadline, f"stored, in the log: {behind}"
            await asyncio.sleep(0.1)

    def block_ends(self) -> dict[tuple[str, int], int]:
        """Offsets before which all is stored, by topic and partition."""
        rows = self.query("SELECT topic, partition, max(end_offset) FROM blocks GROUP BY ALL")
        return {(topic, partition): end for topic, partition, end in rows}

    @asynccontextmanager
    async def producer(self) -> AsyncIterator[Records]:
        """Something that writes records."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.kafka.bootstrap, enable_idempotence=True, linger_ms=5
        )
        await producer.start()
        try:
            yield Records(self.topic, self.facts, producer)
        finally:
            await producer.stop()

    @asynccontextmanager
    async def load(self, per_second: int = 200, *, mixed: bool = False) -> AsyncIterator[Records]:
        """Records that keep coming, repeats among them; `mixed`: of all kinds."""
        stop = asyncio.Event()
        async with self.producer() as records:
            writing = records.keep_writing(stop, per_second=per_second, mixed=mixed)
            task = asyncio.create_task(writing)
            try:
                yield records
            finally:
                stop.set()
                await task

    @contextmanager
    def sink(self, **overrides: str) -> Iterator["SinkProcess"]:
        """A running sink; `sink__block_rows="10"` overrides a setting."""
        process = SinkProcess(self.environment | _variables(overrides))
        try:
            yield process
        finally:
            print(process.end())  # noqa: T201 - shown where the test fails

    def run(self, *arguments: str, **overrides: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "streamgauge", *arguments],
            env=_clean() | self.environment | _variables(overrides),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def reconcile(self, *kinds: str) -> dict[str, Any]:
        """Run `streamgauge reconcile` and return what it says."""
        done = self.run("reconcile", *kinds, "--json")
        assert done.stdout, done.stderr
        outcome: dict[str, Any] = json.loads(done.stdout)
        assert done.returncode == (0 if outcome["ok"] else 1), done.stderr
        return outcome

    def assert_everything_is_there_once(self) -> dict[str, int]:
        """Reconcile, compare with what was produced, and return the totals."""
        outcome = self.reconcile()
        bad = [each for each in outcome["partitions"] if each["differences"]]
        assert outcome["ok"], bad
        assert not any(each["lag"] for each in outcome["partitions"]), outcome
        names = ("records", "facts", "rows", "duplicates", "dead_letters")
        totals = {name: sum(each[name] for each in outcome["partitions"]) for name in names}
        for kind, table in TABLES.items():
            sql = f"SELECT count(), uniqExact(shard, epoch, number, idx) FROM {table}"
            assert self.query(sql) == [(self.facts[kind], self.facts[kind])], kind
        return totals

    async def assert_rows_are_what_was_written(self, records: Records) -> None:
        """Compare every column of every row with the fact it was made of."""
        async with _client(self.kafka) as client:
            expected = records.rows(await log_ids(client, map(self.topic, EVENT_KINDS)))
        for kind, table in TABLES.items():
            rows = [named(table, row) for row in self.query(rows_sql(table))]
            assert len(rows) == len(expected[kind]), kind
            for found, written in zip(rows, expected[kind], strict=True):
                assert found == written, kind

    async def log_ends(self) -> dict[tuple[str, int], int]:
        """Ends of the event topics, by topic and partition."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap)
        await consumer.start()
        try:
            partitions = [
                TopicPartition(self.topic(kind), number)
                for kind in (*EVENT_KINDS, DEAD_LETTERS)
                for number in range(PARTITIONS)
            ]
            ends = await consumer.end_offsets(partitions)
        finally:
            await consumer.stop()
        return {(partition.topic, partition.partition): end for partition, end in ends.items()}


class SinkProcess:
    """`streamgauge sink` in a process of its own."""

    def __init__(self, environment: dict[str, str], *command: str) -> None:
        self.port = free_port()
        arguments = command or ("-m", "streamgauge", "sink")
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it is closed by `end`
        self._said = ""
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            env=_clean() | environment | {"STREAMGAUGE__RUNTIME__HEALTH_PORT": str(self.port)},
            cwd=ROOT,
            # Not a pipe: nobody reads while it runs, and a full pipe would hold it up.
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    async def ready(self, timeout_s: float = DEADLINE_S) -> None:
        """Wait until it says that it is ready."""
        await eventually(lambda: self.health("ready")[0] == 200, "a ready sink", timeout_s)

    def health(self, page: str) -> tuple[int, dict[str, Any]]:
        """Return the status and the checks of a health page; status 0 while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{page}", timeout=5) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels; 0 while nothing answers."""
        url = f"http://127.0.0.1:{self.port}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                lines = reply.read().decode().splitlines()
        except OSError:
            return 0.0
        return sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.partition("{")[0].partition(" ")[0] == name
        )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(10)

    def end(self) -> str:
        """End it in order, unless it has ended, and return what it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"no end in {END_S} s:\n{self._read_output()}") from None
        return self._read_output()

    def _read_output(self) -> str:
        if not self._output.closed:
            with self._output:
                self._output.seek(0)
                self._said = self._output.read()[-OUTPUT_CHARACTERS:]
        return self._said


@asynccontextmanager
async def _client(kafka: Kafka) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(bootstrap_servers=kafka.bootstrap)
    await client.bootstrap()
    try:
        yield client
    finally:
        await client.close()


async def eventually(holds: Callable[[], bool], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Wait until `holds`, which blocks."""
    deadline = time.monotonic() + timeout_s
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, f"no {what} in {timeout_s} s"
        await asyncio.sleep(0.1)


def _variables(overrides: dict[str, str]) -> dict[str, str]:
    return {f"STREAMGAUGE__{key.upper()}": value for key, value in overrides.items()}


def _clean() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("STREAMGAUGE")}
