"""`streamgauge status`: what can be relied on right now, and why not the rest.

Read from Kafka's topics `stability` and `alerts`, not from ClickHouse: that is one stage less to be
behind or away when somebody needs to know. What is known is `core.stability.overview`'s to say.
"""

import asyncio
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from core.events import AlertBatch, StabilityBatch
from core.stability.overview import (
    OpenIncident,
    Overview,
    RollUp,
    Standing,
    Status,
    StreamStatus,
    badness_first,
)
from infra.cli.failures import Failure
from infra.runtime.settings import Settings
from schemas.codec import decode_events
from schemas.registry import CodecError
from schemas.topics import ALERTS, event_topic

if TYPE_CHECKING:
    from rich.console import Group

SECONDS_MS: Final = 60_000
"""Streams are known that were heard of in this time."""
ALERTS_MS: Final = 7 * 86_400_000
"""An incident that opened longer ago, and has not resolved, is not found any more."""
NOT_STABLE: Final = 3
_KINDS: Final = ("stability", ALERTS)
_POLL_MS: Final = 250
_LOOK_S: Final = 1.0
_WORST_MAX: Final = 10
"""Streams of a channel that are shown one by one."""
_STYLES: Final = {
    Standing.STABLE: "green",
    Standing.DEGRADED: "yellow",
    Standing.SYNCING: "yellow",
    Standing.CONNECTING: "yellow",
    Standing.BLIND: "bold magenta",
    Standing.UNKNOWN: "bold magenta",
    Standing.UNSTABLE: "bold red",
    Standing.DOWN: "bold red",
}


@click.command()
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C.")
@click.option("--streams", "all_streams", is_flag=True, help="Show every stream, stable or not.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each look.")
@click.pass_obj
def command(settings: Settings, watch: bool, all_streams: bool, as_json: bool) -> None:
    """Show the state of every exchange, connection and channel, and what is wrong with which.

    A row is all streams of a channel: the state of the worst one, the lowest score and the one that
    nine of ten reach, and what keeps the worst one down, with its value and the value from which
    that counts. `age` is the time since its last frame. Streams that are not stable follow, and
    open incidents. Read from Kafka, so it needs neither ClickHouse nor sinks.

    Exit code 0: all streams of all enabled exchanges are stable and no incident is open; 3: not; 1:
    it could not be found out.
    """
    status = asyncio.run(_look(settings, watch=watch, all_streams=all_streams, as_json=as_json))
    sys.exit(0 if status.stable else NOT_STABLE)


async def _look(settings: Settings, *, watch: bool, all_streams: bool, as_json: bool) -> Status:
    from aiokafka import AIOKafkaConsumer
    from rich.console import Console
    from rich.live import Live

    from infra.runtime.connections import kafka_arguments

    overview = Overview(name for name, each in settings.exchanges.items() if each.enabled)
    consumer = AIOKafkaConsumer(**kafka_arguments(settings.kafka), enable_auto_commit=False)
    await consumer.start()
    try:
        kinds = await _assign(consumer, settings)
        await _read(consumer, kinds, overview)
        status = overview.status(time.time_ns())
        console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
        if not (watch and console.is_terminal and not as_json):
            _print(console, status, all_streams=all_streams, as_json=as_json)
            while watch:
                await asyncio.sleep(_LOOK_S)
                await _read(consumer, kinds, overview)
                status = overview.status(time.time_ns())
                _print(console, status, all_streams=all_streams, as_json=as_json)
            return status
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                live.update(picture(status, all_streams=all_streams), refresh=True)
                await asyncio.sleep(_LOOK_S)
                await _read(consumer, kinds, overview)
                status = overview.status(time.time_ns())
    finally:
        await consumer.stop()


def _print(console: Any, status: Status, *, all_streams: bool, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(_named(msgspec.to_builtins(status))))
    else:
        console.print(picture(status, all_streams=all_streams))


