"""An incident in one piece: what of the log it was made of, and making it again from that alone.

Held are the raw records of one connection from a warm-up before the incident to its end, what had
been written down of the time before (decision 9), and the alerts as they were published. An engine
that is fed with it publishes the very same bytes. An incident of venues that are compared with one
another follows from their mids: held are those of the instrument (decision 15), and the raw records
of the connection that carried the mids of the venue that is named, from which these follow in turn.
It reads no topic and no clock.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from core.events import AlertBatch, BookSnapshot, Fault, StreamSecond
from core.exchanges import exchange_of
from core.pipeline import PipelineSettings
from core.stability.alerts import Alert, Phase
from core.venues.seconds import VenueSecond
from processors.engine import Engine, Fed, PartitionEngine, RawRecord
from processors.memories import Memories, Stretch
from processors.venues import VenueEngine
from schemas.codec import decode_checkpoints, decode_events, decode_mid
from schemas.topics import ALERTS, MIDS

FORMAT: Final = 1
"""Of the file; another layout is another number."""
FORMAT_OF_VENUES: Final = 2
"""Of one that has mids, which a reader of the first format knows nothing of."""


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


class MidsSpan(Span, frozen=True, kw_only=True):
    """Records of `mids`, of which those of one instrument are held: all venues that have it.

    `without_frames`: why there are no raw records of the venue that is named, or empty.
    """

    instrument: str
    without_frames: str = ""


class About(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a bundle is of, and what its making depends on.

    From `topic` to `is_whole`: the span of raw records. `resolves`: the end is in it, too.
    `settings` are those of the pipelines, `context` other ones that matter to a reader, no secrets.
    `mids` is of an incident of venues, whose opening they show: `exchange`, `shard` and `line` are
    then the socket that carried those of the venue that is named.
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
    mids: MidsSpan | None = None

    @property
    def raw(self) -> Span:
        """The span of raw records."""
        return Span(**{name: getattr(self, name) for name in Span.__struct_fields__})

    @property
    def judged(self) -> Span:
        """The span of the records that show the incident."""
        return self.raw if self.mids is None else self.mids


class Bundle(msgspec.Struct, frozen=True):
    """`alerts` are the published opening and, where it is in reach, the resolution."""

    about: About
    raw: list[LogRecord]
    checkpoints: list[LogRecord]
    alerts: list[LogRecord]
    mids: list[LogRecord] = []
    """Only where `about.mids` says which."""


class Recomputed(msgspec.Struct):
    """What engines made of the records from `first` on: alerts of the incident as bytes, and facts
    of its connection in order, and of venues where it is of these."""

    alerts: list[bytes] = []
    seconds: list[StreamSecond] = []
    books: list[BookSnapshot] = []
    faults: list[Fault] = []
    others: list[Alert] = []
    """Alerts of other incidents of the connection, or of the instrument, meanwhile."""
    venues: list[tuple[str, VenueSecond]] = []
    """Exchange and row."""
    outputs: list[tuple[str, bytes]] = []
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
            self.venues += [(events.address.exchange, row) for row in events.venues]


def recompute(bundle: Bundle) -> Recomputed:
    """Make the incident again from the bundle alone.

    Raises:
        UnknownExchangeError: this version does not know the exchange.
        CodecError: a checkpoint, or a record of alerts or mids, is no such thing.
    """
    about, mids = bundle.about, bundle.about.mids
    found = Recomputed()
    if mids is not None:
        compared = VenueEngine(topic=mids.topic, partition=mids.partition, letter_bytes=0)
        for fed in _fed(compared, mids, bundle.mids, bundle.checkpoints):
            found.take(fed, about.alert_id)
    engine = PartitionEngine(
        exchange_of(about.exchange), about.settings, topic=about.topic, partition=about.partition
    )
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
    """Say in what the alerts that were made again differ from those that were published, and the
    mids from those that were compared."""
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
    return found + list(_mids_apart(bundle, recomputed))


def _mids_apart(bundle: Bundle, recomputed: Recomputed) -> Iterator[str]:
    """Say where raw records give other mids than the venues were compared by.

    Without the whole warm-up before them books may not have been known yet.
    """
    about = bundle.about
    if about.mids is None or about.mids.without_frames or not about.is_whole:
        return
    instrument = about.mids.instrument
    said = _marked((record.value for record in bundle.mids), about, instrument)
    made = _marked((v for kind, v in recomputed.outputs if kind == MIDS), about, instrument)
    if not said:
        return
    first, last = min(said), max(said)
    made = {mark: value for mark, value in made.items() if first <= mark <= last}
    if missing := said.keys() - made.keys():
        yield f"{len(missing)} mids of {about.exchange} do not follow from its frames"
    if more := made.keys() - said.keys():
        yield f"{len(more)} mids that follow from the frames of {about.exchange} are not held"
    if other := sum(made[mark] != said[mark] for mark in made.keys() & said.keys()):
        yield f"{other} mids of {about.exchange} are others than follow from its frames"


def _marked(
    values: Iterable[bytes | None], about: About, instrument: str
) -> dict[tuple[int, int], bytes]:
    """Return the mids of the connection and instrument that follow from its span, by mark."""
    found: dict[tuple[int, int], bytes] = {}
    for value in values:
        header, (mid,) = (batch := decode_mid(value)).header, batch.mids
        if (
            value is not None
            and header.stream == (about.exchange, about.shard, about.line)
            and mid.instrument == instrument
            and about.first <= header.raw_offset < about.end
        ):
            found[header.mark] = value
    return found


def _of(phase: Phase, values: Iterable[bytes]) -> list[bytes]:
    return [value for value in values if alert_of(value).phase is phase]
