"""Which symbol a message concerns, what is known of it, and how faults are told."""

from typing import Any

import msgspec
import pytest

from core.events import BookState, Events, Fault, FaultKind, Quality, Side
from core.exchanges import exchanges
from core.facts import SPELLED_MAX, Facts
from core.frames import Address, Frame, FrameKind
from core.instruments import SYMBOLS_MAX, Instruments
from core.protocol import (
    Answer,
    Delta,
    Message,
    Notice,
    Shard,
    Snapshot,
    SnapshotRequested,
    Subscribed,
    TradePrint,
    Unsubscribed,
)

NS = 1_000_000_000
RECV = 100 * NS


class Desk:
    """Instruments of one venue, and the facts that they give."""

    def __init__(self, name: str = "deribit", symbols: tuple[str, ...] = ("A", "B")) -> None:
        self.facts = Facts()
        self.instruments = Instruments(exchanges()[name], self.facts, levels=5, lenient=False)
        self.number = 0
        if symbols:
            self.instruments.plan(Shard(name, "s", symbols, 10))

    def take(self, *messages: Message, recv: int = RECV) -> Events:
        self.number += 1
        frame = Frame(FrameKind.RECEIVED, recv, self.number, "", b"payload")
        self.facts.number, self.facts.frame, self.facts.index = self.number, frame, 0
        self.instruments.take(messages, frame)
        return self.facts.take(Address("x", "s", "A", 1), self.number)

    def sample(self) -> list[Any]:
        frame = Frame(FrameKind.TICK, RECV + 5, self.number, "", b"")
        self.instruments.sample(frame)
        return list(self.facts.take(Address("x", "s", "A", 1), self.number).books)


def snapshot(symbol: str, last: int = 10, size: str = "2") -> Snapshot:
    return Snapshot(symbol, last, [("1.5", size)], [("2.5", "3")], RECV - 1)


def trade(sequence: int | None, ts_event: int = RECV - 1, symbol: str = "A") -> TradePrint:
    return TradePrint(symbol, str(sequence), sequence, "1.5", "2", Side.SELL, ts_event)


def kinds(events: Events) -> list[FaultKind]:
    return [fault.kind for fault in events.faults]


# -- whom a message concerns --


def test_symbol_that_was_not_planned_is_a_fault_and_is_not_followed() -> None:
    desk = Desk()
    for message in (snapshot("X"), trade(1, symbol="X"), Delta("X", 1, 0, 1, [], [], 0)):
        assert kinds(desk.take(message)) == [FaultKind.UNKNOWN_SYMBOL]
    for silent in (Unsubscribed("X"), SnapshotRequested("X"), Subscribed(1, depths=(("X", 5),))):
        assert kinds(desk.take(silent)) == [FaultKind.UNKNOWN_SYMBOL]

    assert set(desk.instruments.by_symbol) == {"A", "B"}


def test_symbol_without_a_plan_is_followed_up_to_a_limit() -> None:
    desk = Desk(symbols=())
    for number in range(SYMBOLS_MAX + 5):
        desk.take(trade(1, symbol=f"S{number}"))

    assert len(desk.instruments.by_symbol) == SYMBOLS_MAX
    assert kinds(desk.take(trade(1, symbol="more"))) == [FaultKind.UNKNOWN_SYMBOL]
    assert kinds(desk.take(trade(2, symbol="S0"))) == []


def test_answer_that_names_no_symbol_is_that_of_the_only_one() -> None:
    """Old recordings of one symbol ask for its book in prose."""
    alone, both = Desk("binance", ("A",)), Desk("binance")
    nameless = Snapshot("", 10, [("1", "1")], [("2", "1")], 0, requested=True)

    assert kinds(alone.take(nameless)) == []
    assert alone.instruments.by_symbol["A"].book.state is BookState.LIVE
    assert kinds(both.take(nameless)) == [FaultKind.UNKNOWN_SYMBOL]


def test_plan_that_is_repeated_changes_nothing_and_a_new_one_keeps_what_is_known() -> None:
    desk = Desk()
    desk.take(snapshot("A"), snapshot("B"))
    held = desk.instruments.by_symbol["A"]
    desk.instruments.plan(Shard("deribit", "s", ("A", "B"), 10))
    assert desk.instruments.by_symbol["A"] is held

    desk.instruments.plan(Shard("deribit", "s", ("C", "A"), 10))
    assert list(desk.instruments.by_symbol) == ["C", "A"]
    assert desk.instruments.by_symbol["A"] is held
    assert kinds(desk.take(snapshot("B"))) == [FaultKind.UNKNOWN_SYMBOL]


