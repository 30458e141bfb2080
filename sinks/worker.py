"""The sink process: one consumer for any of the event topics, one client for ClickHouse.

It reads only what there is room for, hands records to the sinks of their partitions, watches lag
and progress, and ends by storing what was gathered.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from core.blocks import Block, Limits
from infra.runtime import logs
from infra.runtime.connections import kafka_arguments
from infra.runtime.health import Verdict
from infra.runtime.log_identity import log_ids
from infra.runtime.process import Runtime
from infra.runtime.settings import Settings
from schemas.topics import DEAD_LETTERS, EVENT_KINDS, event_topic
from sinks.commits import Committer
from sinks.delivery import Delivery, Step
from sinks.letters import LetterBox
from sinks.metrics import SinkMetrics
from sinks.partition import PartitionSink, State
from sinks.partition_sinks import PartitionSinks
from sinks.store import NoDatabaseError, Store

log = logs.logger(__name__)

KINDS: Final = (*EVENT_KINDS, DEAD_LETTERS)
"""Everything that a sink stores."""
POLL_MS: Final = 100
POLL_RECORDS: Final = 500
NO_ROOM_S: Final = 0.02
"""Pause before looking for room again, s."""
WATCH_S: Final = 2.0
"""Seconds between two looks at lag and at the logs' identities."""
CLOSE_S: Final = 5.0
"""Longest time to say goodbye to a broker that may be gone, s."""
_FETCH_BYTES: Final = 8 << 20
_PARTITION_BYTES: Final = 1 << 20
_MAX_INT: Final = 2**31 - 1
_NS_PER_MS: Final = 1_000_000


class DatabaseNotReadyError(Exception):
    """The database is not there, or lacks what this version writes."""


