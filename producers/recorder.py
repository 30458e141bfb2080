"""The frames of one line on their way into records, and how many may wait for Kafka.

Every frame of a line goes through here, in order. A record is closed by count, bytes or age and
handed to the courier of its partition; it is counted as waiting until Kafka has acknowledged it.
The recorder never drops and never blocks: it says when it is full, and the line reads slower.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from core.frames import Address, BatchBuilder, Dropped, Frame, FrameKind
from schemas.codec import encode_frame_batch

_NS_PER_MS: Final = 1_000_000
_FRAME_OVERHEAD_BYTES: Final = 64
"""What a frame costs in memory and in its record beside its payload."""


class Parcel(msgspec.Struct):
    """One Kafka record on its way; `oldest_mono` is the monotonic stamp of its first frame, ns."""

    key: bytes
    value: bytes
    timestamp_ms: int
    frames: int
    oldest_mono: int
    settle: Callable[["Parcel", str], None]
    """Called once: with an empty text when Kafka has it, else with why it never will."""


class Courier(Protocol):
    """Takes parcels of one partition and delivers them in order."""

    def put(self, parcel: Parcel) -> None:
        """Take a parcel."""


class RecorderSettings(msgspec.Struct, frozen=True):
    """When a record is closed, and how much of one line may wait for Kafka.

    `phase` shifts the instants at which old records are closed, as a share of the age.
    """

    batch_frames: int
    batch_bytes: int
    batch_age_s: float
    queue_frames: int
    queue_bytes: int
    phase: float = 0.0


class Recorder:
    """One line's frames."""

    def __init__(
        self,
        exchange: str,
        shard: str,
        line: str,
        courier: Courier,
        settings: RecorderSettings,
        *,
        after_epoch: int = 0,
    ) -> None:
        """Epochs begin above `after_epoch`."""
        self.on_room: Callable[[], None] = _nobody_waits
        """Called when there is room again after `is_full`."""
        self.on_dropped: Callable[[], None] = _nobody_waits
        """Called when the log says that frames are missing from it."""
        self.frames = 0
        """Frames taken since the start."""
        self.payload_bytes = 0
        self.batches = 0
        self.dropped = 0
        self._exchange, self._shard, self._line = exchange, shard, line
        self._key = shard.encode()
        self._courier = courier
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._epoch = after_epoch
        self._builder = BatchBuilder(Address(exchange, shard, line, 0))
        self._bytes = 0
        self._age_timer: asyncio.TimerHandle | None = None
        self._is_filling = False
        """Whether the last record was closed because it was full."""
        self._parcels: deque[Parcel] = deque()
        self._parcel_frames = 0
        self._parcel_bytes = 0
        self._was_full = False

    # -- what waits --

    @property
    def queue_frames(self) -> int:
        """Frames that Kafka has not acknowledged."""
        return self._parcel_frames + len(self._builder)

    def queue_age_ns(self, mono: int) -> int:
        """Return since when the oldest of them waits, ns."""
        oldest = self._parcels[0].oldest_mono if self._parcels else self._builder.oldest_mono
        return 0 if oldest is None else max(mono - oldest, 0)

    def is_full(self) -> bool:
        """Say whether the line must read slower; `on_room` tells when no longer."""
        settings = self._settings
        if (
            self.queue_frames < settings.queue_frames
            and self._parcel_bytes + self._bytes < settings.queue_bytes
        ):
            return False
        self._was_full = True
        return True

    # -- frames --

    def begin_epoch(self) -> None:
        """Begin a new opening; epochs grow even when the clock steps back."""
        self.cut()
        self._epoch = max(self._epoch + 1, time.time_ns())
        self._builder = BatchBuilder(Address(self._exchange, self._shard, self._line, self._epoch))

    def add(self, frame: Frame) -> None:
        """Take the next frame."""
        size = len(frame.payload) + _FRAME_OVERHEAD_BYTES
        builder = self._builder
        if self._bytes + size > self._settings.batch_bytes and self._bytes:
            self._is_filling = True
            self.cut()
        builder.add(frame)
        self.frames += 1
        self.payload_bytes += size - _FRAME_OVERHEAD_BYTES
        self._bytes += size
        count = len(builder)
        if count >= self._settings.batch_frames:
            self._is_filling = True
            self.cut()
        elif count == 1:
            self._age_timer = self._loop.call_at(self._old_at(), self._grow_old)

    def _old_at(self) -> float:
        """Return when the record that begins now is closed by age, s of the event loop's clock.

        Lines that do not fill their records close them at the same instants: the records then
        share one request to Kafka. Those that do fill them would only be cut short by that.
        """
        age, now = self._settings.batch_age_s, self._loop.time()
        if self._is_filling or not age:
            return now + age
        return now + age - (now - age * self._settings.phase) % age

    def _grow_old(self) -> None:
        self._is_filling = False
        self.cut()

    def note(self, kind: FrameKind, payload: bytes = b"", where: str = "") -> None:
        """Take a frame of our own making, stamped now."""
        self.add(Frame(kind, time.time_ns(), time.monotonic_ns(), where, payload))

    def drop(self, count: int, reason: str) -> None:
        """Say in the log that frames are missing from it, and why."""
        self.dropped += count
        self.note(FrameKind.DROPPED, msgspec.json.encode(Dropped(count, reason[:200])))
        self.on_dropped()

    def cut(self) -> None:
        """Close the record that is being filled."""
        if self._age_timer is not None:
            self._age_timer.cancel()
            self._age_timer = None
        batch = self._builder.cut()
        if batch is None:
            return
        self._bytes = 0
        self.batches += 1
        first = batch.frames[0]
        parcel = Parcel(
            self._key,
            encode_frame_batch(batch),
            first.ts_recv // _NS_PER_MS,
            len(batch.frames),
            first.ts_mono,
            self._settle,
        )
        self._parcels.append(parcel)
        self._parcel_frames += parcel.frames
        self._parcel_bytes += len(parcel.value)
        self._courier.put(parcel)

    def _settle(self, parcel: Parcel, refused: str) -> None:
        # Parcels of one line are settled in their order: they share a courier.
        settled = self._parcels.popleft()
        assert settled is parcel
        self._parcel_frames -= parcel.frames
        self._parcel_bytes -= len(parcel.value)
        if refused:
            self.drop(parcel.frames, refused)
        if self._was_full and self._is_half_empty():
            self._was_full = False
            self.on_room()

    def _is_half_empty(self) -> bool:
        return (
            self.queue_frames * 2 <= self._settings.queue_frames
            and (self._parcel_bytes + self._bytes) * 2 <= self._settings.queue_bytes
        )


def _nobody_waits() -> None:
    """Do nothing: no line has asked to be told."""
