"""What a Kafka record holds, as facts: plain dictionaries with the names that the tables use.

Bytes stay exact: text where they are UTF-8, base64 where they are not. It reads no topic and
prints nothing.
"""

import base64
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final

import msgspec

from core.decimals import render
from core.events import (
    AlertBatch,
    BookBatch,
    BookSnapshot,
    CheckpointBatch,
    Fault,
    FaultBatch,
    MidBatch,
    OutputBatch,
    Side,
    StabilityBatch,
    StreamCheckpoint,
    StreamSecond,
    TradeBatch,
    VenueBatch,
)
from core.frames import Frame, FrameBatch
from core.letters import DeadLetter
from core.memory import read
from core.notify.receipts import Receipt
from core.notify.silences import Silence
from core.stability.alerts import Alert
from core.venues import comparison
from core.venues.mids import Mid
from core.venues.seconds import VenueSecond
from schemas.codec import decode_dead_letter, decode_frame_batch, decode_output
from schemas.notify import decode_receipt, decode_silence
from schemas.registry import CodecError
from schemas.topics import COMPACTED, DEAD_LETTERS, RECEIPTS, SILENCES

Fact = dict[str, Any]

_COLUMNS: Final = {"index": "idx"}
"""Columns that are not called as the struct's field is."""


def facts(kind: str, record: Any) -> Iterator[Fact]:
    """Return what a Kafka record holds, each fact with where it stands in the log."""
    place = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
    if record.value is None and kind in COMPACTED:
        yield place | _exact("forgotten", record.key)
        return
    try:
        yield from (place | fact for fact in _decoded(kind, record.value))
    except CodecError as error:
        yield place | {"error": str(error)}


def _decoded(kind: str, value: bytes | None) -> list[Fact]:
    if kind.startswith("raw."):
        return _frames(decode_frame_batch(value))
    if kind == DEAD_LETTERS:
        return [_letter(decode_dead_letter(value))]
    if kind == RECEIPTS:
        return [_receipt(decode_receipt(value))]
    if kind == SILENCES:
        return [_silence(decode_silence(value))]
    return outputs(decode_output(kind, value))


def _frames(batch: FrameBatch) -> list[Fact]:
    address = msgspec.structs.asdict(batch.address)
    return [
        address | {"number": batch.number + index} | _frame(frame)
        for index, frame in enumerate(batch.frames)
    ]


def _frame(frame: Frame) -> Fact:
    return {
        "kind": frame.kind.name.lower(),
        "ts_recv": frame.ts_recv,
        "where": frame.where,
    } | _exact("payload", frame.payload)


def _letter(letter: DeadLetter) -> Fact:
    fields = msgspec.structs.asdict(letter)
    # The place of the letter itself is called topic, partition and offset.
    for name in ("topic", "partition", "offset"):
        fields[f"record_{name}"] = fields.pop(name)
    key, value = fields.pop("key"), fields.pop("value")
    return fields | _exact("key", key) | _exact("value", value)


def _receipt(receipt: Receipt) -> Fact:
    fields = msgspec.structs.asdict(receipt)
    # The place of the receipt itself is called partition; the opening is on its own topic.
    fields["alert_partition"] = fields.pop("partition")
    fields["is_open"] = bool(fields.pop("alert"))
    return fields | {name: fields[name].name.lower() for name in ("phase", "outcome")}


def _silence(silence: Silence) -> Fact:
    window = msgspec.structs.asdict(silence.window)
    matchers = msgspec.structs.asdict(silence.matchers)
    return {"name": silence.name} | window | matchers | {"reason": silence.reason}


def outputs(batch: OutputBatch) -> list[Fact]:
    """Return the facts of a record that processors publish."""
    header = batch.header
    origin = msgspec.structs.asdict(header.address) | {
        "raw_partition": header.raw_partition,
        "raw_offset": header.raw_offset,
    }
    if isinstance(batch, TradeBatch):
        found = _trades(batch)
    elif isinstance(batch, BookBatch):
        found = [_book(book) for book in batch.books]
    elif isinstance(batch, FaultBatch):
        found = [_named(fault) for fault in batch.faults]
    elif isinstance(batch, CheckpointBatch):
        found = [_checkpoint(checkpoint) for checkpoint in batch.checkpoints]
    elif isinstance(batch, AlertBatch):
        found = [_named(alert) for alert in batch.alerts]
    elif isinstance(batch, VenueBatch):
        found = [_named(second) for second in batch.venues]
    elif isinstance(batch, MidBatch):
        found = [_mid(mid) for mid in batch.mids]
    else:
        assert isinstance(batch, StabilityBatch)
        found = [_named(second) for second in batch.seconds]
    return [origin | {_COLUMNS.get(name, name): fact[name] for name in fact} for fact in found]


def _trades(batch: TradeBatch) -> list[Fact]:
    return [
        {
            "number": batch.numbers[index],
            "idx": batch.indices[index],
            "symbol": batch.symbols[index],
            "trade_id": batch.trade_ids[index],
            "sequence": None if batch.sequences[index] < 0 else batch.sequences[index],
            "price": batch.prices[index],
            "size": batch.sizes[index],
            "side": Side(batch.sides[index]).name.lower(),
            "ts_event": batch.ts_event[index],
            "ts_recv": batch.ts_recv[index],
            "quality": batch.quality[index],
        }
        for index in range(len(batch))
    ]


def _book(book: BookSnapshot) -> Fact:
    fields = msgspec.structs.asdict(book)
    price, size = fields.pop("price_exponent"), fields.pop("size_exponent")
    for side in ("bid", "ask"):
        fields[f"{side}_prices"] = [render(each, price) for each in fields[f"{side}_prices"]]
        fields[f"{side}_sizes"] = [render(each, size) for each in fields[f"{side}_sizes"]]
    return fields


def _mid(mid: Mid) -> Fact:
    fields = msgspec.structs.asdict(mid)
    exponent = fields.pop("exponent")
    prices = {
        side: None if fields[side] is None else render(fields[side], exponent)
        for side in ("bid", "ask")
    }
    return fields | prices


def _named(fact: Fault | StreamSecond | Alert | VenueSecond) -> Fact:
    """Return the fields of a fact, enums by their names in lower case."""
    fields = msgspec.structs.asdict(fact)
    return fields | {
        name: value.name.lower() for name, value in fields.items() if isinstance(value, Enum)
    }


def _checkpoint(checkpoint: StreamCheckpoint) -> Fact:
    fields = msgspec.structs.asdict(checkpoint)
    state = fields.pop("state")
    memory = comparison.read(state) if fields["channel"] == comparison.CHECKPOINT else read(state)
    return fields | {"memory": None if memory is None else msgspec.to_builtins(memory)}


def _exact(name: str, data: bytes | None) -> Fact:
    """Return bytes under `name` as text, or under `name_base64` where they are not UTF-8."""
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


def payload_of(fact: Fact) -> bytes:
    """Return the payload of a frame's fact as the bytes that it was."""
    if "payload_base64" in fact:
        return base64.b64decode(fact["payload_base64"])
    text: str | None = fact["payload"]
    return (text or "").encode()
