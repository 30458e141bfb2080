"""Exact decimals as text and as scaled integers.

Venues print prices and sizes as decimal text; several checksums are computed over that very text.
This module reads such text without ever passing through binary floating point. It must not guess:
what is not a finite, non-negative decimal of sane length is refused.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final

MAX_DIGITS: Final = 38
"""Longest number accepted, in digits: what ClickHouse's Decimal(38, 18) can hold."""
MAX_DECIMALS: Final = 18
"""Most decimals accepted: the scale of the stored Decimal(38, 18)."""

_SHORT: Final = 19
"""Characters in which neither limit can be passed, so that nothing needs to be counted."""
_PLAIN: Final = re.compile(r"([0-9]{1,38})(?:\.([0-9]{1,38}))?\Z")
_EXPONENT: Final = re.compile(r"[0-9]{1,38}(?:\.[0-9]{1,38})?[eE][+-]?[0-9]{1,2}\Z")
_POSITIVE: Final = re.compile(r"(?:(?![0.]+ )[0-9]{1,20}(?:\.[0-9]{1,18})? )*+")
"""Numbers within the limits that are not zero, a space behind each."""
_MIXED: Final = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})? )*+")
"""Short numbers, a space behind each."""
_ALIKE_MAX: Final = 15
"""Most decimals of numbers that are read at one go."""
_MEMORY: Final = 65_536


class DecimalError(ValueError):
    """A text is not a finite non-negative decimal that can be stored exactly."""


def plain(text: str) -> str:
    """Return `text` in plain notation: unchanged if it is plain, expanded if it has an exponent.

    Raises:
        DecimalError: not a non-negative finite number, or not storable as Decimal(38, 18).
    """
    if len(text) <= _SHORT and text.isascii() and text.replace(".", "0", 1).isdigit():
        if text[0] == "." or text[-1] == ".":
            raise DecimalError(f"not a decimal number: {text!r}")
        return text
    match = _PLAIN.match(text)
    if match is None:
        if _EXPONENT.match(text) is None:
            raise DecimalError(f"not a decimal number: {text[:40]!r}")
        text = format(Decimal(text), "f")
        match = _PLAIN.match(text)
        if match is None:
            raise DecimalError(f"number out of range: {text[:40]!r}")
    whole, decimals = match.group(1), match.group(2) or ""
    if len(decimals.rstrip("0")) > MAX_DECIMALS:
        raise DecimalError(f"more than {MAX_DECIMALS} decimals: {text[:40]!r}")
    if len(whole.lstrip("0")) > MAX_DIGITS - MAX_DECIMALS:
        raise DecimalError(
            f"more than {MAX_DIGITS - MAX_DECIMALS} digits before the point: {text[:40]!r}"
        )
    return text


def decimals_of(text: str) -> int:
    """Count the decimals of plain decimal `text`, trailing zeros included."""
    point = text.find(".")
    return 0 if point < 0 else len(text) - point - 1


def mantissa(text: str, exponent: int) -> int:
    """Return the integer m with `m * 10**-exponent` equal to plain decimal `text`.

    Raises:
        DecimalError: `text` has more significant decimals than `exponent`.
    """
    surplus = decimals_of(text) - exponent
    digits = text.replace(".", "")
    if surplus <= 0:
        return int(digits) * int(10**-surplus)
    if digits[-surplus:].strip("0"):
        raise DecimalError(f"{text[:40]!r} has more than {exponent} decimals")
    return int(digits[:-surplus] or "0")


def are_positive(texts: Sequence[str]) -> bool:
    """Say whether all are plain decimals above zero that `plain` accepts."""
    joined = " ".join(texts) + " "
    return _POSITIVE.fullmatch(joined) is not None and joined.count(" ") == len(texts)


def integers(texts: Sequence[str]) -> tuple[list[int], int] | None:
    """Return short plain decimals without their point, and how many decimals all then have.

    None where one is long or not plain: such are read number by number. There is at least one.
    """
    decimals = decimals_of(texts[0])
    joined = " ".join(texts) + " "
    if joined.count(" ") != len(texts):
        return None
    if decimals <= _ALIKE_MAX and _alike(decimals).fullmatch(joined) is not None:
        # That is how most venues print a book.
        return list(map(int, joined.replace(".", "").split())), decimals
    if _MIXED.fullmatch(joined) is None:
        return None
    parts = [text.partition(".") for text in texts]
    decimals = max([len(part[2]) for part in parts])
    return [int(whole + part.ljust(decimals, "0")) for whole, _, part in parts], decimals


@lru_cache(maxsize=_ALIKE_MAX + 1)
def _alike(decimals: int) -> re.Pattern[str]:
    """Return what matches numbers with that many decimals, a space behind each."""
    point = rf"\.[0-9]{{{decimals}}}" if decimals else ""
    return re.compile(rf"(?:[0-9]{{1,{18 - decimals}}}{point} )*+")


def normalised(text: str) -> str:
    """Return plain decimal `text` without superfluous zeros: `"0010.50"` becomes `"10.5"`."""
    whole, _, decimals = text.partition(".")
    if whole[0] == "0":
        whole = whole.lstrip("0") or "0"
    decimals = decimals.rstrip("0")
    return f"{whole}.{decimals}" if decimals else whole


@lru_cache(maxsize=_MEMORY)
def render(value: int, exponent: int) -> str:
    """Return `value * 10**-exponent` as normalised decimal text; remembered, as prices recur."""
    if exponent <= 0:
        return str(value * int(10**-exponent))
    digits = str(value)
    point = len(digits) - exponent
    if point <= 0:
        digits = digits.rjust(exponent + 1, "0")
        point = 1
    decimals = digits[point:].rstrip("0")
    return f"{digits[:point]}.{decimals}" if decimals else digits[:point]
