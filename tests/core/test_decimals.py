"""Numbers as text and as integers, against exact fractions."""

import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.decimals import (
    MAX_DECIMALS,
    MAX_DIGITS,
    DecimalError,
    decimals_of,
    mantissa,
    normalised,
    plain,
    render,
)

WHOLE_MAX = MAX_DIGITS - MAX_DECIMALS
NUMBERS = st.from_regex(r"[0-9]{1,20}(\.[0-9]{1,18})?", fullmatch=True)
ANY_TEXT = (
    st.text(alphabet="0123456789.eE+-_ \n\t٣²", max_size=30)
    | st.from_regex(r"[0-9]{1,45}(\.[0-9]{1,45})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)
    | st.text(max_size=10)
)


@settings(max_examples=300)
@given(text=ANY_TEXT)
def test_plain_keeps_the_value_or_refuses(text: str) -> None:
    """What comes back is plain, equal and storable; what is refused is none of these."""
    if not _is_storable(text):
        with pytest.raises(DecimalError, match=r"^.{0,120}$"):
            plain(text)
        return
    made = plain(text)

    assert Fraction(made) == Fraction(text)
    assert set(made) <= set("0123456789.")
    assert made.count(".") <= 1
    assert made[0] != "." != made[-1]


def _is_storable(text: str) -> bool:
    """Say whether a text is a number by the letter of JSON, leading zeros allowed, that fits.

    More than 38 digits in a row and exponents of three digits are refused unread.
    """
    match = re.fullmatch(r"([0-9]+)(\.[0-9]+)?([eE][+-]?[0-9]{1,2})?", text, re.ASCII)
    if match is None or any(len(run) > MAX_DIGITS for run in re.findall(r"[0-9]+", text)):
        return False
    value = Fraction(text)
    fits = value < 10**WHOLE_MAX and (value * 10**MAX_DECIMALS).denominator == 1
    return fits and _plain_length(match) <= MAX_DIGITS


def _plain_length(match: re.Match[str]) -> int:
    """Return the longest run of digits when the number is written without an exponent."""
    whole, decimals, exponent = match.groups()
    places = len(decimals or ".") - 1
    power = int((exponent or "e0")[1:])
    return max(
        len(whole) + power if exponent else len(whole), places - power if exponent else places
    )


@settings(max_examples=150)
@given(text=NUMBERS, more=st.integers(0, 9))
def test_mantissa_and_render_are_inverse(text: str, more: int) -> None:
    exponent = decimals_of(text) + more
    value = mantissa(text, exponent)

    assert Fraction(value, 10**exponent) == Fraction(text)
    assert render(value, exponent) == normalised(text)
    assert mantissa(render(value, exponent), exponent) == value


@settings(max_examples=150)
@given(text=NUMBERS, exponent=st.integers(0, 18))
def test_mantissa_is_exact_or_refused(text: str, exponent: int) -> None:
    scaled = Fraction(text) * 10**exponent
    if scaled.denominator == 1:
        assert mantissa(text, exponent) == scaled
    else:
        with pytest.raises(DecimalError):
            mantissa(text, exponent)


@settings(max_examples=200)
@given(value=st.integers(0, 10**30), exponent=st.integers(-5, 25))
def test_render_prints_the_value_without_superfluous_zeros(value: int, exponent: int) -> None:
    text = render(value, exponent)

    assert Fraction(text) == value * Fraction(10) ** -exponent
    assert text == "0" or text[0] != "0" or text.startswith("0.")
    assert "." not in text or text[-1] not in "0."


@settings(max_examples=200)
@given(text=NUMBERS)
def test_normalised_texts_are_equal_exactly_if_their_values_are(text: str) -> None:
    made = normalised(text)

    assert Fraction(made) == Fraction(text)
    assert made == normalised(made) == normalised(f"00{text}")
    assert made == normalised(text + ("0" if "." in text else ".0"))


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ".", "1.", ".5", "-1", "+1", "1e", "e1", "1e999", "1e-999", "1e400", "NaN"),
        *("Infinity", "1_000", "0x10", "1 ", " 1", "1\n", "٣", "1٣", "²", "\uff11", "1,5", "1.2.3"),
        *("9" * 21, "0." + "1" * 19, "9" * 400, "1e20", "1e-19", "1.0e-18e1", "--1", "1e+-1"),
    ],
)
def test_plain_of_what_is_no_storable_number_is_refused(text: str) -> None:
    with pytest.raises(DecimalError):
        plain(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("5e-05", "0.00005"),
        ("1E+2", "100"),
        ("1.50e1", "15.0"),
        ("0e0", "0"),
        ("007", "007"),
        ("0." + "1" * 18, "0." + "1" * 18),
        ("9" * 20, "9" * 20),
        ("1." + "0" * 30, "1." + "0" * 30),
        ("0" * 30 + "1", "0" * 30 + "1"),
        ("0.12345678901234567", "0.12345678901234567"),
    ],
)
def test_plain_of_a_storable_number_is_its_text(text: str, wanted: str) -> None:
    assert plain(text) == wanted
