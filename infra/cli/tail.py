"""`streamgauge tail`: the records of a topic, decoded, a line for each fact.

It belongs to no consumer group and changes nothing. What cannot be decoded is shown as such.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any, Final

import click
import msgspec

from infra.cli.facts import Fact, facts, payload_of
from infra.cli.failures import Failure
from infra.runtime.settings import Settings
from schemas.topics import (
    ALERTS,
    CHECKPOINTS,
    COMPACTED,
    DEAD_LETTERS,
    MIDS,
    OUTPUT_KINDS,
    RECEIPTS,
    SILENCES,
    VENUES,
    schema_of,
)

_PAYLOAD_CHARACTERS: Final = 160
_POLL_MS: Final = 500
_NS: Final = 1_000_000_000
_FRAME_ADVICE: Final = (
    "Give --partition and --offset as raw_partition and raw_offset of the row, and its number."
)


class _Wanted(msgspec.Struct, frozen=True):
    """Which records and facts are wanted; None where that does not matter."""

    beginning: bool
    partition: int | None
    offset: int | None
    frame: int | None
    count: int | None
    follow: bool


@click.command()
@click.argument("topic")
@click.option("--from-beginning", is_flag=True, help="Begin with the oldest record there is.")
@click.option("--partition", type=click.IntRange(0), metavar="P", help="Only this partition.")
@click.option(
    "--offset", type=click.IntRange(0), metavar="N", help="Begin with this record of --partition."
)
@click.option("--frame", type=click.IntRange(0), metavar="NUMBER", help="Only of this frame.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N lines.")
@click.option(
    "--follow/--no-follow",
    default=True,
    show_default=True,
    help="Wait for new records, or end with the last one there is.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each fact.")
@click.option(
    "--payload", "as_bytes", is_flag=True, help="Only the payloads of frames, byte for byte."
)
@click.pass_obj
def command(
    settings: Settings,
    topic: str,
    from_beginning: bool,
    partition: int | None,
    offset: int | None,
    frame: int | None,
    count: int | None,
    follow: bool,
    as_json: bool,
    as_bytes: bool,
) -> None:
    """Show the records of TOPIC, decoded: trades, books, faults, stability, checkpoints,
    dead_letters, alerts, receipts, silences or raw.EXCHANGE. It begins with what comes next, and
    ends with Ctrl-C, quietly, with exit code 130.

    In JSON a payload is text where it is UTF-8, else base64 under the name payload_base64.

    \b
      streamgauge tail trades
      streamgauge tail raw.kraken --from-beginning --count 20
      streamgauge tail books --json | jq .bid_prices[0]

    The bytes behind a row are those of its raw_partition, raw_offset and number:

    \b
      streamgauge tail raw.kraken --partition 1 --offset 1135 --frame 13705 --count 1 --payload
    """
    kind = _kind(topic, settings.topics.prefix)
    if offset is not None and partition is None:
        raise click.UsageError("--offset needs the --partition it is counted in")
    if offset is not None and from_beginning:
        raise click.UsageError("--offset and --from-beginning exclude each other")
    if as_bytes and (as_json or not kind.startswith("raw.")):
        raise click.UsageError("--payload is for raw.EXCHANGE, without --json")
    wanted = _Wanted(from_beginning, partition, offset, frame, count, follow)
    asyncio.run(_show(settings, kind, wanted, _form(kind, as_json=as_json, as_bytes=as_bytes)))


def _kind(topic: str, prefix: str) -> str:
    """Return the topic's name without the prefix of the settings, which may be left out."""
    for name in (topic, topic.removeprefix(prefix)):
        if schema_of(name) is not None:
            return name
    known = ", ".join((*OUTPUT_KINDS, DEAD_LETTERS, *COMPACTED, "raw.EXCHANGE"))
    raise click.UsageError(f"{topic} is not a topic of ours; there are {known}")


def _form(kind: str, *, as_json: bool, as_bytes: bool) -> Callable[[Fact], str | bytes]:
    """Return what makes of a fact that which is printed."""
    if as_bytes:
        return lambda fact: b"" if "error" in fact else payload_of(fact)
    if as_json:
        return lambda fact: msgspec.json.encode(fact) + b"\n"
    return lambda fact: f"{line(kind, fact)}\n"


