"""Comparing two long sequences of records without holding either of them.

A stream's records, in order and without repeats, are chained into one digest. Along the way a few
hundred chain values are kept, at marks chosen by the marks themselves, so that both sides choose
the same ones: where the chains part, the difference lies between two of them, and a second pass
looks only there. Pure; it must not know where records come from.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final, NamedTuple

DIGEST_BYTES: Final = 16
CHECKPOINTS_MAX: Final = 256
"""Chain values kept per stream; when there are more, every second one is given up."""
_SPREAD: Final = 0x9E37_79B9_7F4A_7C15
"""Spreads consecutive marks evenly over 64 bits (Knuth, multiplicative hashing)."""

Stream = tuple[str, str, str]
Mark = tuple[int, int]


class Place(NamedTuple):
    """Where the records of one stream are: topic kind, its partition, exchange, shard, line."""

    kind: str
    partition: int
    stream: Stream


class Window(NamedTuple):
    """Marks after `after` up to and with `until`; None is the stream's own beginning or end."""

    after: Mark | None
    until: Mark | None

    def __contains__(self, mark: object) -> bool:
        assert isinstance(mark, tuple)
        return (self.after is None or mark > self.after) and (
            self.until is None or mark <= self.until
        )


class Difference(NamedTuple):
    """The first record in which the two sides of a stream differ."""

    place: Place
    mark: Mark
    what: str


class StreamDigest:
    """One stream's records on one side."""

    def __init__(self) -> None:
        self.records = 0
        self.repeats = 0
        self.chain = bytes(DIGEST_BYTES)
        self.last: Mark | None = None
        self.checkpoints: dict[Mark, bytes] = {}
        self._mask = 0

    def add(self, mark: Mark, value: bytes) -> bool:
        """Take the next record; return False for a repeat, which changes nothing."""
        if self.last is not None and mark <= self.last:
            self.repeats += 1
            return False
        self.last = mark
        self.records += 1
        self.chain = record_digest(mark, value, self.chain)
        if not _spread(mark) & self._mask:
            self.checkpoints[mark] = self.chain
            if len(self.checkpoints) > CHECKPOINTS_MAX:
                self._mask = self._mask * 2 + 1
                self.checkpoints = self._chosen(self._mask)
        return True

    def window_of_difference(self, other: "StreamDigest") -> Window | None:
        """Return where the two first differ, None when they are equal."""
        if self.chain == other.chain:
            return None
        mask = max(self._mask, other._mask)
        ours, theirs = self._chosen(mask), other._chosen(mask)
        after: Mark | None = None
        for mark in sorted(ours.keys() | theirs.keys()):
            if ours.get(mark) != theirs.get(mark):
                return Window(after, mark)
            after = mark
        return Window(after, None)

    def _chosen(self, mask: int) -> dict[Mark, bytes]:
        return {mark: chain for mark, chain in self.checkpoints.items() if not _spread(mark) & mask}


def record_digest(mark: Mark, value: bytes, before: bytes = b"") -> bytes:
    """Return the digest of one record after `before`."""
    head = b"%d %d %d|" % (*mark, len(value))
    return blake2b(before + head + value, digest_size=DIGEST_BYTES).digest()


def partition_digest(streams: Mapping[Place, StreamDigest], kind: str, partition: int) -> str:
    """Return one digest over the streams of a partition, whatever their interleaving was."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for place in sorted(streams):
        if place[:2] == (kind, partition):
            name = "\0".join(place.stream).encode()
            digest.update(b"%d %d|" % (len(name), streams[place].records))
            digest.update(name + streams[place].chain)
    return digest.hexdigest()


def windows(
    computed: Mapping[Place, StreamDigest], stored: Mapping[Place, StreamDigest]
) -> dict[Place, Window]:
    """Return where each stream first differs, for those that do."""
    found: dict[Place, Window] = {}
    for place in sorted(computed.keys() | stored.keys()):
        ours = computed.get(place) or StreamDigest()
        window = ours.window_of_difference(stored.get(place) or StreamDigest())
        if window is not None:
            found[place] = window
    return found


def first_difference(
    place: Place, computed: Mapping[Mark, bytes], stored: Mapping[Mark, bytes]
) -> Difference | None:
    """Return the first difference among records of one stream, by the digest of each mark."""
    for mark in sorted(computed.keys() | stored.keys()):
        if mark not in stored:
            return Difference(place, mark, "computed, but not in Kafka")
        if mark not in computed:
            return Difference(place, mark, "in Kafka, but not computed")
        if computed[mark] != stored[mark]:
            return Difference(place, mark, "other bytes in Kafka")
    return None


def partitions(*sides: Iterable[Place]) -> list[tuple[str, int]]:
    """Return the (kind, partition) pairs that have records on any side, in order."""
    return sorted({place[:2] for side in sides for place in side})


def _spread(mark: Mark) -> int:
    return ((mark[0] ^ mark[1]) * _SPREAD & 0xFFFF_FFFF_FFFF_FFFF) >> 16
