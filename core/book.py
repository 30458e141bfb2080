"""One order book, aggregated by price: exact, ordered, verifiable.

Prices are integers at the book's exponent (the finest number of decimals seen), sizes the venue's
own text. Each side is a list of prices with the best at the END, where insertions and removals
cost least, and a dict from price to size. The book knows nothing of sequences or venues.
"""

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Final
from zlib import crc32

from core.decimals import DecimalError, decimals_of, mantissa, normalised, plain, render

Level = tuple[str, str]
"""Price and new total size, decimal text; size zero removes the level."""

_CACHE_MAX: Final = 16_384
"""Price texts remembered per book; the cache is emptied when it is full."""


class BookSide:
    """One side: `keys` ascend towards the best; a bid's key is its price, an ask's its negative."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.keys: list[int] = []
        self.sizes: dict[int, str] = {}
        self.floor: int | None = None
        """Keys below were never shown by a snapshot and are not proven; None proves all."""

    def __len__(self) -> int:
        return len(self.keys)

    def replace(self, levels: list[tuple[int, str]]) -> None:
        """Forget everything and hold `levels`, (key, size) in any order; later ones win."""
        self.sizes = {key: size for key, size in levels if size}
        self.keys = sorted(self.sizes)
        self.floor = None

    def apply(self, levels: list[tuple[int, str]]) -> int:
        """Apply (key, size) changes in order, `""` removes; return removals of unknown levels."""
        keys, sizes = self.keys, self.sizes
        unknown = 0
        for key, size in levels:
            if size:
                if key not in sizes:
                    insort(keys, key)
                sizes[key] = size
            elif key in sizes:
                del sizes[key]
                del keys[bisect_left(keys, key)]
            else:
                unknown += 1
        return unknown

    def truncate(self, depth: int) -> None:
        """Keep the best `depth` levels."""
        surplus = len(self.keys) - depth
        if surplus > 0:
            for key in self.keys[:surplus]:
                del self.sizes[key]
            del self.keys[:surplus]

    def rescale(self, factor: int) -> None:
        """Multiply every key by `factor`."""
        self.keys = [key * factor for key in self.keys]
        self.sizes = {key * factor: size for key, size in self.sizes.items()}
        if self.floor is not None:
            self.floor *= factor


class OrderBook:
    """Two sides and the exponent they share."""

    def __init__(self) -> None:
        self.bids = BookSide(1)
        self.asks = BookSide(-1)
        self.exponent = 0
        """Prices are `mantissa * 10**-exponent`."""
        self.unknown_removals = 0
        """Removals of levels that were not there: normal for partial books, counted only."""
        self._prices: dict[str, int] = {}

    def read(self, levels: Iterable[Level], side: BookSide) -> list[tuple[int, str]]:
        """Return `levels` as (key, size) of `side`, size `""` for removals; changes no level.

        Raises:
            DecimalError: a price or size is not a non-negative decimal.
        """
        prices = self._prices
        sign = side.sign
        read: list[tuple[int, str]] = []
        for price, size in levels:
            value = prices.get(price)
            if value is None:
                value = self._price(price)
                prices = self._prices
            digits = size.replace(".", "", 1)
            if not digits.isdigit() or len(digits) > 36 or not digits.isascii():
                size = plain(size)
                digits = size.replace(".", "", 1)
            read.append((sign * value, size if digits.strip("0") else ""))
        return read

    def replace(
        self, bids: Iterable[Level], asks: Iterable[Level], *, limit: int | None = None
    ) -> None:
        """Become the snapshot; `limit` is how many levels a side it could show, None for all.

        Raises:
            DecimalError: as `read`; the book is unchanged.
        """
        fresh = OrderBook()
        new_bids, new_asks = fresh._read_both(bids, asks)
        for side, levels in ((self.bids, new_bids), (self.asks, new_asks)):
            side.replace(levels)
            if limit is not None and len(side) >= limit:
                side.floor = side.keys[0]
        self.exponent = fresh.exponent
        self._prices = fresh._prices

    def apply(self, bids: Iterable[Level], asks: Iterable[Level]) -> None:
        """Apply changes of both sides, all or none.

        Raises:
            DecimalError: as `read`; no level is changed.
        """
        new_bids, new_asks = self._read_both(bids, asks)
        if new_bids:
            self.unknown_removals += self.bids.apply(new_bids)
        if new_asks:
            self.unknown_removals += self.asks.apply(new_asks)

    def _read_both(
        self, bids: Iterable[Level], asks: Iterable[Level]
    ) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
        while True:
            exponent = self.exponent
            both = self.read(bids, self.bids), self.read(asks, self.asks)
            # A price with more decimals refines the scale; what was read before it is read again.
            if exponent == self.exponent:
                return both

    def clear(self) -> None:
        """Forget every level."""
        self.bids.replace([])
        self.asks.replace([])

    def is_crossed(self) -> bool:
        """Say whether the best bid is at or above the best ask."""
        bids, asks = self.bids.keys, self.asks.keys
        return bool(bids) and bool(asks) and bids[-1] >= -asks[-1]

    def best_bid(self) -> Level | None:
        """Return the best bid as normalised (price, size)."""
        return self._top(self.bids)

    def best_ask(self) -> Level | None:
        """Return the best ask as normalised (price, size)."""
        return self._top(self.asks)

    def checksum(self, depth: int = 10) -> int:
        """Return the CRC-32 over the best `depth` asks then bids, as Kraken defines it.

        Digits of price and size without point and leading zeros, concatenated. The prices' text
        must have a fixed number of decimals, as Kraken's has.
        Source: docs.kraken.com, "Spot Websockets (v2) - Book Checksum"; read November 2026.
        """
        text: list[str] = []
        for side in (self.asks, self.bids):
            sign, sizes = side.sign, side.sizes
            for key in side.keys[: -depth - 1 : -1]:
                text.append(str(sign * key) + sizes[key].replace(".", "").lstrip("0"))
        return crc32("".join(text).encode())

    def crc32(self) -> int:
        """Return the CRC-32 of the whole book's canonical text (see `ladder_crc32`)."""
        return ladder_crc32(self.ladder(self.bids), self.ladder(self.asks))

    def ladder(self, side: BookSide, depth: int = 0) -> list[Level]:
        """Return the best `depth` levels (0 for all), normalised text, best first."""
        exponent = self.exponent
        keys = side.keys[: -depth - 1 : -1] if depth else side.keys[::-1]
        return [(render(side.sign * key, exponent), normalised(side.sizes[key])) for key in keys]

    def proven(self, side: BookSide, depth: int) -> list[Level]:
        """Return the best `depth` levels that a snapshot or a change has shown, best first."""
        exponent, floor = self.exponent, side.floor
        return [
            (render(side.sign * key, exponent), normalised(side.sizes[key]))
            for key in side.keys[: -depth - 1 : -1]
            if floor is None or key >= floor
        ]

    def is_shallow(self, depth: int, bids: int, asks: int) -> bool:
        """Say whether a side may have more levels than the `bids` and `asks` that are proven."""
        return (bids < depth and self.bids.floor is not None) or (
            asks < depth and self.asks.floor is not None
        )

    def _top(self, side: BookSide) -> Level | None:
        return self.ladder(side, 1)[0] if side.keys else None

    def _price(self, text: str) -> int:
        """Read a price that is not in the cache, refining the exponent when it needs to."""
        canonical = plain(text)
        decimals = decimals_of(canonical)
        if decimals > self.exponent:
            self._refine(decimals)
        if len(self._prices) >= _CACHE_MAX:
            self._prices.clear()
        value = self._prices[text] = mantissa(canonical, self.exponent)
        return value

    def _refine(self, exponent: int) -> None:
        factor = 10 ** (exponent - self.exponent)
        self.bids.rescale(factor)
        self.asks.rescale(factor)
        self.exponent = exponent
        self._prices = {}


def ladder_crc32(bids: Iterable[Level], asks: Iterable[Level]) -> int:
    """Return the CRC-32 of a book's canonical text.

    One line `b <price> <size>` per bid, best first, then `a <price> <size>` per ask, best first;
    numbers in plain notation without superfluous zeros.
    """
    lines = [f"b {price} {size}\n" for price, size in bids]
    lines += [f"a {price} {size}\n" for price, size in asks]
    return crc32("".join(lines).encode())


def scaled(texts: list[str]) -> tuple[list[int], int]:
    """Return plain decimal texts as integers at one common exponent, and that exponent.

    Raises:
        DecimalError: an integer does not fit 64 bits.
    """
    texts = [normalised(text) for text in texts]
    exponent = max([decimals_of(text) for text in texts], default=0)
    values = [mantissa(text, exponent) for text in texts]
    if any(value >= 1 << 63 for value in values):
        raise DecimalError(f"a value needs more than 64 bits at {exponent} decimals")
    return values, exponent
