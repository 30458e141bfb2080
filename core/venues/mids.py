"""What one venue says of one instrument as a second begins: the price between bid and ask.

A mid is exact, and there is one for every second in which anything at all came from the venue's
connection, also of a book that is not LIVE: so whoever waits for a venue knows that it has spoken.
"""

from math import log
from typing import Final

import msgspec

NANOS_PER_BP: Final = 100_000
"""Prices are compared as natural logarithms in units of 10**-9: a basis point is so many."""
_LN_2: Final = log(2)
_LN_10: Final = log(10)


class Mid(msgspec.Struct, frozen=True, gc=False):
    """The best prices of one book as they stood when `second` (s since the epoch, UTC) began.

    `number` is the first frame that was received in that second, `index` the place of the mid among
    those that this frame gave. `instrument` is the name that all venues share. Prices are
    `mantissa * 10**-exponent`; both are None where the book was not LIVE, or a side was empty.
    `ts_book` is when the last change that is in them was received, ns; 0 before the first.
    """

    number: int
    index: int
    instrument: str
    symbol: str
    second: int
    exponent: int
    bid: int | None
    ask: int | None
    ts_book: int

    @property
    def price(self) -> float | None:
        """The price in the middle."""
        if self.bid is None or self.ask is None:
            return None
        return float((self.bid + self.ask) / (2 * 10**self.exponent))

    @property
    def log(self) -> int | None:
        """The natural logarithm of the price in the middle, in 10**-9."""
        if self.bid is None or self.ask is None or self.bid + self.ask <= 0:
            return None
        return round((log(self.bid + self.ask) - _LN_2 - self.exponent * _LN_10) * 1e9)
