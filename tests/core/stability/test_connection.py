"""Incidents of a connection: what opens, what is part of what, and what resolves."""

import msgspec

from core.events import Events, Fault, FaultKind
from core.frames import Address, BatchBuilder, CloseReason, FrameBatch, FrameKind, TickStatus
from core.protocol import Shard
from core.stability.alerts import AlertKind, Phase
from core.stability.states import StreamState
from tests.core.speakers import START_MS
from tests.core.stability.wire import LEARNED_S, MS, NS, SYMBOLS, Wire

OPEN, RESOLVE = Phase.OPEN, Phase.RESOLVE


def test_clean_quarter_of_an_hour_raises_nothing(wire: Wire) -> None:
    assert wire.live(900) == []


def test_lost_socket_is_one_incident_whatever_its_streams_show(wire: Wire) -> None:
    """Concept 3; and what was missed meanwhile is counted as part of it."""
    wire.close(CloseReason(1006, "", "network"))
    wire.status = TickStatus(connected=False)
    for symbol in SYMBOLS:
        wire.speaker.trade_ids[symbol] += 3
    wire.quiet = set(SYMBOLS)
    wire.live(5)
    assert set(wire.states.values()) == {StreamState.DOWN}
    wire.quiet, wire.status = set(), TickStatus(connected=True)
    wire.open()
    wire.live(60)

    opened, resolved = wire.alerts
    assert (opened.phase, opened.kind, opened.channel) == (
        OPEN,
        AlertKind.DISCONNECTED,
        "connection",
    )
    assert resolved.alert_id == opened.alert_id
    assert resolved.phase is RESOLVE
    assert resolved.children >= len(SYMBOLS)
    assert opened.ts == opened.ts_effect == (START_MS + LEARNED_S * 1000) * MS
    assert StreamState.DOWN not in wire.states.values()


def test_attempts_that_are_refused_are_part_of_the_first_loss(wire: Wire) -> None:
    """Concept 12: twenty refusals are one incident."""
    wire.close(CloseReason(1006, "", "network"))
    wire.status, wire.quiet = TickStatus(connected=False), set(SYMBOLS)
    for _ in range(20):
        wire.live(3)
        wire.epoch += 1
        wire.builder = BatchBuilder(Address("deribit", "s", "A", wire.epoch))
        wire.add(FrameKind.OPENING)
        wire.close(CloseReason(0, "refused", "handshake"))
    wire.status, wire.quiet = TickStatus(connected=True), set()
    wire.open()
    wire.live(60)

    assert [(a.phase, a.kind) for a in wire.alerts] == [
        (OPEN, AlertKind.DISCONNECTED),
        (RESOLVE, AlertKind.DISCONNECTED),
    ]
    assert wire.alerts[1].hits >= 20


def test_socket_that_opens_again_and_brings_nothing_is_the_same_incident(wire: Wire) -> None:
    wire.close(CloseReason(1006, "", "network"))
    wire.open()
    for symbol in SYMBOLS:
        wire.speaker.trade_ids[symbol] += 1
    wire.quiet = set(SYMBOLS)
    wire.live(60)
    wire.quiet = set()
    assert [(a.phase, a.kind) for a in wire.alerts] == [(OPEN, AlertKind.DISCONNECTED)]
    found = wire.live(30)

    assert found == [(RESOLVE, AlertKind.DISCONNECTED, "connection", "")]


def test_subscriptions_that_bring_nothing_after_a_planned_reconnect_are_seen(wire: Wire) -> None:
    wire.close(CloseReason(1000, "stopping", "us", planned=True))
    wire.builder = BatchBuilder(Address("deribit", "s", "A", 2))
    wire.add(FrameKind.OPENING)
    wire.add(FrameKind.PLAN, msgspec.json.encode(wire.shard))
    wire.add(FrameKind.OPEN)
    wire.quiet = set(SYMBOLS)
    found = wire.live(5)

    assert found == [(OPEN, AlertKind.SILENCE, "connection", "")]


