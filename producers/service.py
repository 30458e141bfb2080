"""The producer process: every exchange of the settings, from start to a clean end.

Settings are checked before anything connects, and Kafka answers before any socket is opened. A
clean end gives up all channels, closes all sockets and waits for Kafka's acknowledgement of every
frame; it is bounded by `producer.close_timeout_ms`.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Final

from aiokafka.codec import has_lz4, has_zstd
from aiokafka.errors import KafkaError

from infra.runtime import logs
from infra.runtime.connections import kafka_arguments
from infra.runtime.garbage import collect_seldom, keep_present
from infra.runtime.health import Verdict
from infra.runtime.process import Runtime
from infra.runtime.settings import Settings
from infra.runtime.topics import missing_topics
from producers.delivery import Delivery, DeliverySettings, TopicMissingError
from producers.line import Line, LineState
from producers.metrics import ProducerMetrics
from producers.venue import VenuePlan, lines, plan, rest_client
from schemas.topics import raw_topic

log = logs.logger(__name__)

_NS_PER_S: Final = 1_000_000_000
_KAFKA_BATCH_BYTES: Final = 1 << 20
"""Bytes of records that are sent to one partition at once."""
_ACKNOWLEDGE_S_MAX: Final = 10.0
"""Records that wait for longer mean that Kafka does not acknowledge, s."""
_GOODBYE_SHARE: Final = 0.6
"""Share of the time for a clean end that sockets may take of it."""


class UndeliveredError(Exception):
    """The process ended with frames that Kafka has not acknowledged; they are lost."""


async def serve(settings: Settings, only: Iterable[str] = ()) -> None:
    """Record exchanges into Kafka until SIGTERM or SIGINT.

    Raises:
        SettingsError: the settings ask for what cannot be; nothing was connected.
        TopicMissingError: raw topics do not exist.
        UndeliveredError: Kafka was away at the end, and frames are lost.
    """
    venues = plan(settings, only)
    collect_seldom()
    async with Runtime("producer", settings.runtime) as runtime, AsyncExitStack() as stack:
        metrics = ProducerMetrics(runtime.metrics)
        delivery = Delivery(_delivery_settings(settings), metrics)
        stack.push_async_callback(delivery.stop)
        making = asyncio.create_task(_lines(venues, settings, delivery, metrics, stack))
        runtime.health.add_ready("kafka", lambda: _kafka_verdict(delivery))
        stopped = asyncio.create_task(runtime.stop.wait())
        await asyncio.wait([making, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            making.cancel()
            return
        made = making.result()
        runtime.health.add_ready("exchanges", lambda: _lines_verdict(made))
        keep_present()
        await _run(made, stopped, delivery, settings.producer.close_timeout_ms / 1000)


async def _lines(
    venues: Sequence[VenuePlan],
    settings: Settings,
    delivery: Delivery,
    metrics: ProducerMetrics,
    stack: AsyncExitStack,
) -> list[Line]:
    made: list[Line] = []
    await delivery.producer()
    await _check_topics(venues, settings)
    for venue in venues:
        rest = await stack.enter_async_context(rest_client(venue, settings.producer, metrics))
        made += await lines(venue, settings, delivery, metrics, rest)
        log.info(
            "exchange_planned",
            exchange=venue.exchange.name,
            shards=len(venue.shards),
            symbols=sum(len(shard.symbols) for shard in venue.shards),
            url=venue.websocket_url,
        )
    return made


async def _check_topics(venues: Sequence[VenuePlan], settings: Settings) -> None:
    topics = [raw_topic(venue.exchange.name, settings.topics.prefix) for venue in venues]
    try:
        missing = await missing_topics(settings.kafka, topics)
    except KafkaError as error:
        # Away again: whoever needs a topic waits for it.
        log.warning("topics_not_checked", error=f"{type(error).__name__}: {error}"[:200])
        return
    if missing:
        raise TopicMissingError(", ".join(missing))


async def _run(
    made: Sequence[Line],
    stopped: "asyncio.Task[bool]",
    delivery: Delivery,
    close_timeout_s: float,
) -> None:
    """Run lines until the process is asked to stop, then end them in order."""
    running = [asyncio.create_task(line.run(), name=f"line {line.shard.name}") for line in made]
    watched: list[asyncio.Task[Any]] = [stopped, *running, *delivery.tasks]
    done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    started = time.monotonic()
    for line in made:
        line.stop()
    _, late = await asyncio.wait(running, timeout=close_timeout_s * _GOODBYE_SHARE)
    for task in late:
        log.warning("line_cut", line=task.get_name())
        task.cancel()
    if late:
        await asyncio.wait(late)
    left_s = close_timeout_s - (time.monotonic() - started)
    is_flushed = await delivery.flush(max(left_s, 0.0))
    for task in done - {stopped}:
        # A line or courier ends before it is asked to only by a mistake of ours.
        task.result()
    if not is_flushed:
        frames = delivery.waiting_frames
        raise UndeliveredError(f"Kafka has not acknowledged {frames} frames: they are lost")
    log.info("stopped", seconds=round(time.monotonic() - started, 3))


def _delivery_settings(settings: Settings) -> DeliverySettings:
    producer, most = settings.producer, settings.topics.max_message_bytes
    return DeliverySettings(
        arguments={
            **kafka_arguments(settings.kafka),
            "compression_type": _compression(producer.compression),
            "max_request_size": most,
        },
        linger_s=producer.linger_ms / 1000,
        batch_bytes=min(_KAFKA_BATCH_BYTES, most),
    )


def _compression(wanted: str) -> str | None:
    is_there = {"lz4": has_lz4, "zstd": has_zstd}.get(wanted)
    if is_there is not None and not is_there():
        log.warning("compression_missing", wanted=wanted, used="none", needs="cramjam")
        return None
    return None if wanted == "none" else wanted


def _kafka_verdict(delivery: Delivery) -> Verdict:
    age_s = delivery.oldest_ns(time.monotonic_ns()) / _NS_PER_S
    troubles = [] if delivery.is_connected else ["not connected"]
    if age_s > _ACKNOWLEDGE_S_MAX:
        troubles.append(f"nothing acknowledged for {age_s:.0f} s")
    return Verdict(not troubles, ", ".join(troubles) or "acknowledges")


def _lines_verdict(made: Sequence[Line]) -> Verdict:
    """Every shard is connected, or waits as planned before it tries again."""
    opening = [line.shard.name for line in made if line.state is LineState.OPENING]
    is_open = sum(line.state is LineState.OPEN for line in made)
    detail = f"{is_open} of {len(made)} sockets open"
    if opening:
        return Verdict(False, f"{detail}, opening {', '.join(opening[:5])}")
    return Verdict(True, detail)
