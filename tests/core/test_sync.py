"""One book and its venue, case by case; what holds in every order of events is in the machine."""

import pytest

from core.book import Level
from core.events import BookState, FaultKind
from core.exchanges import exchanges
from core.protocol import Delta, Snapshot
from core.retained import RETAINED_LEVELS_MAX
from core.sync import LEVELS_MAX, BookSync, SyncFault

LIVE, STALE, SYNCING = BookState.LIVE, BookState.STALE, BookState.SYNCING
BIDS: list[Level] = [("9.5", "1"), ("9.0", "2")]
ASKS: list[Level] = [("10.5", "3"), ("11.0", "4")]


def book(name: str) -> BookSync:
    return BookSync(exchanges()[name].capabilities, 10)


def shown(last: int, bids: list[Level] | None = None, *, requested: bool = False) -> Snapshot:
    return Snapshot("S", last, BIDS if bids is None else bids, ASKS, 7, requested=requested)


def moved(prev: int, last: int, bids: list[Level] | None = None) -> Delta:
    return Delta("S", prev + 1, prev, last, bids or [], [], 8)


def live(name: str = "deribit") -> BookSync:
    made = book(name)
    made.requested()
    assert made.snapshot(shown(10, requested=name.startswith("binance")), 1) is None
    assert made.state is LIVE
    return made


def kind_of(fault: SyncFault | None) -> FaultKind | None:
    return None if fault is None else fault.kind


# -- a book that is renewed by a new subscription (Deribit, Kraken futures) --

HELD = pytest.mark.parametrize("name", ["deribit", "kraken_futures"])


@HELD
def test_sync_new_subscription_at_the_id_that_is_held_is_an_audit(name: str) -> None:
    made = live(name)
    made.delta(moved(10, 11, [("9.5", "8")]), 2)
    made.unsubscribed()
    assert made.state is SYNCING

    fault = made.snapshot(shown(11, [("9.5", "8.00"), ("9.0", "2")]), 3)

    assert fault is None
    assert (made.state, made.verified) == (LIVE, True)
    assert (made.counters.audits_ok, made.counters.audits_bad) == (1, 0)


@HELD
def test_sync_new_subscription_that_shows_another_book_is_an_audit_mismatch(name: str) -> None:
    """What is shown is right: the book is taken, and the fault says what was held."""
    made = live(name)
    made.unsubscribed()

    fault = made.snapshot(shown(10, [("9.5", "1"), ("9.0", "3")]), 3)

    assert fault is not None
    assert fault.kind is FaultKind.AUDIT_MISMATCH
    assert (fault.expected, fault.found) == (
        "as in the snapshot, bid 1: 3 at 9",
        "held bid 1: 2 at 9",
    )
    assert (made.state, made.verified) == (LIVE, False)
    assert (made.counters.audits_ok, made.counters.audits_bad) == (0, 1)
    assert made.book.ladder(made.book.bids) == [("9.5", "1"), ("9", "3")]


@HELD
def test_sync_new_subscription_at_another_id_is_a_keyframe_and_no_audit(name: str) -> None:
    made = live(name)
    made.unsubscribed()

    assert made.snapshot(shown(12, [("9.5", "5")]), 3) is None
    assert (made.state, made.verified, made.sequence) == (LIVE, False, 12)
    assert made.counters.audits_ok == made.counters.audits_bad == made.counters.gaps == 0


@HELD
def test_sync_changes_after_giving_the_channel_up_are_followed_for_the_audit(name: str) -> None:
    made = live(name)
    made.unsubscribed()
    made.delta(moved(10, 11, [("9.5", "8")]), 2)
    made.delta(moved(10, 11, [("9.5", "8")]), 2)
    assert made.state is SYNCING

    assert made.snapshot(shown(11, [("9.5", "8"), ("9.0", "2")]), 3) is None
    assert made.counters.audits_ok == 1