async def _assign(consumer: Any, settings: Settings) -> dict[Any, str]:
    """Place the consumer where what is known now begins; return the kind of each partition."""
    from aiokafka import TopicPartition

    from processors.broker import Broker

    now_ms = time.time_ns() // 1_000_000
    since = {"stability": now_ms - SECONDS_MS, ALERTS: now_ms - ALERTS_MS}
    topics = {event_topic(kind, settings.topics.prefix): kind for kind in _KINDS}
    async with Broker(settings.kafka, settings.processor.app_id) as broker:
        counts = await broker.partition_counts(topics)
    if missing := sorted(topics.keys() - counts.keys()):
        raise Failure(f"no topic {', '.join(missing)}", "`streamgauge topics` makes the topics.")
    kinds = {
        TopicPartition(topic, number): kind
        for topic, kind in topics.items()
        for number in range(counts[topic])
    }
    times = {partition: since[kind] for partition, kind in kinds.items()}
    found = await consumer.offsets_for_times(times)
    ends = await consumer.end_offsets(list(kinds))
    consumer.assign(list(kinds))
    for partition in kinds:
        first = found[partition]
        consumer.seek(partition, first.offset if first else ends[partition])
    return kinds


async def _read(consumer: Any, kinds: dict[Any, str], overview: Overview) -> None:
    """Read up to where the topics end now."""
    ends = await consumer.end_offsets(list(kinds))
    while True:
        behind = [each for each in kinds if await consumer.position(each) < ends[each]]
        if not behind:
            return
        for partition, records in (await consumer.getmany(timeout_ms=_POLL_MS)).items():
            for record in records:
                _take(overview, kinds[partition], record.value)


def _take(overview: Overview, kind: str, value: bytes | None) -> None:
    try:
        batch = decode_events(kind, value)
    except CodecError:
        return  # Sinks make a dead letter of it.
    if isinstance(batch, StabilityBatch):
        overview.take_seconds(batch)
    elif isinstance(batch, AlertBatch):
        overview.take_alerts(batch)


