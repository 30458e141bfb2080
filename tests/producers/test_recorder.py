import asyncio
from itertools import pairwise

import msgspec

from core.frames import CHAIN_START, Dropped, Frame, FrameBatch, FrameKind, chained
from producers.recorder import Parcel, Recorder, RecorderSettings
from schemas.codec import decode_frame_batch

SETTINGS = RecorderSettings(
    batch_frames=4, batch_bytes=1000, batch_age_s=60.0, queue_frames=20, queue_bytes=100_000
)


class Shelf:
    """A courier that keeps parcels until a test settles them."""

    def __init__(self) -> None:
        self.parcels: list[Parcel] = []
        self.batches: list[FrameBatch] = []
        self.instants: list[float] = []
        self.arrived = asyncio.Event()

    def put(self, parcel: Parcel) -> None:
        self.parcels.append(parcel)
        self.batches.append(decode_frame_batch(parcel.value))
        self.instants.append(asyncio.get_running_loop().time())
        self.arrived.set()

    def settle(self, count: int, refused: str = "") -> None:
        for _ in range(count):
            parcel = self.parcels.pop(0)
            parcel.settle(parcel, refused)


def recorder(**more: object) -> tuple[Recorder, Shelf]:
    shelf = Shelf()
    settings = msgspec.structs.replace(SETTINGS, **more)
    made = Recorder("deribit", "deribit-0", "A", shelf, settings)
    made.begin_epoch()
    return made, shelf


def frame(size: int = 10, mono: int = 5) -> Frame:
    return Frame(FrameKind.RECEIVED, 1_700_000_000_123_456_789, mono, "", b"x" * size)


async def test_recorder_full_batch_becomes_a_record() -> None:
    made, shelf = recorder()
    for _ in range(9):
        made.add(frame())

    assert [len(batch.frames) for batch in shelf.batches] == [4, 4]
    assert [batch.number for batch in shelf.batches] == [0, 4]
    assert shelf.parcels[0].key == b"deribit-0"
    assert shelf.parcels[0].timestamp_ms == 1_700_000_000_123
    assert made.queue_frames == 9


async def test_recorder_old_batch_becomes_a_record_by_itself() -> None:
    made, shelf = recorder(batch_age_s=0.01)
    made.add(frame())
    await asyncio.wait_for(shelf.arrived.wait(), 5)

    assert [len(batch.frames) for batch in shelf.batches] == [1]


async def test_recorder_lines_close_old_records_at_the_same_instant() -> None:
    (first, one), (second, two) = recorder(batch_age_s=0.2), recorder(batch_age_s=0.2)
    first.add(frame())
    await asyncio.sleep(0.02)
    second.add(frame())
    one.arrived.clear()
    first.add(frame())
    for shelf in (one, two):
        await asyncio.wait_for(shelf.arrived.wait(), 5)

    # Both timers are due at once, and the loop serves them one after the other.
    assert abs(one.instants[-1] - two.instants[0]) < 0.02


async def test_recorder_lines_of_another_phase_close_at_another_instant() -> None:
    (first, one), (second, two) = (recorder(batch_age_s=0.2, phase=phase) for phase in (0.0, 0.5))
    first.add(frame())
    second.add(frame())
    for shelf in (one, two):
        await asyncio.wait_for(shelf.arrived.wait(), 5)

    apart = abs(one.instants[0] - two.instants[0])
    assert apart > 0.05


async def test_recorder_that_fills_its_records_is_not_cut_short() -> None:
    made, shelf = recorder(batch_age_s=0.2)
    loop = asyncio.get_running_loop()
    for _ in range(5):
        made.add(frame())
    began = loop.time()
    while len(shelf.batches) < 2:
        shelf.arrived.clear()
        await asyncio.wait_for(shelf.arrived.wait(), 5)

    assert [len(batch.frames) for batch in shelf.batches] == [4, 1]
    assert shelf.instants[1] - began >= 0.19


async def test_recorder_frame_that_does_not_fit_begins_a_new_record() -> None:
    made, shelf = recorder()
    made.add(frame(500))
    made.add(frame(500))
    made.add(frame(5000))
    made.cut()

    assert [[len(f.payload) for f in batch.frames] for batch in shelf.batches] == [
        [500],
        [500],
        [5000],
    ]


async def test_recorder_chain_is_whole_over_records() -> None:
    made, shelf = recorder()
    for number in range(11):
        made.add(frame(number))
    made.cut()

    assert shelf.batches[0].chain_before == CHAIN_START
    for batch in shelf.batches:
        assert chained(batch.chain_before, batch.frames) == batch.chain
    for first, second in pairwise(shelf.batches):
        assert first.chain == second.chain_before
        assert first.number + len(first.frames) == second.number


async def test_recorder_new_epoch_starts_anew_and_later() -> None:
    made, shelf = recorder()
    made.add(frame())
    for _ in range(3):
        made.begin_epoch()
        made.add(frame())
    made.cut()

    epochs = [batch.address.epoch for batch in shelf.batches]
    assert epochs == sorted(set(epochs))
    assert [batch.number for batch in shelf.batches] == [0, 0, 0, 0]
    assert [batch.chain_before for batch in shelf.batches] == [CHAIN_START] * 4


async def test_recorder_full_queue_tells_when_half_of_it_is_free() -> None:
    made, shelf = recorder()
    told: list[int] = []
    made.on_room = lambda: told.append(made.queue_frames)
    while not made.is_full():
        made.add(frame())
    assert made.queue_frames == 20
    shelf.settle(2)
    assert told == []
    shelf.settle(2)

    assert told == [8]
    assert not made.is_full()


async def test_recorder_queue_is_full_by_bytes_too() -> None:
    made, _ = recorder(queue_bytes=3000)
    made.add(frame(900))
    made.add(frame(900))
    assert not made.is_full()
    made.add(frame(1500))

    assert made.is_full()


async def test_recorder_room_is_not_told_to_nobody() -> None:
    made, shelf = recorder()
    told: list[int] = []
    made.on_room = lambda: told.append(1)
    for _ in range(8):
        made.add(frame())
    shelf.settle(2)

    assert told == []


async def test_recorder_queue_age_is_that_of_the_oldest_frame() -> None:
    made, shelf = recorder()
    assert made.queue_age_ns(100) == 0
    for mono in (10, 20, 30, 40, 50):
        made.add(frame(mono=mono))
    assert made.queue_age_ns(100) == 90
    shelf.settle(1)

    assert made.queue_age_ns(100) == 50


async def test_recorder_refused_record_is_counted_in_the_log() -> None:
    made, shelf = recorder()
    told: list[int] = []
    made.on_dropped = lambda: told.append(made.dropped)
    for _ in range(4):
        made.add(frame())
    shelf.settle(1, "too large")
    made.cut()

    (dropped,) = shelf.batches[-1].frames
    assert dropped.kind is FrameKind.DROPPED
    assert msgspec.json.decode(dropped.payload, type=Dropped) == Dropped(4, "too large")
    assert made.dropped == 4
    assert told == [4]
    # The numbers go on: the hole itself can be seen as well.
    assert shelf.batches[-1].number == 4
