from collections.abc import Callable
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.actions import Close
from core.connection import SessionSettings
from core.events import BookState, FaultKind
from core.frames import FrameKind
from core.guard import GuardSettings
from core.protocol import Shard
from tests.core.driver import START, Driver, S, opened
from tests.core.toy_venues import VENUES

SYMBOLS = ("AAA", "BBB", "CCC")


def methods(driver: Driver, since: int) -> list[str]:
    """Return the methods of messages sent after the first `since`."""
    return [msgspec.json.decode(text)["method"] for _, text in driver.sent[since:]]


# -- opening --


@pytest.mark.parametrize("name", VENUES)
def test_session_opening_logs_its_plan(name: str) -> None:
    driver = Driver(name)
    driver.open()

    plan = driver.records[0]
    assert plan.kind is FrameKind.PLAN
    assert msgspec.json.decode(plan.payload, type=Shard) == driver.shard


@pytest.mark.parametrize("name", VENUES)
def test_session_opened_subscribes_everything_in_order(name: str) -> None:
    driver = Driver(name)
    driver.open()
    driver.pass_time(5 * S)

    expected = driver.exchange.subscribe(driver.shard)
    assert expected == [text for _, text in driver.sent][: len(expected)]
    assert driver.venue.subscribed == set(SYMBOLS)
    assert not driver.session.missing


@pytest.mark.parametrize("name", VENUES)
def test_session_many_symbols_keeps_the_venues_pace(name: str) -> None:
    driver = Driver(name, symbols=tuple(f"S{number}" for number in range(300)))
    driver.open()
    driver.pass_time(60 * S)

    pacing = driver.exchange.pacing
    times = [at for at, _ in driver.sent]
    for first, at in enumerate(times):
        sent = sum(at <= other <= at + S for other in times[first:])
        assert sent <= pacing.messages_burst + pacing.messages_per_s + 1


def test_session_missing_channel_is_reported_and_subscribed_again() -> None:
    driver = Driver("deribit")
    absent = b'"trades.BBB.100ms"'
    driver.venue.take = _without(driver.venue.take, absent)  # type: ignore[method-assign,assignment]
    driver.open()
    driver.pass_time(11 * S)

    assert [(each.symbol, each.reason) for each in driver.resyncs] == [("BBB", "unconfirmed")]
    assert driver.resyncs[0].expected == "trades.BBB.100ms"
    again = [text for at, text in driver.sent if at > START and "subscribe" in text]
    assert [msgspec.json.decode(text)["params"]["channels"] for text in again] == [
        ["trades.BBB.100ms", "book.BBB.100ms"]
    ]
    (fault,) = driver.faults
    assert fault.kind is FaultKind.SUBSCRIPTION_REJECTED
    assert (fault.symbol, fault.found) == ("BBB", "not confirmed")


def _without(take: Callable[[str], list[bytes]], absent: bytes) -> Callable[[str], list[bytes]]:
    """Return a venue's ear that confirms another channel instead of one."""
    return lambda text: [frame.replace(absent, b'"other"') for frame in take(text)]


def _holding(held: list[bytes], marker: bytes = b"") -> Callable[[bytes], bool]:
    """Return a gate that keeps back the frames with `marker`."""

    def passes(frame: bytes) -> bool:
        if marker in frame:
            held.append(frame)
        return marker not in frame

    return passes


def test_session_channel_confirmed_late_is_asked_for_once() -> None:
    driver = Driver("kraken")
    held: list[bytes] = []
    driver.answer = _holding(held, b'"subscribe"')
    driver.open()
    driver.answer = lambda frame: True
    driver.pass_time(S)
    for frame in held:
        driver.receive(frame)
    driver.pass_time(30 * S)

    assert driver.resyncs == []


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("deribit", b'{"jsonrpc":"2.0","id":2,"error":{"code":10028,"message":"too_many"}}'),
        ("binance", b'{"error":{"code":2,"msg":"Invalid request"},"id":1}'),
    ],
)
def test_session_subscription_refused_closes_with_the_reason(name: str, refusal: bytes) -> None:
    driver = Driver(name)
    driver.answer = lambda frame: False
    driver.open()
    driver.receive(refusal)

    assert driver.closed is not None
    assert driver.closed.reason.startswith("subscription refused: ")


