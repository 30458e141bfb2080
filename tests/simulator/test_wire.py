"""Texts and bytes of the wire."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.wire import CACHE_MAX, FixedTexts, FloatTexts, Frame, message, rfc3339


@given(st.integers(0, 10**15), st.integers(0, 8), st.integers(0, 8), st.sampled_from([1, 5, 25]))
def test_fixed_text_of_any_steps_is_exact_with_all_decimals(
    steps: int, decimals: int, more: int, unit: int
) -> None:
    text = FixedTexts(unit, decimals, decimals + more)[steps]

    assert Decimal(steps * unit).scaleb(-decimals) == Decimal(text)
    assert decimals + more == len(text.partition(".")[2])


@given(st.integers(0, 10**12), st.integers(0, 6), st.sampled_from([1, 5, 10]))
def test_float_text_of_any_steps_reads_back_and_shows_that_it_is_a_float(
    steps: int, decimals: int, unit: int
) -> None:
    text = FloatTexts(unit, decimals)[steps]

    assert Decimal(steps * unit).scaleb(-decimals) == Decimal(text)
    assert "." in text or "e" in text


def test_float_text_prints_as_deribit_does() -> None:
    assert FloatTexts(5, 1)[126_649] == "63324.5"
    assert FloatTexts(10, 0)[37_228] == "372280.0"
    assert FloatTexts(10, 0)[0] == "0.0"
    assert FloatTexts(5, 5)[1] == "5e-05"


def test_texts_of_a_key_ignore_its_side() -> None:
    assert FixedTexts(1, 1, 1)[-856_005] == FixedTexts(1, 1, 1)[856_005] == "85600.5"
    assert FloatTexts(1, 1)[-5] == "0.5"


def test_texts_beyond_the_limit_start_anew() -> None:
    texts = FixedTexts(1, 2, 2)
    for steps in range(CACHE_MAX + 1):
        assert texts[steps]

    assert len(texts) == 1


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_frame_of_any_length_gives_its_text_back(length: int) -> None:
    text = "x" * length

    assert text == Frame(message(text.encode())).text


@given(st.integers(0, 4_000_000_000_000_000))
def test_rfc3339_of_any_microsecond_reads_back(ts_us: int) -> None:
    read = datetime.strptime(rfc3339(ts_us), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)

    seconds, micros = divmod(ts_us, 1_000_000)
    assert (seconds, micros) == (int(read.replace(microsecond=0).timestamp()), read.microsecond)
