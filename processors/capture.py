"""Taking an incident out of Kafka: its alerts, the raw log around it, and what was remembered then.

Kafka is only read. What is found is a `processors.bundle.Bundle`.
"""

import platform
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from core.events import AlertBatch, Header
from core.frames import Address
from core.stability.alerts import Alert, Phase
from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import Settings
from processors.broker import Broker
from processors.bundle import FORMAT, About, Bundle, LogRecord, Span
from processors.excerpts import ExcerptError, Excerpts, Writer, log_record
from processors.options import pipeline_settings
from processors.reading import Bounds, records, written_since
from schemas.codec import decode_events, decode_frame_batch
from schemas.registry import CodecError
from schemas.topics import ALERTS, CHECKPOINTS, event_topic, raw_topic

LEAD_MS: Final = 15_000
"""What is published from before the effect began, ms."""
LEAD_MAX_MS: Final = 600_000
"""Most from before it was detected, however early the effect began, ms."""
TAIL_MAX_MS: Final = 600_000
"""Most from after it was detected: the resolution of a longer one is left out, ms."""
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
        consumer = AIOKafkaConsumer(
            **kafka_arguments(self._settings.kafka), enable_auto_commit=False
        )
        await consumer.start()
        try:
            async with Broker(self._settings.kafka, self._settings.processor.app_id) as broker:
                log = Excerpts(consumer, broker)
                topic = event_topic(ALERTS, self._settings.topics.prefix)
                bounds = await written_since(consumer, await log.partitions(topic), since_ms)
                found = await _alerts(consumer, topic, bounds, wanted)
                header = found[0][0]
                if not header.source:
                    raise CaptureError(
                        f"{found[0][1].alert_id} is of several venues, whose raw records no bundle"
                        " holds: its detail names the frames, `streamgauge replay` makes it again"
                    )
                return await self._of_connection(log, found)
        except ExcerptError as error:
            raise CaptureError(str(error)) from error
        finally:
            await consumer.stop()

    async def _of_connection(self, log: Excerpts, found: _Found) -> Bundle:
        """Return an incident of one connection: its raw records, and what was remembered of it."""
        header, alert, _ = found[0]
        prefix, address = self._settings.topics.prefix, header.address
        tp = TopicPartition(raw_topic(address.exchange, prefix), header.raw_partition)
        detected_ms = alert.ts_detected // 1_000_000
        first_ms = max(alert.ts_effect // 1_000_000 - LEAD_MS, detected_ms - LEAD_MAX_MS)
        start_ms = first_ms - self._settings.processor.warmup_s * 1000
        written = await log.written(tp)
        if header.raw_offset not in written:
            raise CaptureError(_gone(tp, header.raw_offset))
        start = await log.offset_at(tp, start_ms, written)
        first = min(await log.offset_at(tp, first_ms, written), header.raw_offset)
        latest = await log.offset_at(tp, detected_ms + TAIL_MAX_MS, written)
        resolved = [h.raw_offset for h, a, _ in found if a.phase is Phase.RESOLVE]
        resolves = bool(resolved) and resolved[0] < latest
        end = resolved[0] + 1 if resolves else latest
        own = (address.shard, address.line)
        raw = await log.kept({tp: (start, end)}, lambda record: _is_raw_of(record.value, own))
        writer = Writer(address.exchange, header.raw_partition, *own, start, first)
        checkpoints = await log.checkpoints(event_topic(CHECKPOINTS, prefix), [writer], start_ms)
        span = Span(
            topic=tp.topic,
            partition=tp.partition,
            log_id=await log.log_id(tp.topic),
            start=start,
            first=first,
            end=end,
            # From its very beginning a log needs no warm-up.
            is_whole=written.beginning == 0 or start > written.beginning,
        )
        about = self._about(alert, address, span, resolves=resolves)
        return Bundle(about, raw, checkpoints, _told(found, resolves=resolves))

    def _about(self, alert: Alert, address: Address, raw: Span, *, resolves: bool) -> About:
        return About(
            format=FORMAT,
            streamgauge=self._version,
            python=platform.python_version(),
            alert_id=alert.alert_id,
            exchange=address.exchange,
            shard=address.shard,
            line=address.line,
            topic=raw.topic,
            partition=raw.partition,
            log_id=raw.log_id,
            start=raw.start,
            first=raw.first,
            end=raw.end,
            is_whole=raw.is_whole,
            resolves=resolves,
            settings=pipeline_settings(self._settings),
            context=_context(self._settings, address.exchange),
        )


async def _alerts(consumer: AIOKafkaConsumer, topic: str, bounds: Bounds, wanted: str) -> _Found:
    """Return the opening and, where there is one, the resolution."""
    found: dict[str, _Found] = {}
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
                kept.append((batch.header, alert, log_record(record)))
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


def _told(found: _Found, *, resolves: bool) -> list[LogRecord]:
    return [record for _, alert, record in found if resolves or alert.phase is Phase.OPEN]


def _gone(tp: TopicPartition, offset: int) -> str:
    return (
        f"raw record {offset} of {tp.topic}/{tp.partition}, which showed it, is not in the log any"
        " more"
    )


def _is_raw_of(value: bytes | None, own: tuple[str, str]) -> bool:
    try:
        address = decode_frame_batch(value).address
    except CodecError:
        return False
    return (address.shard, address.line) == own


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