def test_frames_that_are_missing_in_the_log_are_ours_and_no_gap_of_the_venue(wire: Wire) -> None:
    feed = wire.pipeline.feed
    wire.pipeline.feed = lambda batch: Events(batch.address, 0, [], [], [], [])  # type: ignore[method-assign]
    wire.speak("change", "ETH_USDC")
    wire.pipeline.feed = feed  # type: ignore[method-assign]
    wire.live(1)
    for symbol in SYMBOLS:
        wire.renew(symbol)
    wire.live(90)

    assert [(a.phase, a.kind, a.channel) for a in wire.alerts] == [
        (OPEN, AlertKind.LOG_BROKEN, "connection"),
        (RESOLVE, AlertKind.LOG_BROKEN, "connection"),
    ]


def test_planned_reconnect_raises_nothing(wire: Wire) -> None:
    wire.close(CloseReason(1000, "stopping", "us", planned=True))
    for symbol in SYMBOLS:
        wire.speaker.trade_ids[symbol] += 2
    wire.open()

    assert wire.live(120) == []


def test_socket_whose_end_is_not_in_the_log_is_a_lost_one(wire: Wire) -> None:
    wire.open()
    wire.live(60)

    assert [(a.phase, a.kind) for a in wire.alerts] == [
        (OPEN, AlertKind.DISCONNECTED),
        (RESOLVE, AlertKind.DISCONNECTED),
    ]


def test_incident_of_a_symbol_that_is_planned_no_more_is_resolved(wire: Wire) -> None:
    wire.quiet = {"SOL_USDC"}
    opened = len(wire.live(60))
    fewer = Shard("deribit", "s", SYMBOLS[:2], 0)
    wire.add(FrameKind.PLAN, msgspec.json.encode(fewer))

    resolved = wire.alerts[-opened:]
    assert opened
    assert {(a.phase, a.symbol) for a in resolved} == {(RESOLVE, "SOL_USDC")}
    assert {a.alert_id for a in resolved} == {a.alert_id for a in wire.alerts[:opened]}


def test_lost_change_is_one_gap_within_half_a_second(wire: Wire) -> None:
    """Concepts 19 and 20. The book is made anew; the incident lasts until it was clean."""
    wire.change = lambda payload: []
    wire.speak("change", "ETH_USDC")
    lost_ms = wire.ms
    wire.change = lambda payload: [payload]
    while not wire.alerts:
        wire.ms += 50
        wire.speak("change", "ETH_USDC")
    wire.renew("ETH_USDC")
    found = wire.live(70)

    (opened, *_) = wire.alerts
    assert (opened.kind, opened.channel, opened.symbol) == (AlertKind.GAP, "book", "ETH_USDC")
    assert opened.ts - (START_MS + lost_ms) * MS <= NS // 2
    assert found == [(RESOLVE, AlertKind.GAP, "book", "ETH_USDC")]


def test_overtaken_trade_is_reordering_and_no_gap(wire: Wire) -> None:
    held: list[bytes] = []

    def overtake(payload: bytes) -> list[bytes]:
        held.append(payload)
        return [] if len(held) == 1 else [held[1], held[0]]

    wire.change = overtake
    wire.speak("trade", "ETH_USDC")
    wire.ms += 100
    wire.speak("trade", "ETH_USDC")
    wire.change = lambda payload: [payload]
    found = wire.live(90)

    assert [(a.phase, a.kind, a.channel) for a in wire.alerts] == [
        (OPEN, AlertKind.REORDERING, "trades"),
        (RESOLVE, AlertKind.REORDERING, "trades"),
    ]
    assert len(found) == 1


def test_repeated_trades_are_one_incident_however_many(wire: Wire) -> None:
    wire.change = lambda payload: [payload, payload] if b"trades." in payload else [payload]
    opened = wire.live(30)
    wire.change = lambda payload: [payload]
    resolved = wire.live(70)

    duplicates = {(OPEN, AlertKind.DUPLICATES, "trades", symbol) for symbol in SYMBOLS}
    assert set(opened) == duplicates
    assert len(opened) == len(SYMBOLS)
    assert {phase for phase, _, _, _ in resolved} == {RESOLVE}
    assert len(resolved) == len(SYMBOLS)


