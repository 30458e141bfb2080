"""Which mids are around an incident, and whose socket carried them."""

from core.events import Events
from core.frames import Address
from core.venues.comparison import FRESH_NS
from core.venues.mids import Mid
from processors.bundle import LogRecord
from processors.engine import fed
from processors.incident_mids import Carrier, Said, carrier, reaching, said_of

NS = 1_000_000_000


def record(
    exchange: str,
    second: int,
    *,
    offset: int,
    line: str = "A",
    price: int | None = 100,
    raw_offset: int = 7,
    stood_ns: int = 0,
    instrument: str = "BTC/USD",
) -> LogRecord:
    """A mid of a book that has not changed for `stood_ns`."""
    ask = None if price is None else price + 2
    said = Mid(second, 0, instrument, "BTC", second, 0, price, ask, second * NS - stood_ns)
    events = Events(Address(exchange, f"{exchange}-0", line, 5), 0, [], [], [], [], mids=[said])
    ((_, key, value),) = fed([events], 3, raw_offset).outputs
    return LogRecord(offset, 0, key, value)


def said(*records: LogRecord) -> list[Said]:
    return said_of("BTC/USD", records)


def test_what_is_of_another_instrument_or_no_mid_says_nothing() -> None:
    own = record("kraken", 10, offset=1)
    other = record("kraken", 10, offset=2, instrument="ETH/USD")

    assert [each.record for each in said(own, other, LogRecord(3, 0, b"BTC/USD", b"{}"))] == [own]


def test_second_is_reached_with_the_second_exchange_that_says_it() -> None:
    """One whose clock is an hour ahead, and one far behind, move nothing."""
    found = said(
        record("ahead", 3610, offset=0),
        record("ahead", 3611, offset=1),
        record("kraken", 9, offset=2),
        record("behind", -3590, offset=3),
        record("kraken", 10, offset=4),
        record("deribit", 11, offset=5),
    )

    assert reaching(found, 10) == 4
    assert reaching(found, 11) == 5
    assert reaching(found, 12) is None


def test_carrier_is_the_first_line_with_a_price_that_counts() -> None:
    lines = {
        "A": record("kraken", 10, offset=0, line="A", price=None),
        "B": record("kraken", 10, offset=1, line="B", stood_ns=FRESH_NS + 1),
        "C": record("kraken", 10, offset=2, line="C"),
        "D": record("kraken", 10, offset=3, line="D"),
    }

    def chosen(*names: str) -> str | None:
        found = carrier(said(*(lines[n] for n in names)), "kraken", "BTC", 10, first=0)
        return None if found is None else found.line

    assert chosen("D", "C", "B", "A") == "C"
    assert chosen("B", "A") == "A"
    assert chosen() is None


def test_carrier_has_the_raw_records_of_its_mids_from_the_first_wanted_on() -> None:
    found = said(
        record("kraken", 8, offset=0, raw_offset=70),
        record("kraken", 9, offset=1, raw_offset=80),
        record("deribit", 9, offset=2, raw_offset=1),
        record("kraken", 9, offset=3, raw_offset=2, line="B"),
        record("kraken", 10, offset=4, raw_offset=90),
        record("kraken", 11, offset=5, raw_offset=95),
    )

    expected = Carrier("kraken", "kraken-0", "A", 3, first=80, last=95, second=9)
    assert carrier(found, "kraken", "BTC", 10, first=1) == expected
    assert carrier(found, "kraken", "ETH", 10, first=1) is None
