"""One block's way from closed to committed: announce, rows, letters, account, commit.

Nothing is stored before the range is announced, and the commit that announces is refused to whoever
has lost the partition. Every step may be repeated. A failure that may pass is tried again for ever,
with growing random waits. Data that ClickHouse refuses are handed back: rows come before letters,
so that nothing was said of a block that is to be cut anew.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError
from urllib3.exceptions import HTTPError

from core.backoff import Backoff
from core.blocks import Announcement, Block
from core.letters import DeadLetter
from core.rows import COLUMNS, TIMES
from infra.runtime import logs
from infra.runtime.reasons import cause
from infra.runtime.settings import SinkSettings
from sinks.commits import Committer
from sinks.letters import LetterBox
from sinks.metrics import SinkMetrics
from sinks.store import Store, is_missing, is_refusal, is_refusal_of_values
from sinks.threads import in_thread

log = logs.logger(__name__)

REFUSALS: Final = 3
"""Times that ClickHouse must refuse a block's data: a connection that broke in the middle of an
insert looks like bad data once or twice, but not always."""

QUESTIONS: Final = 4
"""Questions that may be under way at once: a start asks for every partition."""
_TRANSIENT: Final = (ClickHouseError, HTTPError, OSError, KafkaError)
_MS: Final = 1_000_000
_POOL: Final = "ConnectionPool("
"""What urllib3 begins with where there is no answer."""
_REQUEST: Final = re.compile(
    r" with url: \S+| \(for url \S+\)|Received ClickHouse exception, code: \d+, server response: "
)


class Step(StrEnum):
    """What has just been done for a block; between any two the process may die."""

    ANNOUNCED = "announced"
    ROWS_STORED = "rows stored"
    LETTERS_POSTED = "letters posted"
    ACCOUNTED = "accounted"
    COMMITTED = "committed"


class RefusedError(Exception):
    """ClickHouse refuses a block's data for good."""


class RowsRefusedError(RefusedError):
    """ClickHouse refuses a block's rows for the sake of some values."""


class Parcel(msgspec.Struct):
    """A closed block with its letters. `check`: some of it may be stored already."""

    partition: TopicPartition
    block: Block
    letters: list[DeadLetter]
    check: bool
    size_bytes: int
    """Bytes of the records."""
    announced_at: int = 0
    """Monotonic ns of the last announcement."""


Trouble = Callable[[str], None]
"""Told what keeps a parcel from being stored, and "" when nothing does any more."""


