"""Faust's settings, from ours.

Each value that is not Faust's default has its reason beside it. Nothing is connected to.
"""

import socket
from typing import Any, Final

import faust

from core.exchanges import exchanges
from core.pipeline import PipelineSettings
from core.protocol import Exchange
from infra.runtime.connections import brokers, tls_context
from infra.runtime.settings import KafkaSettings, ProcessorSettings, Settings, SettingsError
from processors.engine import LETTER_VALUE_BYTES
from schemas.topics import raw_topic

REQUEST_TIMEOUT_S: Final = 40.0
PRODUCER_TIMEOUT_S: Final = 120.0
"""How long an output may wait for its acknowledgement; then the process ends, uncommitted."""
REBALANCE_TIMEOUT_S: Final = 30.0
FETCH_BYTES: Final = 1 << 20
BATCH_BYTES: Final = 256 << 10
LINGER_S: Final = 0.005
POLL_RECORDS: Final = 100
BUFFER_RECORDS: Final = 1000
"""Records that wait for the agents, all topics together, tens of MB. When all partitions are
paused Faust looks again after a second: two fifths of this must last for that second."""
BUFFER_RECORDS_MIN: Final = 200
COMMIT_EVERY_RECORDS: Final = 1000
LEVEL_BYTES: Final = 32
"""A level of both sides in a published book: two prices and two sizes, packed."""
SYMBOL_BYTES: Final = 1536
"""The most that the rest of a book takes, or the seconds of a symbol's two streams."""
CHECKPOINT_BYTES: Final = 8192
"""The most that the checkpoints of a symbol's two streams take."""
NO_PAGES: Final = 1
"""Stands for Faust's web port where nobody asked for its pages; nothing listens there."""


