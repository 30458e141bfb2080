"""One stream's health: what it remembers of its windows, and the judgement of each.

Fed with closed windows (`StreamSecond`) in order. What is usual for a stream is learned from the
stream itself; while it is unusual it is learned a twelfth as fast, so that a fault does not soon
become the rule and a lasting change does. It must not know frames, books or other streams.
"""

from typing import Final

import msgspec

from core.clock import TIME_MAX
from core.events import BookState, StreamSecond
from core.stability.clocks import ClockReading, Clocks
from core.stability.incidents import Incidents
from core.stability.judgement import Judgement
from core.stability.score import SCALES, VERSION, Component, Score, score
from core.stability.silence import Rhythm
from core.stability.states import Situation, StateMachine, StreamState
from core.stability.windows import Ewma, Recent, Sums

_S: Final = 1_000_000_000
FAULT_CAP: Final = 0.40
FAULT_CAP_NS: Final = 5 * _S
"""A gap or a wrong checksum caps the score for so long."""
STATE_CAPS: Final = {
    StreamState.DOWN: 0.0,
    StreamState.CONNECTING: 0.25,
    StreamState.SYNCING: 0.40,
}
SILENT_FROM: Final = 12.0
"""Suspicion of a whole connection that is not a slow market any more."""
LATENCY_LEAST_NS: Final = 20_000_000
JITTER_LEAST_NS: Final = 3_000_000
"""What is usual is taken for at least this: below it nobody is late."""
LATENCY_SECONDS: Final = 5
JITTER_SECONDS: Final = 5
"""Windows of whose medians the median is taken: a single stall moves neither."""
JITTER_LEAST: Final = 4
"""Latencies below which a window says nothing of jitter by itself: it is counted with the next."""
USUAL_NS: Final = 300 * _S
"""Half-life of what is usual."""
DEVIATION_NS: Final = 900 * _S
"""Half-life of how far latency usually is from usual."""
_SLOWLY: Final = 12
POOLED: Final = frozenset({"connection", "data"})
"""Streams in which all symbols of a connection are together."""


class ConnectionWindow(msgspec.Struct, frozen=True):
    """What was true of the connection when the window closed.

    `open_ns` is how long the socket has been open, `is_blind` that our own producer was not able to
    hand on all that came, `has_loss` that messages were found missing, `is_late` that it was too
    busy to stamp what came, `begins_with_change` that the venue sends no snapshots by itself.
    """

    is_connected: bool
    is_connecting: bool
    is_blind: bool
    open_ns: int
    has_loss: bool = False
    clock: ClockReading = ClockReading()
    is_late: bool = False
    begins_with_change: bool = False

    def is_unbegun(self, second: StreamSecond) -> bool:
        """Say whether a stream is a book of which the venue had nothing to say as yet."""
        return (
            self.begins_with_change
            and second.channel == "book"
            and not second.frames
            and second.empty_ns >= second.window_ns
        )

    def silence_ns(self, second: StreamSecond) -> int:
        """Return how long a stream has been silent; at most since the socket was opened."""
        return self.open_ns if second.age_ns is None else second.age_ns


class Uncounted(msgspec.Struct, array_like=True, frozen=True):
    """Windows that have too few latencies to say anything of jitter each by itself: the sum of
    their differences, how many there are, and the time that has passed."""

    sum_ns: int = 0
    count: int = 0
    passed_ns: int = 0


def _minute(counts: int) -> Sums:
    return Sums.of(counts, width_ns=10 * _S, keep=6)


