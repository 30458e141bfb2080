"""Books that a venue no longer carries: options expire by the dozen, every day."""

from collections.abc import Callable

import msgspec
import pytest

from tests.core.driver import S, opened


@pytest.mark.parametrize("name", ["deribit", "kraken"])
def test_session_books_that_the_venue_gave_up_hold_no_other_up(name: str) -> None:
    """The few places of books that are asked for must not be theirs."""
    gone = tuple(f"GONE{number}" for number in range(40))
    driver = opened(name, symbols=("AAA", *gone))
    driver.venue.take = _given_up(driver.venue.take, "GONE")  # type: ignore[method-assign,assignment]
    for _ in range(300):
        driver.pass_time(S)
        driver.change("AAA")
    waits = []
    for _ in range(5):
        driver.venue.change("AAA")
        lost_at, served = driver.now, driver.venue.served["AAA"]
        while driver.venue.served["AAA"] == served:
            driver.pass_time(S // 10)
            driver.change("AAA")
        waits.append((driver.now - lost_at) / S)
        for _ in range(70):
            driver.pass_time(S)
            driver.change("AAA")

    assert max(waits) < 10


def test_session_refusal_of_a_book_is_the_reason_to_ask_again() -> None:
    driver = opened("kraken")
    driver.venue.take = _given_up(driver.venue.take, "BBB")  # type: ignore[method-assign,assignment]
    for _ in range(4):
        driver.venue.change("BBB")
    driver.change("BBB")
    driver.pass_time(3 * S)

    reasons = [(each.symbol, each.reason, each.found) for each in driver.resyncs]
    assert reasons[1:2] == [("BBB", "request_failed", "not supported")]


def _given_up(take: Callable[[str], list[bytes]], prefix: str) -> Callable[[str], list[bytes]]:
    """Return a venue's ear that carries no channel of some symbols any more."""

    def listen(text: str) -> list[bytes]:
        message = msgspec.json.decode(text)
        params = message.get("params", {})
        if not message["method"].endswith("subscribe") or "unsub" in message["method"]:
            return take(text)
        refused = []
        if "channels" in params:
            kept = [each for each in params["channels"] if f".{prefix}" not in each]
            params["channels"] = kept
        else:
            refused = [symbol for symbol in params["symbol"] if symbol.startswith(prefix)]
            params["symbol"] = [each for each in params["symbol"] if each not in refused]
        answers = take(msgspec.json.encode(message).decode())
        for symbol in refused:
            refusal = {"method": "subscribe", "req_id": message["req_id"], "success": False}
            refusal |= {"error": "not supported", "symbol": symbol}
            answers.append(msgspec.json.encode(refusal))
        return answers

    return listen
