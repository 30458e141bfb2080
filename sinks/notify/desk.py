"""One assigned partition of `alerts`: what is to be told of it, and how far that is durable.

LOADING reads the partition from its beginning; READY has caught up, and deliveries go on; CLOSED
belongs to somebody else. Before anything is told, `confirm` commits: a notifier that was frozen
and replaced finds out there, before it tells what its successor has told.
"""

import asyncio
import time
from collections.abc import Coroutine, Sequence
from enum import Enum
from typing import Any, Final

from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from core.blocks import Announcement
from core.events import AlertBatch
from core.notify.agenda import Agenda
from core.notify.notices import Notice, notice
from core.notify.receipts import Receipt
from infra.runtime import logs
from schemas.codec import decode_events
from schemas.registry import CodecError
from schemas.topics import ALERTS
from sinks.commits import Committer, RevokedError
from sinks.notify.ledger import Ledger
from sinks.notify.metrics import NotifyMetrics

log = logs.logger(__name__)

SLOW_COMMIT_S: Final = 5.0
"""A commit that takes longer than this is trouble, s."""
HELD_MAX: Final = 50_000
"""Incidents of one partition in memory, at some 2 kB; beyond them its topic is not read."""


class State(Enum):
    """What a desk is doing."""

    LOADING = "loading"
    READY = "ready"
    CLOSED = "closed"


class Desk:
    """See the module's docstring. Feed it with records from the log's beginning."""

    def __init__(
        self,
        partition: TopicPartition,
        log_id: str,
        agenda: Agenda,
        *,
        log_start: int,
        log_end: int,
        committer: Committer,
        ledger: Ledger,
        metrics: NotifyMetrics,
    ) -> None:
        self.partition = partition
        self.log_id = log_id
        self.agenda = agenda
        self.state = State.LOADING
        self.trouble = ""
        """What keeps it from being made durable, "" for nothing."""
        self._log_end = log_end
        self._committed = -1
        self._confirmed_at = 0.0
        self._committer = committer
        self._ledger = ledger
        self._metrics = metrics
        self._confirming = asyncio.Lock()
        self._under_way: set[asyncio.Task[None]] = set()
        agenda.position = log_start
        self._note_position()

    @property
    def is_ready(self) -> bool:
        """Whether alerts of it may be told."""
        return self.state is State.READY

    @property
    def is_hungry(self) -> bool:
        """Whether it takes records."""
        return self.state is not State.CLOSED and self.agenda.held < HELD_MAX

    def feed(self, records: Sequence[ConsumerRecord]) -> None:
        """Take records, in order."""
        for record in records:
            if record.offset < self.agenda.position:
                continue
            found = read_alert(record)
            if found is None:
                self._metrics.unreadable.inc()
                self.agenda.skip(record.offset)
                continue
            before = self.agenda.repeats
            self.agenda.read(found)
            if self.is_ready:
                self._metrics.duplicates.inc(self.agenda.repeats - before)
        self._note_position()

    def _note_position(self) -> None:
        if self.state is State.LOADING and self.agenda.position >= self._log_end:
            self.state = State.READY

    async def confirm(self) -> None:
        """Commit what is settled, and learn by it that the partition is still ours.

        Raises:
            RevokedError: it is not.
            KafkaError: Kafka does not say.
        """
        asked = time.monotonic()
        async with self._confirming:
            if self.state is State.CLOSED:
                raise RevokedError(f"{self.partition} was given up")
            if self._confirmed_at > asked:
                # One that was begun since says the same.
                return
            began = time.monotonic()
            settled = self.agenda.settled_before
            try:
                await self._commit(settled)
            except RevokedError:
                self.state = State.CLOSED
                raise
            except KafkaError as error:
                self.trouble = f"Kafka takes no commit: {type(error).__name__}"
                raise
            self.trouble = ""
            self._committed, self._confirmed_at = settled, began

    async def _commit(self, settled: int) -> None:
        """Commit, however long that takes; say so where it takes long."""
        committing = asyncio.ensure_future(
            self._committer.commit(self.partition, settled, Announcement(self.log_id, None))
        )
        try:
            # The client waits for a broker that is away; only a cut-off ends that.
            done, _ = await asyncio.wait([committing], timeout=SLOW_COMMIT_S)
            if not done:
                self.trouble = "Kafka takes no commit"
            await committing
        except asyncio.CancelledError:
            committing.cancel()
            raise

    async def tidy(self) -> None:
        """Make durable what was settled since the last time, and let go what is not needed.

        Raises:
            RevokedError: the partition is somebody else's.
            KafkaError: Kafka does not answer.
        """
        if not self.is_ready:
            return
        if self.agenda.settled_before != self._committed:
            await self.confirm()
        await self._forget()

    async def _forget(self) -> None:
        for alert_id, receivers in self.agenda.forgettable(self._committed).items():
            await self._ledger.forget(alert_id, receivers, self.partition.partition)

    async def handle(self, work: Coroutine[Any, Any, None]) -> None:
        """Await work on one task; it is cut off where the partition is given up meanwhile.

        What the work raises is raised, but for the partition being lost.
        """
        task = asyncio.create_task(work)
        self._under_way.add(task)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, RevokedError):
                raise error
            log.info("partition_lost", partition=str(self.partition), reason=str(error))

    async def close(self, timeout_s: float) -> None:
        """Let what is under way end, and begin nothing more."""
        was_ready, self.state = self.is_ready, State.CLOSED
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=timeout_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        if not was_ready or self._confirming.locked():
            return
        settled = self.agenda.settled_before
        try:
            async with self._confirming, asyncio.timeout(SLOW_COMMIT_S):
                if settled != self._committed:
                    await self._commit(settled)
                    self._committed = settled
                await self._forget()
        except (RevokedError, KafkaError, TimeoutError) as error:
            # Receipts have it all; the next notifier only reads a little more.
            log.info("last_commit_failed", partition=str(self.partition), error=repr(error)[:200])


def read_alert(record: ConsumerRecord) -> Notice | None:
    """Return the alert in a record of the topic, None where there is none."""
    try:
        batch = decode_events(ALERTS, record.value)
    except CodecError as error:
        # The sink of alerts writes the dead letter.
        log.warning(
            "alert_unreadable",
            partition=record.partition,
            offset=record.offset,
            reason=str(error)[:200],
        )
        return None
    assert isinstance(batch, AlertBatch)
    return notice(batch, record.partition, record.offset, record.value)


def remembered(receipts: Sequence[Receipt], receivers: Sequence[str]) -> dict[str, Notice]:
    """Return the openings that receipts keep of incidents which a receiver was told of."""
    found: dict[str, Notice] = {}
    for receipt in receipts:
        if not receipt.alert or receipt.receiver not in receivers:
            continue
        try:
            batch = decode_events(ALERTS, receipt.alert)
        except CodecError as error:
            log.error("receipt_unreadable", alert_id=receipt.alert_id, reason=str(error)[:200])
            continue
        assert isinstance(batch, AlertBatch)
        found[receipt.alert_id] = notice(batch, receipt.partition, -1, receipt.alert)
    return found
