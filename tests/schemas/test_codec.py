"""Values on the topics: what is written is read back, and nothing else is read at all."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import (
    AlertBatch,
    BookBatch,
    CheckpointBatch,
    Events,
    FaultBatch,
    Header,
    MidBatch,
    StabilityBatch,
    TradeBatch,
    VenueBatch,
    fact_number,
)
from core.frames import FrameBatch
from core.letters import DeadLetter
from core.notify.receipts import Receipt
from core.notify.silences import Silence
from schemas.codec import (
    decode_checkpoints,
    decode_dead_letter,
    decode_events,
    decode_frame_batch,
    decode_mid,
    decode_output,
    encode_dead_letter,
    encode_events,
    encode_frame_batch,
)
from schemas.notify import decode_receipt, decode_silence, encode_receipt, encode_silence
from schemas.registry import HEADER_BYTES, NAMES, CodecError, codec
from schemas.topics import OUTPUT_KINDS, schema_of
from tests.schemas.records import FRAME_BATCHES, LETTERS, RECEIPTS, SILENCES, events

DECODERS: dict[str, Callable[[bytes | None], Any]] = {
    "frame_batch": decode_frame_batch,
    "dead_letter": decode_dead_letter,
    "trade_batch": lambda value: decode_events("trades", value),
    "book_batch": lambda value: decode_events("books", value),
    "fault_batch": lambda value: decode_events("faults", value),
    "stability_batch": lambda value: decode_events("stability", value),
    "checkpoint_batch": decode_checkpoints,
    "alert": lambda value: decode_events("alerts", value),
    "venue_batch": lambda value: decode_events("venues", value),
    "mid": decode_mid,
    "receipt": decode_receipt,
    "silence": decode_silence,
}


@given(FRAME_BATCHES)
def test_frame_batch_encoded_reads_back_equal(batch: FrameBatch) -> None:
    assert batch == decode_frame_batch(encode_frame_batch(batch))


@given(RECEIPTS)
def test_receipt_encoded_reads_back_equal(receipt: Receipt) -> None:
    assert receipt == decode_receipt(encode_receipt(receipt))


@given(SILENCES)
def test_silence_encoded_reads_back_equal(silence: Silence) -> None:
    assert silence == decode_silence(encode_silence(silence))


@given(LETTERS)
def test_dead_letter_encoded_reads_back_equal(letter: DeadLetter) -> None:
    assert letter == decode_dead_letter(encode_dead_letter(letter))


@given(events(), st.integers(0, 2**31 - 1), st.integers(0, 2**63 - 1))
def test_events_encoded_read_back_equal(facts: Events, partition: int, offset: int) -> None:
    header = Header(facts.address, facts.number, partition, offset)

    encoded = encode_events(facts, partition, offset)
    values = dict(encoded)

    assert list(values) == list(OUTPUT_KINDS)
    trades = decode_events("trades", values["trades"])
    assert isinstance(trades, TradeBatch)
    assert trades.header == header
    assert trades.prices == [trade.price for trade in facts.trades]
    assert list(trades.sequences) == [
        -1 if trade.sequence is None else trade.sequence for trade in facts.trades
    ]
    assert list(trades.ts_recv) == [trade.ts_recv for trade in facts.trades]
    assert bytes(trade.side for trade in facts.trades) == trades.sides
    assert BookBatch(header, facts.books) == decode_events("books", values["books"])
    assert FaultBatch(header, facts.faults) == decode_events("faults", values["faults"])
    assert StabilityBatch(header, facts.seconds) == decode_events("stability", values["stability"])
    alerts = [decode_output(kind, value) for kind, value in encoded if kind == "alerts"]
    assert alerts == [
        AlertBatch(msgspec.structs.replace(header, number=fact_number(alert)), [alert])
        for alert in facts.alerts
    ]
    assert VenueBatch(header, facts.venues) == decode_events("venues", values["venues"])
    mids = [decode_output(kind, value) for kind, value in encoded if kind == "mids"]
    assert mids == [
        MidBatch(msgspec.structs.replace(header, number=fact_number(mid)), [mid])
        for mid in facts.mids
    ]
    checkpoints = decode_output("checkpoints", values["checkpoints"])
    assert CheckpointBatch(header, facts.checkpoints) == checkpoints


def test_decoders_cover_every_schema() -> None:
    assert set(NAMES) == set(DECODERS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [None, b"", b"\xc3\x01", b"{}", b"\xc3\x01" + bytes(8) + b"x"])
def test_decoder_without_known_framing_refuses(name: str, value: bytes | None) -> None:
    with pytest.raises(CodecError):
        DECODERS[name](value)


@pytest.mark.parametrize("name", NAMES)
@given(body=st.binary(max_size=200))
def test_decoder_given_any_body_decodes_or_refuses(name: str, body: bytes) -> None:
    _decodes_or_refuses(name, _header(name) + body)


@given(st.data(), events(), FRAME_BATCHES, LETTERS)
@settings(max_examples=200)
def test_decoder_given_damaged_value_decodes_or_refuses(
    data: st.DataObject, facts: Events, frames: FrameBatch, letter: DeadLetter
) -> None:
    whole = {
        "frame_batch": encode_frame_batch(frames),
        "dead_letter": encode_dead_letter(letter),
        **{str(schema_of(kind)): value for kind, value in encode_events(facts, 0, 0)},
    }
    for name, value in whole.items():
        damaged = bytearray(value)
        for _ in range(data.draw(st.integers(1, 3))):
            position = data.draw(st.integers(0, len(damaged) - 1))
            damaged[position] ^= 1 << data.draw(st.integers(0, 7))
        _decodes_or_refuses(name, bytes(damaged))
        _decodes_or_refuses(name, value[: data.draw(st.integers(0, len(value)))])
        with pytest.raises(CodecError):
            DECODERS[name](value + b"\x00")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [2**31, 2**40, 2**62, -(2**62)])
def test_decoder_given_claimed_gigabytes_allocates_nothing(name: str, length: int) -> None:
    numbers = b"".join(_varint(value) for value in (0, 1, length))
    bodies = [_varint(length) * 8, numbers * 4, b"\x02A\x02B\x02C" + numbers * 3]
    tracemalloc.start()
    try:
        for body in bodies:
            _decodes_or_refuses(name, _header(name) + body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000


def _decodes_or_refuses(name: str, value: bytes) -> None:
    try:
        DECODERS[name](value)
    except CodecError:
        return


def _header(name: str) -> bytes:
    header = codec(name).header
    assert len(header) == HEADER_BYTES
    return header


def _varint(number: int) -> bytes:
    """Avro's zig-zag variable-length long."""
    rest = ((number << 1) ^ (number >> 63)) & (2**64 - 1)
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*encoded, rest))
