import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer

from producers import kafka
from producers.kafka import make_producer


@asynccontextmanager
async def producer() -> AsyncIterator[AIOKafkaProducer]:
    """Make a producer that is never started."""
    made = make_producer({"bootstrap_servers": "127.0.0.1:9"}, batch_bytes=1 << 20)
    yield made
    await made.stop()


def lines_of(logger: logging.Logger, messages: list[str]) -> list[str]:
    """Return which of these messages a logger lets pass."""
    passed: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            passed.append(str(record.msg))

    ear = Ear()
    logger.addHandler(ear)
    try:
        for message in messages:
            logger.warning(message)
    finally:
        logger.removeHandler(ear)
    return passed


async def test_producer_is_idempotent_and_waits_for_all_replicas() -> None:
    """aiokafka sends a producer id and numbers only where it keeps a transaction manager."""
    async with producer() as made:
        assert made._txn_manager is not None
        assert made._txn_manager.transactional_id is None
        assert made._sender._acks == -1


async def test_producer_asks_for_metadata_no_faster_than_the_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka, "PAUSE_S", 0.05)
    async with producer() as made:
        asked = made.client.force_metadata_update()
        # Nobody runs the client, so the answer is given here: there was none.
        made.client._md_update_fut.set_result(False)
        started = time.monotonic()

        assert await asyncio.wait_for(asked, 10) is False
        assert time.monotonic() - started >= 0.049


async def test_lines_of_the_client_that_repeat_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka, "_LOGGERS", ("aiokafka.tested",))
    async with producer(), producer():
        pass
    logger = logging.getLogger("aiokafka.tested")

    assert len(logger.filters) == 1
    assert lines_of(logger, ["away", "away", "other", "away"]) == ["away", "other"]
    monkeypatch.setattr(kafka, "REPEAT_S", 0.0)
    assert lines_of(logger, ["away", "away"]) == ["away", "away"]
