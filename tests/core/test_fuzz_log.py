"""Damaged records of the raw log: read as what they say or refused, and never stopped at."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import Events, FaultKind
from core.exchanges import exchanges
from core.frames import Address, Frame, FrameBatch, FrameKind, chained
from core.letters import REASON_CHARACTERS, DeadLetter
from core.pipeline import PipelineSettings
from processors.engine import PartitionEngine, RawRecord
from schemas.codec import decode_dead_letter, encode_dead_letter, encode_frame_batch
from tests.core.transcripts import cut, pipeline_of, read_transcript, require_storable

VENUES = sorted(exchanges())
INT64 = st.integers(-(2**63), 2**63 - 1)
TIMES = st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63), 10**18, 2 * 10**18]) | INT64


@pytest.mark.parametrize("name", VENUES)
def test_fuzz_records_with_bytes_changed_give_facts_that_can_be_stored(name: str) -> None:
    """Some records of a connection are damaged, those after them are as they were."""
    random = Random(11)
    transcript = read_transcript(name)
    values = [encode_frame_batch(batch) for batch in cut(transcript.frames(), 8, name)]
    read = refused = 0
    for _ in range(40):
        engine = engine_of(name)
        for offset, value in enumerate(values):
            bad = bytearray(value)
            if random.random() < 0.3:
                for _ in range(random.randint(1, 3)):
                    bad[random.randrange(10, len(bad))] = random.randrange(256)
            events = taken(engine, offset, bytes(bad))
            refused += events is None
            read += events is not None

    assert read > 100
    assert refused > 3


FRAMES = st.builds(
    Frame,
    kind=st.sampled_from(FrameKind),
    ts_recv=TIMES,
    ts_mono=TIMES,
    where=st.sampled_from(["", "\x00", "/api/v3/depth?symbol=BTCUSDT&limit=5"]),
    payload=st.sampled_from(
        [
            *(b"", b"{}", b"1", b"9" * 18, b"9" * 19, b'{"connected":true}', b'{"connected":1}'),
            b'{"connected":true,"queue_frames":4611686018427387904,"paused_ns":-1}',
            b'{"connected":true,"queue_frames":4611686018427387903,"queue_age_ns":1}',
            b'{"count":4611686018427387903,"reason":"full"}',
            b'{"code":99999999999999999999,"reason":"","by":"us"}',
            b'{"code":1000,"reason":"' + b"a" * 1000 + b'","by":"handshake"}',
            b'{"exchange":"x","name":"y","symbols":[],"book_depth":0}',
            b'{"exchange":"x","name":"y","symbols":["BTCUSDT",""],"book_depth":-5}',
            b'{"exchange":"x","name":"y","symbols":["BTCUSDT","BTCUSDT"],"book_depth":1}',
            b'{"symbol":"S","reason":"unconfirmed","expected":"' + b"e" * 900 + b'","found":""}',
            *read_transcript("binance").received()[:12],
        ]
    ),
)


@settings(max_examples=400)
@given(
    records=st.lists(
        st.tuples(
            st.integers(0, 3) | st.integers(0, 2**63 - 1),
            st.integers(0, 5) | st.integers(0, 2**62),
            st.lists(FRAMES, min_size=1, max_size=6),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_fuzz_records_of_any_times_and_kinds_give_facts_that_can_be_stored(
    records: list[tuple[int, int, list[Frame]]],
) -> None:
    engine = engine_of("binance")
    for offset, (epoch, number, frames) in enumerate(records):
        taken(engine, offset, record(frames, epoch, number))


@pytest.mark.parametrize("kind", [FrameKind.CLOSE, FrameKind.OPEN, FrameKind.TICK])
def test_fuzz_clock_that_jumps_to_and_fro_gives_facts_that_can_be_stored(kind: FrameKind) -> None:
    """A monotonic clock does not, but a record may say so."""
    engine = engine_of("binance")
    times = [0, (1 << 58) - 1] * 100
    kinds = [FrameKind.OPEN, kind] * 100
    frames = [Frame(each, 0, mono, "", b"") for each, mono in zip(kinds, times, strict=True)]
    swung = [frame for pair in zip(frames[1::2], frames[::2], strict=True) for frame in pair]
    tick = Frame(FrameKind.TICK, 0, 0, "", b'{"connected":true}')

    events = taken(engine, 0, record([*frames, tick, *swung, tick], 1, 0))

    assert events is not None
    assert len(events.seconds) >= 2


def engine_of(name: str) -> PartitionEngine:
    return PartitionEngine(exchanges()[name], PipelineSettings(), topic="raw", partition=0)


def record(frames: list[Frame], epoch: int, number: int) -> bytes:
    """Return a raw record whose chain is right."""
    before = bytes(16)
    address = Address("binance", "s", "A", epoch)
    return encode_frame_batch(FrameBatch(address, number, before, chained(before, frames), frames))


def taken(engine: PartitionEngine, offset: int, value: bytes) -> Events | None:
    """Let the processors' engine take a record; return its facts, None for a dead letter."""
    fed = engine.feed(RawRecord(offset, b"key", value, 0))
    if fed.events is None:
        (letter,) = fed.outputs
        assert decode_dead_letter(letter.value).offset == offset
        return None
    (events,) = fed.events
    require_storable(events)
    return events


def test_fuzz_record_of_another_chain_is_a_fault_that_names_both() -> None:
    transcript = read_transcript("deribit")
    first, second, *_ = cut(transcript.frames(), 8, "deribit")
    pipeline = pipeline_of(transcript.exchange)
    pipeline.feed(first)
    broken = FrameBatch(second.address, second.number, bytes(16), second.chain, second.frames)

    events: Events = pipeline.feed(broken)

    kinds = [fault.kind for fault in events.faults]
    assert kinds == [FaultKind.CHAIN_BROKEN, FaultKind.CHAIN_BROKEN]
    assert events.faults[0].expected == first.chain.hex()


@settings(max_examples=200)
@given(
    letter=st.builds(
        DeadLetter,
        topic=st.text(st.characters(codec="utf-8"), max_size=9),
        partition=st.integers(0, 2**31 - 1),
        offset=st.integers(0, 2**63 - 1),
        consumer=st.sampled_from(["sink", ""]),
        reason=st.text(st.characters(codec="utf-8"), max_size=9),
        ts=INT64,
        key=st.none() | st.binary(max_size=9),
        value=st.none() | st.binary(max_size=9),
        log_id=st.sampled_from(["", "k/t"]),
    )
)
def test_letter_of_any_record_is_written_and_found_again(letter: DeadLetter) -> None:
    again = decode_dead_letter(encode_dead_letter(letter))

    assert again == letter
    assert len(again) == 1
    assert again.mark == (0, letter.offset)
    assert (again.stream is None) is (not letter.log_id)
    assert REASON_CHARACTERS == 500
