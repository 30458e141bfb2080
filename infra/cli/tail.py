"""`streamgauge tail`: the records of a topic, decoded, a line for each fact.

It belongs to no consumer group and changes nothing. What cannot be decoded is shown as such.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import click
import msgspec

from core.decimals import render
from core.events import (
    BookBatch,
    BookSnapshot,
    BookState,
    EventBatch,
    Fault,
    FaultBatch,
    Side,
    StabilityBatch,
    StreamSecond,
    TradeBatch,
)
from core.frames import Frame, FrameBatch
from core.letters import DeadLetter
from infra.cli.failures import Failure
from infra.runtime.settings import Settings
from schemas.codec import decode_dead_letter, decode_events, decode_frame_batch
from schemas.registry import CodecError, codec
from schemas.topics import ALERTS, DEAD_LETTERS, EVENT_KINDS, schema_of

_PAYLOAD_CHARACTERS: Final = 160
_POLL_MS: Final = 500
_NS: Final = 1_000_000_000

Fact = dict[str, Any]


@click.command()
@click.argument("topic")
@click.option("--from-beginning", is_flag=True, help="Begin with the oldest record there is.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N lines.")
@click.option(
    "--follow/--no-follow",
    default=True,
    show_default=True,
    help="Wait for new records, or end with the last one there is.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each fact.")
@click.pass_obj
def command(
    settings: Settings,
    topic: str,
    from_beginning: bool,
    count: int | None,
    follow: bool,
    as_json: bool,
) -> None:
    """Show the records of TOPIC, decoded: trades, books, faults, stability, dead_letters, alerts
    or raw.EXCHANGE. It begins with what comes next.

    \b
      streamgauge tail trades
      streamgauge tail raw.kraken --from-beginning --count 20
      streamgauge tail books --json | jq .bid_prices[0]
    """
    prefix = settings.topics.prefix
    name = topic if topic.startswith(prefix) else f"{prefix}{topic}"
    if schema_of(name, prefix) is None:
        known = ", ".join((*EVENT_KINDS, DEAD_LETTERS, ALERTS, "raw.EXCHANGE"))
        raise click.UsageError(f"{topic} is not a topic of ours; there are {known}")
    asyncio.run(
        _show(settings, name, beginning=from_beginning, count=count, follow=follow, as_json=as_json)
    )


async def _show(
    settings: Settings,
    topic: str,
    *,
    beginning: bool,
    count: int | None,
    follow: bool,
    as_json: bool,
) -> None:
    kind = topic.removeprefix(settings.topics.prefix)
    left = count
    async for record in _records(settings, topic, beginning=beginning, follow=follow):
        for fact in facts(kind, record):
            click.echo(msgspec.json.encode(fact) if as_json else line(kind, fact))
            if left is not None:
                left -= 1
                if not left:
                    return


async def _records(
    settings: Settings, topic: str, *, beginning: bool, follow: bool
) -> AsyncIterator[Any]:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from infra.runtime.connections import kafka_arguments

    arguments = kafka_arguments(settings.kafka)
    numbers = await _partitions(arguments, topic)
    consumer = AIOKafkaConsumer(**arguments, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in numbers]
        starts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, starts[partition] if beginning else ends[partition])
        while follow or await _unread(consumer, ends):
            batches = await consumer.getmany(timeout_ms=_POLL_MS)
            for records in batches.values():
                for record in records:
                    yield record
    finally:
        await consumer.stop()


async def _partitions(arguments: dict[str, Any], topic: str) -> list[int]:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(**arguments)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    if described["error_code"]:
        raise Failure(f"no topic {topic}", "Make it with `streamgauge topics`.")
    return sorted(each["partition"] for each in described["partitions"])


async def _unread(consumer: Any, ends: dict[Any, int]) -> bool:
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return True
    return False


def facts(kind: str, record: Any) -> Iterator[Fact]:
    """Return what a Kafka record holds, each fact with where it stands in the log."""
    place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    try:
        yield from (place | fact for fact in _decoded(kind, record.value))
    except CodecError as error:
        yield place | {"error": str(error)}


def _decoded(kind: str, value: bytes | None) -> list[Fact]:
    if kind.startswith("raw."):
        return _frames(decode_frame_batch(value))
    if kind == DEAD_LETTERS:
        return [_letter(decode_dead_letter(value))]
    if kind == ALERTS:
        return [codec("alert").decode(value)]
    return _events(decode_events(kind, value))


def _frames(batch: FrameBatch) -> list[Fact]:
    address = msgspec.structs.asdict(batch.address)
    return [
        address | {"number": batch.number + index} | _frame(frame)
        for index, frame in enumerate(batch.frames)
    ]


def _frame(frame: Frame) -> Fact:
    return {
        "kind": frame.kind.name.lower(),
        "ts_recv": frame.ts_recv,
        "where": frame.where,
        "payload": _text(frame.payload),
    }


def _letter(letter: DeadLetter) -> Fact:
    fields = msgspec.structs.asdict(letter)
    # The place of the letter itself is called topic, partition and offset.
    for name in ("topic", "partition", "offset"):
        fields[f"record_{name}"] = fields.pop(name)
    return fields | {"key": _text(letter.key), "value": _text(letter.value)}


def _events(batch: EventBatch) -> list[Fact]:
    address = msgspec.structs.asdict(batch.header.address)
    if isinstance(batch, TradeBatch):
        found = _trades(batch)
    elif isinstance(batch, BookBatch):
        found = [_book(book) for book in batch.books]
    elif isinstance(batch, FaultBatch):
        found = [_fault(fault) for fault in batch.faults]
    else:
        assert isinstance(batch, StabilityBatch)
        found = [_second(second) for second in batch.seconds]
    return [address | fact for fact in found]


def _trades(batch: TradeBatch) -> list[Fact]:
    return [
        {
            "number": batch.numbers[index],
            "index": batch.indices[index],
            "symbol": batch.symbols[index],
            "trade_id": batch.trade_ids[index],
            "sequence": None if batch.sequences[index] < 0 else batch.sequences[index],
            "price": batch.prices[index],
            "size": batch.sizes[index],
            "side": Side(batch.sides[index]).name.lower(),
            "ts_event": batch.ts_event[index],
            "ts_recv": batch.ts_recv[index],
            "quality": batch.quality[index],
        }
        for index in range(len(batch))
    ]


def _book(book: BookSnapshot) -> Fact:
    fields = msgspec.structs.asdict(book)
    price, size = fields.pop("price_exponent"), fields.pop("size_exponent")
    for side in ("bid", "ask"):
        fields[f"{side}_prices"] = [render(each, price) for each in fields[f"{side}_prices"]]
        fields[f"{side}_sizes"] = [render(each, size) for each in fields[f"{side}_sizes"]]
    return fields


def _fault(fault: Fault) -> Fact:
    return msgspec.structs.asdict(fault) | {"kind": fault.kind.name.lower()}


def _second(second: StreamSecond) -> Fact:
    state: BookState | None = second.book_state
    named = None if state is None else state.name.lower()
    return msgspec.structs.asdict(second) | {"book_state": named}


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")


def line(kind: str, fact: Fact) -> str:
    """Return a fact as a line for people; colours are left out where none are wanted."""
    if "error" in fact:
        place = f"{fact['topic']}/{fact['partition']} offset {fact['offset']}"
        return f"{click.style('unreadable', fg='red')} {place}: {fact['error']}"
    if kind.startswith("raw."):
        return _frame_line(fact)
    if kind == DEAD_LETTERS:
        place = f"{fact['record_topic']}/{fact['record_partition']} offset {fact['record_offset']}"
        return f"{_time(fact['ts'])} {fact['consumer']} gave up {place}: {fact['reason']}"
    return _LINES[kind](fact)


def _frame_line(fact: Fact) -> str:
    payload = " ".join((fact["payload"] or "").split())
    if len(payload) > _PAYLOAD_CHARACTERS:
        payload = f"{payload[:_PAYLOAD_CHARACTERS]}… ({len(fact['payload']):,} characters)"
    where = f"{fact['where']} " if fact["where"] else ""
    stream = f"{fact['exchange']} {fact['shard']}.{fact['line']} #{fact['number']}"
    return f"{_time(fact['ts_recv'])} {stream} {_bold(fact['kind'])} {where}{payload}"


def _trade_line(fact: Fact) -> str:
    side = click.style(f"{fact['side']:<4}", fg="green" if fact["side"] == "buy" else "red")
    what = f"{side} {fact['size']} @ {fact['price']}"
    return (
        f"{_time(fact['ts_recv'])} {fact['exchange']} {_bold(fact['symbol'])} {what}{_flags(fact)}"
    )


def _book_line(fact: Fact) -> str:
    best = [
        f"{fact[f'{side}_sizes'][0]} @ {fact[f'{side}_prices'][0]}"
        if fact[f"{side}_prices"]
        else "none"
        for side in ("bid", "ask")
    ]
    levels = f"{len(fact['bid_prices'])}+{len(fact['ask_prices'])} levels"
    quote = f"{click.style(best[0], fg='green')} | {click.style(best[1], fg='red')}"
    name = f"{fact['exchange']} {_bold(fact['symbol'])}"
    return f"{_time(fact['ts_sample'])} {name} {quote} ({levels}){_flags(fact)}"


def _fault_line(fact: Fact) -> str:
    name = f"{fact['exchange']} {_bold(fact['symbol'] or fact['shard'])}"
    count = "" if fact["count"] is None else f" {fact['count']} {fact['unit']}"
    what = f"{click.style(fact['kind'], fg='yellow')}{count}"
    found = f"expected {fact['expected']}, found {fact['found']}"
    return f"{_time(fact['ts_recv'])} {name} {fact['channel']} {what}: {found}"


def _second_line(fact: Fact) -> str:
    name = f"{fact['exchange']} {fact['shard']}.{fact['line']} {fact['channel']}"
    latency = fact["latency_p50_ns"]
    middle = "" if latency is None else f" latency {latency / 1e6:.1f} ms"
    state = "" if fact["book_state"] is None else f" {_bold(fact['book_state'])}"
    faults = sum(fact[each] for each in ("gaps", "checksums_bad", "audits_bad", "decode_errors"))
    bad = click.style(f" {faults} faults", fg="yellow") if faults else ""
    return (
        f"{_time(fact['ts'])} {name} {fact['symbol']}{state} {fact['frames']} frames{middle}{bad}"
    )


def _alert_line(fact: Fact) -> str:
    name = f"{fact['exchange']} {fact['shard']} {fact['symbol']}".rstrip()
    what = f"{fact['phase']} {_bold(fact['kind'])}"
    return f"{_time(fact['ts_detected'])} {what} {name}: {fact['detail']}"


_LINES: Final = {
    "trades": _trade_line,
    "books": _book_line,
    "faults": _fault_line,
    "stability": _second_line,
    ALERTS: _alert_line,
}


def _flags(fact: Fact) -> str:
    return click.style(f" quality {fact['quality']}", fg="yellow") if fact["quality"] else ""


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def _time(ts: int) -> str:
    """Return ns since the epoch as a UTC time with microseconds, or the number itself."""
    try:
        moment = datetime.fromtimestamp(ts // _NS, UTC)
    except (ValueError, OverflowError, OSError):
        return str(ts)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ts % _NS // 1000:06}"
