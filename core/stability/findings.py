"""What one closed window of a stream is evidence of.

Typed detectors, each on the measure that shows its kind of trouble best; the score is no alarm.
Pure functions of the window, its judgement and what is remembered; faults come on their own way.
"""

from collections.abc import Iterator
from typing import Final

from core.events import StreamSecond
from core.stability.alerts import AlertKind, Finding
from core.stability.health import POOLED, ConnectionWindow, StreamHealth
from core.stability.score import SCALES, Component
from core.stability.states import BEGIN_NS, SYNCING_NS, StreamState

CONNECTION: Final = "connection"
DATA: Final = "data"
BOOK: Final = "book"
TRADES: Final = "trades"

LATENCY_FROM: Final = 3.5
JITTER_FROM: Final = 3.25
"""Times what is usual; between this and what counts as good an incident stays as it is."""
LEVEL_FROM: Final = 3.0
"""Times by how much latencies differ more than usual: a median that is up by less is not higher,
it varies. Messages that wait for late ones before them all come late."""
_S: Final = 1_000_000_000
_SILENCES: Final = {
    CONNECTION: AlertKind.SILENCE,
    DATA: AlertKind.DATA_SILENCE,
}


def findings(
    second: StreamSecond, health: StreamHealth, connection: ConnectionWindow
) -> Iterator[Finding]:
    """Yield the evidence in a window of a connected stream."""
    yield from _silence(second, health, connection.silence_ns(second))
    if second.channel == DATA:
        yield from _unusual(second, health, connection.clock.waits_after_ns)
    yield from _disorder(second)
    if second.channel == BOOK and second.state is StreamState.DOWN:
        patience_ns = BEGIN_NS if connection.is_unbegun(second) else SYNCING_NS
        lasted_ns = patience_ns + health.machine.held_ns
        yield Finding(
            *(AlertKind.BOOK_DOWN, second.ts, "book not LIVE"),
            *(lasted_ns / _S, patience_ns / _S, "s"),
        )


def _silence(second: StreamSecond, health: StreamHealth, age_ns: int) -> Iterator[Finding]:
    limit_ns = health.rhythm.limit_ns(is_pooled=second.channel in POOLED)
    if limit_ns is not None and age_ns >= limit_ns:
        yield Finding(
            _SILENCES.get(second.channel, AlertKind.STREAM_SILENCE),
            second.ts - age_ns,
            "silence",
            age_ns / _S,
            limit_ns / _S,
            "s",
            detail=f"longest gap of the last six hours {(health.rhythm.gaps.most() or 0) / _S} s",
        )


def _unusual(
    second: StreamSecond, health: StreamHealth, clock_age_ns: int | None
) -> Iterator[Finding]:
    for component, kind, limit, window in (
        (Component.LATENCY, AlertKind.LATENCY, LATENCY_FROM, health.latencies.keep),
        (Component.JITTER, AlertKind.JITTER, JITTER_FROM, health.jitters.keep),
    ):
        badness = health.unusual(component)
        is_open = kind in health.incidents.open
        if badness is None or badness < (SCALES[component].good if is_open else limit):
            continue
        # The median moves once more than half of its windows have.
        lasted_ns = (window // 2 + 1) * second.window_ns
        # A question that left in the first of them may have been answered before it began.
        is_waiting = clock_age_ns is not None and clock_age_ns > lasted_ns - second.window_ns
        if kind is AlertKind.LATENCY and not is_open and is_waiting:
            # The venue's clock may have been set: its next answer will tell.
            continue
        if kind is AlertKind.LATENCY and _varies(health):
            continue
        began = second.ts - lasted_ns
        yield Finding(kind, began, component.name.lower(), badness, limit, "times usual")


def _varies(health: StreamHealth) -> bool:
    """Say whether latency is up no more than what varies so much would be."""
    jitter, usual = health.jitters.median(), health.usual_jitter.value
    more = 0.0 if jitter is None or usual is None else jitter - usual
    return (health.excess_ns() or 0.0) < LEVEL_FROM * more


def _disorder(second: StreamSecond) -> Iterator[Finding]:
    for kind, count in (
        (AlertKind.DUPLICATES, second.duplicates),
        (AlertKind.REORDERING, second.out_of_order),
    ):
        if count:
            began = second.ts - second.window_ns
            yield Finding(kind, began, kind.name.lower(), float(count), 0.0, "messages")
