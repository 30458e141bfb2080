"""The topics that processors read, and the engine of a partition of each.

The same for a worker and for a replay: what one publishes, the other computes.
"""

from collections.abc import Callable
from functools import partial

from core.pipeline import PipelineSettings
from core.protocol import Exchange
from infra.runtime.settings import Settings
from processors.engine import Engine, PartitionEngine
from processors.options import letter_bytes, pipeline_settings, raw_topics
from processors.venues import VenueEngine
from schemas.topics import MIDS, event_topic

MakeEngine = Callable[[str, int, str], Engine]
"""Makes the engine of a topic's partition, given both and the identity of the log."""


def makers(settings: Settings, *, consumer: str = "") -> dict[str, MakeEngine]:
    """Return what makes the engines of each topic; `consumer` signs dead letters.

    Raises:
        SettingsError: an enabled exchange is not known here, or none is enabled.
    """
    pipeline, letters = pipeline_settings(settings), letter_bytes(settings)
    found: dict[str, MakeEngine] = {
        topic: partial(_raw, exchange, pipeline, consumer, letters)
        for topic, exchange in raw_topics(settings).items()
    }
    found[event_topic(MIDS, settings.topics.prefix)] = partial(_mids, consumer, letters)
    return found


def _raw(
    exchange: Exchange,
    pipeline: PipelineSettings,
    consumer: str,
    letter_bytes: int,
    topic: str,
    partition: int,
    log_id: str,
) -> Engine:
    return PartitionEngine(
        exchange,
        pipeline,
        topic=topic,
        partition=partition,
        consumer=consumer,
        log_id=log_id,
        letter_bytes=letter_bytes,
    )


def _mids(consumer: str, letter_bytes: int, topic: str, partition: int, log_id: str) -> Engine:
    return VenueEngine(
        topic=topic,
        partition=partition,
        consumer=consumer,
        log_id=log_id,
        letter_bytes=letter_bytes,
    )
