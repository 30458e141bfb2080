"""Records that cannot be used, sent to the topic of dead letters before their offset is committed.

The producer is idempotent and starts with the first letter: most sinks never need one.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer, ConsumerRecord

from core.letters import REASON_CHARACTERS, DeadLetter
from core.rows import Place
from schemas.codec import encode_dead_letter

CONSUMER: Final = "sink"
REFUSED: Final = "ClickHouse refused its rows: "
"""How the reason begins of a record that could be read."""
VALUE_BYTES: Final = 1 << 20
"""Bytes of a record's value that its letter keeps; the rest is found by its offset."""
KEY_BYTES: Final = 1 << 10
_NS_PER_MS: Final = 1_000_000


def letter_for(record: ConsumerRecord, place: Place, reason: str, *, max_bytes: int) -> DeadLetter:
    """Return the letter about `record`; what does not fit into `max_bytes` is left out."""
    value, key = record.value, record.key
    kept = min(VALUE_BYTES, max_bytes // 2)
    if value is not None and len(value) > kept:
        reason = f"{reason[: REASON_CHARACTERS - 60]} (first {kept} of {len(value)} bytes kept)"
    return DeadLetter(
        topic=place.topic,
        partition=place.partition,
        offset=record.offset,
        consumer=CONSUMER,
        reason=reason[:REASON_CHARACTERS],
        ts=record.timestamp * _NS_PER_MS,
        key=None if key is None else key[:KEY_BYTES],
        value=None if value is None else value[:kept],
        log_id=place.log_id,
    )


class LetterBox:
    """Sends letters. `arguments` are those of any Kafka client."""

    def __init__(self, arguments: dict[str, Any], topic: str, *, max_bytes: int) -> None:
        self._arguments = arguments
        self._topic = topic
        self._max_bytes = max_bytes
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def post(self, letters: Sequence[DeadLetter]) -> None:
        """Return when Kafka has all letters.

        Raises:
            KafkaError: it has not; post them again.
        """
        async with self._lock:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    **self._arguments,
                    acks="all",
                    enable_idempotence=True,
                    max_request_size=self._max_bytes,
                )
                await producer.start()
                self._producer = producer
            try:
                # Letters about one partition keep their order, by which repeats are recognised.
                sent = [
                    await self._producer.send(
                        self._topic,
                        encode_dead_letter(letter),
                        key=f"{letter.topic}/{letter.partition}".encode(),
                    )
                    for letter in letters
                ]
                await asyncio.gather(*sent)
            except BaseException:
                # What it still holds would come after what is posted next time.
                await self._discard()
                raise

    async def close(self) -> None:
        """Disconnect."""
        async with self._lock:
            await self._discard()

    async def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
