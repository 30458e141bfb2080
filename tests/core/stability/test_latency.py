"""Latency and jitter of one connection: what is a fault of its way, and what is not."""

import msgspec

from core.frames import FrameKind, TickStatus
from core.stability.alerts import AlertKind, Phase
from tests.core.stability.wire import LEARNED_S, MS, Wire

OPEN, RESOLVE = Phase.OPEN, Phase.RESOLVE


def test_step_of_latency_is_seen_within_five_seconds_and_blamed_on_no_symbol(wire: Wire) -> None:
    wire.latency_ms = 120
    found = wire.live(5)
    wire.latency_ms = 20
    found += wire.live(60)

    assert found == [
        (OPEN, AlertKind.LATENCY, "data", ""),
        (RESOLVE, AlertKind.LATENCY, "data", ""),
    ]


def test_ramp_of_latency_is_seen_before_120_ms_of_excess(wire: Wire) -> None:
    while not wire.alerts:
        wire.latency_ms += 2
        wire.live(1)

    assert {a.kind for a in wire.alerts} == {AlertKind.LATENCY}
    assert wire.latency_ms < 140


def test_clocks_that_are_apart_do_not_matter(wire: Wire) -> None:
    """Concept 14: an exchange whose clock is two seconds ahead has no negative latency to fear."""
    other = Wire()
    other.latency_ms -= 2000
    other.live(LEARNED_S)
    other.latency_ms += 100
    found = other.live(5)

    assert found == [(OPEN, AlertKind.LATENCY, "data", "")]


def test_noise_is_jitter_and_not_latency(wire: Wire) -> None:
    """Concept 16: the delay varies twenty times as much, around the same middle."""
    wire.latency_ms, wire.spread_ms = 0, 100
    wire.latency_ms = -28
    found = wire.live(10)

    assert found == [(OPEN, AlertKind.JITTER, "data", "")]


def test_noise_that_lifts_the_median_is_jitter_and_not_latency(wire: Wire) -> None:
    """On one socket a message that is late makes those behind it late."""
    wire.latency_ms, wire.spread_ms = 0, 250
    found = wire.live(25)

    assert found == [(OPEN, AlertKind.JITTER, "data", "")]


def test_few_messages_say_little_of_jitter(wire: Wire) -> None:
    """One message a second: single ones that are late are no jitter of the stream."""
    for late_ms in (20, 31, 20, 20) * 10:
        wire.spread_ms, wire.latency_ms = 0, late_ms
        wire.ms += 500
        wire.speak("trade", "SOL_USDC")
        wire.ms += 500
        wire.add(FrameKind.TICK, msgspec.json.encode(wire.status))

    assert [a for a in wire.alerts if a.kind is AlertKind.JITTER] == []


def test_single_stall_is_no_alarm(wire: Wire) -> None:
    wire.latency_ms = 400
    wire.live(1)
    wire.latency_ms = 20

    assert wire.live(60) == []


def test_producer_that_is_late_itself_says_nothing_of_latency(wire: Wire) -> None:
    """Concept 17. What it stamped late did not come late."""
    wire.status = TickStatus(connected=True, late_ns=200_000_000)
    wire.latency_ms, wire.spread_ms = 300, 250
    assert wire.live(30) == []
    wire.status = TickStatus(connected=True)

    assert wire.live(5) == [(OPEN, AlertKind.LATENCY, "data", "")]


def test_way_that_is_slower_and_varies_more_is_one_incident(wire: Wire) -> None:
    wire.latency_ms, wire.spread_ms = 20, 250
    found = wire.live(10)
    wire.latency_ms = 400
    found += wire.live(20)
    wire.spread_ms = 5
    after = wire.live(20)

    assert found == [(OPEN, AlertKind.JITTER, "data", "")]
    # What is still so without it is told by itself.
    assert after == [(RESOLVE, AlertKind.JITTER, "data", ""), (OPEN, AlertKind.LATENCY, "data", "")]


def test_latency_that_comes_and_goes_does_not_become_usual(wire: Wire) -> None:
    """The tenth time is found as the first one was."""
    for _ in range(10):
        wire.latency_ms = 130
        wire.live(15)
        wire.latency_ms = 20
        wire.live(45)

    kinds = [(a.phase, a.kind) for a in wire.alerts]
    assert kinds == [(OPEN, AlertKind.LATENCY), (RESOLVE, AlertKind.LATENCY)] * 10


def test_jitter_that_comes_and_goes_does_not_become_usual(wire: Wire) -> None:
    wire.spread_ms = 20
    assert wire.live(1200) == []
    for _ in range(20):
        wire.spread_ms = 200
        wire.live(25)
        wire.spread_ms = 20
        wire.live(20)
    usual = wire.pipeline._stability.triage.of(("data", "")).usual_jitter.value

    kinds = [(a.phase, a.kind) for a in wire.alerts if a.kind is AlertKind.JITTER]
    assert kinds == [(OPEN, AlertKind.JITTER), (RESOLVE, AlertKind.JITTER)] * 20
    assert usual is not None
    assert usual < 1.3 * 20 / 3 * MS


def test_time_of_late_messages_is_no_latency_and_no_jitter(wire: Wire) -> None:
    for _ in range(8):
        wire.latency_ms = 900
        overtaken = wire.speaker.trade("SOL_USDC")
        wire.latency_ms = 20
        wire.speak("trade", "SOL_USDC")
        wire.add(FrameKind.RECEIVED, overtaken)
        wire.live(1)

    assert [(a.phase, a.kind) for a in wire.alerts] == [(OPEN, AlertKind.REORDERING)]