# -- keeping alive --


def test_session_test_request_is_answered_before_anything_that_waits() -> None:
    driver = Driver("deribit", symbols=tuple(f"S{number}" for number in range(300)))
    driver.answer = lambda frame: False
    driver.open()
    waiting = len(driver.sent)
    driver.receive(b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}')

    assert methods(driver, waiting) == ["public/test"]


@pytest.mark.parametrize("name", ["deribit", "kraken"])
def test_session_own_ping_answered_logs_the_round_trip(name: str) -> None:
    driver = opened(name)
    held: list[bytes] = []
    driver.answer = _holding(held)
    before, logged = len(driver.sent), len(driver.records)
    for _ in range(12):
        driver.change("AAA")
        driver.pass_time(S)
    driver.receive(held[0])

    sent_at = driver.sent[before][0]
    pongs = [record for record in driver.records[logged:] if record.kind is FrameKind.PONG]
    assert [int(record.payload) for record in pongs] == [driver.now - sent_at]


def test_session_protocol_pong_logs_the_round_trip() -> None:
    driver = opened("binance")
    while not driver.pings:
        driver.change("AAA")
        driver.pass_time(S)
    driver.do(driver.session.ponged(driver.pings[-1], driver.now))

    pongs = [record for record in driver.records if record.kind is FrameKind.PONG]
    assert len(pongs) == 1
    assert 0 <= int(pongs[0].payload) <= S


def test_session_foreign_pong_is_ignored() -> None:
    driver = opened("binance")

    assert list(driver.session.ponged(b"not ours", driver.now)) == []
    assert list(driver.session.ponged(b"99999", driver.now)) == []


@pytest.mark.parametrize("name", VENUES)
def test_session_silent_socket_is_given_up_at_the_venues_limit(name: str) -> None:
    driver = opened(name)
    driver.answer = lambda frame: False
    silence = int(driver.exchange.capabilities.silence_s * S)
    driver.change("AAA")
    driver.pass_time(silence - 1)
    assert driver.closed is None
    driver.pass_time(1)

    assert driver.closed is not None
    assert driver.closed.abort
    assert "silent" in driver.closed.reason


def test_session_not_read_is_not_silent() -> None:
    driver = opened("kraken")
    driver.answer = lambda frame: False
    driver.session.paused()
    driver.pass_time(60 * S)
    assert driver.closed is None
    driver.session.resumed(driver.now)
    driver.pass_time(4 * S)
    assert driver.closed is None
    driver.pass_time(2 * S)

    assert driver.closed is not None


def test_session_protocol_ping_is_a_sign_of_life() -> None:
    driver = opened("binance")
    for _ in range(5):
        driver.pass_time(8 * S)
        driver.session.pinged(driver.now)

    assert driver.closed is None


def test_session_silent_socket_is_probed_before_it_is_given_up() -> None:
    driver = opened("binance")
    driver.change("AAA")
    while driver.fetch():
        pass
    pings = len(driver.pings)
    driver.pass_time(5 * S)
    assert len(driver.pings) == pings + 1
    driver.do(driver.session.ponged(driver.pings[-1], driver.now))
    driver.pass_time(9 * S)
    assert driver.closed is None


def test_session_socket_that_only_answers_pings_is_given_up_later() -> None:
    driver = opened("binance")
    for _ in range(58):
        driver.pass_time(S)
        if driver.pings:
            driver.do(driver.session.ponged(driver.pings.pop(), driver.now))
    assert driver.closed is None
    driver.pass_time(S)

    assert driver.closed == Close("no message for 60.0 s, though it answers pings", abort=True)


def test_session_announced_end_reconnects() -> None:
    driver = opened("binance")
    driver.receive(b'{"e":"serverShutdown","E":1}')

    assert driver.closed == Close("the venue announced: serverShutdown", planned=True)


# -- renewing --


@pytest.mark.parametrize("name", VENUES)
def test_session_plan_is_repeated_with_every_interval(name: str) -> None:
    driver = opened(name)
    live_through(driver, 125)

    plans = [record for record in driver.records if record.kind is FrameKind.PLAN]
    assert len(plans) == 3


