"""`streamgauge silence add|list|expire`: hold alerts back for a while, at run time.

Silences made here are records of a compacted topic that notifiers follow; those of the settings
and maintenance windows are shown, too. Incidents stay on their topic and in the tables.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click
import msgspec

from core.notify.silences import Matchers, Once, Silence, Weekly
from infra.cli.failures import Failure
from infra.runtime.settings import Settings
from schemas.cloudevents import rfc3339
from schemas.topics import SILENCES, event_topic

_S: Final = 1_000_000_000
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_DURATION: Final = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,60}")
_UNITS_S: Final = (86_400, 3_600, 60, 1)
_HOUR_NS: Final = 3_600 * _S


class Duration(click.ParamType):
    """A duration such as `90m` or `1d12h`, as ns."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the duration, ns."""
        found = _DURATION.fullmatch(str(value))
        parts = [int(part or 0) for part in found.groups()] if found else []
        seconds = sum(part * unit for part, unit in zip(parts, _UNITS_S, strict=False))
        if not seconds:
            self.fail(f"{value!r} is no duration such as 90m or 1d12h", param, ctx)
        return seconds * _S


class Time(click.ParamType):
    """A time with its zone, as ns since the epoch."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the time, ns since the epoch."""
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            moment = None
        if moment is None or moment.tzinfo is None:
            self.fail(f"{value!r} is no time with its zone, as 2026-11-28T10:00:00Z", param, ctx)
        return int(moment.timestamp() * 1_000_000) * 1000


@click.group()
def command() -> None:
    """Hold alerts back for a while: add a silence, list what holds, or let one expire.

    Alerts stay on their topic and in the tables; only nobody is told. An incident that is still
    open when the silence ends is told then.
    """


@command.command()
@click.option("--exchange", "exchanges", multiple=True, metavar="NAME", help="Of this exchange.")
@click.option("--shard", "shards", multiple=True, metavar="SHARD", help="Of this connection.")
@click.option("--channel", "channels", multiple=True, metavar="CHANNEL", help="Of this channel.")
@click.option("--symbol", "symbols", multiple=True, metavar="SYMBOL", help="Of this symbol.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Of this kind, such as gap.")
@click.option("--severity", "severities", multiple=True, metavar="SEVERITY", help="Of this one.")
@click.option("--all", "everything", is_flag=True, help="Every alert.")
@click.option("--for", "length_ns", type=Duration(), metavar="DURATION", help="How long: 90m, 1d.")
@click.option("--until", type=Time(), metavar="TIME", help="Or until when.")
@click.option("--from", "starts", type=Time(), metavar="TIME", help="From when on; default: now.")
@click.option("--name", default="", help="What to call it; default: a random name.")
@click.option("--reason", required=True, help="Why, for whoever asks.")
@click.pass_obj
def add(
    settings: Settings,
    /,
    everything: bool,
    length_ns: int | None,
    until: int | None,
    starts: int | None,
    name: str,
    reason: str,
    **lists: tuple[str, ...],
) -> None:
    """Add a silence and print its name.

    Options may be repeated; one of each kind that is given must match, and `*` stands for any
    text. It holds what opens from now on, or from --from: what was told before stays told.

    \b
      streamgauge silence add --exchange kraken --for 2h --reason "they migrate"
      streamgauge silence add --kind gap --symbol "BTC*" --until 2026-12-01T06:00:00Z --reason known
    """
    matchers = Matchers(**lists)
    _check(matchers, everything=everything)
    now = time.time_ns()
    begins = now if starts is None else starts
    if (length_ns is None) is (until is None):
        raise click.UsageError("give one of --for and --until")
    ends = begins + length_ns if length_ns is not None else until
    assert ends is not None, "one of them is given"
    if begins < now - 60 * _S:
        raise click.UsageError("--from is in the past: what was told is told")
    if ends <= max(begins, now):
        raise click.UsageError("it would end before it begins, or be over already")
    if name and not _NAME.fullmatch(name):
        raise click.UsageError("--name is at most 60 letters, digits, `.`, `_` and `-`")
    silence = Silence(name or secrets.token_hex(4), matchers, Once(begins, ends), reason)
    asyncio.run(_add(settings, silence, now))
    click.echo(silence.name)


@command.command(name="list")
@click.option("--past", is_flag=True, help="Also those that have ended.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each.")
@click.pass_obj
def list_(settings: Settings, past: bool, as_json: bool) -> None:
    """Show silences and maintenance windows: those that hold now, and those to come."""
    from sinks.notify.options import silences

    now = time.time_ns()
    found = [("settings", each) for each in silences(settings.notify)]
    found += [("added", each) for each in asyncio.run(_load(settings))]
    shown = [(origin, each) for origin, each in found if past or _state(each, now) != "past"]
    for origin, each in sorted(shown, key=lambda pair: (_state(pair[1], now), pair[1].name)):
        if as_json:
            click.echo(msgspec.json.encode(_fields(each, origin, now)))
        else:
            click.echo(_line(each, origin, now))
    if not shown and not as_json:
        click.echo("nothing is silent")


