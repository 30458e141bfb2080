import msgspec
import pytest

from core.actions import Tell
from core.pacing import NEVER
from core.told import NAMED_MAX, TOLD_MAX, Told
from tests.core.driver import START, Driver, S
from tests.core.toy_venues import VENUES


def test_told_says_each_thing_once() -> None:
    told = Told(S)

    assert list(told.once("refused", "AAA", "no")) == [Tell("refused", "AAA", "no")]
    assert list(told.once("refused", "AAA", "no")) == []
    assert list(told.once("refused", "BBB", "no")) == [Tell("refused", "BBB", "no")]


def test_told_says_only_so_much() -> None:
    told = Told(S)

    said = [tell for n in range(2 * TOLD_MAX) for tell in told.once("says", "", str(n))]

    assert len(said) == TOLD_MAX
    (long,) = Told(S).once("says", "a" * 1000, "b" * 1000)
    assert (len(long.about), len(long.text)) == (200, 200)


def test_told_has_a_deadline_from_the_subscription_until_it_was_met() -> None:
    told = Told(30 * S)
    before = told.deadline
    told.subscribed(5 * S)
    running = told.deadline
    (tell,) = told.absent(["AAA", "BBB"])

    assert (before, running, told.deadline) == (NEVER, 35 * S, NEVER)
    assert tell == Tell("no_book", "AAA, BBB", "no book 30 s after it was subscribed")


def test_told_names_some_of_many_symbols() -> None:
    (tell,) = Told(S).absent([f"S{number}" for number in range(NAMED_MAX + 5)])

    assert tell.about.endswith("S19 and 5 more")


def test_told_of_no_symbols_is_nothing() -> None:
    assert list(Told(S).absent([])) == []


# -- in a session --


def test_session_refused_symbol_is_told_in_the_venues_words_once() -> None:
    driver = Driver("kraken")
    driver.open()
    words = "Currency pair not supported BBB"
    refusal = {"method": "subscribe", "success": False, "symbol": "BBB", "error": words}
    for _ in range(3):
        driver.receive(msgspec.json.encode(refusal))

    assert driver.told == [Tell("subscription_refused", "BBB", words)]


def test_session_error_of_the_venue_is_told_once() -> None:
    driver = Driver("kraken")
    driver.open()
    for _ in range(3):
        driver.receive(b'{"error":"Malformed request"}')

    assert driver.told == [Tell("exchange_says", "", "Malformed request")]


def test_session_symbol_that_never_delivers_is_told_of() -> None:
    """Binance acknowledges streams of symbols that do not exist."""
    driver = Driver("binance")
    driver.open()
    for _ in range(20):
        before, after = list(driver.told), driver.now
        driver.change("AAA")
        driver.fetch()
        driver.pass_time(2 * S)
        if driver.told:
            break

    assert before == []
    assert START + 28 * S <= after <= START + 31 * S
    (told,) = driver.told
    assert (told.event, told.about) == ("no_book", "BBB, CCC")


@pytest.mark.parametrize("name", VENUES)
def test_session_books_that_came_are_not_told_of(name: str) -> None:
    driver = Driver(name)
    driver.open()
    driver.pass_time(3 * S)
    for _ in range(30):
        for symbol in driver.shard.symbols:
            driver.change(symbol)
        while driver.fetch():
            pass
        driver.pass_time(2 * S)

    assert driver.told == []
