"""Incidents of a connection: what opens, what is part of what, and what resolves."""

from copy import deepcopy

import msgspec
import pytest

from core.events import Events, Fault, FaultKind
from core.frames import Address, BatchBuilder, CloseReason, FrameBatch, FrameKind, TickStatus
from core.protocol import Shard
from core.stability.alerts import AlertKind, Phase
from core.stability.states import StreamState
from tests.core.speakers import START_MS
from tests.core.stability.wire import MS, SYMBOLS, Wire

NS = 1_000_000_000
LEARNED_S = 320
"""After this many seconds the rhythm of every stream is known."""
OPEN, RESOLVE = Phase.OPEN, Phase.RESOLVE


@pytest.fixture(scope="module")
def learned() -> Wire:
    """A connection on which everything has been well for long enough."""
    made = Wire()
    assert made.live(LEARNED_S) == []
    assert set(made.states.values()) == {StreamState.STABLE}
    return made


@pytest.fixture
def wire(learned: Wire) -> Wire:
    """Return a copy of it."""
    return deepcopy(learned)


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


def test_silence_without_a_single_frame_is_seen_by_the_ticks(wire: Wire) -> None:
    """Concept 9: one missed beat is no alarm, and no frame at all is one within 5 s."""
    silent_ms = wire.ms
    wire.quiet = set(SYMBOLS)
    assert wire.live(1) == []
    wire.live(4)
    wire.quiet = set()
    wire.live(60)

    opened, resolved = wire.alerts
    assert opened.kind is resolved.kind is AlertKind.SILENCE
    assert (opened.phase, resolved.phase) == (OPEN, RESOLVE)
    assert opened.ts - opened.ts_effect <= 5 * NS
    assert abs(opened.ts_effect - (START_MS + silent_ms) * MS) <= NS
    assert resolved.children >= 1


def test_silence_of_all_books_with_live_heartbeats_is_told_from_a_dead_socket(wire: Wire) -> None:
    wire.quiet = set(SYMBOLS)
    beat = b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}'
    for _ in range(6):
        wire.add(FrameKind.RECEIVED, beat)
        wire.live(1)
    wire.quiet = set()
    wire.live(60)

    assert [(a.phase, a.kind, a.channel) for a in wire.alerts] == [
        (OPEN, AlertKind.DATA_SILENCE, "data"),
        (RESOLVE, AlertKind.DATA_SILENCE, "data"),
    ]


def test_silence_of_all_is_told_as_such_by_the_symbol_whose_rhythm_is_the_densest(
    wire: Wire,
) -> None:
    """An outage before has taught all symbols together a longer gap than one of them has."""
    pool = wire.pipeline._stability.triage.of(("data", ""))
    pool.rhythm.gaps.buckets[-1] = 3 * NS
    assert pool.rhythm.limit_ns(is_pooled=True) == 12 * NS
    wire.quiet = set(SYMBOLS)
    beat = b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}'
    for _ in range(20):
        wire.add(FrameKind.RECEIVED, beat)
        wire.live(1)
    wire.quiet = set()
    wire.live(60)

    assert [(a.phase, a.kind, a.channel) for a in wire.alerts] == [
        (OPEN, AlertKind.DATA_SILENCE, "data"),
        (RESOLVE, AlertKind.DATA_SILENCE, "data"),
    ]
    assert wire.alerts[0].threshold < 12


def test_silent_symbol_is_its_own_and_no_other(wire: Wire) -> None:
    """Concept 10."""
    wire.quiet = {"SOL_USDC"}
    found = wire.live(60)

    assert {(kind, symbol) for _, kind, _, symbol in found} == {
        (AlertKind.STREAM_SILENCE, "SOL_USDC")
    }
    assert {phase for phase, _, _, _ in found} == {OPEN}


def test_book_that_we_fetch_is_no_sign_of_life_of_a_silent_symbol() -> None:
    """It neither ends the silence nor becomes a part of the rhythm."""
    wire = Wire("binance")
    wire.live(LEARNED_S)
    rhythm = wire.pipeline._stability.triage.of(("book", "SOL_USDC")).rhythm
    longest_ns = rhythm.gaps.most()
    assert longest_ns is not None
    wire.quiet = {"SOL_USDC"}
    wire.live(15)
    opened = len(wire.alerts)
    wire.renew("SOL_USDC")
    found = wire.live(15)

    assert {(a.kind, a.symbol) for a in wire.alerts} == {(AlertKind.STREAM_SILENCE, "SOL_USDC")}
    assert opened
    assert (RESOLVE, AlertKind.STREAM_SILENCE, "book", "SOL_USDC") not in found
    assert rhythm.gaps.most() == longest_ns


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


def test_silent_symbol_is_one_incident_with_all_that_was_lost(wire: Wire) -> None:
    """Both channels, and the holes that show when the first message comes again."""
    wire.quiet = {"ETH_USDC"}
    wire.live(40)
    for _ in range(5):
        wire.speaker.change("ETH_USDC")
    wire.speaker.trade_ids["ETH_USDC"] += 4
    wire.quiet = set()
    wire.live(3)
    wire.renew("ETH_USDC")
    wire.live(60)

    assert [(a.phase, a.kind, a.symbol) for a in wire.alerts] == [
        (OPEN, AlertKind.STREAM_SILENCE, "ETH_USDC"),
        (RESOLVE, AlertKind.STREAM_SILENCE, "ETH_USDC"),
    ]
    assert wire.alerts[1].children >= 2