def _named(value: Any) -> Any:
    """Return the value with standings by their names, as states are called everywhere."""
    if isinstance(value, list):
        return [_named(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        "state" if name == "standing" else name: Standing(each).name.lower()
        if name == "standing"
        else _named(each)
        for name, each in value.items()
    }


# -- for people --


def picture(status: Status, *, all_streams: bool) -> "Group":
    """Return what a terminal shows."""
    from rich.console import Group

    parts = [_headline(status)]
    if status.streams:
        parts.append(_table(status, all_streams=all_streams))
    if status.incidents:
        parts.append(_incidents(status.incidents))
    return Group(*parts)


def _headline(status: Status) -> Any:
    from rich.text import Text

    moment = datetime.fromtimestamp(status.ts / 1e9, UTC)
    bad = [stream for stream in status.streams if stream.standing is not Standing.STABLE]
    if not status.streams:
        verdict, style = "nothing was heard of any stream", "bold red"
    elif status.stable:
        verdict, style = f"all {len(status.streams)} streams are stable", "bold green"
    else:
        parts = [f"{len(bad)} of {len(status.streams)} streams are not stable"] if bad else []
        if count := len(status.incidents):
            parts.append(f"{count} incident{'' if count == 1 else 's'} open")
        verdict, style = ", ".join(parts), "bold red" if bad else "bold yellow"
    heard = [stream.heard_s for stream in status.streams if stream.heard_s is not None]
    ago = f", as of {_age(min(heard))} ago" if heard else ""
    return Text.assemble((f"{moment:%Y-%m-%d %H:%M:%S} UTC{ago}  ", "dim"), (verdict, style), "\n")


_NAMES: Final = ("", "state", "stable", "lowest", "p10", "age", "why")


def _table(status: Status, *, all_streams: bool) -> Any:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in _NAMES:
        right = name in ("stable", "lowest", "p10", "age")
        table.add_column(name, justify="right" if right else "left", no_wrap=name != "why")
    for exchange in status.exchanges:
        _add_rolled(table, exchange, exchange.exchange, style="bold")
        for connection in _of(status.connections, exchange, "exchange"):
            if not connection.shard:
                continue
            _add_rolled(table, connection, f"  {connection.shard} {connection.line}")
            for channel in _of(status.channels, connection, "exchange", "shard", "line"):
                _add_rolled(table, channel, f"    {channel.channel}")
                _add_streams(table, channel, status.streams, all_streams=all_streams)
    return table


def _of(rolled: list[RollUp], parent: RollUp, *names: str) -> list[RollUp]:
    return [each for each in rolled if all(getattr(each, n) == getattr(parent, n) for n in names)]


def _add_rolled(table: Any, rolled: RollUp, name: str, *, style: str = "") -> None:
    from rich.text import Text

    worst = rolled.worst
    why = Text(_reason(worst))
    if rolled.streams > 1 and worst.standing is not Standing.STABLE:
        of = worst.symbol or worst.channel
        why = Text.assemble(f"{of}: ", why) if why.plain and of else why or Text(of)
    table.add_row(
        Text(name, style),
        _state(worst.standing),
        f"{rolled.stable}/{rolled.streams}",
        _number(rolled.score_min),
        _number(rolled.score_p10),
        _age(worst.age_s),
        why,
    )


def _add_streams(
    table: Any, channel: RollUp, streams: list[StreamStatus], *, all_streams: bool
) -> None:
    from rich.text import Text

    names = ("exchange", "shard", "line", "channel")
    own = [
        each
        for each in streams
        if each.symbol and all(getattr(each, n) == getattr(channel, n) for n in names)
    ]
    shown = [each for each in own if all_streams or each.standing is not Standing.STABLE]
    shown.sort(key=badness_first)
    most = len(shown) if all_streams else _WORST_MAX
    for stream in shown[:most]:
        state, age = _state(stream.standing), _age(stream.age_s)
        name = Text(f"      {stream.symbol}", "dim")
        table.add_row(name, state, "", _number(stream.score), "", age, _reason(stream))
    if len(shown) > most:
        table.add_row(Text(f"      and {len(shown) - most} more that are not stable", "dim"))


def _incidents(incidents: list[OpenIncident]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0), title_justify="left"
    )
    for name in ("\nopen incidents", "\nfor", "\nof", "\nwhat"):
        table.add_column(name, no_wrap=name != "\nwhat")
    for incident in incidents:
        style = "bold red" if incident.severity == "critical" else "yellow"
        subject = " ".join(filter(None, (incident.exchange, incident.channel, incident.symbol)))
        table.add_row(Text(incident.kind, style), _age(incident.open_s), subject, _what(incident))
    return table


def _what(incident: OpenIncident) -> str:
    if incident.unit in ("", "faults"):
        return incident.detail or incident.metric.replace("_", " ")
    text = f"{incident.metric.replace('_', ' ')} {incident.value:.4g} {incident.unit}"
    if incident.threshold:
        text += f", more than {incident.threshold:.4g}"
    return f"{text}; {incident.detail}" if incident.detail else text


def _reason(stream: StreamStatus) -> str:
    if stream.standing is Standing.UNKNOWN:
        heard = "never" if stream.heard_s is None else f"{_age(stream.heard_s)} ago"
        return f"last heard of {heard}" if heard != "never" else "nothing was heard of it"
    if stream.reason and stream.badness is not None and stream.threshold is not None:
        return (
            f"{stream.reason}: {stream.badness:.3g} {stream.unit}, counts from"
            f" {stream.threshold:.3g}"
        )
    return stream.reason


def _state(standing: Standing) -> Any:
    from rich.text import Text

    return Text(standing.name.lower(), _STYLES[standing])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
