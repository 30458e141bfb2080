"""One order book, aggregated by price: exact, ordered, verifiable.

Prices are integers at the book's exponent (the finest number of decimals seen), sizes the venue's
own text. Each side is a list of prices with the best at the END, where insertions and removals
cost least, and a dict from price to size. What is asked for often (the checksum, the published
top) is kept until a change reaches it. The book knows nothing of sequences or venues.
"""

from bisect import bisect_left, insort
from collections.abc import Sequence
from operator import neg
from typing import Final
from zlib import crc32

from core.decimals import (
    DecimalError,
    are_positive,
    integers,
    normalised,
    plain,
    render,
)

Level = tuple[str, str]
"""Price and new total size, decimal text; size zero removes the level."""

CHECKSUM_DEPTH: Final = 10
"""Levels a side under Kraken's checksum."""
_SPARE: Final = 512
"""Texts remembered beyond twice the levels held: memory follows the book, not the day's prices."""
SIZES_READ: Final[dict[str, str]] = {}
"""Every size text seen lately in any book, as it is held: plain, and empty for zero."""
_SIZES_MAX: Final = 65_536
_MARKS_MAX: Final = 64
"""Levels whose digits under the checksum one side remembers."""
_SHORT: Final = 18
"""Digits of a number that cannot pass the limits of `core.decimals`."""
_BELOW_ALL: Final = -(10**60)
_ABOVE_ALL: Final = 10**60
"""Lower and higher than every key."""


class Ladder:
    """The top of one side as it is published, best first.

    Prices are integers at the book's exponent, sizes at `size_exponent`; `text` is the levels'
    canonical text (see `ladder_crc32`).
    """

    __slots__ = ("depth", "prices", "size_exponent", "sizes", "text")

    def __init__(
        self, depth: int, prices: list[int], sizes: list[int], size_exponent: int, text: bytes
    ) -> None:
        self.depth = depth
        self.prices = prices
        self.sizes = sizes
        self.size_exponent = size_exponent
        self.text = text


class BookSide:
    """One side: `keys` ascend towards the best; a bid's key is its price, an ask's its negative.

    Whoever changes `keys` and `sizes` tells `touched` of every key from `watched` upwards.
    """

    __slots__ = (
        "_digits",
        "_digits_from",
        "_known",
        "_ladder",
        "_ladder_from",
        "_marks",
        "floor",
        "keys",
        "name",
        "prices",
        "sign",
        "sizes",
        "watched",
    )

    def __init__(self, name: str, sign: int) -> None:
        self.name = name
        self.sign = sign
        self.keys: list[int] = []
        self.sizes: dict[int, str] = {}
        self.floor: int | None = None
        """Keys below were never shown by a snapshot and are not proven; None proves all."""
        self.prices: dict[str, int] = {}
        """Key of every price text seen lately."""
        self.watched = _ABOVE_ALL
        self._digits: bytes | None = None
        self._digits_from = _ABOVE_ALL
        self._marks: dict[int, str] = {}
        self._ladder: Ladder | None = None
        self._ladder_from = _ABOVE_ALL
        self._known: dict[int, tuple[int, int, str]] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def clear(self) -> None:
        """Forget every level."""
        self.hold([], {})
        self.floor = None

    def hold(self, keys: list[int], sizes: dict[int, str]) -> None:
        """Hold these levels, the keys ascending, and no others."""
        self.keys = keys
        self.sizes = sizes
        self._digits = self._ladder = None
        self._marks, self._known = {}, {}
        self._digits_from = self._ladder_from = self.watched = _ABOVE_ALL

    def truncate(self, depth: int) -> None:
        """Keep the best `depth` levels."""
        surplus = len(self.keys) - depth
        if surplus > 0:
            dropped = self.keys[:surplus]
            for key in dropped:
                del self.sizes[key]
            del self.keys[:surplus]
            self.touched(dropped)

    def rescale(self, factor: int) -> None:
        """Multiply every key by `factor`; what was remembered of prices is forgotten."""
        if self.keys:
            sizes = {key * factor: size for key, size in self.sizes.items()}
            self.hold([key * factor for key in self.keys], sizes)
        if self.floor is not None:
            self.floor *= factor
        self.prices = {}

    def touched(self, keys: Sequence[int]) -> None:
        """Forget what was derived from these levels, which have changed."""
        digits_from, ladder_from = self._digits_from, self._ladder_from
        for key in keys:
            if key >= digits_from:
                self._digits = None
                self._marks.pop(key, None)
            if key >= ladder_from:
                self._ladder = None
                self._known.pop(key, None)

    def checksum_digits(self) -> bytes:
        """Return the digits of the best ten levels' prices and sizes, as Kraken sums them up."""
        digits = self._digits
        if digits is None:
            keys, marks, sizes, sign = self.keys, self._marks, self.sizes, self.sign
            if len(marks) > _MARKS_MAX:
                marks.clear()
                self._digits_from = _ABOVE_ALL
            best = []
            for key in keys[: -CHECKSUM_DEPTH - 1 : -1]:
                mark = marks.get(key)
                if mark is None:
                    mark = f"{sign * key}{sizes[key].replace('.', '').lstrip('0')}"
                    marks[key] = mark
                best.append(mark)
            # With fewer levels than that, any that comes is among the best.
            reaches = keys[-CHECKSUM_DEPTH] if len(keys) >= CHECKSUM_DEPTH else _BELOW_ALL
            if reaches < self._digits_from:
                self._digits_from = reaches
                self.watched = min(reaches, self._ladder_from)
            digits = self._digits = "".join(best).encode()
        return digits

    def top(self, depth: int, exponent: int) -> Ladder:
        """Return the best `depth` levels that a snapshot or a change has shown."""
        ladder = self._ladder
        if ladder is None or ladder.depth != depth:
            keys = self.keys[: -depth - 1 : -1]
            reaches = keys[-1] if len(keys) == depth else _BELOW_ALL
            floor = self.floor
            if floor is not None and keys and keys[-1] < floor:
                keys = [key for key in keys if key >= floor]
                reaches = floor
            known = self._known
            levels = [known.get(key) or self._describe(key, exponent) for key in keys]
            ladder = self._ladder = _ladder(depth, keys, levels, self.sign)
            self._known = dict(zip(keys, levels, strict=True))
            self._ladder_from = reaches
            self.watched = min(self._digits_from, self._ladder_from)
        return ladder

    def _describe(self, key: int, exponent: int) -> tuple[int, int, str]:
        """Return a level's size as an integer, its decimals, and the level's canonical line."""
        whole, _, decimals = self.sizes[key].partition(".")
        value = int(whole + decimals)
        kept = decimals.rstrip("0")
        if whole[0] == "0":
            whole = whole.lstrip("0") or "0"
        size = f"{whole}.{kept}" if kept else whole
        line = f"{self.name} {render(self.sign * key, exponent)} {size}\n"
        return value, len(decimals), line


