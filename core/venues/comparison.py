"""One instrument at all venues: mids in, rows and alerts of closed seconds out.

A pure function of the mids in the order of their partition, and of the mids alone where none is
late (see `core.venues.arrivals`). All that it remembers is one value, which goes into checkpoints:
whoever begins to read where one was made goes on as if it had never stopped.
"""

from collections.abc import Iterable, Iterator
from math import exp
from typing import Final

import msgspec

from core.events import Events
from core.frames import Address
from core.stability.alerts import Alert, AlertKind, Finding, Phase
from core.stability.incidents import EXPLAINED, Incident, incident_alert
from core.venues.arrivals import FORGET_S, KEEP_S, Arrival, Arrivals, Mark
from core.venues.consensus import VENUES_MIN, agree, consensus, median, votes
from core.venues.mids import NANOS_PER_BP, Mid
from core.venues.seconds import VenueSecond
from core.venues.venue import FLOOR, LOOSE, Compared, Venue

_S: Final = 1_000_000_000
CHANNEL: Final = "book"
"""Of incidents: it is the book whose price is meant."""
CHECKPOINT: Final = "venues"
"""Of checkpoints: the channel that they name."""
FRESH_NS: Final = 10 * _S
"""A book that has not changed for longer does not count. Silence is judged elsewhere."""
MOVEMENT_S: Final = 10
"""Seconds over which a move of the consensus excuses who follows a little later."""
ROWS_MIN: Final = 2
"""Exchanges of which a second has rows: one alone is compared with nobody."""
DETAIL_MIDS: Final = 8
"""Mids that an alert spells out."""


class ClosedSecond(msgspec.Struct, frozen=True):
    """What one second of an instrument gave, each with the exchange that it is about."""

    second: int
    rows: list[tuple[str, VenueSecond]]
    alerts: list[tuple[str, Alert]]

    def events(self, instrument: str) -> Iterator[Events]:
        """Yield all of it, exchange by exchange: what is derived from mids has no line and no
        epoch, and the instrument stands where the shard does."""
        for exchange in sorted({name for name, _ in (*self.rows, *self.alerts)}):
            yield Events(
                Address(exchange, instrument, "", 0),
                self.second,
                *([], [], [], []),
                alerts=[alert for name, alert in self.alerts if name == exchange],
                venues=[row for name, row in self.rows if name == exchange],
            )


class Memory(msgspec.Struct, array_like=True):
    """All that a comparison remembers."""

    arrivals: Arrivals = msgspec.field(default_factory=Arrivals)
    venues: list[Venue] = []
    path: list[int] = []
    """The consensus of the last seconds, without a hole."""
    written: int = 0
    """What grows from checkpoint to checkpoint."""


class _Speaking(msgspec.Struct, frozen=True):
    """One symbol in one second: what it said, and its price where that counts."""

    arrival: Arrival
    venue: Venue
    log: int | None


