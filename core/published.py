"""The top of a book in the form in which it is published: 64-bit integers and a digest.

Exact: what does not fit is refused, never rounded. Nothing here knows whether a book may be
published.
"""

from typing import Final
from zlib import crc32

import msgspec

from core.book import Ladder, OrderBook
from core.decimals import MAX_DECIMALS, DecimalError

MANTISSA_MAX: Final = (1 << 63) - 1
"""The largest integer that is published."""


class Top(msgspec.Struct, frozen=True, gc=False):
    """Both sides, best first; a value is `mantissa * 10**-exponent`. The lists are shared."""

    price_exponent: int
    size_exponent: int
    bid_prices: list[int]
    bid_sizes: list[int]
    ask_prices: list[int]
    ask_sizes: list[int]
    digest: int
    is_shallow: bool
    """A side may have more levels than the proven ones that are here."""


class Publisher:
    """Makes the top of one book anew only where it has changed since the last time."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._bids: Ladder | None = None
        self._asks: Ladder | None = None
        self._top: Top | None = None

    def top(self, book: OrderBook) -> Top:
        """Return the best levels that a snapshot or a change has shown.

        Raises:
            DecimalError: an integer does not fit 64 bits.
        """
        bids = book.bids.top(self._depth, book.exponent)
        asks = book.asks.top(self._depth, book.exponent)
        top = self._top
        if top is None or bids is not self._bids or asks is not self._asks:
            self._top = None
            top = self._top = self._made(book, bids, asks)
            self._bids, self._asks = bids, asks
        return top

    def _made(self, book: OrderBook, bids: Ladder, asks: Ladder) -> Top:
        bid_sizes, ask_sizes = bids.sizes, asks.sizes
        size_exponent = max(bids.size_exponent, asks.size_exponent)
        if bids.size_exponent != asks.size_exponent:
            bid_sizes = _scaled(bid_sizes, size_exponent - bids.size_exponent)
            ask_sizes = _scaled(ask_sizes, size_exponent - asks.size_exponent)
        (bid_sizes, ask_sizes), size_exponent = _fitting(bid_sizes, ask_sizes, size_exponent)
        (bid_prices, ask_prices), price_exponent = _fitting(bids.prices, asks.prices, book.exponent)
        depth = self._depth
        return Top(
            price_exponent,
            size_exponent,
            bid_prices,
            bid_sizes,
            ask_prices,
            ask_sizes,
            crc32(asks.text, crc32(bids.text)),
            (len(bid_prices) < depth and book.bids.floor is not None)
            or (len(ask_prices) < depth and book.asks.floor is not None),
        )


def _scaled(values: list[int], exponent: int) -> list[int]:
    factor = 10**exponent
    return [value * factor for value in values]


def _fitting(
    bids: list[int], asks: list[int], exponent: int
) -> tuple[tuple[list[int], list[int]], int]:
    """Return the values at an exponent at which they fit, the same one where they do.

    Raises:
        DecimalError: there is no such exponent.
    """
    most = max(max(bids, default=0), max(asks, default=0))
    if most <= MANTISSA_MAX and exponent <= MAX_DECIMALS:
        return (bids, asks), exponent
    while exponent > 0 and not any(value % 10 for value in bids + asks):
        bids, asks = [value // 10 for value in bids], [value // 10 for value in asks]
        exponent -= 1
        most //= 10
    if most > MANTISSA_MAX or exponent > MAX_DECIMALS:
        raise DecimalError(f"a value needs more than 64 bits at {exponent} decimals")
    return (bids, asks), exponent