@HELD
@pytest.mark.parametrize("trouble", ["gap", "unreadable", "crossed", "distrust", "stale", "empty"])
def test_sync_book_that_missed_something_is_not_audited(name: str, trouble: str) -> None:
    """A difference would be no news, and agreement no proof."""
    made = live(name)
    if trouble == "stale":
        made.distrust()
    if trouble == "empty":
        made.disconnect()
    made.unsubscribed()
    if trouble == "gap":
        made.delta(moved(11, 12), 2)
    if trouble == "unreadable":
        made.delta(moved(10, 12, [("x", "1")]), 2)
    if trouble == "crossed":
        made.delta(moved(10, 12, [("99", "1")]), 2)
    if trouble == "distrust":
        made.distrust()

    assert made.snapshot(shown(made.sequence or 10), 3) is None
    assert made.state is LIVE
    assert made.counters.audits_ok == made.counters.audits_bad == 0


@HELD
def test_sync_book_after_an_audit_holds_nothing_of_the_one_before(name: str) -> None:
    """The snapshot is a keyframe: a reader who starts there holds the same book."""
    old, fresh = live(name), book(name)
    old.delta(moved(10, 11, [("8.123", "8")]), 2)
    old.unsubscribed()
    fresh.unsubscribed()
    snapshot = shown(11, [("9.5", "1")])
    old.snapshot(snapshot, 3)
    fresh.snapshot(snapshot, 3)

    for delta in (moved(11, 12, [("9.5", "0")]), moved(12, 13, [("9.25", "1")])):
        assert kind_of(old.delta(delta, 4)) is kind_of(fresh.delta(delta, 4))
        assert old.book.crc32() == fresh.book.crc32()
        assert (old.sequence, old.state) == (fresh.sequence, fresh.state)


def test_sync_checksum_venue_renewed_is_no_audit() -> None:
    """Nothing tells that two states are the same one."""
    made = live("kraken")
    made.unsubscribed()

    assert made.snapshot(shown(0, [("9.5", "2")]), 3) is None
    assert made.state is LIVE
    assert made.counters.audits_ok == made.counters.audits_bad == 0


# -- snapshots that were asked for (Binance) --


def test_sync_requested_snapshot_at_the_held_id_is_an_audit() -> None:
    made = live("binance")
    made.delta(moved(10, 11, [("9.5", "8")]), 2)
    made.requested()

    assert made.snapshot(shown(11, [("9.5", "8"), ("9.0", "2")], requested=True), 3) is None
    assert made.counters.audits_ok == 1


def test_sync_requested_snapshot_behind_the_stream_is_carried_forward_and_audits() -> None:
    made = live("binance")
    made.requested()
    made.delta(moved(10, 11, [("9.5", "8")]), 2)
    made.delta(moved(11, 12, [("9.0", "0")]), 2)

    assert made.snapshot(shown(10, requested=True), 3) is None
    assert (made.sequence, made.counters.audits_ok) == (12, 1)
    assert made.book.ladder(made.book.bids) == [("9.5", "8")]


def test_sync_requested_snapshot_ahead_of_the_stream_waits_for_it() -> None:
    made = live("binance")
    made.requested()

    assert made.snapshot(shown(12, [("9.5", "8")], requested=True), 3) is None
    assert (made.sequence, made.counters.snapshots) == (10, 1)
    made.delta(moved(10, 11, [("9.5", "8")]), 4)
    assert made.counters.audits_ok == 0
    made.delta(moved(11, 12, [("9.0", "0")]), 5)
    assert (made.sequence, made.counters.audits_ok, made.counters.snapshots) == (12, 1, 2)


def test_sync_requested_snapshot_older_than_what_was_kept_is_too_old() -> None:
    made = book("binance")
    made.delta(moved(14, 15), 1)
    assert made.state is SYNCING

    fault = made.snapshot(shown(10, requested=True), 2)

    assert kind_of(fault) is FaultKind.SNAPSHOT_TOO_OLD
    assert made.state is SYNCING
    assert made.snapshot(shown(14, requested=True), 3) is None
    assert (made.state, made.sequence) == (LIVE, 15)


