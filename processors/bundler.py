"""A bundle of every incident, as it ends: a folder that fills by itself, within bounds.

An incident is written when it is resolved, or when it has lasted as long as a bundle reaches. Its
offset in `alerts` is committed only then, so a bundler that is killed takes it up again; one that
is there already is the same file. Bundlers of one group share the partitions.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError

from core.events import AlertBatch
from core.stability.alerts import Phase
from infra.runtime import logs
from infra.runtime.connections import kafka_arguments
from infra.runtime.health import Verdict
from infra.runtime.process import Runtime
from infra.runtime.settings import Settings
from processors.bundle import Bundle, Recomputed, differences, recompute
from processors.bundle_file import file_name, write_bundle
from processors.capture import TAIL_MAX_MS, Capture, CaptureError
from schemas.codec import decode_events
from schemas.registry import CodecError
from schemas.topics import ALERTS, event_topic

log = logs.logger(__name__)

GROUP: Final = "bundles"
"""Appended to `processor.app_id`."""
RETRY_S: Final = 5.0
"""Pause after Kafka or the disk has failed, s."""
_POLL_MS: Final = 500
_POLL_RECORDS: Final = 500

Derive = Callable[[Bundle, Recomputed], Mapping[str, bytes]]
"""Makes the members for people, by name."""


class Incident(msgspec.Struct):
    """An opening that has no bundle yet; `due_ms` is when it gets one, ms since 1970."""

    offset: int
    written_ms: int
    due_ms: int


class Pending:
    """What one partition of `alerts` still owes: which incidents, and where to read from again."""

    def __init__(self) -> None:
        self.incidents: dict[str, Incident] = {}
        self.position: int | None = None
        """The offset after the last that was read."""

    def note(self, record: Any, now_ms: int) -> None:
        """Take a record of the topic that was read now; one that is no alert is passed over."""
        self.position = record.offset + 1
        try:
            batch = decode_events(ALERTS, record.value)
        except CodecError:
            return
        assert isinstance(batch, AlertBatch)
        for alert in batch.alerts:
            known = self.incidents.get(alert.alert_id)
            if alert.phase is Phase.OPEN and known is None:
                incident = Incident(record.offset, record.timestamp, now_ms + TAIL_MAX_MS)
                self.incidents[alert.alert_id] = incident
            elif alert.phase is Phase.RESOLVE and known is not None:
                known.due_ms = now_ms

    def due(self, now_ms: int) -> str | None:
        """Return the incident that is to be written next, None where none is."""
        due = [(each.due_ms, name) for name, each in self.incidents.items()]
        first = min(due, default=None)
        return first[1] if first is not None and first[0] <= now_ms else None

    def settled(self) -> int | None:
        """Return before which offset every incident has its bundle."""
        return min((each.offset for each in self.incidents.values()), default=self.position)


class Bundler(ConsumerRebalanceListener):  # type: ignore[misc]
    """Fills `folder`; its oldest bundles go once all together pass `bytes_max`."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        folder: Path,
        *,
        bytes_max: int,
        capture: Capture,
        derive: Derive,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._folder = folder
        self._bytes_max = bytes_max
        self._capture = capture
        self._derive = derive
        self._pending: dict[TopicPartition, Pending] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._fails = ""
        self._consumer = AIOKafkaConsumer(
            **kafka_arguments(settings.kafka),
            group_id=f"{settings.processor.app_id}-{GROUP}",
            enable_auto_commit=False,
            # Nobody asked for what is long over: `streamgauge bundle ALERT_ID` does.
            auto_offset_reset="latest",
        )
        runtime.health.add_ready("bundles", self._is_working)
        metrics = runtime.metrics
        self._made = metrics.counter(
            "md_bundle_files_total",
            "Incidents that a bundle was made of, or could not.",
            ("outcome",),
        )
        self._waiting = metrics.gauge(
            "md_bundles_waiting_alerts", "Incidents that have no bundle yet."
        )

    def on_partitions_revoked(self, revoked: Any) -> None:
        """Forget what others will be told of."""
        for partition in revoked:
            self._pending.pop(partition, None)

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Begin with what was not settled."""
        self._pending = {partition: Pending() for partition in assigned}
        self._committed = {}
        log.info("partitions_taken_up", partitions=sorted(each.partition for each in assigned))

    async def run(self) -> None:
        """Write bundles until the process is to stop.

        Raises:
            KafkaError: Kafka does not answer at the start.
            OSError: the folder cannot be made.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        self._consumer.subscribe([event_topic(ALERTS, self._settings.topics.prefix)], listener=self)
        await self._consumer.start()
        try:
            while not self._runtime.stop.is_set():
                try:
                    await self._step()
                    self._fails = ""
                except (KafkaError, OSError) as error:
                    self._fails = repr(error)[:300]
                    log.warning("bundles_wait", error=self._fails)
                    await self._pause(RETRY_S)
        finally:
            await self._consumer.stop()

    async def _step(self) -> None:
        """Read what has come, write one bundle that is due, and commit."""
        fetched = await self._consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        now_ms = time.time_ns() // 1_000_000
        for partition, records in fetched.items():
            for record in records:
                self._pending[partition].note(record, now_ms)
        for partition, pending in list(self._pending.items()):
            alert_id = pending.due(now_ms)
            if alert_id is not None:
                await self._write(alert_id, pending.incidents[alert_id].written_ms)
                pending.incidents.pop(alert_id, None)
            if pending.position is None:
                # A restart must not begin at an end that has moved meanwhile.
                pending.position = await self._consumer.position(partition)
        self._waiting.set(sum(len(pending.incidents) for pending in self._pending.values()))
        await self._commit()

    async def _write(self, alert_id: str, since_ms: int) -> None:
        file = self._folder / file_name(alert_id)
        if file.exists():
            return
        try:
            bundle = await self._capture.take(alert_id, since_ms=since_ms)
        except CaptureError as error:
            self._made.labels(outcome="not_made").inc()
            log.warning("bundle_not_made", alert_id=alert_id, reason=str(error))
            return
        # Replaying takes seconds: the group must go on hearing from us.
        found, size = await asyncio.to_thread(self._replayed, bundle, file)
        outcome = "differs" if found else "equal"
        self._made.labels(outcome=outcome).inc()
        log.info(
            "bundle_made", alert_id=alert_id, file=str(file), bytes=size, replay=outcome,
            differences=found,
        )  # fmt: skip
        self._drop_oldest(file)

    def _replayed(self, bundle: Bundle, file: Path) -> tuple[list[str], int]:
        recomputed = recompute(bundle)
        size = write_bundle(file, bundle, self._derive(bundle, recomputed))
        return differences(bundle, recomputed), size

    def _drop_oldest(self, latest: Path) -> None:
        """Keep the bundles within bounds; the latest stays however large it is."""
        files = sorted(self._folder.glob("incident-*.zip"), key=lambda file: file.stat().st_mtime)
        size = sum(file.stat().st_size for file in files)
        for file in files:
            if size <= self._bytes_max or file == latest:
                break
            size -= file.stat().st_size
            file.unlink()
            log.info("bundle_dropped", file=str(file))

    async def _commit(self) -> None:
        offsets = {
            partition: settled
            for partition, pending in self._pending.items()
            if (settled := pending.settled()) is not None
            and settled != self._committed.get(partition)
            and partition in self._consumer.assignment()
        }
        if offsets:
            await self._consumer.commit(offsets)
            self._committed |= offsets

    def _is_working(self) -> Verdict:
        return Verdict(not self._fails, self._fails)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._runtime.stop.wait(), seconds)
        except TimeoutError:
            return
