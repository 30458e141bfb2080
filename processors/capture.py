"""Taking an incident out of Kafka: its alerts, the raw log around it, and what was remembered then.

Kafka is only read. What is found is a `processors.bundle.Bundle`.
"""

import platform
from collections.abc import Callable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from core.events import AlertBatch, Header
from core.stability.alerts import Alert, Phase
from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import Settings
from processors.broker import Broker
from processors.bundle import FORMAT, About, Bundle, LogRecord
from processors.options import pipeline_settings
from processors.reading import records, written_since
from schemas.codec import decode_checkpoints, decode_events, decode_frame_batch
from schemas.registry import CodecError
from schemas.topics import ALERTS, CHECKPOINTS, event_topic, raw_topic

LEAD_MS: Final = 15_000
"""What is published from before the effect began, ms."""
LEAD_MAX_MS: Final = 600_000
"""Most from before it was detected, however early the effect began, ms."""
TAIL_MAX_MS: Final = 600_000
"""Most from after it was detected: the resolution of a longer one is left out, ms."""
BYTES_MAX: Final = 256 << 20
"""Most bytes of raw records."""
_NAMED_MAX: Final = 5

_Found = list[tuple[Header, Alert, LogRecord]]


class CaptureError(Exception):
    """An incident cannot be taken out of the log; the text says why."""