def test_sync_first_change_that_starts_after_the_snapshot_is_a_fault() -> None:
    made = live("binance")

    assert kind_of(made.delta(moved(12, 13), 2)) is FaultKind.SNAPSHOT_TOO_OLD
    assert made.state is STALE


def test_sync_answer_to_a_book_that_is_given_up_is_not_taken() -> None:
    made = live("deribit")
    made.unsubscribed()

    made.snapshot(shown(10, requested=True), 2)
    assert made.state is SYNCING


def test_sync_gap_is_counted_once_and_with_its_size() -> None:
    made = live("binance")
    made.delta(moved(10, 11), 2)

    fault = made.delta(moved(15, 16), 3)
    assert fault is not None
    assert (fault.kind, fault.count) == (FaultKind.SEQUENCE_GAP, 4)
    assert made.delta(moved(20, 21), 3) is None
    assert made.delta(moved(12, 13), 3) is None
    assert (made.counters.gaps, made.counters.missing) == (1, 4)
    assert (made.counters.out_of_order, made.state) == (1, STALE)


def test_sync_too_many_changes_before_a_snapshot_are_one_fault_and_bounded() -> None:
    made = book("binance")
    levels: list[Level] = [(f"0.{n:04}", "1") for n in range(1, 1000)]
    faults = [made.delta(moved(n, n + 1, levels), n) for n in range(60)]

    assert [kind_of(fault) for fault in faults if fault] == [FaultKind.BUFFER_OVERFLOW]
    assert len(made._retained) * 1000 <= RETAINED_LEVELS_MAX
    assert kind_of(made.snapshot(shown(10, requested=True), 70)) is FaultKind.SNAPSHOT_TOO_OLD
    assert made.snapshot(shown(55, requested=True), 71) is None
    assert (made.state, made.sequence) == (LIVE, 60)


def test_sync_answer_that_never_comes_costs_a_live_book_nothing() -> None:
    made = live("binance")
    made.requested()
    levels: list[Level] = [(f"{n}.5", "1") for n in range(1, 9)]
    for n in range(10, 3000):
        assert made.delta(moved(n, n + 1, levels), n) is None

    assert made.state is LIVE
    assert len(made._retained) == 0


@pytest.mark.parametrize("name", ["deribit", "binance", "kraken"])
def test_sync_unreadable_number_in_a_live_book_gives_it_up(name: str) -> None:
    made = live(name)
    if name == "binance":
        made.delta(moved(10, 11), 2)
    fault = made.delta(moved(made.sequence or 0, 12, [("9.5", "2"), ("bad", "1")]), 3)

    assert kind_of(fault) is FaultKind.DECODE_ERROR
    assert made.state is STALE


def test_sync_crossed_book_is_given_up_unless_lenient() -> None:
    strict = live()
    lenient = BookSync(exchanges()["deribit"].capabilities, 10, lenient=True)
    lenient.snapshot(shown(10), 1)
    for made in (strict, lenient):
        assert kind_of(made.delta(moved(10, 11, [("10.5", "1")]), 2)) is FaultKind.CROSSED_BOOK
        assert made.counters.crossed == 1

    assert (strict.state, lenient.state) == (STALE, LIVE)


def test_sync_crossed_snapshot_is_not_taken_for_live() -> None:
    made = book("deribit")

    assert kind_of(made.snapshot(shown(10, [("12", "1")]), 1)) is FaultKind.CROSSED_BOOK
    assert made.state is STALE
    assert made.counters.resyncs == 0


def test_sync_truncating_venue_keeps_the_subscribed_depth() -> None:
    made = BookSync(exchanges()["kraken"].capabilities, 25)
    made.subscribed(2)
    made.snapshot(shown(0), 1)
    made.delta(Delta("S", 0, 0, 0, [("9.7", "1")], [], 2), 2)

    assert made.book.ladder(made.book.bids) == [("9.7", "1"), ("9.5", "1")]
    assert made.sequence is None


