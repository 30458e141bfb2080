"""What becomes an incident: evidence of one connection's streams in, openings and resolutions out.

Evidence of what is open is counted there; what an open incident explains is part of that one; what
is left opens an incident. All of it is remembered in the health of the streams.
"""

from collections.abc import Collection
from typing import Final

from core.facts import Facts
from core.stability.alerts import AlertKind, Finding, Phase
from core.stability.findings import BOOK, CONNECTION, DATA, TRADES
from core.stability.health import StreamHealth
from core.stability.incidents import EXPLAINED, PARENTS, Incident, incident_alert

Stream = tuple[str, str]
"""Channel and symbol."""

ROOT: Final = (CONNECTION, "")
POOL: Final = (DATA, "")
SETTLING_NS: Final = 10_000_000_000
"""After an opening what repeats or is missing belongs to the opening."""
HEALING_NS: Final = 60_000_000_000
"""For so long after an outage a book that it broke may take to come back, and be silent meanwhile:
an answer that was lost is asked for again after ten seconds, and then ever later."""
_HEALING: Final = frozenset({AlertKind.BOOK_DOWN, AlertKind.STREAM_SILENCE})
_FOLLOWING_AN_OPENING: Final = frozenset(
    {AlertKind.GAP, AlertKind.DUPLICATES, AlertKind.REORDERING}
)


class Triage:
    """The health of a connection's streams with their open incidents; alerts go to `facts`."""

    def __init__(self, facts: Facts) -> None:
        self.health: dict[Stream, StreamHealth] = {}
        self._facts = facts

    def of(self, stream: Stream) -> StreamHealth:
        """Return what is remembered of a stream."""
        health = self.health.get(stream)
        if health is None:
            health = self.health[stream] = StreamHealth()
        return health

    def keep_only(self, symbols: Collection[str]) -> None:
        """Forget the streams of symbols that are not planned any more, and end their incidents."""
        for stream in [each for each in self.health if each[1] and each[1] not in symbols]:
            for kind, incident in self.health.pop(stream).incidents.open.items():
                detail = "the symbol is not planned any more"
                self._emit(Phase.RESOLVE, kind, stream, incident, detail=detail)

    def strike(self, stream: Stream, finding: Finding) -> None:
        """Take evidence of trouble in a stream."""
        health = self.of(stream)
        if health.incidents.strike(finding):
            self._expect_losses(stream, finding.kind)
            return
        explanation = self.explanation(stream, finding.kind)
        if explanation is not None:
            explanation.children += 1
            is_own = finding.kind in (AlertKind.STREAM_SILENCE, AlertKind.BOOK_DOWN)
            if finding.kind in PARENTS or (is_own and self._outage() is None):
                # What is open again and brings nothing is not well again; nor is a symbol of which
                # a channel is still silent, or what has taken a book that is not back. A connection
                # is, whatever a single symbol does.
                explanation.clean_ns = 0
            return
        if health.unhealed_ns > 0 and finding.kind in _HEALING:
            return
        is_settling = self.of(ROOT).open_ns < SETTLING_NS
        if is_settling and finding.kind in _FOLLOWING_AN_OPENING:
            return
        facts = self._facts
        channel, symbol = stream
        address = facts.address
        source = f"{address.exchange}/{address.shard}/{address.line}"
        # One frame opens one incident of a kind and stream.
        origin = f"{address.epoch}-{facts.number}"
        name = finding.kind.name.lower()
        incident = Incident(
            alert_id="/".join(filter(None, (name, source, channel, symbol, origin))),
            ts_effect=min(finding.ts_effect, facts.frame.ts_recv),
            ts_detected=facts.frame.ts_recv,
            metric=finding.metric,
            threshold=finding.threshold,
            unit=finding.unit,
            worst=finding.value,
        )
        health.incidents.open[finding.kind] = incident
        self._expect_losses(stream, finding.kind)
        self._emit(Phase.OPEN, finding.kind, stream, incident, detail=finding.detail)

    def explanation(self, stream: Stream, kind: AlertKind) -> Incident | None:
        """Return the open incident that one of this kind and stream would be part of."""
        outage = self._outage() or self._silence(stream[1])
        if outage is not None:
            return outage
        for place in (stream, ROOT):
            for cause, incident in self.of(place).incidents.open.items():
                if cause in EXPLAINED.get(kind, ()):
                    return incident
        return None

    def _outage(self) -> Incident | None:
        """Return the open incident of the connection that all its streams are part of."""
        for parent in (ROOT, POOL):
            known = self.health.get(parent)
            incident = known.incidents.explains() if known is not None else None
            if incident is not None:
                return incident
        return None

    def _silence(self, symbol: str) -> Incident | None:
        """Return the open silence of a symbol, of whichever channel it is."""
        for channel in (BOOK, TRADES) if symbol else ():
            known = self.health.get((channel, symbol))
            incident = known.incidents.open.get(AlertKind.STREAM_SILENCE) if known else None
            if incident is not None:
                return incident
        return None

    def _expect_losses(self, stream: Stream, kind: AlertKind) -> None:
        """Note which streams are without messages: what they lose meanwhile shows afterwards."""
        if kind in PARENTS:
            broken = list(self.health)
        elif kind is AlertKind.STREAM_SILENCE:
            broken = [(BOOK, stream[1]), (TRADES, stream[1])]
        else:
            return
        for each in broken:
            health = self.of(each)
            health.is_unheard = True
            if each[0] == BOOK:
                health.unhealed_ns = HEALING_NS

    def pass_time(self, stream: Stream, passed_ns: int, shown: Collection[AlertKind]) -> None:
        """Resolve what was clean for long enough; `shown` are kinds of which there is evidence."""
        for kind, incident in self.of(stream).incidents.pass_time(passed_ns, shown):
            self._emit(Phase.RESOLVE, kind, stream, incident, detail="")

    def _emit(
        self,
        phase: Phase,
        kind: AlertKind,
        stream: Stream,
        incident: Incident,
        *,
        detail: str,
    ) -> None:
        facts = self._facts
        facts.alerts.append(
            incident_alert(
                *(phase, kind, incident),
                stream=stream,
                origin=(facts.number, facts.next_index()),
                ts=facts.frame.ts_recv,
                detail=detail,
            )
        )
