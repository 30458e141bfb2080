"""The stability of one connection and its streams, over all epochs of its socket.

It judges closed windows and weighs faults as they come; what becomes an incident is for `Triage`.
A loss is weighed a quarter of a second after it was seen: what was only overtaken has come by then,
and is told from what is missing. Its memory is that of its streams.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from core.clock import STEP_LEAST_NS, ServerTime
from core.events import Fault, FaultKind, StreamSecond
from core.facts import Facts
from core.stability.alerts import AlertKind, Finding
from core.stability.clocks import LOCAL_STEP_NS
from core.stability.findings import CONNECTION, findings
from core.stability.health import ConnectionWindow
from core.stability.incidents import FAULT_ALERTS
from core.stability.silence import LEAST_NS
from core.stability.triage import POOL, ROOT, Stream, Triage

HOLD_NS: Final = 250_000_000
"""How long a gap may turn out to be a message that was overtaken."""
TOGETHER_NS: Final = 250_000_000
"""Where the last message of all came so soon after the last market data, both may have ended at
once: a second later the socket has been silent for long enough too, or has not."""
_NEVER: Final = 1 << 62
_S: Final = 1_000_000_000
_LOSSES: Final = frozenset({AlertKind.GAP, AlertKind.CHECKSUM})
"""What the first message after an outage shows of it."""


class ConnectionStability:
    """See the module's docstring; alerts go to `facts`."""

    def __init__(self, facts: Facts, *, begins_with_change: bool = False) -> None:
        """`begins_with_change`: the venue sends no snapshot of a book by itself."""
        self.is_connected = False
        self.is_connecting = False
        self.due = _NEVER
        """Monotonic ns at which `weigh` has something to do."""
        self._facts = facts
        self._begins_with_change = begins_with_change
        self.triage = Triage(facts)
        self._held: dict[Stream, tuple[int, Finding]] = {}
        """One gap of a stream that may yet be filled, and when it is too late."""
        self._has_loss = False
        """Since the last window messages were found missing."""
        self._silent_ns = 0
        """How long nothing at all has come on the socket, at the last tick."""
        self._pool_silent_ns = 0
        """How long no market data of any symbol has come, at the last tick."""

    # -- the socket --

    def begin_epoch(self) -> None:
        """A new socket begins; one that was open has ended without a word."""
        if self.is_connected:
            detail = "the socket's end is not in the log: its producer ended, or lost it"
            ts = self._facts.frame.ts_recv
            self.triage.strike(ROOT, _state_finding(AlertKind.DISCONNECTED, ts, detail))
        self.is_connected = self.is_connecting = False
        self._forget_held()
        self.triage.of(ROOT).clock.begin_epoch()

    def follow(self, *, connected: bool) -> None:
        """Take a tick's word: a reader who starts in the middle has not seen the socket open."""
        if connected is not self.is_connected:
            self.is_connected, self.is_connecting = connected, False

    def opening(self) -> None:
        """An attempt to open the socket begins."""
        self.is_connected, self.is_connecting = False, True

    def opened(self) -> None:
        """The socket is open."""
        self.is_connected, self.is_connecting = True, False
        self.triage.of(ROOT).open_ns = 0

    def closed(self) -> None:
        """The socket is gone; whether that is a fault is told as one."""
        self.is_connected = self.is_connecting = False
        self._forget_held()

    # -- evidence --

    def take(self, faults: Iterable[Fault]) -> None:
        """Take what the last frame has shown: faults, and messages that came late."""
        for fault in faults:
            self._fault(fault)
        overtaken, repeated = self._facts.overtaken, self._facts.repeated
        while overtaken:
            self._late(overtaken.pop())
        while repeated:
            self._repeated(repeated.pop())

    def _fault(self, fault: Fault) -> None:
        kind = FAULT_ALERTS.get(fault.kind)
        if kind is None:
            return
        stream = (fault.channel, fault.symbol) if fault.channel != CONNECTION else ROOT
        finding = Finding(
            kind,
            fault.ts_recv,
            fault.kind.name.lower(),
            1.0 if fault.count is None else float(fault.count),
            0.0,
            fault.unit or "faults",
            detail=f"expected {fault.expected}, found {fault.found}"[:200],
        )
        self._has_loss = self._has_loss or kind in _LOSSES
        if kind in _LOSSES and self.triage.of(stream).is_unheard:
            explanation = self.triage.explanation(stream, kind)
            if explanation is not None:
                explanation.children += 1
            return
        is_gap = fault.kind is FaultKind.SEQUENCE_GAP or fault.kind is FaultKind.TRADE_GAP
        if is_gap and stream not in self._held:
            due = self._facts.frame.ts_mono + HOLD_NS
            self._held[stream] = due, finding
            self.due = min(self.due, due)
        else:
            self.triage.strike(stream, finding)

    def _late(self, stream: Stream) -> None:
        """A message came after ones that follow it: it was overtaken, and is not missing."""
        _, gap = self._held.pop(stream, (0, None))
        ts_effect = self._facts.frame.ts_recv if gap is None else gap.ts_effect
        self.triage.strike(
            stream, Finding(AlertKind.REORDERING, ts_effect, "reordering", 1.0, 0.0, "messages")
        )

    def _repeated(self, stream: Stream) -> None:
        """A message came again."""
        ts_effect = self._facts.frame.ts_recv
        self.triage.strike(
            stream, Finding(AlertKind.DUPLICATES, ts_effect, "duplicates", 1.0, 0.0, "messages")
        )

    def weigh(self, now: int) -> None:
        """Take the gaps for losses that were not filled by `now`, monotonic ns."""
        for stream, (due, finding) in list(self._held.items()):
            if due <= now:
                del self._held[stream]
                self.triage.strike(stream, finding)
        self.due = min((due for due, _ in self._held.values()), default=_NEVER)

    # -- clocks --

    def asks_time(self, mono: int) -> None:
        """A request for the venue's time leaves."""
        self.triage.of(ROOT).clock.asking_mono = mono

    def answered_time(self, received: int, told: ServerTime) -> None:
        """The request for the venue's time was answered."""
        clock = self.triage.of(ROOT).clock
        sent, clock.asking_mono = clock.asking_mono, None
        if sent is not None:
            self.told_time(sent, received, told)

    def told_time(self, sent: int, received: int, told: ServerTime) -> None:
        """The venue told its time: we asked at `sent` and knew at `received`, monotonic ns."""
        frame = self._facts.frame
        clock = self.triage.of(ROOT).clock
        departure = clock.told(sent, received, told, frame.ts_recv - frame.ts_mono)
        if clock.begins():
            self.triage.of(POOL).relearn_latency()
        if departure is None:
            return
        if departure.is_step:
            self.triage.of(POOL).forget_latencies()
        self.triage.strike(
            ROOT,
            Finding(
                AlertKind.CLOCK,
                frame.ts_recv - departure.since_ns,
                "clock step" if departure.is_step else "clock drift",
                departure.least_ns / _S,
                STEP_LEAST_NS / _S,
                "s",
                detail=f"at least, in {departure.since_ns / _S:.1f} s",
            ),
        )

    def _follow_local_clock(self) -> None:
        """Look whether our producer's wall clock was set since the last tick."""
        frame = self._facts.frame
        step = self.triage.of(ROOT).clock.tick(frame.ts_recv - frame.ts_mono)
        if step:
            self.triage.of(POOL).forget_latencies()
            found = Finding(
                AlertKind.LOCAL_CLOCK,
                frame.ts_recv,
                "wall clock against monotonic clock",
                step / _S,
                LOCAL_STEP_NS / _S,
                "s",
            )
            self.triage.strike(ROOT, found)

    # -- windows --

    def window(self, window_ns: int, *, is_blind: bool, is_late: bool = False) -> ConnectionWindow:
        """Begin to close a window of all streams; the connection's own comes first."""
        root = self.triage.of(ROOT)
        if self.is_connected:
            root.open_ns += window_ns
        has_loss, self._has_loss = self._has_loss, False
        self._follow_local_clock()
        frame = self._facts.frame
        return ConnectionWindow(
            self.is_connected,
            self.is_connecting,
            is_blind,
            root.open_ns,
            has_loss,
            root.clock.read(frame.ts_mono, frame.ts_recv),
            is_late=is_late,
            begins_with_change=self._begins_with_change,
        )

    def close(self, second: StreamSecond, window: ConnectionWindow) -> StreamSecond:
        """Return the window of a stream with its judgement, after weighing what it shows."""
        stream = (second.channel, second.symbol)
        health = self.triage.of(stream)
        judgement = health.judge(second, window)
        second = msgspec.structs.replace(second, **msgspec.structs.asdict(judgement))
        if stream in (ROOT, POOL):
            second = msgspec.structs.replace(
                second,
                clock_offset_ns=window.clock.offset_ns,
                clock_uncertainty_ns=window.clock.uncertainty_ns,
            )
        if window.is_blind:
            # What we did not see is no evidence, neither for nor against anybody.
            if stream == ROOT:
                found = _state_finding(AlertKind.PIPELINE, second.ts, _waiting(second))
                self.triage.strike(stream, found)
            return second
        if stream == ROOT:
            self._silent_ns = window.silence_ns(second)
        elif stream == POOL:
            self._pool_silent_ns = window.silence_ns(second)
        shown: set[AlertKind] = set()
        if window.is_connected:
            for finding in findings(second, health, window):
                shown.add(finding.kind)
                placed = self._placed(stream, finding)
                if placed is not None:
                    self.triage.strike(*placed)
        else:
            # Nothing is shown of a stream without a socket, least of all that it is well again.
            shown.update(health.incidents.open)
        if second.frames and window.is_connected and window.open_ns > second.window_ns:
            # In the window in which the socket ended or began, they may have come before that.
            health.is_unheard = False
        is_whole = second.frames > 0 and second.live_ns >= second.window_ns
        health.unhealed_ns = 0 if is_whole else max(health.unhealed_ns - second.window_ns, 0)
        self.triage.pass_time(stream, second.window_ns, shown)
        return second

    def _placed(self, stream: Stream, finding: Finding) -> tuple[Stream, Finding] | None:
        """Return the evidence with the stream that it is about, None where the next tick will tell.

        Where no other symbol has spoken either, for longer than was ever seen, it is the market
        data that is missing; where not even heartbeats have come, it is the socket that is silent.
        """
        is_own = AlertKind.STREAM_SILENCE in self.triage.of(stream).incidents.open
        is_stream = finding.kind is AlertKind.STREAM_SILENCE and not is_own
        longest_ns = self.triage.of(POOL).rhythm.gaps.most() or 0
        if is_stream and self._pool_silent_ns >= max(longest_ns, LEAST_NS):
            stream, finding = POOL, msgspec.structs.replace(finding, kind=AlertKind.DATA_SILENCE)
        is_new = AlertKind.SILENCE not in self.triage.of(ROOT).incidents.open
        is_data = finding.kind is AlertKind.DATA_SILENCE and is_new
        if is_data and self._silent_ns >= finding.threshold * _S:
            stream, finding = ROOT, msgspec.structs.replace(finding, kind=AlertKind.SILENCE)
        elif is_data and finding.value * _S - self._silent_ns <= TOGETHER_NS:
            is_open = AlertKind.DATA_SILENCE in self.triage.of(POOL).incidents.open
            return (stream, finding) if is_open else None
        return stream, finding

    def _forget_held(self) -> None:
        """Give up on gaps that the end of the socket explains."""
        self._held.clear()
        self.due = _NEVER


def _state_finding(kind: AlertKind, ts: int, detail: str) -> Finding:
    return Finding(kind, ts, kind.name.lower(), 1.0, 0.0, "", detail=detail)


def _waiting(second: StreamSecond) -> str:
    return (
        f"{second.queue_frames} frames wait for Kafka, the oldest for"
        f" {second.queue_age_ns / 1e9:.1f} s; the socket was not read for"
        f" {second.paused_ns / 1e9:.1f} s"
    )
