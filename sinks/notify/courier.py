"""One receiver's courier: takes the next task of all desks, tells it, and keeps the receipt.

One at a time, in order. The steps of a task: confirmed (the partition is ours) -> taken (the
receiver has it) or given up (the dead letter is written) -> receipted -> settled. Killed between
taken and receipted, the next notifier tells it again, under the same id.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from typing import Final

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from core.letters import REASON_CHARACTERS, DeadLetter
from core.notify.agenda import Task
from core.notify.notices import Notice
from core.notify.pace import Pace, Verdict
from core.notify.receipts import Outcome, Receipt
from core.notify.silences import Silence
from core.stability.alerts import Phase
from infra.runtime import logs
from infra.runtime.settings import NotifySettings
from sinks.letters import LetterBox
from sinks.notify import formats
from sinks.notify.desk import Desk
from sinks.notify.formats import Request
from sinks.notify.ledger import Ledger
from sinks.notify.metrics import NotifyMetrics
from sinks.notify.options import Receiver, links
from sinks.notify.post import Post

log = logs.logger(__name__)

LOOK_S: Final = 0.5
"""Longest pause between two looks for something to tell, s: silences end by the clock."""
KAFKA_RETRY_S: Final = 0.5
"""Pause before a receipt or letter is written again, s."""
REPEATED_MAX: Final = 200
"""Alerts in one request to an Alertmanager."""
_NS: Final = 1_000_000_000


class Step(Enum):
    """A step of a task that has just been done."""

    CONFIRMED = "confirmed"
    TAKEN = "taken"
    GIVEN_UP = "given_up"
    RECEIPTED = "receipted"
    SETTLED = "settled"


class Office(msgspec.Struct, frozen=True):
    """What all couriers share. `reached` is told of every step, for tests."""

    settings: NotifySettings
    desks: Mapping[TopicPartition, Desk]
    silences: Callable[[], Sequence[Silence]]
    post: Post
    ledger: Ledger
    letters: LetterBox
    metrics: NotifyMetrics
    reached: Callable[[Step, Task], None]


class Courier:
    """See the module's docstring."""

    def __init__(self, receiver: Receiver, office: Office) -> None:
        settings = office.settings
        self.receiver = receiver
        self.trouble = ""
        """Why the last delivery failed, "" if it did not."""
        self.beat = time.monotonic()
        self._office = office
        self._pace = Pace(settings.retry_initial_ms * 1_000_000, settings.retry_cap_ms * 1_000_000)
        self._links = links(settings)
        self._since: dict[tuple[str, Phase], int] = {}
        """When a task was first tried, ns since the epoch."""
        self._repeats = receiver.kind == "alertmanager"
        self._repeat_at = 0.0
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """There may be something to tell."""
        self._wake.set()

    def repeat_soon(self) -> None:
        """A partition was taken up: what is open there is to be told again."""
        self._repeat_at = 0.0
        self._wake.set()

    async def run(self) -> None:
        """Tell what there is to tell, for ever."""
        while True:
            self.beat = time.monotonic()
            self._wake.clear()
            if self._repeats and time.monotonic() >= self._repeat_at:
                await self._repeat()
            found = self._next()
            if found is None:
                await self._pause()
                continue
            desk, task, troubled = found
            try:
                await desk.handle(self._tell(desk, task, troubled))
            except KafkaError as error:
                log.warning("kafka_away", receiver=self.receiver.name, error=repr(error)[:200])
                await asyncio.sleep(KAFKA_RETRY_S)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(LOOK_S):
                await self._wake.wait()
        except TimeoutError:
            pass

    def _next(self) -> tuple[Desk, Task, bool] | None:
        """Return the oldest task of all desks that may be told now."""
        now, silences = time.time_ns(), self._office.silences()
        for troubled in (False, True):
            if self._pace.due(troubled=troubled) > time.monotonic_ns():
                continue
            found: tuple[Desk, Task, bool] | None = None
            for desk in self._office.desks.values():
                if not desk.is_ready:
                    continue
                tasks = desk.agenda.tasks(self.receiver.name, now, silences, troubled=troubled)
                task = next(tasks, None)
                if task is not None and (
                    found is None or task.notice.alert.ts < found[1].notice.alert.ts
                ):
                    found = desk, task, troubled
            if found is not None:
                return found
        return None

    # -- one task --

    async def _tell(self, desk: Desk, task: Task, troubled: bool) -> None:
        await desk.confirm()
        if task.is_suppressed:
            self._office.metrics.suppressed.labels(self.receiver.name).inc()
            await self._settle(desk, task, Outcome.SUPPRESSED)
            return
        self._office.reached(Step.CONFIRMED, task)
        answer = await self._office.post.send(self.receiver, self._request(task))
        match answer.verdict:
            case Verdict.TAKEN:
                self._office.reached(Step.TAKEN, task)
                self._pace.worked(troubled=troubled)
                self.trouble = ""
                self._note_delivered(task)
                await self._settle(desk, task, Outcome.DELIVERED)
            case Verdict.REFUSED:
                self._pace.worked(troubled=troubled)
                self.trouble = answer.reason
                await self._give_up(desk, task, f"refused: {answer.reason}")
            case Verdict.AWAY | Verdict.FAILED:
                self.trouble = answer.reason
                wait = answer.retry_after_s
                await self._put_off(desk, task, answer.verdict, troubled, wait)

    def _note_delivered(self, task: Task) -> None:
        metrics, name = self._office.metrics, self.receiver.name
        alert = task.notice.alert
        metrics.delivered.labels(name, alert.phase.name.lower()).inc()
        metrics.latency.labels(name).observe(max(0, time.time_ns() - alert.ts) / _NS)
        log.info(
            "alert_delivered",
            receiver=name,
            alert_id=alert.alert_id,
            phase=alert.phase.name.lower(),
        )

    async def _put_off(
        self, desk: Desk, task: Task, found: Verdict, troubled: bool, retry_after_s: float
    ) -> None:
        self._office.metrics.failures.labels(self.receiver.name).inc()
        self._pace.failed(
            time.monotonic_ns(),
            random.random(),
            troubled=troubled,
            retry_after_s=retry_after_s,
        )
        now = time.time_ns()
        since = self._since.setdefault((task.alert_id, task.phase), now)
        log.warning(
            "delivery_failed",
            receiver=self.receiver.name,
            alert_id=task.alert_id,
            phase=task.phase.name.lower(),
            reason=self.trouble,
            since_s=round((now - since) / _NS, 1),
        )
        if found is Verdict.FAILED:
            desk.agenda.failed(task)
        if now - since >= self._office.settings.give_up_after_s * _NS:
            waited = round((now - since) / _NS)
            await self._give_up(desk, task, f"not taken for {waited} s: {self.trouble}")

    async def _give_up(self, desk: Desk, task: Task, reason: str) -> None:
        notice = task.notice
        log.error(
            "dead_letter",
            receiver=self.receiver.name,
            alert_id=task.alert_id,
            phase=task.phase.name.lower(),
            reason=reason,
        )
        letter = DeadLetter(
            topic=desk.partition.topic,
            partition=notice.partition,
            offset=notice.offset,
            consumer=f"notify/{self.receiver.name}",
            reason=reason[:REASON_CHARACTERS],
            ts=notice.alert.ts,
            key=None,
            value=notice.value,
            # Without the log's identity no letter counts as a repeat: one receiver's letters are
            # not always in the order of the log, and none may be taken for another.
            log_id="",
        )
        await self._until_kafka_has(lambda: self._office.letters.post([letter]))
        self._office.reached(Step.GIVEN_UP, task)
        phase = task.phase.name.lower()
        self._office.metrics.refused.labels(self.receiver.name, phase).inc()
        await self._settle(desk, task, Outcome.REFUSED)

    async def _settle(self, desk: Desk, task: Task, outcome: Outcome) -> None:
        is_open = task.phase is Phase.OPEN and outcome is Outcome.DELIVERED
        receipt = Receipt(
            receiver=self.receiver.name,
            alert_id=task.alert_id,
            phase=task.phase,
            outcome=outcome,
            partition=desk.partition.partition,
            ts=time.time_ns(),
            alert=task.notice.value if is_open else b"",
        )
        # What was told is told, also if the partition is somebody else's by now.
        await self._until_kafka_has(lambda: self._office.ledger.write(receipt))
        self._office.reached(Step.RECEIPTED, task)
        self._since.pop((task.alert_id, task.phase), None)
        desk.agenda.settle(task, outcome)
        self._office.reached(Step.SETTLED, task)

    async def _until_kafka_has(self, write: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await write()
            except KafkaError as error:
                log.warning("kafka_away", receiver=self.receiver.name, error=repr(error)[:200])
                await asyncio.sleep(KAFKA_RETRY_S)
            else:
                return

    def _request(self, task: Task) -> Request:
        match self.receiver.kind:
            case "alertmanager":
                return self._alertmanager([(task.notice, task.before)])
            case "slack":
                return formats.slack_message(task, self._links)
            case "pagerduty":
                key = self.receiver.routing_key.reveal()
                return formats.pagerduty_event(task, self._links, key)
        if self.receiver.is_binary:
            return formats.binary_event(task, self._links)
        return formats.structured_event(task, self._links)

    # -- Alertmanager --

    def _alertmanager(self, notices: Sequence[tuple[Notice, int]]) -> Request:
        return formats.alertmanager_alerts(
            notices,
            self._links,
            now=time.time_ns(),
            repeat_ns=self._office.settings.repeat_interval_s * _NS,
        )

    async def _repeat(self) -> None:
        """Tell an Alertmanager again of all that it was told of and that is open."""
        interval_s = float(self._office.settings.repeat_interval_s)
        self._repeat_at = time.monotonic() + interval_s
        for desk in list(self._office.desks.values()):
            if not desk.is_ready or not desk.agenda.firing(self.receiver.name):
                continue
            try:
                await desk.handle(self._repeat_of(desk))
            except KafkaError as error:
                log.warning("kafka_away", receiver=self.receiver.name, error=repr(error)[:200])

    async def _repeat_of(self, desk: Desk) -> None:
        await desk.confirm()
        firing = desk.agenda.firing(self.receiver.name)
        for begin in range(0, len(firing), REPEATED_MAX):
            some = [(notice, 0) for notice in firing[begin : begin + REPEATED_MAX]]
            answer = await self._office.post.send(self.receiver, self._alertmanager(some))
            if answer.verdict is Verdict.TAKEN:
                self._office.metrics.repeats.labels(self.receiver.name).inc()
                continue
            self._office.metrics.failures.labels(self.receiver.name).inc()
            self.trouble = answer.reason
            log.warning("repeat_failed", receiver=self.receiver.name, reason=answer.reason)
            # In time before what is open would end there by itself.
            self._repeat_at = time.monotonic() + self._office.settings.repeat_interval_s / 4
            return
