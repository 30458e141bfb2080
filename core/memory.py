"""What a stream remembers from before the window, as processors write it into checkpoints.

All else that a pipeline holds is rebuilt from the recent log: books by their snapshots, windows by
their frames. What is here may be older than any part of the log that is re-read. Fields are only
added, each with a default: a reader takes what it knows and leaves the rest.
"""

from typing import Annotated, Final

import msgspec

from core.shapes import Fields
from core.stability.health import StreamHealth

_Number = Annotated[int, msgspec.Meta(gt=-(1 << 62), lt=1 << 62)]
"""Ids and times that frames can hold; differences of two fit into 64 bits."""


class TradeIdsMemory(msgspec.Struct, frozen=True, omit_defaults=True):
    """State of `core.continuity.TradeIds`: last id with its time (ns), and ranges not seen."""

    last: _Number | None = None
    last_ts: _Number = 0
    missing: list[tuple[_Number, _Number]] = []


class StreamMemory(msgspec.Struct, omit_defaults=True):
    """What one stream remembers at a tick.

    `last_mono` is the monotonic time (ns) of its last frame in this epoch, `last_heartbeat` that of
    the venue's last heartbeat, `last_transit` the last transit time (ns); None before the first.
    `trade_ids` is of a trades stream only. `health` is what it was judged by, and its open
    incidents. `shapes` alone, by kind of message, is what the channel `schema` remembers.
    """

    last_mono: _Number | None = None
    last_transit: _Number | None = None
    trade_ids: TradeIdsMemory | None = None
    health: StreamHealth | None = None
    last_heartbeat: _Number | None = None
    shapes: dict[str, Fields] | None = None


def write(memory: StreamMemory) -> bytes:
    """Return the memory as a checkpoint's state."""
    return _encode(memory)


def read(state: bytes) -> StreamMemory | None:
    """Return the memory in a checkpoint's state, None where that is no such thing."""
    try:
        return _decode(state)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(StreamMemory).decode
