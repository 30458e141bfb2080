"""The matching engine against a slow book that is obviously right."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from simulator.matching import MatchingEngine

prices = st.integers(1, 12)
sizes = st.integers(1, 9)
Step = tuple[str, int] | tuple[str, bool, int] | tuple[str, bool, int, int]
Order = tuple[int, bool, int, int]  # id, buy, price, size
Levels = dict[int, int]

actions: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.just("limit"), st.booleans(), prices, sizes),
    st.tuples(st.just("market"), st.booleans(), sizes),
    st.tuples(st.just("cancel"), st.integers(0, 40)),
    st.tuples(st.just("level"), st.integers(0, 40)),
)


class SlowBook:
    """All orders in one list in the order of their arrival."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.ids = 0
        self.fills: list[tuple[int, int, int]] = []

    def take(self, *, buy: bool, worst: int | None, size: int) -> int:
        while size:
            candidates = [o for o in self.orders if o[1] != buy]
            if worst is not None:
                candidates = [o for o in candidates if (o[2] <= worst if buy else o[2] >= worst)]
            if not candidates:
                break
            best = min(candidates, key=lambda o: (o[2] if buy else -o[2], o[0]))
            traded = min(size, best[3])
            size -= traded
            self.fills.append((best[0], best[2], traded))
            place = self.orders.index(best)
            if traded == best[3]:
                del self.orders[place]
            else:
                self.orders[place] = (best[0], best[1], best[2], best[3] - traded)
        return size

    def limit(self, *, buy: bool, price: int, size: int) -> None:
        left = self.take(buy=buy, worst=price, size=size)
        if left:
            self.ids += 1
            self.orders.append((self.ids, buy, price, left))

    def levels(self) -> Levels:
        levels: Levels = {}
        for _, buy, price, size in self.orders:
            key = price if buy else -price
            levels[key] = levels.get(key, 0) + size
        return levels


def replay(steps: list[Step]) -> Iterator[tuple[MatchingEngine, SlowBook, Levels]]:
    """Yield both books after every step, with the levels before it."""
    engine, slow = MatchingEngine(), SlowBook()
    for step in steps:
        before = slow.levels()
        slow.fills = []
        engine.begin()
        if len(step) == 4:
            _, buy, price, size = step
            engine.limit(price if buy else -price, size)
            slow.limit(buy=buy, price=price, size=size)
        elif len(step) == 3:
            _, buy, size = step
            left = slow.take(buy=buy, worst=None, size=size)
            assert left == engine.market(buy=buy, size=size)
        elif slow.orders:
            number, buy, price, _ = slow.orders[step[1] % len(slow.orders)]
            key = price if buy else -price
            if step[0] == "cancel":
                assert engine.cancel(key, number)
                slow.orders = [order for order in slow.orders if order[0] != number]
            else:
                engine.cancel_level(key)
                slow.orders = [order for order in slow.orders if order[1:3] != (buy, price)]
        yield engine, slow, before


@given(st.lists(actions, max_size=60))
def test_engine_after_any_actions_equals_slow_book(steps: list[Step]) -> None:
    for engine, slow, _ in replay(steps):
        assert slow.levels() == engine.sizes
        assert sorted(key for key in engine.sizes if key > 0) == engine.bids
        assert sorted(key for key in engine.sizes if key < 0) == engine.asks


@given(st.lists(actions, max_size=60))
def test_engine_after_any_actions_fills_oldest_orders_of_best_price(steps: list[Step]) -> None:
    for engine, slow, _ in replay(steps):
        assert slow.fills == [(fill.maker, abs(fill.key), fill.size) for fill in engine.fills]


@given(st.lists(actions, max_size=60))
def test_engine_after_any_actions_is_never_crossed(steps: list[Step]) -> None:
    for engine, _, _ in replay(steps):
        if engine.bids and engine.asks:
            assert engine.bids[-1] < -engine.asks[-1]


@given(st.lists(actions, max_size=60))
def test_engine_after_any_actions_names_every_changed_level(steps: list[Step]) -> None:
    for engine, slow, before in replay(steps):
        after = slow.levels()
        changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}

        assert changed <= engine.before.keys()
        assert all(before.get(key, 0) == size for key, size in engine.before.items())


@given(st.lists(actions, max_size=60))
def test_engine_after_any_actions_holds_orders_in_order_of_arrival(steps: list[Step]) -> None:
    for engine, slow, _ in replay(steps):
        for key in engine.sizes:
            expected = [
                (number, size)
                for number, buy, price, size in slow.orders
                if (price if buy else -price) == key
            ]
            assert expected == engine.queue(key)


def test_engine_with_unknown_order_cancels_nothing() -> None:
    engine = MatchingEngine()
    order = engine.limit(5, 3)

    assert not engine.cancel(5, order + 1)
    assert not engine.cancel(6, order)
    assert engine.sizes == {5: 3}


def test_engine_when_limit_order_crosses_rests_the_remainder() -> None:
    engine = MatchingEngine()
    engine.limit(-10, 4)
    engine.begin()

    order = engine.limit(11, 6)

    assert order
    assert engine.sizes == {11: 2}
    assert [(fill.key, fill.size) for fill in engine.fills] == [(-10, 4)]
