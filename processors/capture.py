"""Taking an incident out of Kafka: its alerts, the raw log around it, and what was remembered then.

Kafka is only read. What is found is a `processors.bundle.Bundle`.
"""

import platform
from typing import Final

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from core.events import AlertBatch, Header
from core.stability.alerts import Alert, Phase
from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import Settings
from processors.broker import Broker
from processors.bundle import (
    FORMAT,
    FORMAT_OF_VENUES,
    About,
    Bundle,
    LogRecord,
    MidsSpan,
    Span,
)
from processors.excerpts import BYTES_MAX, ExcerptError, Excerpts, Writer, log_record
from processors.incident_mids import Carrier, Said, carrier, reaching, said_of
from processors.options import pipeline_settings
from processors.reading import Bounds, records, written_since
from schemas.codec import decode_events, decode_frame_batch
from schemas.registry import CodecError
from schemas.topics import ALERTS, CHECKPOINTS, MIDS, event_topic, raw_topic

LEAD_MS: Final = 15_000
"""What is published from before the effect began, ms."""
LEAD_MAX_MS: Final = 600_000
"""Most from before it was detected, however early the effect began, ms."""
TAIL_MAX_MS: Final = 600_000
"""Most from after it was detected: the resolution of a longer one is left out, ms."""
NOT_THERE: Final = "the log does not have them any more"
TOO_MANY: Final = f"they are of more than {BYTES_MAX >> 20} MiB"
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
                if found[0][0].source:
                    return await self._of_connection(log, found)
                return await self._of_venues(log, found)
        except ExcerptError as error:
            raise CaptureError(str(error)) from error
        finally:
            await consumer.stop()

    async def _of_connection(self, log: Excerpts, found: _Found) -> Bundle:
        """Return an incident of one connection: its raw records, and what was remembered of it."""
        header, alert, _ = found[0]
        prefix, address = self._settings.topics.prefix, header.address
        tp = TopicPartition(raw_topic(address.exchange, prefix), header.raw_partition)
        detected_ms, first_ms = alert.ts_detected // 1_000_000, _first_ms(alert)
        start_ms = first_ms - self._warmup_ms
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
        about = self._about(alert, header.stream, span, resolves=resolves)
        return Bundle(about, raw, checkpoints, _told(found, resolves=resolves))

    async def _of_venues(self, log: Excerpts, found: _Found) -> Bundle:
        """Return an incident of venues: their mids, what was remembered of them, and the raw
        records that gave those of the venue that is named, where they are still there."""
        header, alert, _ = found[0]
        exchange, instrument = header.address.exchange, header.address.shard
        mids, since_ms, said, resolves = await self._mids(log, found)
        carried = carrier(said, exchange, alert.symbol, _second(alert), first=mids.first)
        tp = TopicPartition(
            raw_topic(exchange, self._settings.topics.prefix), carried.partition if carried else 0
        )
        raw, frames, why = await self._frames(log, tp, carried)
        mids = msgspec.structs.replace(mids, without_frames=why)
        writers = [Writer("", mids.partition, instrument, "", mids.start, mids.first)]
        stream = (exchange, "", "")
        if carried is not None:
            stream = (exchange, carried.shard, carried.line)
            since_ms = min(since_ms, carried.second * 1000 - self._warmup_ms)
            writers.append(
                Writer(exchange, raw.partition, carried.shard, carried.line, raw.start, raw.first)
            )
        topic = event_topic(CHECKPOINTS, self._settings.topics.prefix)
        checkpoints = await log.checkpoints(topic, writers, since_ms)
        about = self._about(alert, stream, raw, resolves=resolves, mids=mids)
        told = _told(found, resolves=resolves)
        return Bundle(about, frames, checkpoints, told, [each.record for each in said])

    async def _mids(self, log: Excerpts, found: _Found) -> tuple[MidsSpan, int, list[Said], bool]:
        """Return which mids of the instrument are wanted, a time since which they were written (ms
        since 1970), the mids, and whether the resolution is among what they show."""
        header, alert, _ = found[0]
        instrument = header.address.shard
        name = event_topic(MIDS, self._settings.topics.prefix)
        tp = TopicPartition(name, header.raw_partition)
        written = await log.written(tp)
        if header.raw_offset not in written:
            raise CaptureError(_gone(tp, header.raw_offset))
        (shown,) = await log.kept({tp: (header.raw_offset, header.raw_offset + 1)}, lambda _: True)
        detected_ms, first_ms = alert.ts_detected // 1_000_000, _first_ms(alert)
        start_ms = first_ms - self._warmup_ms
        # A mid is written when it is processed: after its second, but by another machine's clock.
        since_ms = start_ms + min(shown.ts_ms - detected_ms, 0)
        since = min(await log.offset_at(tp, since_ms, written), header.raw_offset)
        until = await log.offset_at(tp, shown.ts_ms + TAIL_MAX_MS, written)
        resolved = [
            h.raw_offset + 1
            for h, a, _ in found
            if a.phase is Phase.RESOLVE and a.ts // 1_000_000 <= detected_ms + TAIL_MAX_MS
        ]
        bounds = {tp: (since, resolved[0] if resolved else until)}
        key = instrument.encode()
        said = said_of(instrument, await log.kept(bounds, lambda record: record.key == key))
        start = reaching(said, start_ms // 1000)
        first = reaching(said, first_ms // 1000)
        end = resolved[0] if resolved else reaching(said, _second(alert) + TAIL_MAX_MS // 1000)
        is_older = since > written.beginning or any(e.mid.second < start_ms // 1000 for e in said)
        span = MidsSpan(
            topic=tp.topic,
            partition=tp.partition,
            log_id=await log.log_id(tp.topic),
            start=since if start is None else start,
            first=header.raw_offset if first is None else min(first, header.raw_offset),
            end=until if end is None else end,
            is_whole=written.beginning == 0 or is_older,
            instrument=instrument,
        )
        held = [each for each in said if span.start <= each.record.offset < span.end]
        return span, since_ms, held, bool(resolved)

    async def _frames(
        self, log: Excerpts, tp: TopicPartition, carried: Carrier | None
    ) -> tuple[Span, list[LogRecord], str]:
        """Return the raw records that gave the mids of a socket, and else why there are none."""
        none = Span(
            topic=tp.topic, partition=tp.partition, log_id="", start=0, first=0, end=0,
            is_whole=False,
        )  # fmt: skip
        if carried is None or tp not in await log.partitions(tp.topic):
            return none, [], NOT_THERE
        written = await log.written(tp)
        if carried.last not in written:
            return none, [], NOT_THERE
        start_ms = carried.second * 1000 - self._warmup_ms
        first = max(carried.first, written.beginning)
        start = min(await log.offset_at(tp, start_ms, written), first)
        own = (carried.shard, carried.line)
        bounds = {tp: (start, carried.last + 1)}
        try:
            raw = await log.kept(bounds, lambda record: _is_raw_of(record.value, own))
        except ExcerptError:
            return none, [], TOO_MANY
        span = Span(
            topic=tp.topic,
            partition=tp.partition,
            log_id=await log.log_id(tp.topic),
            start=start,
            first=first,
            end=carried.last + 1,
            is_whole=written.beginning == 0 or start > written.beginning,
        )
        return span, raw, ""

    @property
    def _warmup_ms(self) -> int:
        return self._settings.processor.warmup_s * 1000

    def _about(
        self,
        alert: Alert,
        stream: tuple[str, str, str],
        raw: Span,
        *,
        resolves: bool,
        mids: MidsSpan | None = None,
    ) -> About:
        exchange, shard, line = stream
        return About(
            format=FORMAT if mids is None else FORMAT_OF_VENUES,
            streamgauge=self._version,
            python=platform.python_version(),
            alert_id=alert.alert_id,
            exchange=exchange,
            shard=shard,
            line=line,
            topic=raw.topic,
            partition=raw.partition,
            log_id=raw.log_id,
            start=raw.start,
            first=raw.first,
            end=raw.end,
            is_whole=raw.is_whole,
            resolves=resolves,
            settings=pipeline_settings(self._settings),
            context=_context(self._settings, exchange),
            mids=mids,
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


def _first_ms(alert: Alert) -> int:
    """Return from when on what follows from the log is of interest, ms since 1970."""
    detected_ms = alert.ts_detected // 1_000_000
    return max(alert.ts_effect // 1_000_000 - LEAD_MS, detected_ms - LEAD_MAX_MS)


def _second(alert: Alert) -> int:
    """Return the second that showed an incident of venues, s since the epoch."""
    return alert.ts_detected // 1_000_000_000


def _told(found: _Found, *, resolves: bool) -> list[LogRecord]:
    return [record for _, alert, record in found if resolves or alert.phase is Phase.OPEN]


def _gone(tp: TopicPartition, offset: int) -> str:
    return (
        f"record {offset} of {tp.topic}/{tp.partition}, which showed it, is not in the log any more"
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
