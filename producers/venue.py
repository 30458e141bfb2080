"""One exchange in this process: its plan from the settings, and the lines that carry it."""

from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from core.connection import SessionSettings
from core.exchanges import exchanges
from core.guard import GuardSettings
from core.pacing import TokenBucket
from core.protocol import Exchange, Shard
from infra.runtime.settings import ExchangeSettings, ProducerSettings, Settings, SettingsError
from producers.access import Access, LineSettings
from producers.delivery import Delivery
from producers.epochs import epochs_ahead
from producers.line import Line
from producers.metrics import LineMetrics, ProducerMetrics
from producers.pacer import Pacer
from producers.recorder import Recorder, RecorderSettings
from producers.rest import RestClient
from producers.websocket import check_url
from schemas.topics import raw_topic

LINES: Final = "AB"
DEFAULT_DEPTH: Final = 25
"""Levels a side where the settings name none."""
_RECORD_OVERHEAD_BYTES: Final = 65_536
"""Room that one record needs beside the payload of its frames, bytes."""
_CONNECTS_AT_ONCE: Final = 10
_PHASES: Final = 8
_SHARDS_A_PHASE: Final = 8
"""Shards that close their records at one instant: sockets are not read while they do, about 0.1 ms
each, and that must not show in the stamps of a process with many shards."""
_NS_PER_MS: Final = 1_000_000


class VenuePlan(msgspec.Struct, frozen=True):
    """What the settings ask for at one exchange, checked."""

    exchange: Exchange
    settings: ExchangeSettings
    shards: list[Shard]
    websocket_url: str
    rest_url: str


def plan(settings: Settings, only: Iterable[str] = ()) -> list[VenuePlan]:
    """Return what to do at each exchange that is enabled and, if any are named, in `only`.

    Raises:
        SettingsError: the settings ask for what cannot be.
    """
    wanted = set(only)
    known = exchanges()
    for name in [*settings.exchanges, *wanted]:
        if name not in known:
            raise SettingsError(
                f"exchanges.{name}", "is not an exchange", allowed=", ".join(sorted(known))
            )
    chosen = {
        name: each
        for name, each in settings.exchanges.items()
        if (name in wanted if wanted else each.enabled)
    }
    if missing := wanted - set(chosen):
        raise SettingsError(f"exchanges.{min(missing)}", "has no table in the settings")
    if not chosen:
        raise SettingsError("exchanges", "names no exchange to connect to", allowed="one or more")
    _check_sizes(settings)
    return [_plan_one(known[name], each, settings.producer) for name, each in chosen.items()]


def _plan_one(
    exchange: Exchange, settings: ExchangeSettings, producer: ProducerSettings
) -> VenuePlan:
    key = f"exchanges.{exchange.name}"
    shards = exchange.plan(
        settings.symbols,
        per_shard=settings.symbols_per_shard,
        book_depth=settings.book_depth or DEFAULT_DEPTH,
    )
    sockets = len(shards) * producer.lines
    if sockets > settings.connections_max:
        raise SettingsError(
            f"{key}.connections_max",
            f"is {settings.connections_max}, but the symbols need {sockets} sockets",
            allowed=f"{sockets} or more, or a larger {key}.symbols_per_shard",
        )
    websocket_url = _websocket_url(settings.websocket_url, exchange.endpoints.websocket)
    if problem := check_url(websocket_url):
        raise SettingsError(f"{key}.websocket_url", problem, allowed="ws:// or wss:// address")
    rest_url = (settings.rest_url or exchange.endpoints.rest).rstrip("/")
    # A WebSocket address is an HTTP address with another scheme (RFC 6455, 3).
    if problem := check_url(rest_url.replace("http", "ws", 1)):
        raise SettingsError(f"{key}.rest_url", problem, allowed="http:// or https:// address")
    return VenuePlan(exchange, settings, shards, websocket_url, rest_url)


def _websocket_url(given: str, usual: str) -> str:
    """Return the address to open: one that is given without a path has the usual path."""
    if not given:
        return usual
    if urlsplit(given).path in ("", "/"):
        return given.rstrip("/") + urlsplit(usual).path
    return given


