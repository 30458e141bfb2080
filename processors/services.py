"""What runs beside the agents of a worker: health over HTTP, and the watch over its progress.

Services of Faust's own kind, started before its consumer and stopped after it.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiokafka.errors import KafkaError
from mode import Service

from infra.runtime import logs
from infra.runtime.health import Health, HealthServer, Verdict
from processors.broker import Broker
from processors.meters import Meters
from processors.progress import Partition, Progress

log = logs.logger(__name__)

WATCH_INTERVAL_S: Final = 2.0
SILENT_AFTER_S: Final = 15.0
"""Without an answer from Kafka for this long, a worker is not ready."""


class HealthService(Service):
    """Serves `/live`, `/ready` and `/metrics`."""

    mundane_level = "debug"

    def __init__(self, server: HealthServer, **options: Any) -> None:
        self._server = server
        super().__init__(**options)

    async def on_start(self) -> None:
        """Listen."""
        await self._server.start()
        log.info("health_listening", url=self._server.url)

    async def on_stop(self) -> None:
        """Stop listening."""
        await self._server.stop()


class WatchService(Service):
    """Asks Kafka where the worker stands, and says so to metrics and health."""

    mundane_level = "debug"

    def __init__(
        self,
        broker: Broker,
        progress: Progress,
        meters: Meters,
        assigned: Callable[[], Iterable[Partition]],
        **options: Any,
    ) -> None:
        self._broker = broker
        self._progress = progress
        self._meters = meters
        self._assigned = assigned
        super().__init__(**options)

    async def on_start(self) -> None:
        """Connect."""
        await self._broker.start()

    async def on_stop(self) -> None:
        """Disconnect."""
        await self._broker.stop()

    @Service.task
    async def _watch(self) -> None:
        while not self.should_stop:
            try:
                positions = await self._broker.positions(self._assigned())
                self._progress.observe(positions, time.monotonic())
            except (KafkaError, OSError) as error:
                # Kafka is away: readiness says so, and a restart would not bring it back.
                log.warning("kafka_silent", error=str(error) or type(error).__name__)
            self._meters.progress(self._progress, time.monotonic())
            await self.sleep(WATCH_INTERVAL_S)


def add_checks(health: Health, progress: Progress, assigned: Callable[[], set[Partition]]) -> None:
    """Judge the worker by its progress: see `Progress`."""

    def commits() -> Verdict:
        stalled = progress.stalled(time.monotonic())
        if not stalled:
            return Verdict(True, "committed offsets advance, or there is nothing to do")
        names = ", ".join(f"{topic}/{partition}" for topic, partition in sorted(stalled)[:8])
        return Verdict(False, f"work waits and nothing is committed: {names}")

    def kafka() -> Verdict:
        if progress.observed_at is None:
            return Verdict(False, "Kafka has not answered yet")
        silent = time.monotonic() - progress.observed_at
        return Verdict(silent < SILENT_AFTER_S, f"Kafka answered {silent:.1f} s ago")

    def partitions() -> Verdict:
        count = len(assigned())
        return Verdict(count > 0, f"{count} partitions assigned")

    health.add_live("commits", commits)
    health.add_ready("kafka", kafka)
    health.add_ready("partitions", partitions)
