"""An incident in one piece: what of the log it was made of, and making it again from that alone.

Held are the raw records of one connection from a warm-up before the incident to its end, what had
been written down of the time before (decision 9), and the alerts as they were published. An engine
that is fed with it publishes the very same bytes. It reads no topic and no clock.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from core.events import AlertBatch, BookSnapshot, Fault, StreamSecond
from core.exchanges import exchange_of
from core.pipeline import PipelineSettings
from core.stability.alerts import Alert, Phase
from processors.engine import Engine, Fed, PartitionEngine, RawRecord
from processors.memories import Memories, Stretch
from schemas.codec import decode_checkpoints, decode_events
from schemas.topics import ALERTS

FORMAT: Final = 1
"""Of the file; another layout is another number."""


class LogRecord(msgspec.Struct, frozen=True):
    """A record as it stood in a topic; `ts_ms` is its Kafka timestamp."""

    offset: int
    ts_ms: int
    key: bytes | None
    value: bytes | None


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Records of one partition that an engine takes.

    Those from offset `start` to before `first` warm it up, what follows from those to before `end`
    was published. `is_whole`: the log went back far enough for that.
    """

    topic: str
    partition: int
    log_id: str
    start: int
    first: int
    end: int
    is_whole: bool


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle is of, and what its making depends on.

    From `topic` to `is_whole`: the span of raw records. `resolves`: the end is in it, too.
    `settings` are those of the pipelines, `context` other ones that matter to a reader, no secrets.
    """

    format: int
    streamgauge: str
    python: str
    alert_id: str
    exchange: str
    shard: str
    line: str
    topic: str
    partition: int
    log_id: str
    start: int
    first: int
    end: int
    is_whole: bool
    resolves: bool
    settings: PipelineSettings
    context: dict[str, str]

    @property
    def raw(self) -> Span:
        """The span of raw records."""
        return Span(**{name: getattr(self, name) for name in Span.__struct_fields__})


class Bundle(msgspec.Struct, frozen=True):
    """`alerts` are the published opening and, where it is in reach, the resolution."""

    about: About
    raw: list[LogRecord]
    checkpoints: list[LogRecord]
    alerts: list[LogRecord]


class Recomputed(msgspec.Struct):
    """What an engine made of the raw records from `first` on: alerts of the incident as bytes, and
    facts of its connection in order."""

    alerts: list[bytes]
    seconds: list[StreamSecond]
    books: list[BookSnapshot]
    faults: list[Fault]
    others: list[Alert]
    """Alerts of other incidents of the connection meanwhile."""
    outputs: list[tuple[str, bytes]]
    """Every record that was made: kind and value."""

    def take(self, fed: Fed, alert_id: str) -> None:
        """Take what one record gave."""
        self.outputs += [(output.kind, output.value) for output in fed.outputs]
        self.alerts += own_alerts(alert_id, (o.value for o in fed.outputs if o.kind == ALERTS))
        for events in fed.events or ():
            self.seconds += events.seconds
            self.books += events.books
            self.faults += events.faults
            self.others += [alert for alert in events.alerts if alert.alert_id != alert_id]


def recompute(bundle: Bundle) -> Recomputed:
    """Make the incident again from the bundle alone.

    Raises:
        UnknownExchangeError: this version does not know the exchange.
        CodecError: a checkpoint or a record of alerts is no such thing.
    """
    about = bundle.about
    engine = PartitionEngine(
        exchange_of(about.exchange), about.settings, topic=about.topic, partition=about.partition
    )
    found = Recomputed([], [], [], [], [], [])
    for fed in _fed(engine, about.raw, bundle.raw, bundle.checkpoints):
        found.take(fed, about.alert_id)
    return found


def _fed(
    engine: Engine, span: Span, records: Iterable[LogRecord], checkpoints: Iterable[LogRecord]
) -> Iterator[Fed]:
    """Yield what an engine publishes of a span, given what was written down on the way to it."""
    if span.start < span.first:
        memories = Memories(Stretch(engine.source, span.partition, span.start, span.first))
        for checkpoint in checkpoints:
            memories.add(decode_checkpoints(checkpoint.value))
        engine.restore(memories.by_offset())
    for record in records:
        raw = RawRecord(record.offset, record.key, record.value, record.ts_ms * 1_000_000)
        if record.offset < span.first:
            engine.absorb(raw)
        else:
            yield engine.feed(raw)


def own_alerts(alert_id: str, values: Iterable[bytes]) -> list[bytes]:
    """Return the records that are of one incident, each once: Kafka may hold one twice."""
    found: list[bytes] = []
    for value in values:
        if alert_of(value).alert_id == alert_id and value not in found:
            found.append(value)
    return found


def alert_of(value: bytes | None) -> Alert:
    """Return the alert in a record of `alerts`."""
    batch = decode_events(ALERTS, value)
    assert isinstance(batch, AlertBatch)
    return batch.alerts[0]


def differences(bundle: Bundle, recomputed: Recomputed) -> list[str]:
    """Say in what the alerts that were made again differ from those that were published."""
    published = own_alerts(bundle.about.alert_id, (r.value or b"" for r in bundle.alerts))
    found = []
    for phase in Phase:
        ours, theirs = _of(phase, recomputed.alerts), _of(phase, published)
        name = "opening" if phase is Phase.OPEN else "resolution"
        if theirs and not ours:
            found.append(f"the {name} was published, and is not made again")
        elif ours and not theirs and (phase is Phase.OPEN or bundle.about.resolves):
            found.append(f"the {name} is made, and was not published")
        elif ours and theirs and ours != theirs:
            found.append(f"the {name} is made of other bytes than were published")
    return found


def _of(phase: Phase, values: Iterable[bytes]) -> list[bytes]:
    return [value for value in values if alert_of(value).phase is phase]
