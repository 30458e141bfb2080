"""The loop of a worker: raw event in, outputs out, acknowledged in order.

An event is acknowledged by hand, after its outputs were handed to the producer. Faust would
acknowledge it when the loop is left by an exception or a cancellation too, and its facts would be
lost. For the same reason a mistake of ours ends the process at once: nothing more is committed, and
the next worker begins with the very record. What a frame means must not be decided here.
"""

import time
from collections.abc import Callable
from typing import Any

import faust
import msgspec
from aiokafka import TopicPartition

from infra.runtime import logs
from infra.runtime.settings import KafkaSettings
from processors.broker import Broker
from processors.engine import Engine, RawRecord
from processors.engines import MakeEngine
from processors.meters import Meters
from processors.progress import Partition, Progress
from processors.publisher import Publisher
from processors.warmup import WarmUp, warm_up

log = logs.logger(__name__)


class WarmUpSettings(msgspec.Struct, frozen=True):
    """What it takes to bring an engine to where the group stands; `warmup_s` in s.

    `checkpoints` is the name of the topic that engines are restored from.
    """

    kafka: KafkaSettings
    checkpoints: str
    warmup_s: int


class Processor:
    """Engines of the partitions that this worker has, and the loop that feeds them."""

    def __init__(
        self,
        app: faust.App,
        settings: WarmUpSettings,
        publisher: Publisher,
        *,
        broker: Broker,
        meters: Meters,
        progress: Progress,
        fail: Callable[[str, BaseException], None],
    ) -> None:
        self._app = app
        self._settings = settings
        self._publisher = publisher
        self._broker = broker
        self._meters = meters
        self._progress = progress
        self._fail = fail
        self._engines: dict[Partition, Engine] = {}

    def loop(self, make: MakeEngine) -> Callable[[Any], Any]:
        """Return the agent function of one topic; `make` makes what reads its partitions."""

        async def process(stream: Any) -> None:
            async for event in stream.noack().events():
                try:
                    if await self._process(make, event.message):
                        event.ack()
                except Exception as error:  # noqa: BLE001 - this is the process' main loop
                    message = event.message
                    place = f"{message.topic}/{message.partition} at {message.offset}"
                    self._fail(f"processing failed, {place}", error)

        return process

    def keep_only(self, assigned: set[Partition]) -> None:
        """Forget the engines of partitions that another worker has now.

        An engine of a partition that stays is kept: it goes on only where it stopped.
        """
        for partition in self._engines.keys() - assigned:
            del self._engines[partition]

    async def _process(self, make: MakeEngine, message: Any) -> bool:
        """Say whether the message was processed, and not taken away meanwhile."""
        engine = self._engines.get((message.topic, message.partition))
        # Another worker may have gone on with the partition, or Faust gone back to its commit.
        if engine is None or engine.next_offset != message.offset:
            engine = await self._warm_engine(make, message)
            if engine is None:
                return False
        started = time.perf_counter()
        ts_ns = round(message.timestamp * 1000) * 1_000_000
        fed = engine.feed(RawRecord(message.offset, message.key, message.value, ts_ns))
        self._meters.fed(engine.source, fed, time.perf_counter() - started)
        await self._publisher.publish(fed.outputs)
        return True

    async def _warm_engine(self, make: MakeEngine, message: Any) -> Engine | None:
        settings = self._settings
        partition = (message.topic, message.partition)
        self._engines.pop(partition, None)
        log_id = await self._broker.log_id(message.topic)
        engine = make(message.topic, message.partition, log_id)

        def wanted() -> bool:
            self._progress.touch(partition, time.monotonic())
            return bool(message.generation_id == self._app.consumer_generation_id)

        warmup = await warm_up(
            engine,
            settings.kafka,
            checkpoints=await self._checkpoints(),
            until=message.offset,
            window_s=settings.warmup_s,
            wanted=wanted,
        )
        if warmup is None:
            log.info("warm_up_ended", topic=message.topic, partition=message.partition)
            return None
        self._engines[partition] = engine
        self._meters.warmed(partition, warmup)
        _log_warmup(message, warmup)
        return engine

    async def _checkpoints(self) -> list[TopicPartition]:
        """Return the partitions to restore from; none where nobody has made the topic yet."""
        topic = self._settings.checkpoints
        count = (await self._broker.partition_counts([topic])).get(topic, 0)
        return [TopicPartition(topic, number) for number in range(count)]


def _log_warmup(message: Any, warmup: WarmUp) -> None:
    log.info(
        "engine_warm",
        topic=message.topic,
        partition=message.partition,
        offset=message.offset,
        first_offset=warmup.first_offset,
        records=warmup.records,
        frames=warmup.frames,
        streams=warmup.streams,
        unreadable_checkpoints=warmup.unreadable,
        seconds=round(warmup.seconds, 3),
    )