def test_new_epoch_knows_no_book_but_remembers_trades() -> None:
    desk = Desk()
    desk.take(snapshot("A"), trade(5))
    desk.instruments.begin_epoch()
    desk.instruments.plan(Shard("deribit", "s", ("A", "B"), 10))

    assert desk.instruments.by_symbol["A"].book.state is BookState.EMPTY
    (fault,) = desk.take(trade(8)).faults
    assert (fault.kind, fault.count, fault.unit) == (FaultKind.TRADE_GAP, 2, "trades")


def test_disconnect_and_distrust_concern_every_symbol() -> None:
    desk = Desk()
    desk.take(snapshot("A"), snapshot("B"))
    desk.instruments.distrust()
    assert {each.book.state for each in desk.instruments.by_symbol.values()} == {BookState.STALE}
    desk.instruments.disconnect()
    assert {each.book.state for each in desk.instruments.by_symbol.values()} == {BookState.EMPTY}


@pytest.mark.parametrize(
    ("message", "kind", "expected", "found"),
    [
        (Answer(1, "no"), FaultKind.EXCHANGE_ERROR, "success", "no"),
        (Notice("busy"), FaultKind.EXCHANGE_ERROR, "none", "busy"),
        (Notice("end", ends_connection=True), FaultKind.MAINTENANCE, "none", "end"),
        (Subscribed(1, refused=(("c", "r"),)), FaultKind.SUBSCRIPTION_REJECTED, "c", "r"),
    ],
)
def test_word_of_the_venue_becomes_a_fault_of_the_connection(
    message: Message, kind: FaultKind, expected: str, found: str
) -> None:
    (fault,) = Desk().take(message).faults

    assert (fault.kind, fault.expected, fault.found) == (kind, expected, found)
    assert (fault.symbol, fault.channel, fault.count) == ("", "connection", None)
    assert Desk().take(Answer(1)).faults == []


# -- trades --


def test_trades_carry_what_is_known_against_them() -> None:
    desk = Desk()
    found = []
    ahead = RECV + 1
    told = ((1, 5), (2, ahead), (5, ahead), (4, RECV), (4, RECV), (1, 5), (7, ahead))
    for sequence, ts_event in told:
        found += desk.take(trade(sequence, ts_event)).trades

    gap, late, skewed = Quality.AFTER_GAP, Quality.OUT_OF_ORDER, Quality.CLOCK_SKEWED
    assert [(each.sequence, each.quality) for each in found] == [
        *((1, 0), (2, skewed), (5, gap | skewed), (4, late), (7, gap | skewed))
    ]
    stream = desk.instruments.by_symbol["A"].trade_stream
    assert (stream.gaps, stream.missing) == (2, 3)
    assert (stream.out_of_order, stream.duplicates) == (1, 2)


def test_trades_that_are_numbered_anew_are_a_gap_of_unknown_size() -> None:
    desk = Desk()
    desk.take(trade(1000, 5))
    events = desk.take(trade(3, 6))

    (fault,) = events.faults
    assert (fault.kind, fault.count, fault.unit) == (FaultKind.TRADE_GAP, None, "")
    assert fault.found == "ids that start again at 3"
    assert events.trades[0].quality == Quality.AFTER_GAP


def test_trades_without_ids_are_all_kept() -> None:
    desk = Desk("kraken_v1")
    found = [each for _ in range(3) for each in desk.take(trade(None)).trades]

    assert [each.quality for each in found] == [0, 0, 0]


# -- books that are published --


def test_book_is_published_only_while_it_is_live_and_with_what_is_known_against_it() -> None:
    desk = Desk()
    assert desk.sample() == []
    desk.take(snapshot("A"))
    (book,) = desk.sample()
    assert (book.symbol, book.sequence, book.quality) == ("A", 10, Quality.UNVERIFIED)
    assert (book.ts_event, book.ts_recv, book.ts_sample) == (RECV - 1, RECV, RECV + 5)

    desk.take(Delta("A", 11, 10, 11, [("1.25", "1")], [], RECV + 9))
    (book,) = desk.sample()
    assert book.quality == Quality.UNVERIFIED | Quality.CLOCK_SKEWED
    desk.take(Delta("A", 14, 13, 14, [], [], 0))
    assert desk.sample() == []


def test_book_of_an_audited_snapshot_is_verified() -> None:
    desk = Desk()
    desk.take(snapshot("A"))
    desk.take(Unsubscribed("A"))
    assert desk.sample() == []
    desk.take(snapshot("A"))

    (book,) = desk.sample()
    assert book.quality == 0


def test_book_without_a_time_says_so() -> None:
    desk = Desk("binance", ("A",))
    desk.take(Snapshot("A", 10, [("1", "1")], [], 0, limit=1, requested=True))

    (book,) = desk.sample()
    assert book.ts_event is None
    assert book.quality == Quality.UNVERIFIED | Quality.SHALLOW


