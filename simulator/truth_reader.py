"""Questions to the truth on disk: books at sequence numbers, trades with their deliveries, last
numbers.

Plain functions over files, safe to run in a thread while the simulator appends: a record that is
not complete yet ends the reading. Nothing here writes.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from heapq import nlargest
from pathlib import Path

from simulator.market import HISTORY, Trade
from simulator.truth import (
    CHANGE,
    DELIVERED,
    HEADER,
    HEADER_WORDS,
    KEYFRAME,
    TRADE,
    TRADE_WORDS,
    WORD,
)

HEAD_WORDS = HEADER_WORDS + 4  # header and the start of the keyframe
# Where a trade record has a number, and where a segment's head has the same of the trade before it.
KEY_WORDS = {"sequence": (2, 7), "tag": (4, 8), "ts_event": (3, HEADER_WORDS + 3)}
LOOK_BACK = 8  # segments searched for the last trades of an earlier session
Level = list[str]  # price text, size text: plain decimals without trailing zeros
Top = dict[str, list[Level]]  # bids and asks, best first


@dataclass(frozen=True, slots=True)
class Units:
    """Ticks and lots of a segment as texts."""

    tick: int
    price_decimals: int
    lot: int
    size_decimals: int

    def price(self, ticks: int) -> str:
        """Return a price in plain decimals."""
        return plain(ticks * self.tick, self.price_decimals)

    def size(self, lots: int) -> str:
        """Return a size in plain decimals."""
        return plain(lots * self.lot, self.size_decimals)


def plain(units: int, decimals: int) -> str:
    """Return `units / 10**decimals` without exponent, trailing zeros or trailing point."""
    if not decimals:
        return str(units)
    digits = str(units).zfill(decimals + 1)
    whole, fraction = digits[:-decimals], digits[-decimals:].rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


@dataclass(slots=True)
class Last:
    """Where a market stopped: its last numbers and its last trades, oldest first."""

    sequence: int = 0
    trade_sequence: int = 0
    tag: int = 0
    trades: list[Trade] = field(default_factory=list)


def segments(folder: Path) -> list[Path]:
    """Return a market's segments, oldest first."""
    return sorted(folder.glob("*.truth"))


def first_sequence(segment: Path) -> int:
    """Return the sequence number of a segment's keyframe."""
    return int(segment.stem)


def load(segment: Path, words_max: int | None = None) -> "array[int]":
    """Return the words of a segment, as many as are complete."""
    words = array("q")
    with segment.open("rb") as file:
        data = file.read() if words_max is None else file.read(words_max * WORD)
    words.frombytes(data[: len(data) - len(data) % WORD])
    return words


def records(words: "array[int]") -> Iterator[int]:
    """Yield the index of every complete record."""
    index, end = 0, len(words)
    while index < end:
        length = words[index]
        if length < 2 or index + length > end:
            return
        yield index
        index += length


def pairs(words: "array[int]", index: int) -> Iterator[tuple[int, int]]:
    """Return the pairs of a record that lists many: all first numbers, then all second ones."""
    start, end = index + 4, index + words[index]
    middle = (start + end) // 2
    return zip(words[start:middle], words[middle:end], strict=True)


def units(words: "array[int]") -> Units:
    """Return the units that a segment's header states."""
    return Units(words[3], words[4], words[5], words[6])


def trade_at(words: "array[int]", index: int) -> Trade:
    """Return the trade of the record at `index`."""
    _, _, sequence, ts_event, tag, price, size, buy, direction = words[index : index + TRADE_WORDS]
    return Trade(sequence, tag, price, size, bool(buy), direction, ts_event)


def books(folder: Path, at: Sequence[int], depth: int) -> list[Top | None]:
    """Return the top `depth` levels a side at each sequence number, None where there was no such
    state.

    One pass over the segments that hold the numbers, whatever their order.
    """
    found: dict[int, Top] = {}
    paths = segments(folder)
    firsts = [first_sequence(path) for path in paths]
    wanted: dict[int, list[int]] = {}
    for sequence in sorted(set(at)):
        place = bisect_right(firsts, sequence) - 1
        if place >= 0:
            wanted.setdefault(place, []).append(sequence)
    for place, sequences in wanted.items():
        found |= scan(load(paths[place]), sequences, depth)
    return [found.get(sequence) for sequence in at]


