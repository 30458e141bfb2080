"""The notifier: one consumer of `alerts`, a courier for each receiver, and what they share.

It reads, feeds the desks of its partitions, watches lag and progress, and ends by letting the
deliveries under way finish.
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

from core.notify.agenda import Agenda, Task
from core.notify.receipts import Receipt
from core.notify.silences import Silence
from infra.runtime import logs
from infra.runtime.connections import kafka_arguments
from infra.runtime.health import Verdict
from infra.runtime.log_identity import log_ids
from infra.runtime.process import Runtime
from infra.runtime.settings import Settings
from schemas.topics import ALERTS, DEAD_LETTERS, RECEIPTS, SILENCES, event_topic
from sinks.commits import Committer, RevokedError
from sinks.letters import LetterBox
from sinks.notify import options
from sinks.notify.courier import Courier, Office, Step
from sinks.notify.desk import Desk, remembered
from sinks.notify.desks import Desks
from sinks.notify.ledger import Ledger, SilenceBoard
from sinks.notify.metrics import NotifyMetrics
from sinks.notify.post import Post

log = logs.logger(__name__)

TOPICS: Final = (ALERTS, RECEIPTS, SILENCES, DEAD_LETTERS)
"""What a notifier reads and writes."""
POLL_MS: Final = 100
POLL_RECORDS: Final = 500
WATCH_S: Final = 1.0
"""Seconds between two looks at lag, and two commits of what was settled."""
IDENTITY_LOOKS: Final = 5
"""Looks of which one asks whether the log is still the same."""
KAFKA_SILENT_S: Final = 10.0
"""Seconds without an answer of Kafka after which nothing is said to be done."""
CLOSE_S: Final = 5.0
REVOKE_SPARE_S: Final = 2.0
"""What a rebalance waits for beyond the longest delivery, s."""
_MAX_INT: Final = 2**31 - 1


class NotifyWorker:
    """Run it until `runtime.stop` is set. `reached` is told of every step, for tests."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        reached: Callable[[Step, Task], None] | None = None,
    ) -> None:
        notify, prefix = settings.notify, settings.topics.prefix
        self._settings = notify
        self._runtime = runtime
        self._topic = event_topic(ALERTS, prefix)
        self._receivers = options.receivers(notify)
        self._fixed = tuple(options.silences(notify))
        self._reached = reached or (lambda step, task: None)
        arguments = kafka_arguments(settings.kafka)
        slowest_s = max((each.timeout_s for each in self._receivers), default=0.0)
        self._revoke_s = slowest_s + REVOKE_SPARE_S
        self._client = AIOKafkaClient(**arguments)
        self._admin = AIOKafkaAdminClient(**arguments)
        self._consumer = AIOKafkaConsumer(**arguments, **self._consumer_arguments())
        self._committer = Committer(self._consumer)
        self._metrics = NotifyMetrics(runtime.metrics)
        self._ledger = Ledger(arguments, event_topic(RECEIPTS, prefix))
        self._board = SilenceBoard(arguments, event_topic(SILENCES, prefix))
        self._letters = LetterBox(
            arguments,
            event_topic(DEAD_LETTERS, prefix),
            max_bytes=settings.topics.max_message_bytes,
        )
        self._desks = Desks(
            self._consumer,
            self._admin,
            self._client,
            self._ledger,
            notify.group,
            make=self._make,
            changed=self._on_change,
            revoke_s=self._revoke_s,
        )
        self._couriers: list[Courier] = []
        self._polled = self._heard = time.monotonic()
        runtime.health.add_ready("alerts", self._check_ready)
        runtime.health.add_live("progress", self._check_progress)

    async def run(self) -> None:
        """Tell until the process is asked to stop.

        Raises:
            KafkaConnectionError: no broker answers at the start.
        """
        await self._client.bootstrap()
        async with Post() as post:
            try:
                await self._admin.start()
                await self._ledger.start()
                following = asyncio.create_task(self._follow_silences())
                await self._run_couriers(post, following)
            finally:
                await self._disconnect()

    async def _run_couriers(self, post: Post, following: asyncio.Task[None]) -> None:
        office = Office(
            settings=self._settings,
            desks=self._desks.desks,
            silences=self._silences,
            post=post,
            ledger=self._ledger,
            letters=self._letters,
            metrics=self._metrics,
            reached=self._reached,
        )
        await self._until_silences_are_known()
        self._couriers = [Courier(receiver, office) for receiver in self._receivers]
        log.info(
            "notifying",
            receivers={each.name: f"{each.kind} {each.host}" for each in self._receivers},
            silences=len(self._silences()),
        )
        await self._consumer.start()
        self._consumer.subscribe([self._topic], listener=self._desks)
        tasks = [following, asyncio.create_task(self._watch())]
        tasks += [asyncio.create_task(courier.run()) for courier in self._couriers]
        try:
            await self._read(tasks)
        finally:
            started = time.monotonic()
            await self._desks.give_up_all(self._settings.stop_timeout_ms / 1000)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            log.info("stopped", seconds=round(time.monotonic() - started, 3))

    async def _until_silences_are_known(self) -> None:
        waits = [
            asyncio.create_task(event.wait()) for event in (self._board.loaded, self._runtime.stop)
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _follow_silences(self) -> None:
        while True:
            try:
                await self._board.follow()
            except KafkaError as error:
                log.warning("kafka_does_not_tell_silences", error=repr(error)[:300])
                await asyncio.sleep(WATCH_S)

    def _silences(self) -> Sequence[Silence]:
        return (*self._fixed, *self._board.silences)

    def _make(
        self,
        partition: TopicPartition,
        log_id: str,
        receipts: list[Receipt],
        *,
        committed: int,
        log_start: int,
        log_end: int,
    ) -> Desk:
        names = [each.name for each in self._receivers]
        agenda = Agenda(
            {each.name: each.severity_min for each in self._receivers},
            options.damping(self._settings),
            committed=committed,
            receipts=receipts,
            openings=remembered(receipts, names),
        )
        return Desk(
            partition,
            log_id,
            agenda,
            log_start=log_start,
            log_end=log_end,
            committer=self._committer,
            ledger=self._ledger,
            metrics=self._metrics,
        )

    def _on_change(self) -> None:
        for courier in self._couriers:
            courier.repeat_soon()

    # -- reading --

    async def _read(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        desks = self._desks.desks
        while not self._runtime.stop.is_set():
            self._polled = time.monotonic()
            for task in tasks:
                if task.done():
                    task.result()
            if self._desks.failure is not None:
                raise self._desks.failure
            hungry = [partition for partition, desk in desks.items() if desk.is_hungry]
            if not hungry:
                await asyncio.sleep(POLL_MS / 1000)
                continue
            try:
                batches: dict[TopicPartition, list[Any]] = await self._consumer.getmany(
                    *hungry, timeout_ms=POLL_MS, max_records=POLL_RECORDS
                )
            except OffsetOutOfRangeError as error:
                await self._desks.restart(list(error.args[0]))
                continue
            for partition, records in batches.items():
                if (desk := desks.get(partition)) is not None:
                    self._feed(desk, records)
                await asyncio.sleep(0)

    def _feed(self, desk: Desk, records: Sequence[Any]) -> None:
        was_ready = desk.is_ready
        desk.feed(records)
        for courier in self._couriers:
            if desk.is_ready and not was_ready:
                courier.repeat_soon()
            courier.wake()

    # -- watching --

    async def _watch(self) -> None:
        looks = 0
        while True:
            try:
                await self._look(with_identity=looks % IDENTITY_LOOKS == 0)
            except (KafkaError, RevokedError) as error:
                log.warning("progress_not_committed", error=repr(error)[:300])
            looks += 1
            await asyncio.sleep(WATCH_S)

    async def _look(self, *, with_identity: bool) -> None:
        desks = dict(self._desks.desks)
        self._measure(list(desks.values()))
        if not desks:
            self._heard = time.monotonic()
            return
        for desk in desks.values():
            await desk.tidy()
        ends = await self._consumer.end_offsets(list(desks))
        for partition, desk in desks.items():
            lag = max(0, ends[partition] - desk.agenda.settled_before)
            self._metrics.lag.labels(str(partition.partition)).set(lag)
        self._heard = time.monotonic()
        if with_identity:
            identities = await log_ids(self._client, {self._topic})
            again = [each for each, desk in desks.items() if desk.log_id != identities[self._topic]]
            if again:
                log.warning("taken_up_again", partitions=sorted(map(str, again)))
                await self._desks.restart(again)

    def _measure(self, desks: Sequence[Desk]) -> None:
        now, silences, metrics = time.time_ns(), self._silences(), self._metrics
        metrics.open.set(sum(desk.agenda.open_incidents for desk in desks))
        metrics.silences.set(sum(each.window.end_of(now) is not None for each in silences))
        for receiver in self._receivers:
            name = receiver.name
            metrics.waiting.labels(name).set(sum(desk.agenda.waiting(name) for desk in desks))
            times = [desk.agenda.oldest(name, now, silences) for desk in desks if desk.is_ready]
            oldest = min((ts for ts in times if ts is not None), default=now)
            metrics.oldest.labels(name).set(max(0, now - oldest) / 1e9)

    # -- health --

    def _check_ready(self) -> Verdict:
        if not self._board.loaded.is_set():
            return Verdict(ok=False, detail="reading silences")
        if not self._desks.joined:
            return Verdict(ok=False, detail="joining the group")
        desks = list(self._desks.desks.values())
        if self._desks.taking_up or any(not desk.is_ready for desk in desks):
            return Verdict(ok=False, detail="reading what was told before")
        for desk in desks:
            if desk.trouble:
                return Verdict(ok=False, detail=desk.trouble)
        if (silent_s := time.monotonic() - self._heard) > KAFKA_SILENT_S:
            return Verdict(ok=False, detail=f"Kafka has not answered for {silent_s:.0f} s")
        said = [f"{len(desks)} partitions"]
        troubled = [courier for courier in self._couriers if courier.trouble]
        for courier in troubled:
            name = courier.receiver.name
            waiting = sum(desk.agenda.waiting(name) for desk in desks)
            said.append(f"{name}: {courier.trouble} ({waiting} waiting)")
        ok = not troubled or len(troubled) < len(self._couriers)
        return Verdict(ok=ok, detail="; ".join(said))

    def _check_progress(self) -> Verdict:
        limit, now = self._settings.stalled_after_s, time.monotonic()
        if self._desks.joined and now - self._polled > limit + self._revoke_s:
            return Verdict(ok=False, detail=f"nothing read for {now - self._polled:.0f} s")
        for courier in self._couriers:
            stalled = now - courier.beat
            # Kafka that is away would be away after a restart, too.
            away = any(desk.trouble for desk in self._desks.desks.values())
            if stalled > limit + courier.receiver.timeout_s and not away:
                name = courier.receiver.name
                return Verdict(ok=False, detail=f"{name}: nothing done for {stalled:.0f} s")
        return Verdict(ok=True)

    # -- ends --

    async def _disconnect(self) -> None:
        for close in (
            self._consumer.stop,
            self._ledger.close,
            self._letters.close,
            self._admin.close,
            self._client.close,
        ):
            # The others are to be closed whatever happens to one. Without a broker the client may
            # let the end of its own tasks through.
            with contextlib.suppress(KafkaError, TimeoutError, asyncio.CancelledError):
                async with asyncio.timeout(CLOSE_S):
                    await close()

    def _consumer_arguments(self) -> dict[str, Any]:
        notify = self._settings
        return {
            "group_id": notify.group,
            "group_instance_id": notify.instance_id or None,
            "enable_auto_commit": False,
            # Where to read is decided when a partition is taken up, never by the client.
            "auto_offset_reset": "none",
            "session_timeout_ms": notify.session_timeout_ms,
            "heartbeat_interval_ms": min(3_000, notify.session_timeout_ms // 4),
            # A delivery under way is waited for, so that it is not done twice.
            "rebalance_timeout_ms": max(
                10_000, notify.session_timeout_ms, int(self._revoke_s * 1000) + 5_000
            ),
            "max_poll_interval_ms": _MAX_INT,
            "fetch_max_wait_ms": POLL_MS,
        }