@command.command()
@click.argument("name")
@click.pass_obj
def expire(settings: Settings, name: str) -> None:
    """Let the silence NAME end now: what is still open is told at once."""
    asyncio.run(_expire(settings, name))
    click.echo(f"{name} has ended")


def _check(matchers: Matchers, *, everything: bool) -> None:
    from sinks.notify.options import unknown

    if everything is (matchers != Matchers()):
        raise click.UsageError("say what is silent, by --exchange and so on, or --all")
    if wrong := unknown(matchers):
        _, value, known = wrong
        raise click.UsageError(f"{value!r} matches none of {', '.join(known)}")


# -- the topic --


async def _add(settings: Settings, silence: Silence, now: int) -> None:
    from sinks.notify.ledger import long_past

    known = await _load(settings)
    if any(each.name == silence.name and _state(each, now) != "past" for each in known):
        raise Failure(f"there is a silence {silence.name}", "Choose another --name, or expire it.")
    kept_ns = settings.topics.event_retention_hours * _HOUR_NS
    old = [each.name for each in known if long_past(each, now, kept_ns)]
    await _write(settings, [silence], old)


async def _expire(settings: Settings, name: str) -> None:
    now = time.time_ns()
    found = next((each for each in await _load(settings) if each.name == name), None)
    advice = "`streamgauge silence list` shows those there are."
    if found is None:
        raise Failure(f"no silence {name} was added", advice)
    window = found.window
    assert isinstance(window, Once), "weekly ones stand in the settings"
    if window.ends <= now:
        raise Failure(f"{name} has ended already", advice)
    ended = Once(min(window.starts, now), now)
    await _write(settings, [msgspec.structs.replace(found, window=ended)], [])


async def _load(settings: Settings) -> Sequence[Silence]:
    from infra.runtime.connections import kafka_arguments
    from sinks.notify.ledger import load_silences

    await _check_topic(settings)
    topic = event_topic(SILENCES, settings.topics.prefix)
    return await load_silences(kafka_arguments(settings.kafka), topic)


async def _check_topic(settings: Settings) -> None:
    from aiokafka.admin import AIOKafkaAdminClient

    from infra.runtime.connections import kafka_arguments

    admin = AIOKafkaAdminClient(**kafka_arguments(settings.kafka))
    await admin.start()
    try:
        topic = event_topic(SILENCES, settings.topics.prefix)
        if topic not in await admin.list_topics():
            raise Failure(f"no topic {topic}", "Make it with `streamgauge topics`.")
    finally:
        await admin.close()


async def _write(settings: Settings, silences: Sequence[Silence], forgotten: list[str]) -> None:
    from aiokafka import AIOKafkaProducer

    from infra.runtime.connections import kafka_arguments
    from schemas.notify import encode_silence

    topic = event_topic(SILENCES, settings.topics.prefix)
    producer = AIOKafkaProducer(
        **kafka_arguments(settings.kafka), acks="all", enable_idempotence=True
    )
    await producer.start()
    try:
        for silence in silences:
            key = silence.name.encode()
            await producer.send_and_wait(topic, encode_silence(silence), key=key)
        for name in forgotten:
            await producer.send_and_wait(topic, None, key=name.encode())
    finally:
        await producer.stop()


# -- what is shown --


def _state(silence: Silence, now: int) -> str:
    """Return `holds`, `past` or `to come`."""
    if silence.window.end_of(now) is not None:
        return "holds"
    is_past = isinstance(silence.window, Once) and silence.window.ends <= now
    return "past" if is_past else "to come"


def _fields(silence: Silence, origin: str, now: int) -> dict[str, Any]:
    window = silence.window
    times: dict[str, Any] = (
        {"starts": rfc3339(window.starts), "ends": rfc3339(window.ends)}
        if isinstance(window, Once)
        else {"weekly": _when(window)}
    )
    return {
        "name": silence.name,
        "state": _state(silence, now),
        "from": origin,
        **times,
        **msgspec.structs.asdict(silence.matchers),
        "reason": silence.reason,
    }


def _line(silence: Silence, origin: str, now: int) -> str:
    colour = {"holds": "green", "to come": "yellow"}.get(_state(silence, now), "white")
    state = click.style(f"{_state(silence, now):<8}", fg=colour)
    matched = silence.matchers.text()
    reason = f": {silence.reason}" if silence.reason else ""
    return f"{state} {silence.name} ({origin})  {matched}  {_when(silence.window)}{reason}"


def _when(window: Once | Weekly) -> str:
    if isinstance(window, Once):
        starts = "" if not window.starts else f"from {_time(window.starts)} "
        return f"{starts}until {_time(window.ends)}"
    minutes = window.at_ns // (60 * _S)
    days = ", ".join(_DAYS[day] for day in sorted(window.weekdays))
    at = f"{minutes // 60:02}:{minutes % 60:02}"
    return f"weekly, {days} {at} UTC for {window.length_ns // (60 * _S)} min"


def _time(ts: int) -> str:
    return datetime.fromtimestamp(ts // _S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
