"""Publishing an engine's outputs through Faust's own producer.

Faust flushes that producer before each commit of offsets, and calls a failed send a warning. So a
failure here must end the process before the commit that follows the flush: aiokafka runs the
callback of a failed send before whoever waits for the flush goes on.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import faust

from processors.engine import Output
from schemas.cloudevents import headers_of


class Publisher:
    """Sends outputs in order; `topics` are names by kind, `failed` must not return."""

    def __init__(
        self,
        app: faust.App,
        topics: dict[str, str],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._app = app
        self._topics = topics
        self._failed = failed

    async def publish(self, outputs: list[Output]) -> None:
        """Hand over all outputs of one record; waits only while the producer's buffer is full.

        The key fixes the partition, so one shard's records stay in order on every topic.
        """
        producer = self._app.producer
        for kind, key, value in outputs:
            headers: Any = headers_of(kind, value)
            sent = await producer.send(self._topics[kind], key, value, None, None, headers)
            cast("asyncio.Future[Any]", sent).add_done_callback(self._on_sent)

    def _on_sent(self, sent: "asyncio.Future[Any]") -> None:
        if sent.cancelled():
            self._failed("a record was given up", asyncio.CancelledError())
        elif error := sent.exception():
            self._failed("a record was not acknowledged", error)
