from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from producers.websocket import check_url, retry_after_s


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", 0.0), ("7", 7.0), (" 12 ", 12.0), ("soon", 0.0), ("-5", 0.0), ("9" * 50, 3600.0)],
)
def test_retry_after_seconds_are_read_and_bounded(header: str, seconds: float) -> None:
    assert retry_after_s(header) == seconds


def test_retry_after_date_is_read() -> None:
    later = datetime.now(UTC) + timedelta(seconds=30)

    assert 28 <= retry_after_s(format_datetime(later, usegmt=True)) <= 30


def test_retry_after_date_in_the_past_asks_for_nothing() -> None:
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@pytest.mark.parametrize(
    "header", ["Jan 99999999999999999999 00:00:00 2027", "1 Jan 2027 1:99999999999999999999"]
)
def test_retry_after_date_beyond_all_numbers_asks_for_nothing(header: str) -> None:
    assert retry_after_s(header) == 0.0


@pytest.mark.parametrize(
    "url",
    [
        *("http://a/", "ws://", "wss://[::1", "ws://a:70000000/", "ws://venue..example/"),
        f"wss://{'a' * 64}.example/ws",
    ],
)
def test_check_url_says_what_is_wrong(url: str) -> None:
    assert check_url(url)


def test_check_url_right_address_is_fine() -> None:
    assert check_url("wss://ws.kraken.com/v2") == ""