async def _show(
    settings: Settings, kind: str, wanted: _Wanted, form: Callable[[Fact], str | bytes]
) -> None:
    left, shown = wanted.count, 0
    async for record in _records(settings, kind, wanted):
        for fact in facts(kind, record):
            # What cannot be read may be the frame that is asked for: it is shown.
            if wanted.frame is not None and fact.get("number", wanted.frame) != wanted.frame:
                continue
            click.echo(form(fact), nl=False)
            shown += "error" not in fact
            if left is not None:
                left -= 1
                if not left:
                    return
    if wanted.frame is not None and not shown:
        raise Failure(f"no frame {wanted.frame} in what was read of {kind}", _FRAME_ADVICE)


async def _records(settings: Settings, kind: str, wanted: _Wanted) -> AsyncIterator[Any]:
    from aiokafka import AIOKafkaConsumer, TopicPartition

    from infra.runtime.connections import kafka_arguments

    arguments = kafka_arguments(settings.kafka)
    topic = f"{settings.topics.prefix}{kind}"
    numbers = await _partitions(arguments, topic, settings.topics.prefix)
    if wanted.partition is not None:
        if wanted.partition not in numbers:
            raise Failure(f"{topic} has the partitions {', '.join(map(str, numbers))}")
        numbers = [wanted.partition]
    consumer = AIOKafkaConsumer(**arguments, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in numbers]
        starts = await consumer.beginning_offsets(partitions)
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        for partition in partitions:
            first = _first(wanted, starts[partition], ends[partition])
            consumer.seek(partition, first)
        while wanted.follow or await _unread(consumer, ends):
            batches = await consumer.getmany(timeout_ms=_POLL_MS)
            for records in batches.values():
                for record in records:
                    yield record
    finally:
        await consumer.stop()


def _first(wanted: _Wanted, start: int, end: int) -> int:
    """Return the offset to begin with, of a partition that holds `start` until before `end`."""
    if wanted.offset is None:
        return start if wanted.beginning else end
    if not start <= wanted.offset <= end:
        held = f"{start} to {end - 1}" if start < end else "none now"
        raise Failure(f"no offset {wanted.offset} in partition {wanted.partition}; it has {held}")
    return wanted.offset


async def _partitions(arguments: dict[str, Any], topic: str, prefix: str) -> list[int]:
    from aiokafka.admin import AIOKafkaAdminClient

    admin = AIOKafkaAdminClient(**arguments)
    await admin.start()
    try:
        names = await admin.list_topics()
        if topic not in names:
            known = [name for name in names if name.startswith(prefix) and schema_of(name, prefix)]
            raise _no_topic(topic, sorted(known))
        (described,) = await admin.describe_topics([topic])
    finally:
        await admin.close()
    return sorted(each["partition"] for each in described["partitions"])


def _no_topic(topic: str, known: list[str]) -> Failure:
    if not known:
        return Failure(f"no topic {topic}", "`streamgauge topics` makes the topics.")
    return Failure(f"no topic {topic}; there are {', '.join(known)}")


async def _unread(consumer: Any, ends: dict[Any, int]) -> bool:
    for partition, end in ends.items():
        if await consumer.position(partition) < end:
            return True
    return False


def line(kind: str, fact: Fact) -> str:
    """Return a fact as a line for people; colours are left out where none are wanted."""
    if "error" in fact:
        place = f"{fact['topic']}/{fact['partition']} offset {fact['offset']}"
        return f"{click.style('unreadable', fg='red')} {place}: {fact['error']}"
    if "forgotten" in fact:
        return f"{click.style('forgotten', dim=True)} {fact['forgotten']}"
    if kind.startswith("raw."):
        return _frame_line(fact)
    if kind == DEAD_LETTERS:
        place = f"{fact['record_topic']}/{fact['record_partition']} offset {fact['record_offset']}"
        return f"{_time(fact['ts'])} {fact['consumer']} gave up {place}: {fact['reason']}"
    return _LINES[kind](fact)