class Capture:
    """Reads one incident; `version` is that of this program."""

    def __init__(self, settings: Settings, *, version: str) -> None:
        self._settings = settings
        self._version = version

    async def take(self, wanted: str, *, since_ms: int | None = None) -> Bundle:
        """Return the incident whose id is `wanted`, or has it as its only part of that kind.

        Its alerts are looked for in what was written since then, None for all that there is.

        Raises:
            CaptureError: there is none, or several, or the log has lost or not yet got it.
            KafkaError: no broker answers.
        """
        prefix = self._settings.topics.prefix
        topics = {kind: event_topic(kind, prefix) for kind in (ALERTS, CHECKPOINTS)}
        consumer = AIOKafkaConsumer(
            **kafka_arguments(self._settings.kafka), enable_auto_commit=False
        )
        await consumer.start()
        try:
            async with Broker(self._settings.kafka, self._settings.processor.app_id) as broker:
                counts = await broker.partition_counts(topics.values())
                found = await self._alerts(consumer, topics[ALERTS], counts, wanted, since_ms)
                header = found[0][0]
                if not header.source:
                    raise CaptureError(
                        f"{found[0][1].alert_id} is of several venues, whose raw records no bundle"
                        " holds: its detail names the frames, `streamgauge replay` makes it again"
                    )
                raw = raw_topic(header.address.exchange, prefix)
                log_id = await broker.log_id(raw)
            return await self._around(consumer, TopicPartition(raw, header.raw_partition), found, (
                topics[CHECKPOINTS], counts.get(topics[CHECKPOINTS], 0), log_id,
            ))  # fmt: skip
        finally:
            await consumer.stop()

    async def _alerts(
        self,
        consumer: AIOKafkaConsumer,
        topic: str,
        counts: dict[str, int],
        wanted: str,
        since_ms: int | None,
    ) -> _Found:
        """Return the opening and, where there is one, the resolution."""
        found: dict[str, _Found] = {}
        partitions = [TopicPartition(topic, number) for number in range(counts.get(topic, 0))]
        bounds = await written_since(consumer, partitions, since_ms)
        async for _, record in records(consumer, bounds):
            try:
                batch = decode_events(ALERTS, record.value)
            except CodecError:
                continue
            assert isinstance(batch, AlertBatch)
            (alert,) = batch.alerts
            if wanted in alert.alert_id:
                kept = found.setdefault(alert.alert_id, [])
                if alert.phase not in {known.phase for _, known, _ in kept}:
                    kept.append((batch.header, alert, _log_record(record)))
        if wanted in found:
            found = {wanted: found[wanted]}
        if not found:
            raise CaptureError(f"no alert {wanted} in what {topic} holds")
        if len(found) > 1:
            names = [*sorted(found)[:_NAMED_MAX], *(["…"] if len(found) > _NAMED_MAX else [])]
            raise CaptureError(f"{wanted} is part of {len(found)} alerts: {', '.join(names)}")
        ((alert_id, alerts),) = found.items()
        alerts.sort(key=lambda each: each[1].phase)
        if alerts[0][1].phase is not Phase.OPEN:
            raise CaptureError(f"the opening of {alert_id} is not in {topic} any more")
        return alerts

    async def _around(
        self,
        consumer: AIOKafkaConsumer,
        tp: TopicPartition,
        found: _Found,
        beside: tuple[str, int, str],
    ) -> Bundle:
        header, alert, _ = found[0]
        detected_ms = alert.ts_detected // 1_000_000
        first_ms = max(alert.ts_effect // 1_000_000 - LEAD_MS, detected_ms - LEAD_MAX_MS)
        start_ms = first_ms - self._settings.processor.warmup_s * 1000
        beginning = (await consumer.beginning_offsets([tp]))[tp]
        written = (await consumer.end_offsets([tp]))[tp]
        start = await _offset_at(consumer, tp, start_ms, written)
        first = min(await _offset_at(consumer, tp, first_ms, written), header.raw_offset)
        latest = await _offset_at(consumer, tp, detected_ms + TAIL_MAX_MS, written)
        resolved = [h.raw_offset for h, a, _ in found if a.phase is Phase.RESOLVE]
        resolves = bool(resolved) and resolved[0] < latest
        end = resolved[0] + 1 if resolves else latest
        if not beginning <= header.raw_offset < written:
            raise CaptureError(
                f"raw record {header.raw_offset} of {tp.topic}/{tp.partition}, which showed it, is"
                " not in the log any more"
            )
        address = header.address
        own = (address.shard, address.line)
        raw = await _kept(consumer, {tp: (start, end)}, lambda v: _is_raw_of(v, own))
        topic, count, log_id = beside
        partitions = [TopicPartition(topic, number) for number in range(count)]
        bounds = await written_since(consumer, partitions, start_ms)
        place = (address.exchange, header.raw_partition, *own, start, first)
        checkpoints = await _kept(consumer, bounds, lambda v: _is_checkpoint_of(v, place))
        about = About(
            format=FORMAT,
            streamgauge=self._version,
            python=platform.python_version(),
            alert_id=alert.alert_id,
            exchange=address.exchange,
            shard=address.shard,
            line=address.line,
            topic=tp.topic,
            partition=tp.partition,
            log_id=log_id,
            start=start,
            first=first,
            end=end,
            # From its very beginning a log needs no warm-up.
            is_whole=beginning == 0 or start > beginning,
            resolves=resolves,
            settings=pipeline_settings(self._settings),
            context=_context(self._settings, address.exchange),
        )
        alerts = [record for _, each, record in found if resolves or each.phase is Phase.OPEN]
        return Bundle(about, raw, checkpoints, alerts)


async def _kept(
    consumer: AIOKafkaConsumer,
    bounds: dict[TopicPartition, tuple[int, int]],
    wanted: Callable[[bytes | None], bool],
) -> list[LogRecord]:
    found: list[LogRecord] = []
    size = 0
    async for _, record in records(consumer, bounds):
        if wanted(record.value):
            size += len(record.value)
            if size > BYTES_MAX:
                raise CaptureError(f"it is of more than {BYTES_MAX >> 20} MiB of raw records")
            found.append(_log_record(record))
    return found


def _is_raw_of(value: bytes | None, own: tuple[str, str]) -> bool:
    try:
        address = decode_frame_batch(value).address
    except CodecError:
        return False
    return (address.shard, address.line) == own


def _is_checkpoint_of(value: bytes | None, place: tuple[str, int, str, str, int, int]) -> bool:
    try:
        header = decode_checkpoints(value).header
    except CodecError:
        return False
    exchange, partition, shard, line, start, first = place
    of = (header.address.exchange, header.raw_partition, header.address.shard, header.address.line)
    return of == (exchange, partition, shard, line) and start <= header.raw_offset < first


async def _offset_at(consumer: AIOKafkaConsumer, tp: TopicPartition, ms: int, written: int) -> int:
    found = (await consumer.offsets_for_times({tp: max(ms, 0)}))[tp]
    return written if found is None else int(found.offset)


def _log_record(record: Any) -> LogRecord:
    return LogRecord(record.offset, record.timestamp, record.key, record.value)


def _context(settings: Settings, exchange: str) -> dict[str, str]:
    """Return settings that a reader wants to know, and none that could be a secret."""
    producer, processor = settings.producer, settings.processor
    known = settings.exchanges.get(exchange)
    return {
        "processor.warmup_s": str(processor.warmup_s),
        "producer.snapshot_interval_s": str(producer.snapshot_interval_s),
        "producer.tick_interval_ms": str(producer.tick_interval_ms),
        "producer.lines": str(producer.lines),
        f"exchanges.{exchange}.symbols": ", ".join(known.symbols) if known else "",
    }
