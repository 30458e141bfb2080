"""Reading a raw topic back, and proving that nothing is missing from it.

The proof is written from the contract (`core.frames`, the Avro schema) and not with the pipeline:
numbers without holes, a digest chain that closes, epochs that grow.
"""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from core.events import BookState, Events
from core.exchanges import exchanges
from core.frames import CHAIN_START, CloseReason, Frame, FrameBatch, FrameKind, Resync, chained
from core.pipeline import PipelineSettings, ShardPipeline
from core.protocol import TradePrint
from schemas.codec import decode_frame_batch
from schemas.topics import raw_topic
from tests.integration.producers.processes import wait_until

READ_S = 60.0
PARTITIONS = 2


async def make_topics(bootstrap: str, names: Iterable[str], **config: str) -> str:
    """Make raw topics for exchanges under a prefix of their own; return the prefix."""
    prefix = f"t{uuid.uuid4().hex[:12]}."
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        topics = [
            NewTopic(
                raw_topic(name, prefix),
                PARTITIONS,
                1,
                topic_configs={"max.message.bytes": "8388608"} | config,
            )
            for name in names
        ]
        await admin.create_topics(topics)
    finally:
        await admin.close()
    return prefix


@dataclass
class RawLog:
    """The records of one raw topic, by shard and line."""

    exchange: str
    batches: dict[tuple[str, str], list[FrameBatch]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def leave_out_repeats(self) -> int:
        """Take out records that are there again, unchanged; return how many there were.

        A broker may have stored what it could not acknowledge any more.
        """
        count = 0
        for place, of_line in self.batches.items():
            first: dict[tuple[int, int], FrameBatch] = {}
            for batch in of_line:
                assert first.setdefault((batch.address.epoch, batch.number), batch) == batch
            count += len(of_line) - len(first)
            self.batches[place] = list(first.values())
        return count

    def prove_whole(self) -> None:
        """Fail unless every frame of every epoch is there, once and unchanged."""
        assert self.batches
        for of_line in self.batches.values():
            epoch, number, chain = 0, 0, CHAIN_START
            for batch in of_line:
                if batch.address.epoch != epoch:
                    assert batch.address.epoch > epoch
                    epoch, number, chain = batch.address.epoch, 0, CHAIN_START
                    assert batch.frames[0].kind is FrameKind.OPENING
                    assert batch.frames[0].where
                assert batch.number == number
                assert batch.chain_before == chain
                assert chained(chain, batch.frames) == batch.chain
                number, chain = number + len(batch.frames), batch.chain

    def frames(self, *kinds: FrameKind) -> list[Frame]:
        """Return frames of all lines, of these kinds, in the order of each line."""
        return [
            frame
            for of_line in self.batches.values()
            for batch in of_line
            for frame in batch.frames
            if not kinds or frame.kind in kinds
        ]

    def closings(self) -> list[CloseReason]:
        """Return why sockets ended."""
        closes = self.frames(FrameKind.CLOSE)
        return [msgspec.json.decode(frame.payload, type=CloseReason) for frame in closes]

    def resyncs(self) -> list[Resync]:
        """Return what the edge guard has healed."""
        resyncs = self.frames(FrameKind.RESYNC)
        return [msgspec.json.decode(frame.payload, type=Resync) for frame in resyncs]

    def trades(self) -> dict[str, list[TradePrint]]:
        """Return the trades in received frames by symbol, repeats included."""
        decode = exchanges()[self.exchange].decode
        found: dict[str, list[TradePrint]] = defaultdict(list)
        for frame in self.frames(FrameKind.RECEIVED):
            if b"trade" not in frame.payload:
                continue
            for message in decode(frame.payload):
                if isinstance(message, TradePrint):
                    found[message.symbol].append(message)
        return found

    def is_settled(self) -> bool:
        """Say whether every line has an open socket and ticked with all its books live since.

        Since it was opened, and since the guard asked for a book the last time.
        """
        unrest = {FrameKind.OPENING, FrameKind.OPEN, FrameKind.RESYNC, FrameKind.CLOSE}
        for of_line in self.batches.values():
            pipeline = ShardPipeline(exchanges()[self.exchange], PipelineSettings())
            states: dict[str, BookState | None] = {}
            last = FrameKind.OPENING
            for batch in of_line:
                seconds = pipeline.feed(batch).seconds
                states |= {
                    each.symbol: each.book_state for each in seconds if each.channel == "book"
                }
                for frame in batch.frames:
                    if frame.kind in unrest:
                        last = frame.kind
                        states = {}
            if last is FrameKind.CLOSE or set(states.values()) != {BookState.LIVE}:
                return False
        return bool(self.batches)

    def facts(self) -> list[Events]:
        """Return what the processors make of the log."""
        found = []
        for of_line in self.batches.values():
            pipeline = ShardPipeline(exchanges()[self.exchange], PipelineSettings())
            found += [pipeline.feed(batch) for batch in of_line]
        return found


async def read_log(
    bootstrap: str, exchange: str, prefix: str, *, restamped: bool = False
) -> RawLog:
    """Read all that is in a raw topic now; `restamped` allows records older than their frames."""
    log = RawLog(exchange)
    topic = raw_topic(exchange, prefix)
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        async with asyncio.timeout(READ_S):
            while [tp for tp in partitions if await consumer.position(tp) < ends[tp]]:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    for record in records:
                        batch = decode_frame_batch(record.value)
                        address = batch.address
                        assert record.key == address.shard.encode()
                        read_ms = batch.frames[0].ts_recv // 1_000_000
                        assert record.timestamp == read_ms or (
                            restamped and record.timestamp < read_ms
                        )
                        assert address.exchange == exchange
                        log.batches[address.shard, address.line].append(batch)
    finally:
        await consumer.stop()
    return log


def wait_recorded(
    bootstrap: str,
    prefix: str,
    names: Iterable[str],
    condition: Callable[[RawLog], bool],
    what: str,
) -> None:
    """Return as soon as a condition holds for the log of every exchange.

    Raises:
        AssertionError: it did not in time.
    """
    for name in names:

        def holds(exchange: str = name) -> bool:
            return condition(asyncio.run(read_log(bootstrap, exchange, prefix)))

        wait_until(holds, f"{what}, at {name}", pause_s=0.3)
