"""Writes event records by hand, and remembers where each one is in the log."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from core.events import Events
from schemas.codec import encode_events
from schemas.topics import EVENT_KINDS
from tests.integration.sinks.facts import Row, expected_rows, mixed_events
from tests.schemas.records import trade_events

PARTITIONS = 2
SEED = 20_261_123
HUGE = "9" * 20
"""The largest price that all our own types take."""


class Records:
    """Writes records, each shard on a partition of its own; `facts` counts what is new by kind."""

    def __init__(
        self, topic: Callable[[str], str], facts: Counter[str], producer: AIOKafkaProducer
    ) -> None:
        self._topic = topic
        self._facts = facts
        self._producer = producer
        self._number = dict.fromkeys(range(PARTITIONS), 0)
        self._draw = random.Random(SEED)
        self.written: dict[int, list[tuple[str, bytes]]] = {each: [] for each in range(PARTITIONS)}
        self._mixed: list[tuple[str, Events, int, int, asyncio.Future[Any]]] = []

    async def trades(self, records: int, *, facts: int = 5) -> None:
        """Write new records of trades, in turn to every partition."""
        for index in range(records):
            partition = index % PARTITIONS
            self._number[partition] += facts
            value = self.value(partition, self._number[partition], facts)
            self._facts["trades"] += facts
            await self._write(partition, "trades", value)

    async def huge(self, partition: int, records: int = 1) -> None:
        """Write records, each with one trade so large that a table may refuse it.

        They do not count as new: they are no rows unless the table takes them.
        """
        for _ in range(records):
            self._number[partition] += 3
            value = self.value(partition, self._number[partition], 3, price=HUGE)
            await self._write(partition, "trades", value)

    async def mixed(self, raw_records: int) -> None:
        """Write what a processor makes of raw records: one new record of every kind each."""
        for index in range(raw_records):
            partition = index % PARTITIONS
            self._number[partition] += 1
            number = self._number[partition]
            events = mixed_events(partition, number, self._draw)
            for kind, value in encode_events(events, partition, number):
                sent = await self._write(partition, kind, value)
                self._mixed.append((kind, events, partition, number, sent))
                self._facts[kind] += len(getattr(events, _FACTS[kind]))

    async def again(self, partition: int, last: int) -> None:
        """Write the last records of a partition once more, as a restarted processor does."""
        for kind, value in self.written[partition][-last:]:
            await self._send(partition, value, kind)

    async def raw(self, partition: int, value: bytes | None, kind: str = "trades") -> None:
        """Write any bytes."""
        await self._send(partition, value, kind)

    async def flush(self) -> None:
        """Wait until everything is in the log."""
        await self._producer.flush()

    async def keep_writing(
        self, stop: asyncio.Event, *, per_second: int = 100, mixed: bool = False
    ) -> None:
        """Write records until `stop`, and now and then some of them again."""
        draw = random.Random(7)
        while not stop.is_set():
            await (self.mixed if mixed else self.trades)(max(1, per_second // 20))
            if draw.random() < 0.1:
                await self.again(draw.randrange(PARTITIONS), draw.randint(1, 8))
            await asyncio.sleep(0.05)
        await self.flush()

    def rows(self, log_ids: dict[str, str]) -> dict[str, list[Row]]:
        """Return the rows that `mixed` is to become, by kind, in the order of their places."""
        rows: dict[str, list[Row]] = {kind: [] for kind in EVENT_KINDS}
        for kind, events, partition, number, sent in self._mixed:
            topic, offset = self._topic(kind), sent.result().offset
            place: Row = {"log_id": log_ids[topic], "topic": topic}
            place |= {"partition": partition, "offset": offset}
            rows[kind] += [row | place for row in expected_rows(kind, events, partition, number)]
        for found in rows.values():
            found.sort(key=lambda row: (row["topic"], row["partition"], row["offset"], row["row"]))
        return rows

    def value(self, partition: int, number: int, facts: int, *, price: str = "") -> bytes:
        """The record of `facts` trades from frame `number` on; `price` is that of the last."""
        events: Events = trade_events(number, facts, shard=f"shard{partition}")
        moment = time.time_ns()
        trades = [msgspec.structs.replace(each, ts_recv=moment) for each in events.trades]
        if price:
            trades[-1] = msgspec.structs.replace(trades[-1], price=price)
        events = msgspec.structs.replace(events, trades=trades)
        return encode_events(events, partition, number)[0][1]

    async def _write(self, partition: int, kind: str, value: bytes) -> "asyncio.Future[Any]":
        self.written[partition].append((kind, value))
        return await self._send(partition, value, kind)

    async def _send(
        self, partition: int, value: bytes | None, kind: str = "trades"
    ) -> "asyncio.Future[Any]":
        key = f"shard{partition}".encode()
        sent: asyncio.Future[Any] = await self._producer.send(
            self._topic(kind), value, key=key, partition=partition
        )
        return sent


_FACTS = {
    "trades": "trades",
    "books": "books",
    "faults": "faults",
    "stability": "seconds",
    "alerts": "alerts",
    "venues": "venues",
}