def test_burst_without_a_fault_is_stable(wire: Wire) -> None:
    """Concept 4: ten times the messages, and nothing is wrong."""
    for _ in range(30):
        for _ in range(90):
            wire.speak("change", wire.random.choice(SYMBOLS))
        assert wire.live(1) == []

    assert set(wire.states.values()) == {StreamState.STABLE}


def test_our_own_trouble_is_never_blamed_on_the_venue(wire: Wire) -> None:
    """Concept 17. While we are blind nothing is concluded, and no state moves."""
    wire.status = TickStatus(connected=True, queue_frames=900, queue_age_ns=9 * NS, paused_ns=NS)
    wire.quiet = set(SYMBOLS)
    wire.latency_ms = 5000
    found = wire.live(30)
    states = set(wire.states.values())
    wire.status, wire.quiet, wire.latency_ms = TickStatus(connected=True), set(), 20
    found += wire.live(60)

    assert found == [
        (OPEN, AlertKind.PIPELINE, "connection", ""),
        (RESOLVE, AlertKind.PIPELINE, "connection", ""),
    ]
    assert states == {StreamState.STABLE}


def test_unreadable_frames_are_one_incident_of_the_connection(wire: Wire) -> None:
    """Concept 29."""
    for _ in range(5):
        wire.add(FrameKind.RECEIVED, b'{"jsonrpc":')
    found = wire.live(90)

    assert [(a.phase, a.kind) for a in wire.alerts] == [
        (OPEN, AlertKind.SCHEMA),
        (RESOLVE, AlertKind.SCHEMA),
    ]
    assert len(found) == 1


def test_field_that_is_new_is_a_fault_told_once_and_no_incident(wire: Wire) -> None:
    """Concept 29: what is added breaks nothing, and is counted."""
    taken: list[Fault] = []
    feed = wire.pipeline.feed

    def listening(batch: FrameBatch) -> Events:
        events = feed(batch)
        taken.extend(events.faults)
        return events

    wire.pipeline.feed = listening  # type: ignore[method-assign]
    wire.change = lambda payload: [payload.replace(b'"change_id"', b'"venue":1,"change_id"')]
    found = wire.live(20)

    (fault,) = taken
    assert (fault.kind, fault.count, fault.unit) == (FaultKind.SCHEMA_DRIFT, 1, "fields")
    assert fault.found == "new: params.data.venue; gone: none"
    assert found == []


def test_origin_of_an_alert_is_the_frame_that_showed_it(wire: Wire) -> None:
    wire.close(CloseReason(1006, "", "network"))

    (alert,) = wire.alerts
    assert alert.alert_id == f"disconnected/deribit/s/A/connection/1-{alert.number}"
    assert alert.number == wire.builder.next_number - 1


def test_repeated_message_is_told_at_once(wire: Wire) -> None:
    wire.change = lambda payload: [payload, payload]
    wire.speak("change", "ETH_USDC")
    book = [(a.kind, a.channel, a.symbol, a.ts - a.ts_effect) for a in wire.alerts]
    wire.speak("trade", "ETH_USDC")
    trades = [(a.kind, a.channel, a.symbol) for a in wire.alerts[1:]]

    assert book == [(AlertKind.DUPLICATES, "book", "ETH_USDC", 0)]
    assert trades == [(AlertKind.DUPLICATES, "trades", "ETH_USDC")]


def test_change_that_cannot_be_read_explains_the_hole_that_it_leaves(wire: Wire) -> None:
    wire.change = lambda payload: [payload.replace(b'"bids"', b'"buys"')]
    wire.speak("change", "ETH_USDC")
    wire.change = lambda payload: [payload]
    wire.speak("change", "ETH_USDC")
    wire.live(2)

    assert [(a.phase, a.kind) for a in wire.alerts] == [(OPEN, AlertKind.SCHEMA)]