def _check_sizes(settings: Settings) -> None:
    """Refuse frames that would not fit into a record that the topics take."""
    producer, most = settings.producer, settings.topics.max_message_bytes
    room = most - _RECORD_OVERHEAD_BYTES
    for key in ("frame_bytes_max", "batch_bytes"):
        if getattr(producer, key) > room:
            raise SettingsError(
                f"producer.{key}",
                f"is {getattr(producer, key)}, but topics.max_message_bytes is {most}",
                allowed=f"at most {room}",
            )


def rest_client(
    venue: VenuePlan, settings: ProducerSettings, metrics: ProducerMetrics
) -> RestClient:
    """Return the client that all lines of an exchange share."""
    pacing = venue.exchange.pacing
    return RestClient(
        venue.exchange.name,
        Pacer(TokenBucket(pacing.requests_per_s, pacing.requests_burst)),
        timeout_s=settings.request_timeout_ms / 1000,
        bytes_max=settings.frame_bytes_max,
        metrics=metrics,
    )


async def lines(
    venue: VenuePlan,
    settings: Settings,
    delivery: Delivery,
    metrics: ProducerMetrics,
    rest: RestClient,
) -> list[Line]:
    """Return the lines of an exchange, ready to run.

    Raises:
        TopicMissingError: the exchange's raw topic does not exist.
    """
    exchange, producer = venue.exchange, settings.producer
    per_s = venue.settings.connects_per_minute / 60
    sockets = Pacer(TokenBucket(per_s, _CONNECTS_AT_ONCE))
    access = Access(exchange, venue.websocket_url, venue.rest_url, sockets, rest)
    topic = raw_topic(exchange.name, settings.topics.prefix)
    couriers = [await delivery.courier(topic, shard.name) for shard in venue.shards]
    ahead = await epochs_ahead(settings.kafka, topic, {each.partition for each in couriers})
    made = []
    for place, (shard, courier) in enumerate(zip(venue.shards, couriers, strict=True)):
        phase = place // _SHARDS_A_PHASE % _PHASES / _PHASES
        for name in LINES[: producer.lines]:
            recorder = Recorder(
                *(exchange.name, shard.name, name, courier, recorder_settings(producer, phase)),
                after_epoch=ahead.get((shard.name, name), 0),
            )
            own = LineMetrics(metrics, exchange.name, shard.name, name)
            made.append(Line(access, shard, line_settings(producer), own, recorder))
    return made


def recorder_settings(producer: ProducerSettings, phase: float) -> RecorderSettings:
    """Return when records are closed and how much may wait."""
    return RecorderSettings(
        batch_frames=producer.batch_frames,
        batch_bytes=producer.batch_bytes,
        batch_age_s=producer.batch_age_ms / 1000,
        queue_frames=producer.queue_frames,
        queue_bytes=producer.queue_bytes,
        phase=phase,
    )


def line_settings(producer: ProducerSettings) -> LineSettings:
    """Return how sockets are opened, watched and closed."""
    answer_ns = producer.request_timeout_ms * _NS_PER_MS
    guard = GuardSettings(
        answer_timeout_ns=answer_ns,
        snapshot_interval_ns=producer.snapshot_interval_s * 1000 * _NS_PER_MS,
    )
    return LineSettings(
        session=SessionSettings(
            guard=guard,
            silence_ns=producer.silence_timeout_ms * _NS_PER_MS,
            ping_interval_ns=producer.ping_interval_ms * _NS_PER_MS,
            acknowledge_timeout_ns=answer_ns,
        ),
        frame_bytes_max=producer.frame_bytes_max,
        compression=producer.websocket_compression,
        connect_timeout_s=producer.connect_timeout_ms / 1000,
        close_timeout_s=min(producer.close_timeout_ms / 1000 / 2, 2.0),
        tick_s=producer.tick_interval_ms / 1000,
        backoff_initial_ns=producer.backoff_initial_ms * _NS_PER_MS,
        backoff_cap_ns=producer.backoff_cap_ms * _NS_PER_MS,
        backoff_reset_ns=producer.backoff_reset_ms * _NS_PER_MS,
    )
