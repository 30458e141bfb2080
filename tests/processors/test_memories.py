"""Which checkpoints of the topic a worker is restored from."""

from collections.abc import Sequence

from core.events import CheckpointBatch, Header, StreamCheckpoint
from core.frames import Address
from processors.memories import Memories, Stretch


def made(
    offset: int,
    number: int,
    *symbols: str,
    exchange: str = "kraken",
    partition: int = 3,
    epoch: int = 7,
    line: str = "A",
) -> CheckpointBatch:
    """A record of checkpoints whose states say where they are from."""
    header = Header(Address(exchange, "s", line, epoch), number, partition, offset)
    state = f"{epoch}/{number}".encode()
    return CheckpointBatch(
        header, [StreamCheckpoint(number, 0, "book", symbol, state) for symbol in symbols]
    )


def kept(*batches: CheckpointBatch) -> dict[int, Sequence[tuple[str, bytes]]]:
    memories = Memories(Stretch("kraken", 3, 10, 20))
    for batch in batches:
        memories.add(batch)
    return {
        offset: [(each.symbol, each.state) for each in batch.checkpoints]
        for offset, batch in memories.by_offset().items()
    }


def test_last_checkpoint_of_each_stream_is_kept_at_its_own_offset() -> None:
    found = kept(made(10, 100, "X", "Y"), made(12, 120, "X"), made(19, 190, "Z"))

    assert found == {10: [("Y", b"7/100")], 12: [("X", b"7/120")], 19: [("Z", b"7/190")]}


def test_what_the_connection_remembered_is_kept_with_every_stream() -> None:
    found = kept(made(10, 100, "", "X"), made(12, 120, "", "Y"))

    assert found == {10: [("", b"7/100"), ("X", b"7/100")], 12: [("", b"7/120"), ("Y", b"7/120")]}


def test_repeated_checkpoints_change_nothing() -> None:
    batches = [made(10, 100, "X", "Y"), made(12, 120, "X")]

    assert kept(*batches, *batches) == kept(*batches)


def test_checkpoints_outside_of_the_stretch_are_left_out() -> None:
    found = kept(
        made(9, 90, "X"),
        made(20, 200, "X"),
        made(15, 150, "X", exchange="deribit"),
        made(15, 150, "X", partition=2),
    )

    assert found == {}


def test_lines_of_a_shard_remember_apart() -> None:
    assert set(kept(made(10, 100, "X"), made(11, 50, "X", line="B"))) == {10, 11}


def test_checkpoint_of_an_older_raw_topic_of_that_name_does_not_hide_a_newer() -> None:
    newer = made(12, 3, "X", epoch=8)

    assert kept(made(19, 190, "X"), newer) == kept(newer, made(19, 190, "X")) == kept(newer)
