"""Is a worker getting on? What is committed, how far behind that is, and since when.

Fed with what Kafka itself says, because a client that has stopped fetching sees no lag. Pure:
the caller brings the clock. It must not know Faust.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

Partition = tuple[str, int]
"""Topic and partition."""


class Position(NamedTuple):
    """The offset that a restart would continue from, and the end of the partition."""

    committed: int
    end: int

    @property
    def lag(self) -> int:
        """Records written and not yet committed."""
        return max(self.end - self.committed, 0)


class _Partition(msgspec.Struct):
    position: Position
    moved_at: float


class Progress:
    """Progress over the partitions that a worker has; times in s of one monotonic clock."""

    def __init__(self, stalled_after_s: float) -> None:
        self.observed_at: float | None = None
        """When Kafka last answered."""
        self._stalled_after_s = stalled_after_s
        self._partitions: dict[Partition, _Partition] = {}

    def observe(self, positions: Mapping[Partition, Position], now: float) -> None:
        """Take the positions of all partitions that the worker has now."""
        self.observed_at = now
        before = self._partitions
        self._partitions = {}
        for partition, position in positions.items():
            known = before.get(partition)
            stands = known is not None and known.position.committed == position.committed
            moved_at = known.moved_at if known is not None and stands and position.lag else now
            self._partitions[partition] = _Partition(position, moved_at)

    def touch(self, partition: Partition, now: float) -> None:
        """Note work that shows in no commit yet, such as a warm-up that moves on."""
        if partition in self._partitions:
            self._partitions[partition].moved_at = now

    def lags(self) -> Iterable[tuple[Partition, int]]:
        """Yield the lag of every partition, records."""
        return [(name, known.position.lag) for name, known in self._partitions.items()]

    def commit_age(self, now: float) -> float:
        """Return how long the slowest partition has stood still with work waiting, s."""
        return max((now - known.moved_at for known in self._partitions.values()), default=0.0)

    def stalled(self, now: float) -> list[Partition]:
        """Return the partitions that stand still for too long although work is waiting."""
        return [
            name
            for name, known in self._partitions.items()
            if now - known.moved_at > self._stalled_after_s
        ]
