"""Changes kept until a snapshot that is not ordered with them can be joined.

Bounded by the number of levels that they hold; at the limit the oldest are given up. What that
means for a book is its owner's to say.
"""

from collections import deque
from collections.abc import Iterator
from typing import Final

from core.decimals import plain
from core.protocol import Delta

RETAINED_LEVELS_MAX: Final = 20_000
"""Levels of changes that are kept."""


class RetainedChanges:
    """Changes of one symbol in the order in which they came, with their receive times."""

    def __init__(self) -> None:
        self._changes: deque[tuple[Delta, int]] = deque()
        self._levels = 0

    def __len__(self) -> int:
        return len(self._changes)

    def __iter__(self) -> Iterator[tuple[Delta, int]]:
        return iter(self._changes)

    def keep(self, delta: Delta, ts_recv: int) -> bool:
        """Keep a change; say whether all that were kept before still are."""
        self._changes.append((delta, ts_recv))
        self._levels += _weight(delta)
        if self._levels <= RETAINED_LEVELS_MAX:
            return True
        while self._levels > RETAINED_LEVELS_MAX:
            self._levels -= _weight(self._changes.popleft()[0])
        return False

    def forget(self) -> None:
        """Keep nothing."""
        self._changes.clear()
        self._levels = 0


def require_readable(delta: Delta) -> None:
    """Make sure that a change can be applied later.

    Raises:
        DecimalError: a price or size is not a non-negative decimal.
    """
    for levels in (delta.bids, delta.asks):
        for price, size in levels:
            plain(price)
            plain(size)


def _weight(delta: Delta) -> int:
    return len(delta.bids) + len(delta.asks) + 1
