"""Mids of one instrument as they arrive, and the seconds of which nothing is to come any more.

    a source says `second` --> it has said all up to it.
    a second closes --> every source that was heard lately has said it or a later one,
                        or a second exchange is LATENESS_S beyond it, whoever is missing.

Sources are read from several partitions, so their mids arrive in any order. Which mids a second
closes with depends on what each source says, not on that order, as long as no source is more than
LATENESS_S behind another: a source counts from LATENESS_S after it begins, so that it is known by
then whoever was first; one that pauses for longer than RUN_GAP_S begins anew. What comes later than
that is counted and left out. That one exchange is far ahead closes nothing: its clock may be wrong.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from core.venues.mids import Mid

LATENESS_S: Final = 30
"""How much older than what has arrived a mid may be and still count."""
FORGET_S: Final = 90
"""A source that is silent for longer is not waited for."""
RUN_GAP_S: Final = FORGET_S - LATENESS_S
AHEAD_S: Final = 90
"""Mids that are further ahead of a second exchange are left out: nothing grows without a limit."""
KEEP_S: Final = 86_400
"""For so long a source that is silent is known at all."""

Mark = tuple[int, int]
"""Epoch, and what grows in it from mid to mid of one source."""


class Source(msgspec.Struct, array_like=True):
    """One symbol on one socket, and what it has said: up to `second`, without a pause `since`."""

    exchange: str
    symbol: str
    shard: str
    line: str
    mark: Mark
    second: int
    since: int


class Arrival(msgspec.Struct, array_like=True, frozen=True):
    """A mid that waits for its second to close, with its origin."""

    exchange: str
    shard: str
    line: str
    epoch: int
    mid: Mid


class Arrivals(msgspec.Struct, array_like=True):
    """See the module's docstring. All of it goes into a checkpoint."""

    sources: list[Source] = []
    waiting: dict[int, list[Arrival]] = {}
    """By second."""
    closed: int = 0
    """The last second that was closed."""
    late: int = 0
    """Mids that were left out, because their second was closed or too far ahead."""

    def add(self, arrival: Arrival, mark: Mark) -> bool:
        """Take a mid; say whether it is new, and no repeat of one that was taken."""
        source = self.source(arrival)
        mid = arrival.mid
        if source is None:
            source = Source(
                arrival.exchange,
                mid.symbol,
                arrival.shard,
                arrival.line,
                mark=mark,
                second=mid.second,
                since=mid.second,
            )
            self.sources.append(source)
            self.sources.sort(key=_order)
        elif mark <= source.mark:
            return False
        if not 0 <= mid.second - source.second <= RUN_GAP_S:
            source.since = mid.second
        source.mark, source.second = mark, mid.second
        reached = self._reached()
        if mid.second < source.since + LATENESS_S or reached is None:
            return True
        if self.closed < mid.second <= reached + AHEAD_S:
            self.waiting.setdefault(mid.second, []).append(arrival)
        else:
            self.late += 1
        return True

    def close(self) -> Iterator[tuple[int, list[Arrival]]]:
        """Yield the seconds that close now, in order, with their mids ordered by source."""
        reached = self._reached()
        if reached is None:
            return
        said = [s.second for s in self.sources if s.second > reached - FORGET_S]
        end = max(min(said), reached - LATENESS_S)
        for second in sorted(second for second in self.waiting if second <= end):
            yield second, sorted(self.waiting.pop(second), key=_place)
        if end > self.closed:
            self.closed = end
            self.sources = [s for s in self.sources if s.second > reached - KEEP_S]

    def _reached(self) -> int | None:
        """Return what the second furthest of the exchanges has said, None while there is one."""
        furthest: dict[str, int] = {}
        for source in self.sources:
            furthest[source.exchange] = max(furthest.get(source.exchange, 0), source.second)
        return sorted(furthest.values())[-2] if len(furthest) > 1 else None

    def source(self, arrival: Arrival) -> Source | None:
        """Return what is known of the source of a mid."""
        name = arrival.exchange, arrival.mid.symbol, arrival.shard, arrival.line
        for source in self.sources:
            if _order(source) == name:
                return source
        return None


def _order(source: Source) -> tuple[str, str, str, str]:
    return source.exchange, source.symbol, source.shard, source.line


def _place(arrival: Arrival) -> tuple[str, str, str, str]:
    return arrival.exchange, arrival.mid.symbol, arrival.shard, arrival.line
