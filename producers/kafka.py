"""aiokafka's producer, and what it lacks while a broker is away.

Read in aiokafka 0.14: while a partition has no leader its sender asks for metadata again as soon
as it was not told, which costs a whole core for as long as the broker is away, and writes two
lines to the log each time. Here it waits in between, and lines that repeat are left out.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import AIOKafkaProducer

PAUSE_S: Final = 0.2
"""Least time between two questions for metadata, s."""
REPEAT_S: Final = 30.0
"""A line of aiokafka is repeated in the log after this long, s."""
_LOGGERS: Final = ("aiokafka", "aiokafka.conn", "aiokafka.producer.sender")


def make_producer(arguments: Mapping[str, Any], *, batch_bytes: int) -> AIOKafkaProducer:
    """Return an idempotent producer that is not yet started."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Repeats) for each in logger.filters):
            logger.addFilter(_Repeats())
    producer = AIOKafkaProducer(
        enable_idempotence=True, acks="all", max_batch_size=batch_bytes, **arguments
    )
    ask = producer.client.force_metadata_update

    def ask_slowly() -> asyncio.Future[bool]:
        return asyncio.ensure_future(_slowly(ask()))

    producer.client.force_metadata_update = ask_slowly
    return producer


async def _slowly(update: asyncio.Future[bool]) -> bool:
    is_updated = await update
    await asyncio.sleep(PAUSE_S)
    return is_updated


class _Repeats(logging.Filter):
    """Lets a line pass once in a while."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether this line has not been seen lately."""
        now = time.monotonic()
        if now - self._passed.get(str(record.msg), -REPEAT_S) < REPEAT_S:
            return False
        self._passed[str(record.msg)] = now
        return True