def test_socket_that_the_venue_closes_after_a_silence_is_part_of_it(wire: Wire) -> None:
    """It asked for a sign of life, which was swallowed too, and waited for ten seconds."""
    wire.quiet = set(SYMBOLS)
    wire.live(9)
    wire.quiet = set()
    wire.live(11)
    wire.close(CloseReason(1000, "test_request unanswered", "exchange"))
    wire.open()
    wire.live(60)

    assert [(a.phase, a.kind) for a in wire.alerts] == [
        (OPEN, AlertKind.SILENCE),
        (RESOLVE, AlertKind.SILENCE),
    ]


@pytest.mark.parametrize(("goes_on", "kind"), [(False, "SILENCE"), (True, "DATA_SILENCE")])
def test_heartbeat_just_after_the_last_data_does_not_hide_what_is_silent(
    wire: Wire, goes_on: bool, kind: str
) -> None:
    def tick() -> None:
        wire.ms += 1000 - wire.ms % 1000
        wire.add(FrameKind.TICK, msgspec.json.encode(wire.status))

    heartbeat = b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}'
    wire.ms += 740
    wire.speak("change", "ETH_USDC")
    wire.ms += 30
    wire.add(FrameKind.RECEIVED, heartbeat)
    tick()
    tick()
    assert wire.alerts == []
    for _ in range(3):
        wire.ms += 500
        if goes_on:
            wire.add(FrameKind.RECEIVED, heartbeat)
        tick()

    assert [(a.phase, a.kind.name) for a in wire.alerts] == [(OPEN, kind)]


def test_hole_that_an_outage_left_is_part_of_it_however_late_it_shows(wire: Wire) -> None:
    wire.quiet = set(SYMBOLS)
    wire.live(4)
    wire.quiet = {"SOL_USDC"}
    wire.live(20)
    wire.speaker.trade_ids["SOL_USDC"] += 3
    wire.quiet = set()
    wire.live(20)

    assert [(a.phase, a.kind, a.symbol) for a in wire.alerts] == [
        (OPEN, AlertKind.SILENCE, ""),
        (RESOLVE, AlertKind.SILENCE, ""),
        (OPEN, AlertKind.STREAM_SILENCE, "SOL_USDC"),
        (RESOLVE, AlertKind.STREAM_SILENCE, "SOL_USDC"),
    ]


def test_hole_of_an_outage_that_began_just_after_a_message_is_part_of_it() -> None:
    wire = Wire()
    for _ in range(30):
        wire.quiet = {"SOL_USDC"}
        wire.live(19)
        wire.quiet = set()
        wire.speak("trade", "SOL_USDC")
    wire.close(CloseReason(1006, "", "network"))
    wire.quiet, wire.status = set(SYMBOLS), TickStatus(connected=False)
    wire.live(2)
    wire.open()
    wire.quiet, wire.status = {"SOL_USDC"}, TickStatus(connected=True)
    wire.live(13)
    wire.quiet = set()
    wire.speaker.trade_ids["SOL_USDC"] += 3
    wire.speak("trade", "SOL_USDC")
    wire.live(2)

    assert [(a.phase, a.kind) for a in wire.alerts] == [
        (OPEN, AlertKind.DISCONNECTED),
        (RESOLVE, AlertKind.DISCONNECTED),
    ]


def test_hole_after_a_message_since_the_outage_is_a_gap_of_its_own(wire: Wire) -> None:
    wire.quiet = set(SYMBOLS)
    wire.live(4)
    wire.quiet = set()
    wire.live(25)
    wire.speaker.trade_ids["SOL_USDC"] += 3
    wire.live(5)

    assert (wire.alerts[-1].phase, wire.alerts[-1].kind) == (OPEN, AlertKind.GAP)


def test_change_that_cannot_be_read_explains_the_hole_that_it_leaves(wire: Wire) -> None:
    wire.change = lambda payload: [payload.replace(b'"bids"', b'"buys"')]
    wire.speak("change", "ETH_USDC")
    wire.change = lambda payload: [payload]
    wire.speak("change", "ETH_USDC")
    wire.live(2)

    assert [(a.phase, a.kind) for a in wire.alerts] == [(OPEN, AlertKind.SCHEMA)]


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


def test_book_that_an_outage_broke_has_a_minute_to_come_back(wire: Wire) -> None:
    wire.quiet = set(SYMBOLS)
    wire.live(4)
    give_up(wire, "ETH_USDC")
    wire.quiet = set()
    wire.live(55)
    assert [(a.phase, a.kind) for a in wire.alerts] == [
        (OPEN, AlertKind.SILENCE),
        (RESOLVE, AlertKind.SILENCE),
    ]
    wire.live(20)

    assert (wire.alerts[-1].phase, wire.alerts[-1].kind) == (OPEN, AlertKind.BOOK_DOWN)


def test_incident_that_has_taken_a_book_is_open_until_it_is_back(wire: Wire) -> None:
    wire.change = lambda payload: [payload.replace(b'"bids"', b'"buys"')]
    wire.speak("change", "ETH_USDC")
    wire.change = lambda payload: [payload]
    wire.live(150)
    wire.renew("ETH_USDC")
    wire.live(70)

    assert [(a.phase, a.kind) for a in wire.alerts] == [
        (OPEN, AlertKind.SCHEMA),
        (RESOLVE, AlertKind.SCHEMA),
    ]


def give_up(wire: Wire, symbol: str) -> None:
    """Give a book's channel up, with no answer to come."""
    for text in wire.exchange.unsubscribe(Shard("deribit", "s", (symbol,), 0), 9):
        wire.add(FrameKind.SENT, text.encode())
