"""The guard's own clockwork, with the books of Deribit (ids) and Binance (by request)."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.exchanges import exchanges
from core.guard import Guard, GuardSettings, Need
from core.pacing import NEVER
from core.protocol import Delta, Shard, Snapshot, SnapshotRequested, Unsubscribed

S = 1_000_000_000
SETTINGS = GuardSettings(
    answer_timeout_ns=10 * S,
    backoff_initial_ns=S,
    backoff_cap_ns=8 * S,
    backoff_reset_ns=60 * S,
    snapshot_interval_ns=1_000_000 * S,
    at_once=2,
)


def guard(name: str = "deribit", symbols: tuple[str, ...] = ("A", "B"), **more: int) -> Guard:
    """Return a guard that has just subscribed, with jitter at its longest."""
    exchange = exchanges()[name]
    changed = {field: getattr(SETTINGS, field) for field in SETTINGS.__struct_fields__} | more
    made = Guard(exchange, Shard(name, "s", symbols, 25), GuardSettings(**changed), lambda: 1.0)
    made.subscribed(0)
    return made


def snapshot(symbol: str, last: int, *, requested: bool = False) -> Snapshot:
    return Snapshot(symbol, last, [("1", "1")], [("2", "1")], 0, requested=requested)


def delta(symbol: str, prev: int, last: int) -> Delta:
    return Delta(symbol, prev + 1, prev, last, [("1", "2")], [], 0)


def live(name: str = "deribit", **more: int) -> Guard:
    """Return a guard whose books A and B are live at id 10."""
    made = guard(name, ("A", "B"), **more)
    for symbol in ("A", "B"):
        made.message(snapshot(symbol, 10), 0)
    assert made.live == 2
    return made


def asked(made: Guard, now: int) -> list[str]:
    """Let everything that is due be asked for; return the symbols."""
    needs = list(made.advance(now))
    for need in needs:
        made.asked(need.symbol, now)
    return [need.symbol for need in needs]


def test_guard_gap_is_due_at_once_and_names_what_it_saw() -> None:
    made = live()

    assert made.message(delta("A", 12, 13), S)
    (need,) = made.advance(S)
    assert (need.symbol, need.renews) == ("A", False)
    assert need.fault is not None
    assert (need.fault.reason, need.fault.expected) == ("sequence_gap", "change from 10")
    assert made.live == 1


def test_guard_healed_book_is_calm_again() -> None:
    made = live()
    made.message(delta("A", 12, 13), S)
    asked(made, S)
    made.sent(Unsubscribed("A"))
    made.message(snapshot("A", 20), 2 * S)

    assert made.live == 2
    assert made.next_deadline() > 1000 * S


def test_guard_unanswered_question_is_repeated_after_growing_waits() -> None:
    made = live()
    made.message(delta("A", 12, 13), 0)
    times = []
    now = 0
    for _ in range(6):
        assert asked(made, now) == ["A"]
        times.append(now)
        made.next_deadline()
        now = made.next_deadline()
        assert asked(made, now) == []
        now = made.next_deadline()

    waits = [(late - early) // S for early, late in pairwise(times)]
    assert waits == [11, 12, 14, 18, 18]


def test_guard_backoff_begins_anew_after_a_clean_while() -> None:
    made = live()
    for _ in range(3):
        made.message(delta("A", 90, 91), 0)
        while not asked(made, now := made.next_deadline()):
            pass
        made.message(snapshot("A", 10), now)
    later = now + 60 * S
    made.message(delta("A", 90, 91), later)

    assert made.next_deadline() == later


def test_guard_only_so_many_books_are_asked_for_at_once() -> None:
    symbols = tuple("ABCDE")
    made = guard(symbols=symbols)
    for symbol in symbols:
        made.message(snapshot(symbol, 10), 0)
    for symbol in symbols:
        made.message(delta(symbol, 12, 13), 0)
    assert asked(made, 0) == ["A", "B"]
    assert made.next_deadline() == 10 * S
    made.message(snapshot("A", 20), S)

    assert asked(made, S) == ["C"]


def test_guard_failed_question_is_not_asked_before_the_venue_wants_it() -> None:
    made = live("binance")
    made.message(delta("A", 12, 13), 0)
    asked(made, 0)
    made.failed("A", "HTTP 429", 0, not_before=30 * S)

    assert made.next_deadline() == 30 * S
    (need,) = made.advance(30 * S)
    assert need.fault is not None
    assert (need.fault.reason, need.fault.found) == ("request_failed", "HTTP 429")


def test_guard_first_change_of_a_requested_book_is_no_fault() -> None:
    made = guard("binance")
    assert made.next_deadline() > 1000 * S
    made.message(delta("A", 12, 13), S)

    assert list(made.advance(S)) == [Need("A", False, None)]


def test_guard_requested_snapshot_joins_what_was_buffered() -> None:
    made = guard("binance")
    for prev in (12, 13, 14):
        made.message(delta("A", prev, prev + 1), S)
    asked(made, S)
    made.sent(SnapshotRequested("A"))
    made.message(snapshot("A", 13, requested=True), 2 * S)
    made.message(delta("A", 15, 16), 2 * S)

    assert made.live == 1


def test_guard_renewals_are_spread_evenly_over_the_interval() -> None:
    symbols = tuple("ABCD")
    made = guard("binance", symbols, snapshot_interval_ns=40 * S)
    for symbol in symbols:
        made.message(snapshot(symbol, 10), 0)
    renewed = []
    now = 0
    while (now := made.next_deadline()) <= 80 * S:
        renewed += [(now // S, need.symbol, need.renews) for need in made.advance(now)]
        made.asked(renewed[-1][1], now)

    assert renewed == [
        (at, symbol, True) for at, symbol in zip(range(10, 90, 10), symbols * 2, strict=True)
    ]


def test_guard_renewal_that_waits_is_not_asked_for_twice() -> None:
    made = live("binance", snapshot_interval_ns=40 * S)
    assert [need.symbol for need in made.advance(20 * S)] == ["A"]
    assert [need.symbol for need in made.advance(40 * S)] == ["B"]

    assert list(made.advance(60 * S)) == []
    made.asked("A", 61 * S)
    assert [need.symbol for need in made.advance(100 * S)] == ["A"]


def test_guard_sick_book_is_not_renewed() -> None:
    made = live("binance", snapshot_interval_ns=40 * S)
    made.message(delta("A", 12, 13), 0)
    asked(made, 0)

    assert [need for need in made.advance(20 * S) if need.renews] == []


def test_guard_answers_are_late_by_our_own_doing_after_a_pause() -> None:
    made = live()
    made.message(delta("A", 12, 13), 0)
    asked(made, 0)
    made.resumed(50 * S)

    assert made.next_deadline() == 60 * S


def test_guard_unknown_symbol_is_left_alone() -> None:
    made = live()

    assert not made.message(delta("X", 1, 2), S)
    made.sent(Unsubscribed("X"))
    made.depth("X", 10)


def test_guard_ids_are_followed_without_levels() -> None:
    made = live()
    change = delta("A", 10, 11)
    made.message(change, S)

    assert change.bids == []
    assert change.asks == []


def test_guard_number_that_cannot_be_read_is_a_fault_where_content_counts() -> None:
    made = guard("kraken")
    made.message(Snapshot("A", 0, [("1", "1")], [], 0), 0)
    made.message(Delta("A", 0, 0, 0, [("1e999", "1")], [], 0), S)

    (need,) = made.advance(S)
    assert need.fault is not None
    assert need.fault.reason == "decode_error"


def test_guard_renewal_that_gives_the_book_up_must_be_answered() -> None:
    made = live(snapshot_interval_ns=40 * S)
    assert [need.symbol for need in made.advance(20 * S)] == ["A"]
    made.sent(Unsubscribed("A"))
    made.asked("A", 20 * S)
    assert made.next_deadline() == 30 * S

    (need,) = made.advance(30 * S)
    assert need.fault is not None
    assert (need.symbol, need.fault.reason) == ("A", "no_snapshot")


@pytest.mark.parametrize("name", ["deribit", "binance", "kraken"])
@settings(max_examples=40)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["gap", "snapshot", "advance", "ask", "fail"]),
            st.integers(0, 3),
            st.integers(0, 15 * S),
        ),
        max_size=80,
    )
)
def test_guard_never_asks_for_more_than_allowed_nor_spins(
    name: str, steps: list[tuple[str, int, int]]
) -> None:
    """At most `at_once` questions are open, and what is due is done by one `advance`."""
    symbols = tuple("ABCD")
    made = guard(name, symbols, snapshot_interval_ns=40 * S)
    open_questions: set[str] = set()
    last = dict.fromkeys(symbols, 10)
    now = 0
    for step, place, wait in steps:
        symbol = symbols[place]
        now += wait
        if step == "gap":
            last[symbol] += 5
            made.message(delta(symbol, last[symbol] - 1, last[symbol]), now)
        elif step == "snapshot":
            made.message(snapshot(symbol, last[symbol]), now)
            open_questions.discard(symbol)
        elif step == "fail":
            made.failed(symbol, "no", now)
            open_questions.discard(symbol)
        else:
            for need in made.advance(now):
                if not need.renews:
                    open_questions.add(need.symbol)
                if step == "ask":
                    made.asked(need.symbol, now)
            assert made.next_deadline() > now or made.next_deadline() == NEVER
        assert made._busy <= 4


@pytest.mark.parametrize("name", ["deribit", "binance"])
def test_guard_asks_for_every_book_anew_when_the_log_has_lost_frames(name: str) -> None:
    made = guard(name)
    for symbol in ("A", "B"):
        made.message(snapshot(symbol, 10), 0)
    assert made.live == 2
    made.distrust(S)

    needs = list(made.advance(S))

    assert [(need.symbol, need.renews) for need in needs] == [("A", False), ("B", False)]
    assert {need.fault.reason for need in needs if need.fault} == {"frames_dropped"}
    assert made.live == 0


def test_guard_that_has_no_book_yet_asks_for_none_when_frames_are_lost() -> None:
    made = guard()
    made.distrust(S)

    assert list(made.advance(S)) == []
