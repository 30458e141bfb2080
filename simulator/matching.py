"""The matching engine: price levels, first-in-first-out orders, limit and market orders, cancels.

Prices and sizes are whole ticks and lots. A *key* names a level and its side in one number: the
price for a bid, minus the price for an ask. So on either side the best level has the largest key,
and an order at `key` trades with opposite levels whose key is at least `-key`.

The engine never trades through a better price, never leaves a crossed book, and knows no clock.
"""

from bisect import bisect_left, insort
from typing import NamedTuple

NEAR = 32  # levels from the top among which most new ones belong: searched first


class Fill(NamedTuple):
    """One resting order met by an aggressor."""

    maker: int  # order id
    key: int  # level of the maker: negative when the aggressor bought
    size: int  # lots


class MatchingEngine:
    """One order book and its orders.

    `bids` and `asks` hold the keys of the levels, best last. `sizes` maps a key to the lots that
    rest there. Between two calls of `begin`, `before` maps every key that was touched to its size
    at the first touch, and `fills` lists what traded, in order.
    """

    __slots__ = ("_orders", "_queues", "asks", "before", "bids", "fills", "sizes")

    def __init__(self) -> None:
        """Start empty."""
        self.bids: list[int] = []
        self.asks: list[int] = []
        self.sizes: dict[int, int] = {}
        self.before: dict[int, int] = {}
        self.fills: list[Fill] = []
        # A queue is flat, id and lots of each order, oldest first: a fraction of a dict's memory,
        # and most queues hold one to five orders.
        self._queues: dict[int, list[int]] = {}
        self._orders = 0  # ids given so far

    def begin(self) -> None:
        """Forget what was touched and traded: a new event starts."""
        self.before = {}
        self.fills = []

    def limit(self, key: int, size: int) -> int:
        """Trade what the order crosses, rest what remains.

        Returns the id of the resting order, or 0 when it was filled completely.
        """
        opposite = self.asks if key > 0 else self.bids
        if opposite and opposite[-1] >= -key:
            size = self._take(opposite, -key, size)
            if not size:
                return 0
        self._orders += 1
        queue = self._queues.get(key)
        if queue is None:
            self.before.setdefault(key, 0)
            self._queues[key] = [self._orders, size]
            self.sizes[key] = size
            keys = self.bids if key > 0 else self.asks
            near = len(keys) - NEAR
            insort(keys, key, near if near > 0 and keys[near] < key else 0)
        else:
            resting = self.sizes[key]
            self.before.setdefault(key, resting)
            queue += (self._orders, size)
            self.sizes[key] = resting + size
        return self._orders

    def market(self, *, buy: bool, size: int) -> int:
        """Trade at any price; return the lots that found no counterpart."""
        keys = self.asks if buy else self.bids
        return self._take(keys, keys[0], size) if keys else size

    def cancel(self, key: int, order: int) -> bool:
        """Remove the order with this id from its level; False when it does not rest there."""
        queue = self._queues.get(key, [])
        for place in range(0, len(queue), 2):
            if queue[place] == order:
                break
        else:
            return False
        if len(queue) == 2:
            self.cancel_level(key)
        else:
            resting = self.sizes[key]
            self.before.setdefault(key, resting)
            self.sizes[key] = resting - queue[place + 1]
            del queue[place : place + 2]
        return True

    def cancel_level(self, key: int) -> None:
        """Cancel every order of a level that exists."""
        self.before.setdefault(key, self.sizes.pop(key))
        del self._queues[key]
        keys = self.bids if key > 0 else self.asks
        if keys[-1] == key:
            keys.pop()
        else:
            del keys[bisect_left(keys, key)]

    def queue(self, key: int) -> list[tuple[int, int]]:
        """Return id and lots of the orders at a level, the one that trades next first."""
        flat = self._queues.get(key, [])
        return list(zip(flat[::2], flat[1::2], strict=True))

    def newest(self, key: int) -> int:
        """Return the id of the order that trades last at a level that exists."""
        return self._queues[key][-2]

    def _take(self, keys: list[int], worst: int, size: int) -> int:
        while size and keys and keys[-1] >= worst:
            key = keys[-1]
            queue = self._queues[key]
            resting = self.sizes[key]
            self.before.setdefault(key, resting)
            gone = 0  # words of the orders filled completely
            while size and gone < len(queue):
                maker, available = queue[gone : gone + 2]
                traded = min(available, size)
                if traded == available:
                    gone += 2
                else:
                    queue[gone + 1] = available - traded
                size -= traded
                resting -= traded
                self.fills.append(Fill(maker, key, traded))
            del queue[:gone]
            if queue:
                self.sizes[key] = resting
            else:
                self.cancel_level(key)
        return size
