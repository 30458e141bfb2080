"""Alerts written by hand, notifiers over them in processes, and receivers that keep what came."""

import asyncio
import os
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from core.events import Events
from core.frames import Address
from core.letters import DeadLetter
from core.notify.receipts import Receipt
from core.stability.alerts import Alert, AlertKind, Phase, Severity
from infra.cli.topics import make_topics
from infra.local.process import HOST
from infra.runtime.settings import Settings, load
from schemas.cloudevents import headers_of
from schemas.codec import decode_dead_letter, encode_events
from schemas.notify import decode_receipt
from schemas.topics import ALERTS, DEAD_LETTERS, RECEIPTS, event_topic
from tests.integration.services import Kafka
from tests.integration.sinks.rig import DEADLINE_S, SESSION_MS, SinkProcess
from tests.sinks.notify.receivers import CHECKS, Got, RefusedError

PARTITIONS = 2
NS = 1_000_000_000
ROUTING_KEY = "0123456789abcdef0123456789abcdef"

Told = tuple[str, str]
"""Incident and phase."""


class ReceiverServer:
    """A receiver of one format on a port of its own, which can be down or in a bad mood."""

    def __init__(self, check: str) -> None:
        self.check = CHECKS[check]
        self.got: list[Got] = []
        self.refused: list[str] = []
        self.requests = 0
        self.mood: Callable[[Got], int] = lambda got: 200
        """Returns the status to answer with."""
        self.delay_s = 0.0
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    @property
    def told(self) -> list[Told]:
        """What it has taken, in order."""
        return [(got.incident, got.phase) for got in self.got]

    def has(self, count: int) -> bool:
        """Whether it has taken so many alerts."""
        return len(self.got) >= count

    async def start(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application()
        app.router.add_post("/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Be down: connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests += 1
        try:
            found = self.check(request.headers, body)
        except (RefusedError, KeyError, ValueError) as error:
            self.refused.append(f"{error!r}: {body.decode(errors='replace')[:2000]}")
            return web.Response(status=400, text=str(error))
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        status = max((self.mood(got) for got in found), default=200)
        if status < 300:
            self.got += found
        return web.Response(status=status, text="said by the receiver")


class NotifyRig:
    """Topics, a group and receivers of one test."""

    def __init__(self, kafka: Kafka, **receivers: str) -> None:
        """`receivers`: the name of each, and its format."""
        self.name = uuid.uuid4().hex[:12]
        self.kafka = kafka
        self.servers = {name: ReceiverServer(check) for name, check in receivers.items()}
        self._checks = receivers
        self._number = 0
        self._epoch = time.time_ns()
        self.written: list[tuple[int, bytes]] = []
        self.settings_of: dict[str, str] = {}
        """More settings, by variable without its beginning."""

    @property
    def environment(self) -> dict[str, str]:
        """The variables of every process of this rig."""
        values = {
            "KAFKA__BOOTSTRAP": self.kafka.bootstrap,
            "TOPICS__PREFIX": f"{self.name}.",
            "TOPICS__EVENT_PARTITIONS": str(PARTITIONS),
            "NOTIFY__GROUP": f"{self.name}-notify",
            "NOTIFY__SESSION_TIMEOUT_MS": str(SESSION_MS),
            "NOTIFY__RETRY_INITIAL_MS": "50",
            "NOTIFY__RETRY_CAP_MS": "300",
            "NOTIFY__REPEAT_INTERVAL_S": "3600",
            "NOTIFY__FLAP_OPENINGS": "0",
        }
        for name, check in self._checks.items():
            key = f"NOTIFY__RECEIVERS__{name.upper()}"
            kind = "webhook" if check in ("structured", "binary") else check
            values[f"{key}__KIND"] = kind
            is_secret = kind == "slack"
            values[f"{key}__{'SECRET_URL' if is_secret else 'URL'}"] = self.servers[name].url
            values[f"{key}__TIMEOUT_MS"] = "2000"
            if kind == "webhook":
                values[f"{key}__CONTENT"] = check
            if kind == "pagerduty":
                values[f"{key}__ROUTING_KEY"] = ROUTING_KEY
        return {f"STREAMGAUGE__{key}": value for key, value in (values | self.settings_of).items()}

    @property
    def settings(self) -> Settings:
        """The settings of every process of this rig."""
        return load(environ=self.environment, folder=Path("/nowhere"))

    async def prepare(self) -> None:
        """Start receivers and make topics."""
        for server in self.servers.values():
            await server.start()
        await make_topics(self.settings)

    async def close(self) -> None:
        """Stop receivers."""
        for server in self.servers.values():
            await server.stop()

    def topic(self, kind: str) -> str:
        """The name of a topic."""
        return event_topic(kind, f"{self.name}.")

    @contextmanager
    def notifier(self, *command: str, **overrides: str) -> Iterator[SinkProcess]:
        """A running notifier; `notify__flap_openings="3"` overrides a setting."""
        more = {f"STREAMGAUGE__{key.upper()}": value for key, value in overrides.items()}
        process = SinkProcess(
            self.environment | more | {"PYTHONPATH": str(Path(__file__).parents[3])},
            *(command or ("-m", "streamgauge", "notify")),
        )
        try:
            yield process
        finally:
            print(process.end())  # noqa: T201 - shown where the test fails

    async def command(self, *arguments: str) -> str:
        """Run a command to its end and return what it says."""
        inherited = {key: value for key, value in os.environ.items() if "STREAMGAUGE" not in key}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "streamgauge", *arguments),
            env=inherited | self.environment,
            cwd=Path(__file__).parents[3],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, complaint = await process.communicate()
        assert process.returncode == 0, complaint.decode()
        return said.decode()

    def alert(
        self,
        incident: str,
        phase: Phase,
        *,
        partition: int = 0,
        ts: int | None = None,
        kind: AlertKind = AlertKind.GAP,
        symbol: str | None = None,
    ) -> bytes:
        """Return the record of the next alert of a partition's shard."""
        self._number += 1
        now = time.time_ns() if ts is None else ts
        address = Address("kraken", f"shard{partition}", "A", self._epoch)
        alert = Alert(
            number=self._number,
            index=0,
            alert_id=incident,
            phase=phase,
            kind=kind,
            severity=Severity.WARNING,
            channel="book",
            symbol=incident if symbol is None else symbol,
            ts=now,
            ts_effect=now - NS,
            ts_detected=now,
            metric="sequence_gap",
            value=3.0,
            threshold=0.0,
            unit="update_ids",
            detail="expected <5> & found 8",
            hits=0,
            children=0,
        )
        events = Events(address, self._number, [], [], [], [], [alert])
        return encode_events(events, partition, self._number)[0][1]

    @asynccontextmanager
    async def writer(self) -> AsyncIterator["Writer"]:
        """Something that writes alerts."""
        producer = AIOKafkaProducer(bootstrap_servers=self.kafka.bootstrap, linger_ms=0)
        await producer.start()
        try:
            yield Writer(self, producer)
        finally:
            await producer.stop()

    async def receipts(self) -> list[Receipt]:
        """The newest receipts, of all partitions."""
        found: dict[bytes, Receipt] = {}
        for key, value in await self._records(RECEIPTS):
            if value is None:
                found.pop(key, None)
            else:
                found[key] = decode_receipt(value)
        return list(found.values())

    async def settled(self, timeout_s: float = DEADLINE_S) -> None:
        """Wait until nothing is left to be told and nothing is open: no receipt is needed then.

        It is for logs whose alerts were all read, and of which some were told.
        """
        deadline = time.monotonic() + timeout_s
        while left := await self.receipts():
            assert time.monotonic() < deadline, f"receipts that are needed: {left}"
            await asyncio.sleep(0.3)

    async def letters(self) -> list[DeadLetter]:
        """All dead letters."""
        return [decode_dead_letter(value) for _, value in await self._records(DEAD_LETTERS)]

    async def _records(self, kind: str) -> list[tuple[bytes, bytes | None]]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self.kafka.bootstrap)
        await consumer.start()
        try:
            places = [TopicPartition(self.topic(kind), number) for number in range(PARTITIONS)]
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            ends = await consumer.end_offsets(places)
            found: list[Any] = []
            while len(found) < sum(ends.values()):
                batches = await consumer.getmany(timeout_ms=200)
                found += [record for records in batches.values() for record in records]
        finally:
            await consumer.stop()
        return [(record.key, record.value) for record in found]

    async def all_told(self, expected: int, *names: str, timeout_s: float = DEADLINE_S) -> None:
        """Wait until each receiver has taken at least so many alerts."""
        for name in names or tuple(self.servers):
            server = self.servers[name]
            await until(partial(server.has, expected), f"{expected} at {name}", timeout_s)

    def assert_each_once(self, incidents: list[str], *names: str) -> None:
        """Every incident was opened and resolved once, in that order, and nothing was refused."""
        for name in names or tuple(self.servers):
            server = self.servers[name]
            assert server.refused == [], name
            by_incident: dict[str, list[str]] = defaultdict(list)
            for incident, phase in server.told:
                by_incident[incident].append(phase)
            assert dict(by_incident) == {each: ["open", "resolve"] for each in incidents}, name


