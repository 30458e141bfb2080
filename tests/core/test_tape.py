"""Recordings as text: what is read is what was written, and what is malformed names its line."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.frames import (
    CHAIN_START,
    Address,
    BatchBuilder,
    Frame,
    FrameKind,
    chained,
)
from core.tape import KINDS, TapeError, TapeReader, batches, read_tape

TEXT = st.text(
    st.characters(codec="utf-8", exclude_characters="\t\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"),
    max_size=20,
)
RECORDS = st.lists(
    st.tuples(st.integers(0, 2**63 - 1), st.sampled_from(sorted(KINDS)), TEXT, TEXT), max_size=20
)


@settings(max_examples=150)
@given(records=RECORDS, headers=st.booleans(), blanks=st.booleans())
def test_tape_read_is_what_was_written(
    records: list[tuple[int, str, str, str]], headers: bool, blanks: bool
) -> None:
    lines = ["# exchange: deribit\n", "#bare\n", "# note: a: b\n"] if headers else []
    for time, kind, where, payload in records:
        lines += ["\n"] if blanks else []
        lines.append(f"{time}\t{kind}\t{where}\t{payload}\n")
    tape = read_tape(lines)

    assert tape.header == ({"exchange": "deribit", "note": "a: b"} if headers else {})
    assert [
        Frame(KINDS[kind], time, time, where, payload.encode())
        for time, kind, where, payload in records
    ] == tape.frames


def test_tape_payload_may_hold_tabs_and_hashes() -> None:
    (frame,) = read_tape(["5\tR\tws\t#a\tb\tc\r\n"]).frames

    assert frame.payload == b"#a\tb\tc"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("1\tR\tws", "expected 4 columns, found 3"),
        ("R\tws\tx\ty", "expected a time in ns, found 'R'"),
        ("-1\tR\tws\tx", "expected a time in ns, found '-1'"),
        ("1.5\tR\tws\tx", "expected a time in ns"),
        ("\u0661\tR\tws\tx", "expected a time in ns"),
        ("9223372036854775808\tR\tws\tx", "expected a time in ns"),
        ("9" * 5000 + "\tR\tws\tx", "expected a time in ns"),
        ("1\tX\tws\tx", "expected kind C, S, R or H, found 'X'"),
        ("1\t\tws\tx", "expected kind"),
        ("garbage", "expected 4 columns, found 1"),
    ],
)
@pytest.mark.parametrize("before", [[], ["# a: b\n"], ["# a: b\n", "1\tR\tws\tx\n", "\n"]])
def test_tape_malformed_record_names_its_line(record: str, reason: str, before: list[str]) -> None:
    with pytest.raises(TapeError, match=f"line {len(before) + 1}: {reason}") as caught:
        read_tape([*before, record + "\n", "1\tR\tws\tx\n"])

    assert len(str(caught.value)) < 200


@settings(max_examples=200)
@given(lines=st.lists(st.text(max_size=30), max_size=6))
def test_tape_of_any_text_is_read_or_refused(lines: list[str]) -> None:
    reader = TapeReader(lines)
    try:
        frames = list(reader)
    except TapeError:
        frames = []

    assert len(frames) <= len(lines)
    assert reader.line <= len(lines)


def test_tape_is_read_line_by_line() -> None:
    """A long recording needs little memory: no line is asked for before its turn."""
    asked = []

    def lines() -> Iterator[str]:
        for number in range(5):
            asked.append(number)
            yield f"{number}\tR\tws\tx\n"

    frames = iter(TapeReader(lines()))
    next(frames)
    assert asked == [0]
    next(frames)
    assert asked == [0, 1]


def test_tape_header_says_where_its_keys_stand() -> None:
    reader = TapeReader(["# a: 1\n", "\n", "# b: 2\n", "1\tR\tws\tx\n"])

    assert reader.header_lines == {"a": 1, "b": 3}
    assert reader.line == 4
    assert read_tape([]).frames == []


# -- batches --


@settings(max_examples=100)
@given(count=st.integers(0, 60), size=st.integers(1, 20))
def test_batches_tile_the_frames_and_chain(count: int, size: int) -> None:
    frames = [Frame(FrameKind.RECEIVED, n, n, "", b"x") for n in range(count)]
    made = list(batches(frames, "deribit", size))

    assert [frame for batch in made for frame in batch.frames] == frames
    chain, number = CHAIN_START, 0
    for batch in made:
        assert (batch.number, batch.chain_before) == (number, chain)
        assert 0 < len(batch.frames) <= size
        chain, number = chained(chain, batch.frames), number + len(batch.frames)
        assert batch.chain == chain


@settings(max_examples=100)
@given(cuts=st.lists(st.integers(0, 5), max_size=10))
def test_builder_numbers_and_chains_what_it_is_given(cuts: list[int]) -> None:
    builder = BatchBuilder(Address("x", "s", "A", 1))
    number, chain = 0, CHAIN_START
    for count in cuts:
        for n in range(count):
            assert builder.next_number == number + n
            assert builder.add(Frame(FrameKind.TICK, 1, number + n, "", b"")) == number + n
        assert len(builder) == count
        assert builder.oldest_mono == (number if count else None)
        batch = builder.cut()
        assert (batch is None) is (count == 0)
        if batch is not None:
            assert (batch.number, batch.chain_before) == (number, chain)
            number, chain = number + count, batch.chain
            assert builder.oldest_mono is None


@settings(max_examples=200)
@given(
    frames=st.lists(
        st.builds(
            Frame,
            st.sampled_from(FrameKind),
            st.integers(0, 2**62),
            st.just(0),
            st.sampled_from(["", "a", "ü"]),
            st.binary(max_size=4),
        ),
        min_size=1,
        max_size=4,
    ),
    data=st.data(),
)
def test_chain_differs_whenever_the_content_does(frames: list[Frame], data: st.DataObject) -> None:
    """Bytes cannot move to a neighbour, frames cannot be exchanged, kinds and times count."""
    other = list(data.draw(st.permutations(frames)))
    place = data.draw(st.integers(0, len(frames) - 1))
    if data.draw(st.booleans()):
        frame = other[place]
        moved = Frame(frame.kind, frame.ts_recv + 1, 0, frame.where, frame.payload)
        other[place] = moved
    if len(other) > 1 and data.draw(st.booleans()):
        first, second = other[0], other[1]
        whole = first.payload + second.payload
        other[0] = Frame(first.kind, first.ts_recv, 0, first.where, whole[:1])
        other[1] = Frame(second.kind, second.ts_recv, 0, second.where, whole[1:])

    assert (chained(CHAIN_START, frames) == chained(CHAIN_START, other)) is (frames == other)
    assert chained(b"\x01" * 16, frames) != chained(CHAIN_START, frames)