class Comparison:
    """See the module's docstring."""

    def __init__(self, instrument: str) -> None:
        self.instrument = instrument
        self._memory = Memory()
        self._second = 0
        self._alerts: list[tuple[str, Alert]] = []
        """Of the second that is being closed."""

    @property
    def closed(self) -> int:
        """The last second that was closed; 0 before the first."""
        return self._memory.arrivals.closed

    @property
    def late(self) -> int:
        """Mids that came too late to count, or far too early."""
        return self._memory.arrivals.late

    def feed(self, arrival: Arrival, mark: Mark) -> list[ClosedSecond]:
        """Take the next mid of the partition and return the seconds that it closes.

        `mark` grows from mid to mid of one source: one that does not is a repeat, and ignored.
        """
        arrivals = self._memory.arrivals
        if not arrivals.add(arrival, mark):
            return []
        return [self._closed(second, mids) for second, mids in arrivals.close()]

    def said(self, arrival: Arrival) -> int:
        """Return the second that the source of a mid has said last; 0 if it has said none."""
        source = self._memory.arrivals.source(arrival)
        return 0 if source is None else source.second

    def checkpoint(self, second: int) -> tuple[int, bytes]:
        """Return everything that is remembered, as a checkpoint's state, with a number that grows
        from one to the next."""
        memory = self._memory
        memory.written = max(memory.written + 1, second)
        return memory.written, _encode(memory)

    def recall(self, state: bytes) -> bool:
        """Go on from a checkpoint's state; say whether it could be read."""
        memory = read(state)
        if memory is not None:
            self._memory = memory
        return memory is not None

    # -- one second --

    def _closed(self, second: int, arrivals: Iterable[Arrival]) -> ClosedSecond:
        self._second, self._alerts = second, []
        speaking = self._speaking(arrivals)
        self._forget()
        if len({each.venue.exchange for each in speaking}) < ROWS_MIN:
            for each in speaking:
                each.venue.pause()
            self._memory.path = []
            return ClosedSecond(second, [], self._alerts)
        voted = _voted(speaking)
        agreed = consensus(voted)
        sigma = _sigma(speaking)
        self._follow(agreed)
        for each in speaking:
            self._compare(each, agreed, sigma)
        limit = max((each.venue.limit for each in speaking), default=FLOOR)
        judged: list[_Speaking] = []
        if agreed is not None and sigma <= LOOSE and agree(voted, agreed, limit):
            judged = [each for each in speaking if each.log is not None and each.venue.is_known]
        for each in judged:
            self._judge(each, speaking)
        anchor = self._anchor()
        rows = [
            (
                each.venue.exchange,
                self._row(place, each, len(voted), agreed, anchor, is_judged=each in judged),
            )
            for place, each in enumerate(speaking)
        ]
        return ClosedSecond(second, rows, self._alerts)

    def _speaking(self, arrivals: Iterable[Arrival]) -> list[_Speaking]:
        """Return one for each venue's symbol: of several sockets, the first with a price."""
        second = self._second
        found: dict[tuple[str, str], _Speaking] = {}
        for arrival in arrivals:
            mid = arrival.mid
            venue = self._venue(arrival.exchange, mid.symbol)
            venue.heard = second
            speaking = _Speaking(arrival, venue, counted(mid))
            known = found.get((arrival.exchange, mid.symbol))
            if known is None or (known.log is None and speaking.log is not None):
                found[arrival.exchange, mid.symbol] = speaking
        return [found[name] for name in sorted(found)]

    def _venue(self, exchange: str, symbol: str) -> Venue:
        for venue in self._memory.venues:
            if venue.exchange == exchange and venue.symbol == symbol:
                return venue
        venue = Venue(exchange, symbol)
        self._memory.venues.append(venue)
        self._memory.venues.sort(key=_name)
        return venue

    def _follow(self, agreed: int | None) -> None:
        path = self._memory.path
        if agreed is None:
            path.clear()
        else:
            path.append(agreed)
            del path[: -MOVEMENT_S - 1]

    def _compare(self, each: _Speaking, agreed: int | None, sigma: int) -> None:
        mid, path = each.arrival.mid, self._memory.path
        if each.log is None or agreed is None or mid.bid is None or mid.ask is None:
            each.venue.pause()
            return
        movement = max(path) - min(path)
        top = mid.exponent, mid.bid, mid.ask
        now = Compared(self._second, each.log, top, mid.ts_book, agreed, movement, sigma)
        each.venue.compare(now)

    def _anchor(self) -> int:
        """Return the basis of the venue in the middle: what the others are said to be apart from.

        Not of this second's venues alone: the consensus is not to jump when one is missing.
        """
        offsets = [venue.offset for venue in self._memory.venues if venue.offset is not None]
        return median(offsets) if offsets else 0

    # -- incidents --

    def _judge(self, each: _Speaking, speaking: list[_Speaking]) -> None:
        """Open what the second is evidence of, and resolve what it has not been for long enough."""
        venue, incidents = each.venue, each.venue.incidents
        shown: set[AlertKind] = set()
        for finding in venue.findings(self._second):
            shown.add(finding.kind)
            if incidents.strike(finding):
                continue
            causes = [kind for kind in incidents.open if kind in EXPLAINED[finding.kind]]
            for cause in causes:
                incidents.open[cause].children += 1
                shown.add(cause)
            if not causes:
                self._open(venue, finding, _spelled(each, speaking))
        for kind, incident in incidents.pass_time(_S, shown):
            self._say(Phase.RESOLVE, venue, kind, incident, "")

    def _open(self, venue: Venue, finding: Finding, detail: str) -> None:
        name, origin = finding.kind.name.lower(), str(self._second)
        incident = Incident(
            alert_id="/".join((name, venue.exchange, self.instrument, venue.symbol, origin)),
            ts_effect=finding.ts_effect,
            ts_detected=self._second * _S,
            metric=finding.metric,
            threshold=finding.threshold,
            unit=finding.unit,
            worst=finding.value,
        )
        venue.incidents.open[finding.kind] = incident
        self._say(Phase.OPEN, venue, finding.kind, incident, detail)

    def _say(
        self, phase: Phase, venue: Venue, kind: AlertKind, incident: Incident, detail: str
    ) -> None:
        alert = incident_alert(
            *(phase, kind, incident),
            stream=(CHANNEL, venue.symbol),
            origin=(self._second, len(self._alerts)),
            ts=self._second * _S,
            detail=detail,
        )
        self._alerts.append((venue.exchange, alert))

    def _forget(self) -> None:
        """End the incidents of venues of which nothing is heard any more, and forget them later."""
        second, detail = self._second, "nothing is heard of it any more"
        for venue in self._memory.venues:
            if second - venue.heard > FORGET_S:
                for kind, incident in venue.incidents.open.items():
                    self._say(Phase.RESOLVE, venue, kind, incident, detail)
                venue.incidents.open = {}
        self._memory.venues = [v for v in self._memory.venues if second - v.heard <= KEEP_S]

    # -- rows --

    def _row(
        self,
        place: int,
        each: _Speaking,
        venues: int,
        agreed: int | None,
        anchor: int,
        *,
        is_judged: bool,
    ) -> VenueSecond:
        second = self._second
        arrival, venue, mid = each.arrival, each.venue, each.arrival.mid
        still, offset, sigma = venue.still, venue.offset, venue.sigma
        divergence = None
        if each.log is not None and agreed is not None:
            divergence = venue.divergence(each.log, agreed)
        return VenueSecond(
            number=second,
            index=place,
            symbol=mid.symbol,
            instrument=self.instrument,
            ts=second * _S,
            mid=mid.price,
            is_fresh=each.log is not None,
            venues=venues,
            consensus=None if agreed is None else exp((agreed + anchor) / 1e9),
            basis_bps=None if offset is None else (offset - anchor) / NANOS_PER_BP,
            divergence_bps=None if divergence is None else divergence / NANOS_PER_BP,
            usual_bps=None if sigma is None else sigma / NANOS_PER_BP,
            divergence_sigmas=None if divergence is None or sigma is None else divergence / sigma,
            unchanged_s=None if still is None else second - still.since,
            moved_bps=None if still is None else still.moved / NANOS_PER_BP,
            is_judged=is_judged,
            mid_shard=arrival.shard,
            mid_line=arrival.line,
            mid_epoch=arrival.epoch,
            mid_number=mid.number,
        )


