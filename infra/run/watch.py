"""Looking at the running pipeline from outside: lag, rows, latency.

Reads Kafka's offsets and ClickHouse's tables as any operator could.
"""

from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from clickhouse_connect.driver.client import Client

from core.rows import TABLES
from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import Settings
from schemas.topics import DEAD_LETTERS, EVENT_KINDS, MIDS, event_topic, raw_topic


class Lag(msgspec.Struct, frozen=True):
    """Records written and not yet committed by their reader."""

    raw: int
    events: int


class Flow(msgspec.Struct, frozen=True):
    """What has reached ClickHouse since a moment; latency in ms from socket read to stored row."""

    frames: int
    trades: int
    books: int
    faults: int
    latency_ms_p50: float | None
    latency_ms_p99: float | None


class Watch:
    """Holds the connections that watching needs."""

    def __init__(self, settings: Settings, client: Client) -> None:
        self._settings = settings
        self._client = client
        arguments = kafka_arguments(settings.kafka)
        self._consumer = AIOKafkaConsumer(**arguments)
        self._admin = AIOKafkaAdminClient(**arguments)

    async def start(self) -> None:
        """Connect to Kafka."""
        await self._consumer.start()
        await self._admin.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._admin.close()
        await self._consumer.stop()

    async def lag(self) -> Lag:
        """Return how far the processors and the sinks are behind."""
        settings = self._settings
        prefix = settings.topics.prefix
        raw = [raw_topic(name, prefix) for name, e in settings.exchanges.items() if e.enabled]
        raw.append(event_topic(MIDS, prefix))
        events = [event_topic(kind, prefix) for kind in (*EVENT_KINDS, DEAD_LETTERS)]
        return Lag(
            raw=await self._group_lag(settings.processor.app_id, raw),
            events=await self._group_lag(settings.sink.group, events),
        )

    async def _group_lag(self, group: str, topics: list[str]) -> int:
        described = await self._admin.describe_topics(topics)
        known = [
            TopicPartition(topic["topic"], partition["partition"])
            for topic in described
            for partition in topic["partitions"]
        ]
        ends = await self._consumer.end_offsets(known)
        starts = await self._consumer.beginning_offsets(known)
        committed = await self._admin.list_consumer_group_offsets(group)
        lag = 0
        for tp, end in ends.items():
            position = committed[tp].offset if tp in committed else -1
            lag += end - max(position, starts[tp])
        return lag

    def flow(self, since_ns: int, latency_since_ns: int) -> Flow:
        """Return counts since `since_ns` and latencies of trades since `latency_since_ns`."""
        row = self._one(
            "SELECT (SELECT sum(frames) FROM stability_1s WHERE channel = 'connection'"
            " AND toUnixTimestamp64Nano(ts) >= {since:Int64}),"
            " (SELECT count() FROM trades WHERE toUnixTimestamp64Nano(ts_recv) >= {since:Int64}),"
            " (SELECT count() FROM books WHERE toUnixTimestamp64Nano(ts_sample) >= {since:Int64}),"
            " (SELECT count() FROM faults WHERE toUnixTimestamp64Nano(ts_recv) >= {since:Int64}),"
            " (SELECT [count(), quantile(0.5)(ms), quantile(0.99)(ms)] FROM"
            " (SELECT (toUnixTimestamp64Nano(ts_stored) - toUnixTimestamp64Nano(ts_recv)) / 1e6"
            " AS ms FROM trades WHERE toUnixTimestamp64Nano(ts_recv) >= {recent:Int64}))",
            since=since_ns,
            recent=latency_since_ns,
        )
        count, p50, p99 = row[4]
        return Flow(
            frames=int(row[0] or 0),
            trades=row[1],
            books=row[2],
            faults=row[3],
            latency_ms_p50=round(p50, 1) if count else None,
            latency_ms_p99=round(p99, 1) if count else None,
        )

    def rows(self) -> dict[str, int]:
        """Return the rows of every table, all runs together."""
        tables = (*TABLES.values(), "dead_letters")
        return {table: self._one(f"SELECT count() FROM {table}")[0] for table in tables}

    def tops(self) -> list[tuple[str, str, str, str]]:
        """Return the newest best bid and ask of each exchange's first symbol, as text."""
        rows = self._client.query(
            "SELECT exchange, symbol, toString(bid_prices[1]), toString(ask_prices[1]) FROM books"
            " WHERE ts_sample > now() - 10 ORDER BY ts_sample DESC LIMIT 1 BY exchange"
        ).result_rows
        return sorted((exchange, symbol, bid, ask) for exchange, symbol, bid, ask in rows)

    def _one(self, sql: str, **parameters: Any) -> Any:
        return self._client.query(sql, parameters=parameters).result_rows[0]