def test_sync_snapshot_without_a_check_is_not_verified() -> None:
    made = live("deribit")
    made.unsubscribed()
    made.snapshot(shown(10), 2)
    assert made.verified

    made.snapshot(shown(20), 3)
    assert not made.verified


def test_sync_book_that_was_renewed_and_then_lost_is_not_audited() -> None:
    made = live("deribit")
    made.unsubscribed()
    made.snapshot(shown(10), 2)
    made.delta(moved(12, 13), 3)
    assert made.state is STALE

    made.snapshot(shown(10), 4)
    assert made.counters.audits_ok == 1


def test_sync_live_book_is_not_set_back_by_an_answer_that_cannot_be_carried_forward() -> None:
    made = live("binance")
    made.requested()
    levels: list[Level] = [("9.0", "1")] * (RETAINED_LEVELS_MAX // 2)
    for n in range(10, 14):
        made.delta(moved(n, n + 1, levels), n)

    assert made.snapshot(shown(10, requested=True), 20) is None
    assert (made.state, made.sequence) == (LIVE, 14)


def test_sync_audited_book_must_be_followed_from_its_very_id() -> None:
    made = live("binance")
    made.delta(moved(10, 11), 2)
    made.requested()
    made.snapshot(shown(11, requested=True), 3)

    assert kind_of(made.delta(moved(9, 13), 4)) is FaultKind.SEQUENCE_GAP


def test_sync_change_that_showed_the_gap_is_joined_with_the_answer() -> None:
    made = live("binance")
    made.delta(moved(10, 11), 2)
    made.delta(moved(12, 13, [("9.0", "7")]), 3)
    assert made.state is STALE

    assert made.snapshot(shown(12, requested=True), 4) is None
    assert (made.state, made.sequence) == (LIVE, 13)
    assert made.book.ladder(made.book.bids) == [("9.5", "1"), ("9", "7")]


@pytest.mark.parametrize(("requested", "state"), [(False, STALE), (True, LIVE)])
def test_sync_snapshot_that_cannot_be_read_stands_for_what_came_in_its_place(
    requested: bool, state: BookState
) -> None:
    """The stream's own was the next state of the book; an answer was only to be compared."""
    made = live("binance" if requested else "deribit")
    made.requested()

    fault = made.snapshot(shown(10, [("x", "1")], requested=requested), 2)
    assert kind_of(fault) is FaultKind.DECODE_ERROR
    assert made.state is state


def test_sync_book_of_too_many_levels_is_cut_and_not_proven_below() -> None:
    made = book("deribit")
    many: list[Level] = [(f"0.{n:06}", "1") for n in range(1, LEVELS_MAX + 3)]
    made.snapshot(shown(10, many), 1)

    bids = made.book.bids
    assert (made.state, len(bids), bids.floor) == (LIVE, LEVELS_MAX, 3)
    made.delta(moved(10, 11, [("0.000001", "1"), ("1", "1")]), 2)
    assert (len(bids), bids.floor) == (LEVELS_MAX, 4)


def test_sync_answer_older_than_what_a_live_book_kept_is_no_audit() -> None:
    made = live("binance")
    made.delta(moved(10, 12), 2)
    made.requested()
    made.delta(moved(12, 13), 3)

    assert made.snapshot(shown(9, requested=True), 4) is None
    assert (made.state, made.sequence, made.counters.snapshots) == (LIVE, 13, 1)


@pytest.mark.parametrize("price", ["9.5", "x", "NaN", "-1", "1e999"])
def test_sync_repeat_with_other_content_does_not_reach_the_audit(price: str) -> None:
    """A damaged repeat of a change that was applied is told by its id, also when it is kept."""
    made = live("binance")
    assert made.delta(moved(10, 11, [("9.5", "8")]), 2) is None
    made.requested()
    assert made.delta(moved(10, 11, [(price, "777")]), 3) is None

    fault = made.snapshot(shown(10, requested=True), 4)

    assert fault is None
    assert made.state is LIVE
    assert made.book.best_bid() == ("9.5", "8")
    assert made.counters.duplicates == 1
