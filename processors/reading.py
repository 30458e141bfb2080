"""Reading stretches of topics that end: what stands between two offsets, or since a time.

It belongs to no consumer group and knows nothing of what records hold.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

_POLL_MS: Final = 1000
_POLL_RECORDS: Final = 500
CLOCK_SLACK_MS: Final = 600_000
"""An output may seem this much older than its raw record, ms: clocks of two machines differ."""

Bounds = dict[TopicPartition, tuple[int, int]]
"""First offset and the one after the last."""


async def records(
    consumer: AIOKafkaConsumer, bounds: Bounds
) -> AsyncIterator[tuple[TopicPartition, Any]]:
    """Yield the records inside `bounds`, first to before end; each partition in order."""
    left = {tp for tp, (start, end) in bounds.items() if start < end}
    if not left:
        return
    consumer.assign(list(left))
    for tp in left:
        consumer.seek(tp, bounds[tp][0])
    while left:
        fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_POLL_RECORDS)
        for tp, found in fetched.items():
            for record in found:
                if record.offset < bounds[tp][1]:
                    yield tp, record
        for tp in list(left):
            if await consumer.position(tp) >= bounds[tp][1]:
                left.remove(tp)
                consumer.pause(tp)


async def written_since(
    consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition], since_ms: int | None
) -> Bounds:
    """Return where outputs of raw records since that time may stand; None is the beginning."""
    tps = list(partitions)
    if not tps:
        return {}  # Asked about nothing, aiokafka waits for ever.
    ends = await consumer.end_offsets(tps)
    if since_ms is None:
        starts = await consumer.beginning_offsets(tps)
    else:
        found = await consumer.offsets_for_times(
            dict.fromkeys(tps, max(since_ms - CLOCK_SLACK_MS, 0))
        )
        starts = {tp: found[tp].offset if found[tp] else ends[tp] for tp in tps}
    return {tp: (starts[tp], ends[tp]) for tp in tps}
