"""Silences and outages of one connection: who is silent, and what was lost in it."""

import msgspec
import pytest

from core.frames import CloseReason, FrameKind, TickStatus
from core.protocol import Shard
from core.stability.alerts import AlertKind, Phase
from tests.core.speakers import START_MS
from tests.core.stability.wire import LEARNED_S, MS, NS, SYMBOLS, Wire

OPEN, RESOLVE = Phase.OPEN, Phase.RESOLVE
QUIET = SYMBOLS[1]


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


@pytest.mark.parametrize(("venue", "told_after_s"), [("binance", 301), ("deribit", 31)])
def test_book_that_nothing_is_said_of_is_down_soon_only_where_it_was_promised(
    venue: str, told_after_s: int
) -> None:
    """A quiet symbol of Binance has no first change; elsewhere a subscription has an answer."""
    wire = Unasked(venue)
    wire.quiet = {QUIET}
    alerts = wire.live(told_after_s - 1)
    more = wire.live(2)

    assert alerts == []
    assert more == [(OPEN, AlertKind.BOOK_DOWN, "book", QUIET)]
    assert wire.alerts[-1].value >= wire.alerts[-1].threshold == told_after_s - 1


class Unasked(Wire):
    """One book gets no answer."""

    def renew(self, symbol: str) -> None:
        if symbol != QUIET:
            super().renew(symbol)


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