class SinkWorker:
    """Run it until `runtime.stop` is set. `reached` is told of every step of a block, for tests."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        kinds: Sequence[str] = KINDS,
        reached: Callable[[Step, Block], None] | None = None,
    ) -> None:
        sink, prefix = settings.sink, settings.topics.prefix
        self._settings = settings
        self._runtime = runtime
        self._kinds = {event_topic(kind, prefix): kind for kind in kinds}
        arguments = kafka_arguments(settings.kafka)
        self._client = AIOKafkaClient(**arguments)
        self._admin = AIOKafkaAdminClient(**arguments)
        self._consumer = AIOKafkaConsumer(**arguments, **_consumer_arguments(settings))
        self._metrics = SinkMetrics(runtime.metrics)
        self._letter_bytes = settings.topics.max_message_bytes
        self._letter_box = LetterBox(
            arguments, event_topic(DEAD_LETTERS, prefix), max_bytes=self._letter_bytes
        )
        self._store = Store(settings.clickhouse, timeout_s=sink.insert_timeout_s)
        self._delivery = Delivery(
            self._store,
            Committer(self._consumer),
            self._letter_box,
            self._metrics,
            sink,
            reached,
        )
        self._limits = Limits(sink.block_rows, sink.block_bytes, sink.block_age_ms * _NS_PER_MS)
        self._rows_max = sink.block_rows * sink.queue_blocks
        self._bytes_max = sink.block_bytes * sink.queue_blocks
        self._assignment = PartitionSinks(
            self._consumer, self._admin, self._client, sink.group, self._make
        )
        self._lags: dict[TopicPartition, int] = {}
        self._start_trouble = "starting"
        runtime.health.add_ready("partitions", self._check_ready)
        runtime.health.add_live("progress", self._check_progress)

    async def run(self) -> None:
        """Store events until the process is asked to stop.

        Raises:
            DatabaseNotReadyError: the database, tables or columns are missing.
            KafkaConnectionError: no broker answers at the start.
        """
        await self._client.bootstrap()
        try:
            await self._admin.start()
            await self._check_tables()
            await self._consumer.start()
            self._consumer.subscribe(list(self._kinds), listener=self._assignment)
            watch = asyncio.create_task(self._watch())
            try:
                await self._read()
            finally:
                watch.cancel()
                await asyncio.wait([watch])
                await self._end()
        finally:
            await self._disconnect()

    def _make(self, partition: TopicPartition, log_id: str) -> PartitionSink:
        return PartitionSink(
            self._kinds[partition.topic],
            partition,
            log_id,
            store=self._store,
            delivery=self._delivery,
            limits=self._limits,
            letter_bytes=self._letter_bytes,
        )

    async def _check_tables(self) -> None:
        asking = asyncio.create_task(
            self._delivery.until_answered(
                "tables", self._note_start_trouble, self._store.missing_columns
            )
        )
        stopping = asyncio.create_task(self._runtime.stop.wait())
        await asyncio.wait([asking, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not asking.done():
            asking.cancel()
            return
        try:
            missing = asking.result()
        except NoDatabaseError as error:
            raise DatabaseNotReadyError(f"there is no database {error}") from error
        if missing:
            names = ", ".join(missing[:5])
            raise DatabaseNotReadyError(
                f"database {self._settings.clickhouse.database} lacks {names}"
                f"{'' if len(missing) <= 5 else f' and {len(missing) - 5} more columns'}"
            )

    async def _read(self) -> None:
        sinks = self._assignment.sinks
        while not self._runtime.stop.is_set():
            if self._assignment.failure is not None:
                raise self._assignment.failure
            hungry = self._hungry()
            if not hungry:
                await asyncio.sleep(NO_ROOM_S)
                continue
            try:
                batches: dict[TopicPartition, list[Any]] = await self._consumer.getmany(
                    *hungry, timeout_ms=POLL_MS, max_records=POLL_RECORDS
                )
            except OffsetOutOfRangeError as error:
                await self._assignment.restart(list(error.args[0]))
                continue
            for partition, records in batches.items():
                sink = sinks.get(partition)
                if sink is not None and sink.state is State.RUNNING:
                    sink.feed(records)
                # What else waits for the loop, such as heartbeats, has its turn.
                await asyncio.sleep(0)

    def _hungry(self) -> list[TopicPartition]:
        sinks = self._assignment.sinks.values()
        rows = sum(sink.held_rows for sink in sinks)
        # A book of 25 levels takes more memory than ten trades.
        size_bytes = sum(sink.held_bytes for sink in sinks)
        if rows < self._rows_max and size_bytes < self._bytes_max:
            return [sink.partition for sink in sinks if sink.hungry]
        return [sink.partition for sink in sinks if sink.must_feed]

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except KafkaError as error:
                log.warning("kafka_does_not_tell_lag", error=repr(error)[:300])
            await asyncio.sleep(WATCH_S)

    async def _look(self) -> None:
        sinks = dict(self._assignment.sinks)
        self._metrics.held.set(sum(sink.held_rows for sink in sinks.values()))
        self._metrics.troubled.set(sum(bool(sink.trouble) for sink in sinks.values()))
        stopped = sum(sink.state is State.STOPPED for sink in sinks.values())
        self._metrics.stopped.set(stopped)
        if not sinks:
            self._lags = {}
            return
        ends = await self._consumer.end_offsets(list(sinks))
        identities = await log_ids(self._client, {partition.topic for partition in sinks})
        lags = {}
        for partition, sink in sinks.items():
            if sink.stored is not None:
                lags[partition] = lag = max(0, ends[partition] - sink.stored)
                labels = (partition.topic, str(partition.partition))
                self._metrics.lag.labels(*labels).set(lag)
                if not lag:
                    sink.progressed_at = time.monotonic()
        self._lags = lags
        again = [
            partition
            for partition, sink in sinks.items()
            # Topics that were made anew, and partitions that were lost and not taken away.
            if (sink.place.log_id != identities[partition.topic] or sink.state is State.ENDED)
            and self._assignment.sinks.get(partition) is sink
        ]
        if again:
            log.warning("taken_up_again", partitions=sorted(map(str, again)))
            await self._assignment.restart(again)

    async def _end(self) -> None:
        started = time.monotonic()
        timeout_s = self._settings.sink.stop_timeout_ms / 1000
        await self._assignment.give_up_all(timeout_s)
        log.info("stopped", seconds=round(time.monotonic() - started, 3))

    async def _disconnect(self) -> None:
        for close in (
            self._consumer.stop,
            self._letter_box.close,
            self._admin.close,
            self._client.close,
        ):
            # The others are to be closed whatever happens to one. Without a broker the client may
            # let the end of its own tasks through.
            with contextlib.suppress(KafkaError, TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(CLOSE_S):
                    await close()
        self._store.close()

    def _note_start_trouble(self, trouble: str) -> None:
        self._start_trouble = trouble

    def _check_ready(self) -> Verdict:
        if not self._assignment.joined:
            return Verdict(ok=False, detail=self._start_trouble or "joining the group")
        for sink in self._assignment.sinks.values():
            if sink.trouble:
                return Verdict(ok=False, detail=f"{_name(sink)}: {sink.trouble}")
            if sink.state is State.RESUMING:
                return Verdict(ok=False, detail=f"{_name(sink)}: finding out where to go on")
        lag = sum(self._lags.values())
        return Verdict(ok=True, detail=f"{len(self._assignment.sinks)} partitions, lag {lag}")

    def _check_progress(self) -> Verdict:
        limit = self._settings.sink.stalled_after_s
        for partition, sink in self._assignment.sinks.items():
            waiting = self._lags.get(partition, 0) or sink.state is State.RESUMING
            stalled = time.monotonic() - sink.progressed_at
            # What has a known reason would have it after a restart too.
            if waiting and not sink.trouble and stalled > limit:
                return Verdict(
                    ok=False, detail=f"{_name(sink)}: nothing stored for {stalled:.0f} s"
                )
        return Verdict(ok=True)


def _consumer_arguments(settings: Settings) -> dict[str, Any]:
    sink = settings.sink
    return {
        "group_id": sink.group,
        "group_instance_id": sink.instance_id or None,
        "enable_auto_commit": False,
        # Where to read is decided by `core.blocks`, never by the client.
        "auto_offset_reset": "none",
        "session_timeout_ms": sink.session_timeout_ms,
        "heartbeat_interval_ms": min(3_000, sink.session_timeout_ms // 4),
        "rebalance_timeout_ms": max(10_000, sink.session_timeout_ms),
        # While there is no room nothing is polled; progress is watched otherwise.
        "max_poll_interval_ms": _MAX_INT,
        "fetch_max_wait_ms": POLL_MS,
        "fetch_max_bytes": _FETCH_BYTES,
        "max_partition_fetch_bytes": _PARTITION_BYTES,
    }


def _name(sink: PartitionSink) -> str:
    return f"{sink.partition.topic}/{sink.partition.partition}"
