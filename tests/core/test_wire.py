"""Numbers, times and addresses on the wire, against Python's own readers."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.protocol import DecodeError
from core.wire import (
    PAYLOAD_MAX,
    TS_MAX,
    Crc,
    Depth,
    Id,
    Milliseconds,
    Name,
    Number,
    Text,
    decimal_text,
    decoder,
    encode,
    level,
    nanoseconds,
    nanoseconds_of,
    number,
    query,
    shards,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Wire(msgspec.Struct):
    id: Id = 0
    ms: Milliseconds = 0
    depth: Depth = 1
    crc: Crc = 0
    name: Name = "n"
    text: Text = ""
    value: Number = None


read = decoder(Wire)


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        ("id", [0, 2**62 - 1], [-1, 2**62, 2**64, 1.5, "1", None, True]),
        ("ms", [0, 4_102_444_799_999], [-1, 4_102_444_800_000, 1e300]),
        ("depth", [1, 10_000], [0, 10_001, -1]),
        ("crc", [0, 2**32 - 1], [-1, 2**32, "7"]),
        ("name", ["a", "a" * 64], ["", "a" * 65, None, 1]),
        ("text", ["", "a" * 200], ["a" * 201, None]),
    ],
)
def test_fields_have_the_bounds_of_what_can_be_stored(
    field: str, good: list[object], bad: list[object]
) -> None:
    for value in good:
        assert getattr(read(json.dumps({field: value}).encode()), field) == value
    for value in bad:
        with pytest.raises(DecodeError, match=r"^.{1,200}$"):
            read(json.dumps({field: value}).encode())


@pytest.mark.parametrize("text", ["0.00005000", "5e-05", "1E+2", "45285.20", "1e999", "0.0"])
def test_numbers_with_a_point_keep_their_text(text: str) -> None:
    """Checksums are made of it."""
    assert number(read(f'{{"value":{text}}}'.encode()).value) == text


@pytest.mark.parametrize("text", ["0", "7", "45285", "123456789012345678901234567890"])
def test_numbers_without_a_point_keep_their_digits(text: str) -> None:
    value = read(f'{{"value":{text}}}'.encode()).value

    assert level(value, value) == (text, text)


@pytest.mark.parametrize("text", ["null", "true", "[]", "{}", "[1.5]"])
def test_values_that_are_no_numbers_are_refused(text: str) -> None:
    value = read(f'{{"value":{text}}}'.encode()).value
    for reader in (number, decimal_text, lambda each: level("1", each)):
        with pytest.raises(DecodeError):
            reader(value)


@pytest.mark.parametrize("text", ["1e999", "-1.5", "-1", "NaN", "", "1_0", "9" * 30])
def test_numbers_that_cannot_be_stored_are_refused(text: str) -> None:
    with pytest.raises(DecodeError, match=r"^.{1,200}$"):
        decimal_text(text)


MICROSECONDS = st.integers(0, TS_MAX // 1000)


@settings(max_examples=200)
@given(us=MICROSECONDS, hours=st.integers(-12, 12))
def test_rfc_3339_times_are_exact_to_the_microsecond(us: int, hours: int) -> None:
    utc = EPOCH + timedelta(microseconds=us)
    wanted = us * 1000

    assert nanoseconds(utc.isoformat()) == wanted
    assert nanoseconds(utc.isoformat().replace("+00:00", "Z")) == wanted
    shifted = (utc + timedelta(hours=hours)).isoformat().removesuffix("+00:00")
    assert nanoseconds(f"{shifted}{hours:+03}:00") == wanted


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2023-11-14", "2023-11-14T22:13:20", "2023-02-30T00:00:00Z", "1700000000"),
        *("1969-12-31T23:59:59Z", "2100-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"),
        *("0001-01-01T00:00:00+14:00", "2023-11-14T25:00:00Z", "\u0662023-11-14T22:13:20Z"),
    ],
)
def test_times_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(DecodeError, match=r"^.{1,200}$"):
        nanoseconds(text)


@settings(max_examples=200)
@given(ns=st.integers(0, TS_MAX), places=st.integers(0, 12))
def test_seconds_with_decimals_are_exact_to_the_nanosecond(ns: int, places: int) -> None:
    whole, fraction = divmod(ns, 10**9)
    text = f"{whole}.{fraction:09}000"[: len(str(whole)) + 1 + places]

    kept = 10 ** max(9 - places, 0)
    assert nanoseconds_of(text) == ns // kept * kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        ".5",
        "-1",
        "1e5",
        "nan",
        "1 ",
        "1.x",
        "\u0661",
        "4102444800",
        "9" * 30,
        "1..2",
        "1.2.3",
    ],
)
def test_seconds_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(DecodeError, match=r"^.{1,200}$"):
        nanoseconds_of(text)


@settings(max_examples=100)
@given(values=st.dictionaries(st.sampled_from(["symbol", "limit"]), st.text(min_size=1)))
def test_query_of_an_address_is_what_was_put_there(values: dict[str, str]) -> None:
    url = f"https://venue/api/v3/depth?{urlencode(values, errors='replace')}"

    segment, found = query(url)
    assert segment == "depth"
    assert found == {key: value.encode(errors="replace").decode() for key, value in values.items()}


@settings(max_examples=200)
@given(url=st.text() | st.from_regex(r"https?://\[?[a-z:]*\]?[/?=&%a-f0-9;]*", fullmatch=True))
def test_query_of_any_text_never_fails(url: str) -> None:
    segment, values = query(url)

    assert isinstance(segment, str)
    assert all(isinstance(value, str) for value in values.values())


def test_query_takes_the_first_of_repeated_values() -> None:
    assert query("/depth?symbol=A&symbol=B") == ("depth", {"symbol": "A"})
    assert query("http://[") == ("", {})


def test_shards_spread_symbols_in_order_and_once() -> None:
    made = shards("x", ["a", "b", "a", "c"], per_shard=2, book_depth=5)

    assert [(each.name, each.symbols) for each in made] == [("x-0", ("a", "b")), ("x-1", ("c",))]
    assert shards("x", [], per_shard=2, book_depth=5) == []


def test_encoded_messages_are_compact_json() -> None:
    assert encode({"a": [1, "ü"], "b": None}) == '{"a":[1,"ü"],"b":null}'
    assert PAYLOAD_MAX == 8 * 1024 * 1024