@pytest.mark.parametrize("name", VENUES)
def test_session_books_are_renewed_evenly_and_stay_healthy(name: str) -> None:
    driver = opened(name)
    before = dict(driver.venue.served)
    live_through(driver, 121)
    driver.look()

    renewed = {symbol: driver.venue.served[symbol] - before[symbol] for symbol in SYMBOLS}
    assert renewed == dict.fromkeys(SYMBOLS, 2)
    assert driver.resyncs == []
    audits = sum(each.audits_ok for each in driver.seconds if each.channel == "book")
    assert audits == (0 if name == "kraken" else 6)
    assert sum(each.audits_bad for each in driver.seconds) == 0


def live_through(driver: Driver, seconds: int) -> None:
    """Let a quiet time pass in which every book changes once a second."""
    for _ in range(seconds):
        for symbol in driver.shard.symbols:
            driver.change(symbol)
        while driver.fetch():
            pass
        driver.pass_time(S)


# -- healing --


@pytest.mark.parametrize("name", VENUES)
def test_session_lost_change_heals_that_book_only(name: str) -> None:
    driver = opened(name)
    sent = len(driver.sent)
    for _ in range(3):
        # One of three lies within the ten levels that a checksum covers.
        driver.venue.change("BBB")
    driver.change("BBB")
    asked = [fetch.symbol for fetch in driver.fetches]
    while driver.fetch():
        pass
    driver.pass_time(2 * S)

    assert [each.symbol for each in driver.resyncs] == ["BBB"]
    assert all("BBB" in text for _, text in driver.sent[sent:])
    assert set(asked) <= {"BBB"}
    assert_books_true(driver)


def test_session_snapshot_is_requested_after_the_first_change() -> None:
    driver = Driver("binance")
    driver.open()
    driver.pass_time(S)
    assert not driver.fetches
    driver.change("BBB")

    assert [fetch.symbol for fetch in driver.fetches] == ["BBB"]
    assert driver.resyncs == []


def test_session_snapshot_too_old_is_requested_again() -> None:
    driver = Driver("binance", symbols=("AAA",))
    driver.open()
    fresh = driver.venue.fetch
    driver.venue.change("AAA")
    old = fresh("/api/v3/depth?symbol=AAA")
    driver.venue.change("AAA")
    driver.change("AAA")
    driver.venue.fetch = lambda path: old  # type: ignore[method-assign]
    driver.fetch()
    driver.venue.fetch = fresh  # type: ignore[method-assign]
    driver.pass_time(2 * S)
    driver.fetch()

    assert [each.reason for each in driver.resyncs] == ["snapshot_too_old"]
    assert_books_true(driver)


def test_session_failed_request_waits_for_the_venues_word() -> None:
    driver = Driver("binance", symbols=("AAA",))
    driver.open()
    driver.change("AAA")
    asked = driver.fetches.popleft()
    driver.session.fetch_started(asked.symbol, asked.path, driver.now)
    until = driver.now + 8 * S
    driver.do(driver.session.fetch_failed("AAA", "HTTP 429", driver.now, not_before=until))
    driver.pass_time(8 * S - 1)
    assert not driver.fetches
    driver.pass_time(1)

    assert [fetch.symbol for fetch in driver.fetches] == ["AAA"]


@pytest.mark.parametrize("name", ["deribit", "kraken"])
def test_session_book_without_snapshot_is_asked_for_again(name: str) -> None:
    driver = Driver(name, symbols=("AAA", "BBB"))
    kept = b'"book.AAA' if name == "deribit" else b'"snapshot","data":[{"symbol":"AAA"'
    driver.answer = lambda frame: kept not in frame or b'"result"' in frame
    driver.open()
    driver.answer = lambda frame: True
    for _ in range(20):
        driver.change("BBB")
        driver.pass_time(S)

    assert [(each.symbol, each.reason) for each in driver.resyncs] == [("AAA", "no_snapshot")]
    assert driver.session.guard.live == 2