class StreamHealth(msgspec.Struct, array_like=True):
    """What is remembered of one stream; all of it goes into its checkpoint."""

    rhythm: Rhythm = msgspec.field(default_factory=Rhythm)
    messages: Sums = msgspec.field(default_factory=lambda: _minute(5))
    """Frames, missing, checksums, wrong checksums, repeated and late, over the last minute."""
    wrong: Sums = msgspec.field(default_factory=lambda: _minute(2))
    """Time passed, and time in which the book was known to be wrong, over the last minute."""
    followed: Sums = msgspec.field(default_factory=lambda: Sums.of(2, width_ns=60 * _S, keep=15))
    """Time passed, and time lost, over the last 15 minutes; from the first LIVE moment on."""
    latencies: Recent = msgspec.field(default_factory=lambda: Recent(LATENCY_SECONDS))
    jitters: Recent = msgspec.field(default_factory=lambda: Recent(JITTER_SECONDS))
    usual_latency: Ewma = msgspec.field(default_factory=lambda: Ewma(USUAL_NS))
    usual_deviation: Ewma = msgspec.field(default_factory=lambda: Ewma(DEVIATION_NS))
    usual_jitter: Ewma = msgspec.field(default_factory=lambda: Ewma(USUAL_NS))
    machine: StateMachine = msgspec.field(default_factory=StateMachine)
    incidents: Incidents = msgspec.field(default_factory=Incidents)
    since_fault_ns: int = FAULT_CAP_NS
    has_followed: bool = False
    open_ns: int = 0
    """Of the connection: how long its socket has been open."""
    is_unheard: bool = False
    """Nothing has come since an outage: what is missing next was lost in it."""
    unhealed_ns: int = 0
    """Of a book that was not LIVE for a whole window since an outage: for how much longer that is
    no trouble of its own."""
    clock: Clocks = msgspec.field(default_factory=Clocks)
    """Of the connection."""
    uncounted: Uncounted = Uncounted()

    def judge(self, second: StreamSecond, connection: ConnectionWindow) -> Judgement:
        """Take the next window and return what it says of the stream."""
        is_connected = connection.is_connected
        is_following = is_connected and self._is_following(second)
        self._remember(second, connection, is_following=is_following)
        badness = self._badness(second, connection)
        has_fault = self.since_fault_ns < FAULT_CAP_NS
        found = score(badness, cap=FAULT_CAP if has_fault else 1.0)
        situation = Situation(
            is_connected=is_connected,
            is_connecting=connection.is_connecting,
            is_following=is_following,
            is_silent=second.channel == "connection"
            and badness.get(Component.LIVENESS, 0.0) >= SILENT_FROM,
            is_blind=connection.is_blind,
            resyncs=second.resyncs,
            is_unbegun=connection.is_unbegun(second),
        )
        state = self.machine.advance(situation, found.value, second.window_ns)
        cap = 100.0 * STATE_CAPS.get(state, 1.0)
        return _judgement(found, state, cap, is_blind=connection.is_blind)

    # -- what a window adds --

    def _is_following(self, second: StreamSecond) -> bool:
        if second.channel != "book":
            return second.frames > 0 or self.has_followed
        # A renewal that we asked for passes through SYNCING; a whole window of it is none.
        return (
            second.book_state in (BookState.LIVE, BookState.SYNCING)
            and second.live_ns > 0
            and not second.empty_ns
            and not second.stale_ns
        )

    def _remember(
        self, second: StreamSecond, connection: ConnectionWindow, *, is_following: bool
    ) -> None:
        is_connected, passed_ns = connection.is_connected, second.window_ns
        disorder = second.duplicates + second.out_of_order
        checks = second.checksums_ok + second.checksums_bad
        # A hole whose size the venue does not tell has at least one message in it.
        missing = max(second.missing, second.gaps)
        self.messages.add(
            (second.frames, missing, checks, second.checksums_bad, disorder), passed_ns
        )
        self.wrong.add((passed_ns, second.stale_ns), passed_ns)
        self.has_followed = self.has_followed or is_following
        if self.has_followed:
            self.followed.add((passed_ns, self._lost_ns(second, is_connected)), passed_ns)
        if missing or second.checksums_bad or second.audits_bad:
            self.since_fault_ns = 0
        else:
            self.since_fault_ns = min(self.since_fault_ns + passed_ns, FAULT_CAP_NS)
        if connection.is_blind:
            # The gaps and the times of what we did not read are our own.
            return
        if is_connected:
            self.rhythm.add(
                *(second.frames, second.gap_max_ns, passed_ns),
                is_pooled=second.channel in POOLED,
                has_loss=connection.has_loss or self._is_made_anew(second),
            )
        if not connection.is_late:
            self._remember_latency(second, connection.clock.correction_ns)

    def _is_made_anew(self, second: StreamSecond) -> bool:
        """Say whether a book was not LIVE throughout: what is silent then may be our asking."""
        return second.channel == "book" and second.live_ns < second.window_ns

    def _lost_ns(self, second: StreamSecond, is_connected: bool) -> int:
        if not is_connected:
            return second.window_ns
        if second.channel != "book":
            return 0
        lost = second.empty_ns + second.stale_ns
        return lost if second.live_ns else lost + second.syncing_ns

    def forget_latencies(self) -> None:
        """A clock was set: windows before and after it cannot be compared."""
        self.latencies.values = []

    def relearn_latency(self) -> None:
        """From here on latencies are corrected: what was usual before was of other clocks."""
        self.forget_latencies()
        self.usual_latency.value = None

    def _remember_latency(self, second: StreamSecond, correction_ns: int | None) -> None:
        if second.latency_p50_ns is not None and correction_ns is not None:
            corrected = second.latency_p50_ns + correction_ns
            self.latencies.add(min(max(corrected, -TIME_MAX), TIME_MAX))
            latency = self.latencies.median()
            if latency is not None:
                deviation = self.excess_ns()
                passed_ns = self._learned_ns(Component.LATENCY, deviation, second.window_ns)
                self.usual_latency.add(latency, passed_ns)
                # A few seconds of trouble are not to make the next trouble look usual.
                most = 2.0 * max(self.usual_deviation.value or 0.0, LATENCY_LEAST_NS)
                self.usual_deviation.add(min(abs(deviation or 0.0), most), passed_ns)
        if second.jitter_ns is not None:
            self._remember_jitter(second.jitter_ns, second.latency_count, second.window_ns)

    def _remember_jitter(self, jitter_ns: int, count: int, window_ns: int) -> None:
        before = self.uncounted
        sum_ns = min(before.sum_ns + jitter_ns * count, TIME_MAX)
        count += before.count
        passed_ns = before.passed_ns + window_ns
        if count < JITTER_LEAST:
            self.uncounted = Uncounted(sum_ns, count, passed_ns)
            return
        self.uncounted = Uncounted()
        self.jitters.add(sum_ns // count)
        jitter = self.jitters.median()
        if jitter is not None:
            learned_ns = self._learned_ns(Component.JITTER, jitter, passed_ns)
            usual = self.usual_jitter.value
            most = jitter if usual is None else 2.0 * max(usual, JITTER_LEAST_NS)
            self.usual_jitter.add(min(jitter, most), learned_ns)

    def excess_ns(self) -> float | None:
        """Return how far latency is above what is usual: an offset of clocks is in both."""
        latency, usual = self.latencies.median(), self.usual_latency.value
        return None if latency is None or usual is None else latency - usual

    def unusual(self, component: Component) -> float | None:
        """Return latency or jitter in multiples of what is usual, None while that is unknown."""
        value = self.excess_ns() if component is Component.LATENCY else self.jitters.median()
        return None if value is None else max(self._times_usual(component, value), 0.0)

    def _learned_ns(self, component: Component, value: float | None, passed_ns: int) -> int:
        is_usual = value is None or self._times_usual(component, value) <= SCALES[component].good
        return passed_ns if is_usual else passed_ns // _SLOWLY

    def _times_usual(self, component: Component, value: float) -> float:
        if component is Component.LATENCY:
            return value / max(self.usual_deviation.value or 0.0, LATENCY_LEAST_NS)
        return value / max(self.usual_jitter.value or 0.0, JITTER_LEAST_NS)

    # -- how bad it is --

    def _badness(
        self, second: StreamSecond, connection: ConnectionWindow
    ) -> dict[Component, float]:
        frames, missing, checks, bad, disorder = self.messages.totals
        found: dict[Component, float] = {}
        if connection.is_connected:
            suspicion = self.rhythm.suspicion(
                connection.silence_ns(second), is_pooled=second.channel in POOLED
            )
            if suspicion is not None:
                found[Component.LIVENESS] = suspicion
        if frames or missing:
            lost = missing / (frames + missing)
            found[Component.INTEGRITY] = max(lost, bad / checks if checks else 0.0)
        if frames:
            found[Component.ORDER] = disorder / frames
        if second.channel == "book":
            passed_ns, wrong_ns = self.wrong.totals
            found[Component.BOOK] = min(wrong_ns / max(passed_ns, 1), 1.0)
        if self.has_followed:
            passed_ns, lost_ns = self.followed.totals
            found[Component.CONTINUITY] = min(lost_ns / max(passed_ns, 1), 1.0)
        for component in (Component.LATENCY, Component.JITTER):
            unusual = self.unusual(component)
            if unusual is not None:
                found[component] = unusual
        return found


def _judgement(found: Score, state: StreamState, cap: float, *, is_blind: bool) -> Judgement:
    binding = found.binding if found.value <= cap else None
    scale = None if binding is None else SCALES[binding]
    of = found.desirabilities.get
    return Judgement(
        state=state,
        is_blind=is_blind,
        score=min(found.value, cap),
        score_version=VERSION,
        score_binding=binding,
        score_badness=None if binding is None else found.badness,
        score_threshold=None if scale is None else scale.good,
        score_unit="" if scale is None else scale.unit,
        score_liveness=of(Component.LIVENESS),
        score_integrity=of(Component.INTEGRITY),
        score_latency=of(Component.LATENCY),
        score_book=of(Component.BOOK),
        score_continuity=of(Component.CONTINUITY),
        score_order=of(Component.ORDER),
        score_jitter=of(Component.JITTER),
    )
