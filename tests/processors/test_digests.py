"""Digests: equal for equal records, and the first difference is found without the records."""

from hypothesis import given
from hypothesis import strategies as st

from processors.digests import (
    CHECKPOINTS_MAX,
    Mark,
    Place,
    StreamDigest,
    Window,
    first_difference,
    partition_digest,
    record_digest,
    windows,
)

PLACE = Place("trades", 0, ("deribit", "deribit-0", "A"))
MARKS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(0, 5000)), min_size=1, max_size=300, unique=True
).map(sorted)


def digest(values: dict[Mark, bytes]) -> StreamDigest:
    side = StreamDigest()
    for mark in sorted(values):
        side.add(mark, values[mark])
    return side


def found(ours: dict[Mark, bytes], theirs: dict[Mark, bytes]) -> Mark | None:
    """Find the first difference as a replay does: chains first, then one window."""
    window = windows({PLACE: digest(ours)}, {PLACE: digest(theirs)}).get(PLACE)
    if window is None:
        return None
    sides = [
        {mark: record_digest(mark, value) for mark, value in side.items() if mark in window}
        for side in (ours, theirs)
    ]
    difference = first_difference(PLACE, *sides)
    assert difference is not None
    return difference.mark


@given(MARKS)
def test_digest_of_equal_records_is_equal(marks: list[Mark]) -> None:
    values = {mark: b"%d" % mark[1] for mark in marks}

    assert found(values, dict(values)) is None


@given(MARKS, st.data())
def test_first_difference_is_the_first_of_any_changes(
    marks: list[Mark], data: st.DataObject
) -> None:
    ours = {mark: b"%d" % mark[1] for mark in marks}
    theirs = dict(ours)
    changed = data.draw(st.lists(st.sampled_from(marks), min_size=1, unique=True))
    for mark in changed:
        if data.draw(st.booleans()):
            del theirs[mark]
        else:
            theirs[mark] += b"!"

    assert found(ours, theirs) == min(changed)
    assert found(theirs, ours) == min(changed)


def test_checkpoints_of_a_long_stream_are_few_and_the_window_is_narrow() -> None:
    ours = {(7, number): b"value" for number in range(0, 2_000_000, 50)}
    theirs = ours | {(7, 1_000_000): b"other"}

    sides = digest(ours), digest(theirs)
    window = sides[0].window_of_difference(sides[1])

    assert all(len(side.checkpoints) <= CHECKPOINTS_MAX for side in sides)
    assert window is not None
    assert sum(mark in window for mark in ours) < len(ours) // 20
    assert found(ours, theirs) == (7, 1_000_000)


def test_repeats_change_nothing_and_are_counted() -> None:
    once, again = StreamDigest(), StreamDigest()
    for number in (1, 2, 3):
        once.add((1, number), b"x")
    taken = [again.add((1, number), b"x") for number in (1, 2, 1, 2, 3)]

    assert taken == [True, True, False, False, True]
    assert (once.chain, 2) == (again.chain, again.repeats)


def test_partition_digest_ignores_the_order_of_streams_and_other_partitions() -> None:
    other = Place("trades", 0, ("kraken", "kraken-0", "A"))
    elsewhere = Place("trades", 1, ("kraken", "kraken-1", "A"))
    one, two = digest({(1, 1): b"a"}), digest({(1, 1): b"b"})

    forth = partition_digest({PLACE: one, other: two, elsewhere: one}, "trades", 0)
    back = partition_digest({elsewhere: two, other: two, PLACE: one}, "trades", 0)
    swapped = partition_digest({PLACE: two, other: one}, "trades", 0)

    assert forth == back
    assert forth != swapped


def test_window_bounds_are_after_and_until() -> None:
    window = Window((1, 5), (2, 0))

    assert [mark in window for mark in [(1, 5), (1, 6), (2, 0), (2, 1)]] == [
        False,
        True,
        True,
        False,
    ]