def test_session_many_broken_books_are_healed_a_few_at_a_time() -> None:
    symbols = tuple(f"S{number}" for number in range(20))
    settings_ = SessionSettings(guard=GuardSettings(at_once=3, snapshot_interval_ns=3600 * S))
    driver = opened("binance", symbols=symbols, settings=settings_)
    for symbol in symbols:
        driver.venue.change(symbol)
        driver.change(symbol)
    assert len(driver.fetches) == 3
    while driver.fetch():
        pass

    assert driver.session.guard.live == 20


def test_session_refused_question_is_asked_again_later() -> None:
    driver = opened("deribit")
    driver.answer = lambda frame: False
    driver.venue.change("AAA")
    driver.change("AAA")
    asked = msgspec.json.decode(driver.sent[-1][1])
    error = {"code": 10028, "message": "too_many_requests"}
    driver.receive(msgspec.json.encode({"jsonrpc": "2.0", "id": asked["id"], "error": error}))
    driver.answer = lambda frame: True
    driver.pass_time(2 * S)

    assert [each.reason for each in driver.resyncs] == ["sequence_gap", "request_failed"]
    assert driver.session.guard.live == 3


def test_session_page_that_cannot_be_read_is_asked_for_again() -> None:
    driver = Driver("binance", symbols=("AAA",))
    driver.open()
    driver.change("AAA")
    fresh = driver.venue.fetch
    driver.venue.fetch = lambda path: b"<html>"  # type: ignore[method-assign]
    driver.fetch()
    driver.venue.fetch = fresh  # type: ignore[method-assign]
    driver.pass_time(2 * S)
    driver.fetch()

    assert [each.reason for each in driver.resyncs] == ["request_failed"]
    assert_books_true(driver)


def test_session_paused_through_an_answer_waits_for_it() -> None:
    driver = opened("kraken")
    held: list[bytes] = []
    driver.answer = _holding(held)
    for _ in range(4):
        driver.venue.change("AAA")
    driver.receive(driver.venue.change("AAA"))
    driver.session.paused()
    driver.pass_time(50 * S)
    driver.do(driver.session.resumed(driver.now))
    driver.answer = lambda frame: True
    for frame in held:
        driver.receive(frame)

    assert [each.reason for each in driver.resyncs] == ["checksum_mismatch"]
    assert driver.session.guard.live == 3


@pytest.mark.parametrize("name", VENUES)
def test_session_frame_too_large_to_decode_is_counted(name: str) -> None:
    driver = opened(name)
    driver.receive(b" " * (8 << 20) + b"{}")

    assert driver.session.undecoded == 1


def test_session_healing_overtakes_renewals() -> None:
    driver = opened("kraken", symbols=tuple(f"S{number}" for number in range(60)))
    driver.pass_time(4 * S)
    # All renewals fall due at the same moment: far more than may be sent at once.
    driver.session.guard.subscribed(driver.now - 60 * S)
    driver.do(driver.session.advance(driver.now))
    before = len(driver.sent)
    for _ in range(4):
        driver.venue.change("S59")
    driver.change("S59")
    driver.pass_time(2 * S)

    assert [each.symbol for each in driver.resyncs] == ["S59"]
    asked = [msgspec.json.decode(text) for _, text in driver.sent[before:]]
    symbols = [message["params"]["symbol"][0] for message in asked if message["method"] != "ping"]
    assert symbols[:2] == ["S59", "S59"]
    assert "S59" not in symbols[2:]


# -- leaving --


@pytest.mark.parametrize("name", VENUES)
def test_session_farewell_closes_after_the_acknowledgements(name: str) -> None:
    driver = opened(name)
    driver.do(driver.session.farewell(driver.now))

    assert driver.venue.subscribed == set()
    assert driver.closed == Close("stopping", planned=True)


@pytest.mark.parametrize("name", VENUES)
def test_session_farewell_unanswered_closes_in_time(name: str) -> None:
    driver = opened(name)
    driver.answer = lambda frame: False
    driver.do(driver.session.farewell(driver.now))
    assert driver.closed is None
    driver.pass_time(2 * S)

    assert driver.closed == Close("stopping", planned=True)


