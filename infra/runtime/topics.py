"""Whether the topics are there that a process is about to use."""

from collections.abc import Iterable

from aiokafka.admin import AIOKafkaAdminClient

from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import KafkaSettings


async def missing_topics(kafka: KafkaSettings, topics: Iterable[str]) -> list[str]:
    """Return which topics do not exist, or may not be seen.

    A client that is given one of them waits for it, and complains, for half a minute.

    Raises:
        SettingsError: a certificate or key cannot be used.
        KafkaError: Kafka does not answer.
    """
    admin = AIOKafkaAdminClient(**kafka_arguments(kafka))
    try:
        await admin.start()
        there = set(await admin.list_topics())
    finally:
        await admin.close()
    return sorted(set(topics) - there)