def _ladder(depth: int, keys: list[int], levels: list[tuple[int, int, str]], sign: int) -> Ladder:
    if not levels:
        return Ladder(depth, [], [], 0, b"")
    values, decimals, lines = zip(*levels, strict=True)
    exponent = max(decimals)
    sizes = list(values)
    if min(decimals) < exponent:
        sizes = [value * 10 ** (exponent - places) for value, places, _ in levels]
    prices = keys if sign > 0 else list(map(neg, keys))
    return Ladder(depth, prices, sizes, exponent, "".join(lines).encode())


class OrderBook:
    """Two sides and the exponent they share."""

    __slots__ = ("asks", "bids", "exponent", "unknown_removals")

    def __init__(self) -> None:
        self.bids = BookSide("b", 1)
        self.asks = BookSide("a", -1)
        self.exponent = 0
        """Prices are `mantissa * 10**-exponent`."""
        self.unknown_removals = 0
        """Removals of levels that were not there: normal for partial books, counted only."""

    def replace(
        self, bids: Sequence[Level], asks: Sequence[Level], *, limit: int | None = None
    ) -> None:
        """Become the snapshot; `limit` is how many levels a side it could show, None for all.

        Raises:
            DecimalError: a price or size is not a non-negative decimal; the book is then empty.
        """
        self.clear()
        for side, levels in ((self.bids, bids), (self.asks, asks)):
            if levels and not self._load(side, levels):
                removals = self.unknown_removals
                try:
                    self._change(side, levels)
                except DecimalError:
                    self.clear()
                    raise
                self.unknown_removals = removals
        if limit is not None:
            for side in (self.bids, self.asks):
                if len(side) >= limit:
                    side.floor = side.keys[0]

    def apply(self, bids: Sequence[Level], asks: Sequence[Level]) -> None:
        """Apply changes of both sides in order.

        Raises:
            DecimalError: a price or size is not a non-negative decimal. Changes before it were
                applied: the book is incomplete and must be replaced.
        """
        if bids:
            self._change(self.bids, bids)
        if asks:
            self._change(self.asks, asks)

    def clear(self) -> None:
        """Forget every level."""
        self.bids.clear()
        self.asks.clear()

    def is_crossed(self) -> bool:
        """Say whether the best bid is at or above the best ask."""
        bids, asks = self.bids.keys, self.asks.keys
        return bool(bids) and bool(asks) and bids[-1] >= -asks[-1]

    def best_bid(self) -> Level | None:
        """Return the best bid as normalised (price, size)."""
        return self._best(self.bids)

    def best_ask(self) -> Level | None:
        """Return the best ask as normalised (price, size)."""
        return self._best(self.asks)

    def checksum(self) -> int:
        """Return the CRC-32 over the best ten asks, then bids, as Kraken defines it.

        Digits of price and size without point and leading zeros, concatenated. The prices' text
        must have a fixed number of decimals, as Kraken's has.
        Source: docs.kraken.com, "Spot Websockets (v2) - Book Checksum"; read November 2026.
        """
        return crc32(self.bids.checksum_digits(), crc32(self.asks.checksum_digits()))

    def crc32(self) -> int:
        """Return the CRC-32 of the whole book's canonical text (see `ladder_crc32`)."""
        return ladder_crc32(self.ladder(self.bids), self.ladder(self.asks))

    def ladder(self, side: BookSide, depth: int = 0) -> list[Level]:
        """Return the best `depth` levels (0 for all), normalised text, best first."""
        exponent = self.exponent
        keys = side.keys[: -depth - 1 : -1] if depth else side.keys[::-1]
        return [(render(side.sign * key, exponent), normalised(side.sizes[key])) for key in keys]

    def _best(self, side: BookSide) -> Level | None:
        return self.ladder(side, 1)[0] if side.keys else None

    def _change(self, side: BookSide, levels: Sequence[Level]) -> None:
        prices, keys, sizes, sizes_read = side.prices, side.keys, side.sizes, SIZES_READ
        watched = side.watched
        changed: list[int] = []
        for price, size in levels:
            key = prices.get(price)
            if key is None:
                key = self._read_price(price, side)
                prices, keys, sizes = side.prices, side.keys, side.sizes
                watched = side.watched
            amount = sizes_read.get(size)
            if amount is None:
                amount = _read_size(size)
            if amount:
                if key not in sizes:
                    insort(keys, key)
                sizes[key] = amount
            elif key in sizes:
                del sizes[key]
                del keys[bisect_left(keys, key)]
            else:
                self.unknown_removals += 1
            if key >= watched:
                changed.append(key)
        if changed:
            side.touched(changed)

    def _read_price(self, text: str, side: BookSide) -> int:
        """Return the key of a price that is not remembered, refining the exponent if need be."""
        whole, point, places = text.partition(".")
        digits = whole + places
        is_plain = digits.isdecimal() and digits.isascii() and whole and (places or not point)
        if not is_plain or len(digits) > _SHORT:
            whole, _, places = plain(text).partition(".")
            digits = whole + places
        decimals = len(places)
        if decimals > self.exponent:
            # Keys are others from here on; with them goes all that was derived from them.
            self._refine(decimals)
        value = int(digits)
        if decimals < self.exponent:
            value *= 10 ** (self.exponent - decimals)
        if len(side.prices) > 2 * len(side.keys) + _SPARE:
            side.prices = {}
        key = side.prices[text] = value if side.sign > 0 else -value
        return key

    def _refine(self, exponent: int) -> None:
        factor = 10 ** (exponent - self.exponent)
        self.bids.rescale(factor)
        self.asks.rescale(factor)
        self.exponent = exponent

    def _load(self, side: BookSide, levels: Sequence[Level]) -> bool:
        """Hold a snapshot's levels at one go, or say that they must be read one by one."""
        prices, sizes = zip(*levels, strict=True)
        read = integers(prices)
        if read is None or not are_positive(sizes):
            return False
        values, decimals = read
        if decimals > self.exponent:
            self._refine(decimals)
        if decimals < self.exponent:
            factor = side.sign * 10 ** (self.exponent - decimals)
            values = [value * factor for value in values]
        elif side.sign < 0:
            values = list(map(neg, values))
        held = dict(zip(values, sizes, strict=True))
        side.hold(sorted(held), held)
        side.prices = dict(zip(prices, values, strict=True))
        return True


def _read_size(text: str) -> str:
    """Return a size as books hold it, and remember it."""
    canonical = plain(text)
    if len(SIZES_READ) >= _SIZES_MAX:
        SIZES_READ.clear()
    size = SIZES_READ[text] = canonical if canonical.strip("0.") else ""
    return size


def ladder_crc32(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """Return the CRC-32 of a book's canonical text.

    One line `b <price> <size>` per bid, best first, then `a <price> <size>` per ask, best first;
    numbers in plain notation without superfluous zeros.
    """
    lines = [f"b {price} {size}\n" for price, size in bids]
    lines += [f"a {price} {size}\n" for price, size in asks]
    return crc32("".join(lines).encode())