def counted(mid: Mid) -> int | None:
    """Return the logarithm of the price of a mid; None where it does not count."""
    return mid.log if mid.second * _S - mid.ts_book <= FRESH_NS else None


def _voted(speaking: Iterable[_Speaking]) -> dict[str, int]:
    """Return the votes of the exchanges whose price counts.

    A venue whose basis is not known yet votes only where there are too few without it.
    """
    counted = [(each.venue, each.log) for each in speaking if each.log is not None]
    known = [(venue, log) for venue, log in counted if venue.offset is not None]
    is_enough = len({venue.exchange for venue, _ in known}) >= VENUES_MIN
    return votes(
        (venue.exchange, log - (venue.offset or 0))
        for venue, log in (known if is_enough else counted)
    )


def _sigma(speaking: Iterable[_Speaking]) -> int:
    """Return the standard deviation that venues have at the median; 0 where none is known."""
    sigmas = [each.venue.sigma for each in speaking if each.log is not None]
    known = [sigma for sigma in sigmas if sigma is not None]
    return median(known) if known else 0


def _name(venue: Venue) -> tuple[str, str]:
    return venue.exchange, venue.symbol


def _spelled(accused: _Speaking, speaking: list[_Speaking]) -> str:
    """Return the mids that showed it, each with its origin, that of the accused first."""
    others = [each for each in speaking if each is not accused and each.log is not None]
    return "; ".join(_mid(each.arrival) for each in (accused, *others)[:DETAIL_MIDS])


def _mid(arrival: Arrival) -> str:
    mid: Mid = arrival.mid
    place = f"{arrival.shard}/{arrival.line} {arrival.epoch}-{mid.number}"
    return f"{arrival.exchange} {mid.symbol} {mid.price:.10g} ({place})"


def read(state: bytes) -> Memory | None:
    """Return the memory in a checkpoint's state, None where that is no such thing."""
    try:
        return _decode(state)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Memory).decode