def faust_options(settings: Settings, topics: int) -> dict[str, Any]:
    """Return the settings of a Faust app that reads `topics` topics.

    Raises:
        SettingsError: a certificate cannot be used.
    """
    processor = settings.processor
    session_s = processor.session_timeout_ms / 1000
    options: dict[str, Any] = {
        "broker": [f"kafka://{address}" for address in brokers(settings.kafka)],
        "broker_credentials": _credentials(settings.kafka),
        "broker_session_timeout": session_s,
        "broker_heartbeat_interval": min(3.0, session_s / 5),
        "broker_rebalance_timeout": REBALANCE_TIMEOUT_S,
        # Faust refuses a session longer than a request.
        "broker_request_timeout": max(
            settings.kafka.request_timeout_ms / 1000, session_s + 1, REQUEST_TIMEOUT_S
        ),
        "broker_commit_interval": processor.commit_interval_ms / 1000,
        "broker_commit_every": COMMIT_EVERY_RECORDS,
        "broker_max_poll_records": POLL_RECORDS,
        "consumer_max_fetch_size": FETCH_BYTES,
        "stream_buffer_maxsize": max(BUFFER_RECORDS // topics, BUFFER_RECORDS_MIN),
        # A new group reads the log from its beginning: nothing is left out.
        "consumer_auto_offset_reset": "earliest",
        "producer_linger": LINGER_S,
        "producer_max_batch_size": BATCH_BYTES,
        "producer_max_request_size": settings.topics.max_message_bytes,
        "producer_compression_type": "lz4",
        "producer_request_timeout": PRODUCER_TIMEOUT_S,
        "key_serializer": "raw",
        "value_serializer": "raw",
        # Waiting for agents at a rebalance gains nothing: what is unfinished is repeated.
        "stream_wait_empty": False,
        # Topics are made by `streamgauge topics`; tables and their changelogs are not used.
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "table_standby_replicas": 0,
        "store": "memory://",
        "autodiscover": False,
        "web_enabled": processor.web_port >= 0,
        "web_bind": processor.web_host,
        "web_host": processor.web_host,
        "web_port": _web_port(processor),
    }
    if processor.instance_id:
        options["consumer_group_instance_id"] = processor.instance_id
    return options


def raw_topics(settings: Settings) -> dict[str, Exchange]:
    """Return the venue behind each raw topic that is to be processed.

    Raises:
        SettingsError: an enabled exchange is not known here, or none is enabled.
    """
    known = exchanges()
    topics: dict[str, Exchange] = {}
    for name, exchange in settings.exchanges.items():
        if not exchange.enabled:
            continue
        if name not in known:
            raise SettingsError(
                f"exchanges.{name}",
                "is not an exchange that can be processed",
                allowed=", ".join(sorted(known)),
            )
        topics[raw_topic(name, settings.topics.prefix)] = known[name]
    if not topics:
        raise SettingsError(
            "exchanges", "none is enabled", allowed=f"tables of {', '.join(sorted(known))}"
        )
    return topics


def pipeline_settings(settings: Settings) -> PipelineSettings:
    """Return what every pipeline is given."""
    processor = settings.processor
    return PipelineSettings(
        book_levels=processor.book_levels, book_interval_ns=processor.book_interval_ms * 1_000_000
    )


def warmup_least_s(settings: Settings) -> int:
    """Return what a warm-up must be longer than, s.

    A stream's last checkpoint in it may be one interval old. By then every book must have found a
    snapshot and an audit: what is remembered goes on from what the book is then.
    """
    checkpoints_s = pipeline_settings(settings).checkpoint_interval_ns // 1_000_000_000
    return 2 * settings.producer.snapshot_interval_s + checkpoints_s


def check_warmup(settings: Settings) -> None:
    """Refuse a warm-up in which a book may find no snapshot and audit, or a stream no checkpoint.

    Raises:
        SettingsError: it is not longer than that takes.
    """
    least = warmup_least_s(settings)
    if settings.processor.warmup_s <= least:
        raise SettingsError(
            "processor.warmup_s",
            f"is {settings.processor.warmup_s}",
            allowed=f"more than {least}: twice producer.snapshot_interval_s, and the time between"
            " a stream's checkpoints",
        )


def check_sizes(settings: Settings) -> None:
    """Refuse outputs that may not fit into a record: what one raw record implies is one a kind.

    Raises:
        SettingsError: books, or the checkpoints of an epoch's first tick, are larger than the
            topics take.
    """
    producer, processor = settings.producer, settings.processor
    most = settings.topics.max_message_bytes
    interval_ms = min(processor.book_interval_ms, producer.tick_interval_ms)
    samples = min(producer.batch_age_ms // interval_ms + 1, producer.batch_frames)
    for name, exchange in settings.exchanges.items():
        symbols = min(exchange.symbols_per_shard, len(exchange.symbols) or 1_000)
        allowed = (most // (symbols * samples) - SYMBOL_BYTES) // LEVEL_BYTES
        least = (symbols + 1) * CHECKPOINT_BYTES
        if exchange.enabled and most < least:
            raise SettingsError(
                "topics.max_message_bytes",
                f"is {most}, with {symbols} symbols on a socket of {name}",
                allowed=f"at least {least}, or fewer exchanges.{name}.symbols_per_shard",
            )
        if exchange.enabled and processor.book_levels > allowed:
            raise SettingsError(
                "processor.book_levels",
                f"is {processor.book_levels}, with {symbols} symbols on a socket of {name} and up"
                f" to {samples} samples a record, but topics.max_message_bytes is {most}",
                allowed=f"at most {max(allowed, 0)}, or fewer exchanges.{name}.symbols_per_shard",
            )


def letter_bytes(settings: Settings) -> int:
    """Return how much of an unusable record fits into a record about it."""
    return min(LETTER_VALUE_BYTES, settings.topics.max_message_bytes // 2)


def _web_port(processor: ProcessorSettings) -> int:
    if processor.web_port:
        return processor.web_port if processor.web_port > 0 else NO_PAGES
    with socket.socket() as probe:
        probe.bind((processor.web_host, 0))
        return int(probe.getsockname()[1])


def _credentials(kafka: KafkaSettings) -> Any:
    context = tls_context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password.reveal(),
            ssl_context=context,
            mechanism=kafka.sasl_mechanism,
        )
    return None if context is None else faust.SSLCredentials(context)