def test_book_that_fits_no_column_is_a_fault_of_its_symbol_alone() -> None:
    desk = Desk()
    desk.take(snapshot("A", size="12345678901234567890"), snapshot("B"))
    desk.number += 1
    desk.instruments.sample(Frame(FrameKind.TICK, RECV, 1, "", b""))
    events = desk.facts.take(Address("x", "s", "A", 1), 1)

    (fault,) = events.faults
    assert (fault.kind, fault.symbol, fault.channel) == (FaultKind.UNREPRESENTABLE, "A", "book")
    assert [book.symbol for book in events.books] == ["B"]


# -- faults that anybody can raise --


def test_faults_of_frames_are_spelled_out_up_to_a_limit_and_then_counted() -> None:
    facts = Facts()
    for number in range(SPELLED_MAX + 30):
        kind = FaultKind.UNKNOWN_SYMBOL if number % 3 else FaultKind.EXCHANGE_ERROR
        facts.fault(kind, expected="e", found="f")
    facts.fault(FaultKind.SEQUENCE_GAP, expected="always", found="spelled")
    facts.close_window()
    found = facts.take(Address("x", "s", "A", 1), 0).faults

    assert len(found) == SPELLED_MAX + 1 + 2
    assert {(fault.kind, fault.count) for fault in found[-2:]} == {
        (FaultKind.UNKNOWN_SYMBOL, 20),
        (FaultKind.EXCHANGE_ERROR, 10),
    }
    facts.fault(FaultKind.EXCHANGE_ERROR, expected="e", found="f")
    assert len(facts.take(Address("x", "s", "A", 1), 0).faults) == 1


def test_faults_hold_texts_of_a_bounded_length() -> None:
    facts = Facts()
    facts.frame = Frame(FrameKind.RECEIVED, 1, 1, "", b"\xff" * 5000)
    facts.fault(FaultKind.SEQUENCE_GAP, expected="e" * 900, found="f" * 900, symbol="s" * 900)
    facts.undecoded("r" * 900, "expected " * 90, "s" * 900)
    faults: list[Fault] = facts.take(Address("x", "s", "A", 1), 0).faults

    for fault in faults:
        assert len(fault.expected) <= 200
        assert len(fault.found) <= 202
        assert len(fault.symbol) == 64
    assert msgspec.structs.astuple(faults[0])[:2] == (0, 0)
    assert [fault.index for fault in faults] == [0, 1]
    assert facts.decode_errors == facts.window_decode_errors == 1


# -- the depth that the venue keeps, and states in the statistics --


def deep(symbol: str = "A") -> Snapshot:
    levels = [(f"{50 - n}.5", "1") for n in range(40)]
    return Snapshot(symbol, 0, levels, [("99.5", "1")], 0)


def depth_of(desk: Desk) -> int:
    return len(desk.instruments.by_symbol["A"].book.book.bids)


def test_depth_is_that_of_the_plan_until_the_venue_says_another() -> None:
    desk = Desk("kraken", ("A",))
    desk.take(deep())
    assert depth_of(desk) == 10

    desk.take(Subscribed(1, ("book:A",), depths=(("A", 25),)), deep())
    assert depth_of(desk) == 25
    desk.instruments.plan(Shard("kraken", "s", ("A",), 10))
    desk.take(deep())
    assert depth_of(desk) == 25


def test_depth_is_known_to_a_reader_who_starts_in_the_middle_once_the_plan_is_repeated() -> None:
    desk = Desk("kraken", ())
    desk.take(deep())
    assert depth_of(desk) == 40
    desk.instruments.plan(Shard("kraken", "s", ("A",), 25))
    desk.take(deep())

    assert depth_of(desk) == 25


def test_depth_of_a_venue_that_sends_removals_is_its_own() -> None:
    desk = Desk("deribit", ("A",))
    desk.take(Subscribed(1, depths=(("A", 25),)), deep())

    assert depth_of(desk) == 40


def test_trades_of_a_symbol_that_was_given_up_are_not_followed_on() -> None:
    desk = Desk()
    desk.take(trade(5))
    for symbols in (("B",), ("A", "B")):
        desk.instruments.plan(Shard("deribit", "s", symbols, 10))

    assert desk.take(trade(50)).faults == []


def test_states_are_noted_when_they_change() -> None:
    desk = Desk(symbols=("A",))
    desk.take(snapshot("A"))
    desk.number += 9
    desk.take(Unsubscribed("A"))
    desk.number += 19
    desk.take(snapshot("A"))
    desk.number += 29
    desk.take(Subscribed(1))
    desk.instruments.distrust()
    second = desk.instruments.by_symbol["A"].book_stream.close(
        number=0, index=0, ts=0, ts_mono=desk.number + 40, window_ns=1, counters=None
    )

    assert (second.syncing_ns, second.live_ns, second.stale_ns) == (20, 10 + 30, 40)