def _frame_line(fact: Fact) -> str:
    whole = f"base64 {fact['payload_base64']}" if "payload_base64" in fact else fact["payload"]
    payload = " ".join((whole or "").split())
    if len(payload) > _PAYLOAD_CHARACTERS:
        payload = f"{payload[:_PAYLOAD_CHARACTERS]}… ({len(whole):,} characters)"
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
    score = "" if fact["score"] is None else f" {fact['state']} {fact['score']:.0f}"
    faults = sum(fact[each] for each in ("gaps", "checksums_bad", "audits_bad", "decode_errors"))
    bad = click.style(f" {faults} faults", fg="yellow") if faults else ""
    return (
        f"{_time(fact['ts'])} {name} {fact['symbol']}{state}{score} {fact['frames']} frames{middle}"
        f"{bad}"
    )


def _checkpoint_line(fact: Fact) -> str:
    name = f"{fact['exchange']} {fact['shard']}.{fact['line']} {fact['channel']}"
    memory = fact["memory"]
    known = "unreadable" if memory is None else msgspec.json.encode(memory).decode()
    return f"{name} #{fact['number']} {_bold(fact['symbol'])} {known}"


def _alert_line(fact: Fact) -> str:
    name = " ".join(filter(None, (fact["exchange"], fact["shard"], fact["channel"])))
    color = {"critical": "red", "warning": "yellow"}.get(fact["severity"])
    is_open = fact["phase"] == "open"
    what = click.style(fact["kind"], fg=color if is_open else "green", bold=True)
    measured = f"{fact['metric']} {fact['value']:.6g} {fact['unit']}".rstrip()
    lasted = "" if is_open else f" after {(fact['ts'] - fact['ts_effect']) / _NS:.1f} s"
    detail = f": {fact['detail']}" if fact["detail"] else ""
    return (
        f"{_time(fact['ts'])} {fact['phase']} {what} {name} {_bold(fact['symbol'])}"
        f" {measured}{lasted}{detail}"
    )


def _venue_line(fact: Fact) -> str:
    name = f"{fact['exchange']} {_bold(fact['instrument'])} {fact['symbol']}"
    mid = "no price" if fact["mid"] is None else f"{fact['mid']:.10g}"
    figures = ("basis_bps", "divergence_bps", "divergence_sigmas")
    said = [
        f"{each.replace('_', ' ')} {fact[each]:.2f}" for each in figures if fact[each] is not None
    ]
    return f"{_time(fact['ts'])} {name} {' '.join([mid, *said])} ({fact['venues']} venues)"


def _mid_line(fact: Fact) -> str:
    name = f"{fact['exchange']} {fact['shard']}.{fact['line']} #{fact['number']}"
    quote = "no price" if fact["bid"] is None else f"{fact['bid']} | {fact['ask']}"
    symbol = f"{_bold(fact['instrument'])} {fact['symbol']}"
    return f"{_time(fact['second'] * _NS)} {name} {symbol} {quote}"


def _receipt_line(fact: Fact) -> str:
    what = f"{fact['phase']} {click.style(fact['outcome'], bold=True)}"
    return f"{_time(fact['ts'])} {fact['receiver']} {what} {fact['alert_id']}"


def _silence_line(fact: Fact) -> str:
    lists = ("exchanges", "shards", "channels", "symbols", "kinds", "severities")
    matched = ", ".join(f"{name} {' '.join(fact[name])}" for name in lists if fact[name])
    times = f"{_time(fact['starts'])} until {_time(fact['ends'])}"
    return f"{_bold(fact['name'])} {times} {matched or 'everything'}: {fact['reason']}"


_LINES: Final = {
    "trades": _trade_line,
    "books": _book_line,
    "faults": _fault_line,
    "stability": _second_line,
    CHECKPOINTS: _checkpoint_line,
    ALERTS: _alert_line,
    VENUES: _venue_line,
    MIDS: _mid_line,
    RECEIPTS: _receipt_line,
    SILENCES: _silence_line,
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