class Delivery:
    """Carries parcels of all partitions; `reached` is told of every step, for tests."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        letter_box: LetterBox,
        metrics: SinkMetrics,
        settings: SinkSettings,
        reached: Callable[[Step, Block], None] | None = None,
    ) -> None:
        self._store = store
        self._committer = committer
        self._letter_box = letter_box
        self._metrics = metrics
        self._settings = settings
        self._reached = reached or (lambda step, block: None)
        self._inserts = asyncio.Semaphore(settings.inserts)
        self._questions = asyncio.Semaphore(QUESTIONS)

    async def store(self, parcel: Parcel, trouble: Trouble) -> None:
        """Return when everything of the block is in ClickHouse.

        Raises:
            RevokedError: the partition was lost; whoever has it now stores the block.
            RowsRefusedError: ClickHouse refuses some of the rows, and so stored none.
            RefusedError: ClickHouse refuses the data.
        """
        block, topic = parcel.block, parcel.block.place.topic
        await self._announce(parcel)
        self._reached(Step.ANNOUNCED, block)
        await self._persistently(parcel, trouble, self._store_rows)
        self._reached(Step.ROWS_STORED, block)
        if parcel.letters:
            await self._persistently(parcel, trouble, self._post)
        self._reached(Step.LETTERS_POSTED, block)
        await self._persistently(parcel, trouble, self._store_account)
        self._reached(Step.ACCOUNTED, block)
        trouble("")
        self._count(block, topic)

    async def commit(self, parcel: Parcel) -> None:
        """Commit the end of a stored block, with nothing begun after it.

        Raises:
            RevokedError: the partition was lost.
        """
        block = parcel.block
        await self._committer.commit(
            parcel.partition, block.end, Announcement(block.place.log_id, None)
        )
        self._reached(Step.COMMITTED, block)

    async def withdraw(self, parcel: Parcel) -> None:
        """Take back the announcement of a block whose rows were refused.

        Raises:
            RevokedError: the partition was lost.
        """
        block = parcel.block
        await self._committer.commit(
            parcel.partition, block.first, Announcement(block.place.log_id, None)
        )

    async def until_answered(
        self, what: str, trouble: Trouble, function: Callable[..., Any], *arguments: Any
    ) -> Any:
        """Call `function`, which blocks and only reads, in a thread until it succeeds."""
        backoff = self._backoff()
        while True:
            try:
                async with self._questions:
                    result = await in_thread(function, *arguments)
            except _TRANSIENT as error:
                await self._wait(backoff, trouble, what, error)
            else:
                trouble("")
                return result

    async def _announce(self, parcel: Parcel) -> None:
        block = parcel.block
        await self._committer.commit(
            parcel.partition,
            block.first,
            Announcement(block.place.log_id, block.end, block.refused),
        )
        parcel.announced_at = time.monotonic_ns()

    async def _persistently(
        self, parcel: Parcel, trouble: Trouble, step: Callable[[Parcel], Any]
    ) -> None:
        backoff, refusals = self._backoff(), 0
        while True:
            if time.monotonic_ns() - parcel.announced_at > self._settings.session_timeout_ms * _MS:
                # So long ago that the partition may have been lost unnoticed.
                await self._announce(parcel)
            try:
                await step(parcel)
            except _TRANSIENT as error:
                refusals = refusals + 1 if is_refusal(error) else 0
                if refusals >= REFUSALS:
                    self._metrics.refusals.labels(parcel.partition.topic).inc()
                    of_rows = step == self._store_rows and is_refusal_of_values(error)
                    raise (RowsRefusedError if of_rows else RefusedError)(summary(error)) from error
                # What became of the attempt is unknown.
                parcel.check = True
                self._metrics.failures.labels(parcel.partition.topic).inc()
                await self._wait(backoff, trouble, str(parcel.partition), error)
            else:
                return

    async def _post(self, parcel: Parcel) -> None:
        await self._letter_box.post(parcel.letters)

    async def _store_rows(self, parcel: Parcel) -> None:
        if not len(parcel.block.rows):
            return
        async with self._inserts:
            started = time.monotonic()
            await in_thread(lambda: self._store.insert_rows(parcel.block, check=parcel.check))
            elapsed = time.monotonic() - started
        self._metrics.insert.labels(parcel.partition.topic).observe(elapsed)

    async def _store_account(self, parcel: Parcel) -> None:
        async with self._inserts:
            await in_thread(lambda: self._store.insert_account(parcel.block, check=parcel.check))

    async def _wait(self, backoff: Backoff, trouble: Trouble, what: str, error: Exception) -> None:
        trouble(summary(error))
        wait_s = backoff.wait(random.random()) / 1e9
        log.warning(
            "attempt_failed",
            what=what,
            attempt=backoff.attempts,
            again_in_s=round(wait_s, 3),
            error=summary(error),
        )
        await asyncio.sleep(wait_s)

    def _backoff(self) -> Backoff:
        return Backoff(self._settings.retry_initial_ms * _MS, self._settings.retry_cap_ms * _MS)

    def _count(self, block: Block, topic: str) -> None:
        metrics, rows = self._metrics, block.rows
        metrics.blocks.labels(topic).inc()
        metrics.rows.labels(topic).inc(len(rows))
        metrics.duplicates.labels(topic).inc(block.duplicates)
        metrics.letters.labels(topic).inc(block.dead_letters)
        metrics.missing.labels(topic).inc(block.missing)
        if len(rows):
            received = rows.columns[COLUMNS[rows.kind].index(TIMES[rows.kind])]
            metrics.observe_latency(topic, received)


def summary(error: Exception) -> str:
    """Return what went wrong, for logs and `/ready`, in at most a few hundred characters."""
    if isinstance(error, OperationalError | HTTPError) and _POOL in str(error):
        return f"ClickHouse does not answer: {cause(str(error))}"
    # The address of a request is long, as are the words before an answer: both push out the cause.
    text = _REQUEST.sub("", " ".join(str(error).split()))
    advice = "; `streamgauge migrate` makes it" if is_missing(error) else ""
    return f"{type(error).__name__}: {text[:300]}{advice}"