def scan(words: "array[int]", sequences: list[int], depth: int) -> dict[int, Top]:
    """Replay one segment and return the books at those of `sequences` (ascending) that it holds."""
    found: dict[int, Top] = {}
    if len(words) < HEADER_WORDS:
        return found
    steps = units(words)
    book: dict[int, int] = {}
    goals = iter(sequences)
    goal = next(goals)
    for index in records(words):
        kind = words[index + 1]
        if kind not in (CHANGE, KEYFRAME):
            continue
        sequence = words[index + 2]
        while goal < sequence:
            following = next(goals, None)
            if following is None:
                return found
            goal = following
        for key, size in pairs(words, index):
            if size:
                book[key] = size
            else:
                book.pop(key, None)
        if sequence == goal:
            found[sequence] = top(book, steps, depth)
    return found


def top(book: dict[int, int], steps: Units, depth: int) -> Top:
    """Return the best levels of both sides as texts."""
    bids = nlargest(depth, (key for key in book if key > 0))
    asks = nlargest(depth, (key for key in book if key < 0))
    return {
        "bids": [[steps.price(key), steps.size(book[key])] for key in bids],
        "asks": [[steps.price(-key), steps.size(book[key])] for key in asks],
    }


def states(folder: Path, since_ns: int, until_ns: int, count_max: int) -> list[tuple[int, int]]:
    """Return (sequence, ts_event in ns) of the states from `since_ns` to `until_ns`, inclusive."""
    found: list[tuple[int, int]] = []
    for path in segments(folder):
        words = load(path)
        for index in records(words):
            if words[index + 1] not in (CHANGE, KEYFRAME):
                continue
            state = words[index + 2], words[index + 3]
            if since_ns <= state[1] <= until_ns and (not found or found[-1] != state):
                found.append(state)
                if len(found) == count_max:
                    return found
    return found


def trades(folder: Path) -> Iterator[tuple[Trade, int, Units]]:
    """Yield every trade with its deliveries and units, oldest first."""
    delivered: dict[int, int] = {}
    paths = segments(folder)
    for path in paths:
        words = load(path)
        for index in records(words):
            if words[index + 1] == DELIVERED:
                for sequence, times in pairs(words, index):
                    delivered[sequence] = delivered.get(sequence, 0) + times
    for path in paths:
        words = load(path)
        steps = units(words) if len(words) >= HEADER_WORDS else None
        for index in records(words):
            if words[index + 1] == TRADE and steps is not None:
                trade = trade_at(words, index)
                yield trade, delivered.get(trade.sequence, 0), steps


def history(folder: Path, first: int, count: int, key: str = "sequence") -> list[Trade]:
    """Return up to `count` trades, oldest first, whose `key` is at least `first`.

    `key` is sequence, tag or ts_event: numbers that never fall from one trade to the next.
    """
    found: list[Trade] = []
    word, opening = KEY_WORDS[key]
    paths = segments(folder)
    starts = [head[opening] if len(head := load(path, HEAD_WORDS)) else 0 for path in paths]
    for path in paths[max(0, bisect_left(starts, first) - 1) :]:
        words = load(path)
        for index in records(words):
            if words[index + 1] != TRADE or words[index + word] < first:
                continue
            found.append(trade_at(words, index))
            if len(found) == count:
                return found
    return found


def last(folder: Path) -> Last:
    """Return where a market stopped; zeros when there is no earlier session."""
    state = Last()
    for path in segments(folder)[: -LOOK_BACK - 1 : -1]:
        words = load(path)
        found: list[Trade] = []
        for index in records(words):
            kind = words[index + 1]
            if kind in (CHANGE, KEYFRAME):
                state.sequence = max(state.sequence, words[index + 2])
            elif kind == TRADE:
                found.append(trade_at(words, index))
            elif kind == HEADER:
                state.trade_sequence = max(state.trade_sequence, words[index + 7])
                state.tag = max(state.tag, words[index + 8])
        state.trades = [*found, *state.trades]
        if len(state.trades) >= HISTORY:
            break
    state.trades = state.trades[-HISTORY:]
    if state.trades:
        state.trade_sequence = state.trades[-1].sequence
        state.tag = max(state.tag, *(trade.tag for trade in state.trades))
    return state