def test_session_farewell_refused_closes_all_the_same() -> None:
    driver = opened("deribit")
    driver.answer = lambda frame: False
    driver.do(driver.session.farewell(driver.now))
    last = msgspec.json.decode(driver.sent[-1][1])["id"]
    error = {"code": 10028, "message": "too_many_requests"}
    driver.receive(msgspec.json.encode({"jsonrpc": "2.0", "id": last, "error": error}))

    assert driver.closed == Close("stopping", planned=True)


def test_session_farewell_before_it_is_open_closes_at_once() -> None:
    driver = Driver("kraken")

    assert list(driver.session.farewell(START)) == [Close("stopping", planned=True)]


# -- anything --

OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["change", "lose", "repeat", "swap"]), st.integers(0, 2)),
    st.tuples(st.just("wait"), st.integers(0, 20)),
    st.tuples(st.sampled_from(["fetch", "fail", "mute", "unmute"]), st.just(0)),
    st.tuples(st.just("garbage"), st.integers(0, 5)),
)
GARBAGE = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'{"channel":"book","type":"update","data":[{}]}',
    b"\xff\xfe",
)


@pytest.mark.parametrize("name", VENUES)
@settings(max_examples=40)
@given(operations=st.lists(OPERATIONS, max_size=60), fraction=st.floats(0, 1))
def test_session_any_faults_end_in_true_live_books(
    name: str, operations: list[tuple[str, int]], fraction: float
) -> None:
    """Whatever is lost, repeated, swapped or garbled: once it stops, every book is live and true,
    here and in the processors' pipeline, unless the socket was given up."""
    driver = Driver(name, fraction=fraction)
    driver.open()
    for operation, value in operations:
        apply(driver, operation, value)
    driver.answer = lambda frame: True
    live_through(driver, 200)
    if driver.closed is not None:
        return

    assert driver.session.guard.live == 3
    assert_books_true(driver)


def apply(driver: Driver, operation: str, value: int) -> None:
    """Carry out one operation, unless the socket was given up."""
    if driver.closed is not None:
        return
    symbol = SYMBOLS[value % 3]
    if operation == "change":
        driver.change(symbol)
    elif operation == "lose":
        driver.venue.change(symbol)
    elif operation == "repeat":
        driver.receive(driver.change(symbol))
    elif operation == "swap":
        first = driver.venue.change(symbol)
        driver.change(symbol)
        driver.receive(first)
    elif operation == "wait":
        driver.pass_time(value * S // 10)
    elif operation == "fetch":
        driver.fetch()
    elif operation == "fail":
        driver.fail_fetch()
    elif operation == "garbage":
        driver.receive(GARBAGE[value])
    else:
        muted = operation == "mute"
        driver.answer = lambda frame: not muted


def assert_books_true(driver: Driver) -> None:
    """Compare the books that the pipeline publishes with the venue's."""
    assert driver.look() == dict.fromkeys(driver.shard.symbols, BookState.LIVE)
    for symbol, book in driver.books.items():
        for side, prices, sizes in (
            ("bids", book.bid_prices, book.bid_sizes),
            ("asks", book.ask_prices, book.ask_sizes),
        ):
            true = [(Decimal(p), Decimal(s)) for p, s in driver.venue.ladder(symbol, side)]
            held = [
                (_decimal(p, book.price_exponent), _decimal(s, book.size_exponent))
                for p, s in zip(prices, sizes, strict=True)
            ]
            assert held == true
    assert set(driver.books) == set(driver.shard.symbols)


def _decimal(mantissa: int, exponent: int) -> Decimal:
    return Decimal(mantissa).scaleb(-exponent)


def test_session_heals_what_is_read_from_a_log_that_has_lost_frames() -> None:
    driver = opened("binance")
    driver.do(driver.session.dropped(driver.now))
    asked = {fetch.symbol for fetch in driver.fetches}
    while driver.fetch():
        pass
    for symbol in driver.shard.symbols:
        driver.change(symbol)
    while driver.fetch():
        pass

    assert asked == set(driver.shard.symbols)
    assert [each.reason for each in driver.resyncs] == ["frames_dropped"] * 3
    assert driver.session.guard.live == 3