class Writer:
    """Writes alerts, each partition's in order."""

    def __init__(self, rig: NotifyRig, producer: AIOKafkaProducer) -> None:
        self._rig = rig
        self._producer = producer

    async def open(self, incident: str, partition: int = 0, **fields: Any) -> None:
        """Write an opening."""
        await self._write(
            partition, self._rig.alert(incident, Phase.OPEN, partition=partition, **fields)
        )

    async def resolve(self, incident: str, partition: int = 0, **fields: Any) -> None:
        """Write a resolution."""
        await self._write(
            partition, self._rig.alert(incident, Phase.RESOLVE, partition=partition, **fields)
        )

    async def again(self, last: int) -> None:
        """Write the last alerts once more, as a restarted processor does."""
        for partition, value in self._rig.written[-last:]:
            await self._send(partition, value)

    async def raw(self, partition: int, value: bytes) -> None:
        """Write any bytes."""
        await self._producer.send_and_wait(
            self._rig.topic(ALERTS), value, key=b"x", partition=partition
        )

    async def _write(self, partition: int, value: bytes) -> None:
        self._rig.written.append((partition, value))
        await self._send(partition, value)

    async def _send(self, partition: int, value: bytes) -> None:
        await self._producer.send_and_wait(
            self._rig.topic(ALERTS),
            value,
            key=f"shard{partition}".encode(),
            partition=partition,
            headers=headers_of(ALERTS, value),
        )


async def until(holds: Callable[[], bool], what: str, timeout_s: float = DEADLINE_S) -> None:
    """Wait until `holds`, which does not block."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"no {what} in {timeout_s} s"
        await asyncio.sleep(0.02)
