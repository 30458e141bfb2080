"""Frames, the batches in which they travel, and the digest chain that proves them whole.

A frame is one message with when and where it was received; a connection's own life (opening,
close, REST bodies, ticks) is frames too, so that everything downstream is a function of the log.
Nothing here knows what a payload means.
"""

import struct
from enum import IntEnum
from hashlib import blake2b
from typing import Annotated, Final

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
"""A number of things or of ns that fits every column."""


class FrameKind(IntEnum):
    """What a frame is; the numbers are part of the Avro contract and never change."""

    OPENING = 0
    """An attempt to open the socket begins; `where` is its URL. Always frame 0 of an epoch."""
    OPEN = 1
    """The WebSocket handshake succeeded."""
    RECEIVED = 2
    """A text message from the exchange, bytes unchanged."""
    RECEIVED_BINARY = 3
    """A binary message from the exchange, bytes unchanged."""
    SENT = 4
    """A text message sent by us."""
    REQUEST = 5
    """A REST request begins; `where` is its URL."""
    RESPONSE = 6
    """A REST answer; `where` is its URL, the payload its body, unchanged."""
    REQUEST_FAILED = 7
    """A REST request failed; `where` is its URL, the payload a JSON object with the reason."""
    PING = 8
    """A protocol-level ping from the exchange (answered by the WebSocket library)."""
    PONG = 9
    """A protocol-level pong to a ping of ours; the payload is the round trip in ns, as text."""
    TICK = 10
    """One second has passed; the payload is the producer's own state (see `TickStatus`)."""
    CLOSE = 11
    """The socket is gone or the attempt failed; the payload says why (see `CloseReason`)."""
    DROPPED = 12
    """Frames were dropped by a named policy; the payload says how many and why."""
    RESYNC = 13
    """The edge guard distrusts a book or subscription and heals it (see `Resync`)."""
    PLAN = 14
    """The shard's subscriptions (see `core.protocol.Shard`): after every OPENING and again with
    every renewal of snapshots, so that a reader who starts in the middle knows them."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame.

    Times are ns: `ts_recv` since the epoch in UTC, `ts_mono` of the producer's monotonic clock,
    both taken once at the socket read, before any queue.
    """

    kind: FrameKind
    ts_recv: int
    ts_mono: int
    where: str
    payload: bytes


class Address(msgspec.Struct, frozen=True, gc=False, order=True):
    """One opening of one socket: exchange, planned shard, line, and the opening time in ns."""

    exchange: str
    shard: str
    line: str
    epoch: int


class FrameBatch(msgspec.Struct, frozen=True):
    """Consecutive frames of one connection: the value of one record on `raw.<exchange>`.

    `number` is the counter of the first frame inside its epoch. `chain_before` and `chain` are
    the running digest before the first and after the last frame: equal to the neighbour's when
    nothing was lost, changed or reordered.
    """

    address: Address
    number: int
    chain_before: bytes
    chain: bytes
    frames: list[Frame]


class TickStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """The producer's own state, once a second.

    `queue_frames` wait to be acknowledged by Kafka, the oldest since `queue_age_ns`. `paused_ns`
    is how long the socket was not read because that queue was full. `connected` is the socket.
    `late_ns` is how much later than planned the producer got to say so.
    """

    connected: bool
    queue_frames: Count = 0
    queue_age_ns: Count = 0
    paused_ns: Count = 0
    late_ns: Count = 0


class CloseReason(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a socket is gone: WebSocket close code (0 for none), reason, who ended it."""

    code: int
    reason: str
    by: str
    """`exchange`, `us`, `network` or `handshake` (never opened)."""
    planned: bool = False


class Dropped(msgspec.Struct, frozen=True):
    """Frames that were read but not kept, with the policy that dropped them."""

    count: Count
    reason: str


class Resync(msgspec.Struct, frozen=True):
    """The edge guard's reason to ask for a fresh book of one symbol, or for its channels."""

    symbol: str
    reason: str
    expected: str
    found: str


UNCONFIRMED: Final = "unconfirmed"
"""The reason of a `Resync` that subscribes again to channels which the venue did not confirm."""
CHAIN_BYTES: Final = 16
CHAIN_START: Final = bytes(CHAIN_BYTES)
"""The chain before the first frame of every epoch."""


def chained(before: bytes, frames: list[Frame]) -> bytes:
    """Return the chain after `frames`: BLAKE2b over the chain before and every frame's content.

    What is hashed is, in turn: the chain before; how many frames there are; of all frames the
    kinds, the receive times, the lengths of `where` (characters) and of the payload (bytes), as
    64-bit little-endian integers; all `where` as UTF-8; all payloads. The lengths are part of it,
    so that bytes cannot move between neighbours. Source: RFC 7693 (BLAKE2), 16-byte digest.
    """
    wheres = [frame.where for frame in frames]
    payloads = [frame.payload for frame in frames]
    numbers = struct.pack(
        f"<{1 + 4 * len(frames)}q",
        len(frames),
        *[frame.kind for frame in frames],
        *[frame.ts_recv for frame in frames],
        *map(len, wheres),
        *map(len, payloads),
    )
    content = b"".join([before, numbers, "".join(wheres).encode(), *payloads])
    return blake2b(content, digest_size=CHAIN_BYTES).digest()


class BatchBuilder:
    """Gathers one epoch's frames into batches, cut by count; the caller cuts by age."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._frames: list[Frame] = []
        self._number = 0
        self._chain = CHAIN_START

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def next_number(self) -> int:
        """The number the next frame will have."""
        return self._number + len(self._frames)

    @property
    def oldest_mono(self) -> int | None:
        """Monotonic ns of the first waiting frame, None when nothing waits."""
        return self._frames[0].ts_mono if self._frames else None

    def add(self, frame: Frame) -> int:
        """Append a frame and return its number."""
        self._frames.append(frame)
        return self._number + len(self._frames) - 1

    def cut(self) -> FrameBatch | None:
        """Return all waiting frames as one batch, None when nothing waits."""
        if not self._frames:
            return None
        frames, self._frames = self._frames, []
        before, self._chain = self._chain, chained(self._chain, frames)
        batch = FrameBatch(self.address, self._number, before, self._chain, frames)
        self._number += len(frames)
        return batch
