"""Between the structs of `core` and the Avro values on the topics.

One pair of functions per record type. Decoding refuses what a correct writer cannot have written
(columns of unequal length, unknown enum values) with a `CodecError`; it never repairs.
"""

import struct
import sys
from array import array
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, Final, TypeVar

import msgspec

from core.decimals import MAX_DECIMALS
from core.events import (
    AlertBatch,
    BookBatch,
    BookSnapshot,
    BookState,
    CheckpointBatch,
    EventBatch,
    Events,
    Fault,
    FaultBatch,
    FaultKind,
    Header,
    MidBatch,
    OutputBatch,
    StabilityBatch,
    StreamCheckpoint,
    StreamSecond,
    TradeBatch,
    VenueBatch,
    fact_number,
)
from core.frames import Address, Frame, FrameBatch, FrameKind
from core.letters import DeadLetter
from core.stability.alerts import Alert, AlertKind, Phase, Severity
from core.stability.score import Component
from core.stability.states import StreamState
from core.venues.mids import Mid
from core.venues.seconds import VenueSecond
from schemas.registry import CodecError, codec
from schemas.topics import CHECKPOINTS, MIDS, VENUES

_Fact = TypeVar("_Fact")
_KINDS: Final = {int(kind): kind for kind in FrameKind}
_FAULTS: Final = {int(kind): kind for kind in FaultKind}
_SECOND_ENUMS: Final[dict[str, dict[int, IntEnum]]] = {
    "book_state": {int(state): state for state in BookState},
    "state": {int(state): state for state in StreamState},
    "score_binding": {int(component): component for component in Component},
}
_EXPONENT_MAX: Final = 2 * MAX_DECIMALS
_encode_texts: Final = msgspec.json.Encoder().encode
_decode_texts: Final = msgspec.json.Decoder(list[str]).decode
"""Columns of text, several times as fast as an Avro array of strings."""
_LADDERS: Final = ("bid_prices", "bid_sizes", "ask_prices", "ask_sizes")


def encode_frame_batch(batch: FrameBatch) -> bytes:
    """Return the value of one raw record."""
    frames = [
        {
            "kind": frame.kind,
            "ts_recv": frame.ts_recv,
            "ts_mono": frame.ts_mono,
            "where": frame.where,
            "payload": frame.payload,
        }
        for frame in batch.frames
    ]
    return codec("frame_batch").encode(
        {
            **_address_fields(batch.address),
            "number": batch.number,
            "chain_before": batch.chain_before,
            "chain": batch.chain,
            "frames": frames,
        }
    )


def decode_frame_batch(value: bytes | None) -> FrameBatch:
    """Return the batch in the value of one raw record.

    Raises:
        CodecError: not such a value.
    """
    record = codec("frame_batch").decode(value)
    try:
        frames = [
            Frame(_KINDS[f["kind"]], f["ts_recv"], f["ts_mono"], f["where"], f["payload"])
            for f in record["frames"]
        ]
    except KeyError as error:
        raise CodecError(f"frame_batch: unknown frame kind {error}") from error
    if not frames:
        raise CodecError("frame_batch: no frames")
    return FrameBatch(
        _address(record), record["number"], record["chain_before"], record["chain"], frames
    )


def encode_events(events: Events, raw_partition: int, raw_offset: int) -> list[tuple[str, bytes]]:
    """Return (topic kind, value) for every kind of fact in `events`, none for empty kinds.

    Topic kinds are OUTPUT_KINDS, in this order: one value of each, and of `alerts` and `mids` one
    for each fact.
    """
    head = {
        **_address_fields(events.address),
        "number": events.number,
        "raw_partition": raw_partition,
        "raw_offset": raw_offset,
    }
    values: list[tuple[str, bytes]] = []
    if events.trades:
        values.append(("trades", codec("trade_batch").encode(head | _trade_columns(events))))
    if events.books:
        books = [_book_fields(book) for book in events.books]
        values.append(("books", codec("book_batch").encode(head | {"books": books})))
    if events.faults:
        faults = [msgspec.structs.asdict(fault) for fault in events.faults]
        values.append(("faults", codec("fault_batch").encode(head | {"faults": faults})))
    if events.seconds:
        seconds = [msgspec.structs.asdict(second) for second in events.seconds]
        values.append(("stability", codec("stability_batch").encode(head | {"seconds": seconds})))
    for alert in events.alerts:
        values.append(("alerts", codec("alert").encode(head | _alert_fields(alert))))
    if events.venues:
        venues = [msgspec.structs.asdict(second) for second in events.venues]
        values.append((VENUES, codec("venue_batch").encode(head | {"venues": venues})))
    if events.checkpoints:
        made = [msgspec.structs.asdict(checkpoint) for checkpoint in events.checkpoints]
        values.append((CHECKPOINTS, codec("checkpoint_batch").encode(head | {"checkpoints": made})))
    for mid in events.mids:
        values.append((MIDS, codec("mid").encode(head | msgspec.structs.asdict(mid))))
    return values


def decode_events(kind: str, value: bytes | None) -> EventBatch:
    """Return the batch in the value of one record of the event topic `kind`.

    Raises:
        CodecError: not such a value.
        KeyError: `kind` is not an event topic.
    """
    return _DECODERS[kind](value)


def decode_checkpoints(value: bytes | None) -> CheckpointBatch:
    """Return the batch in the value of one record on `checkpoints`; states stay as they are.

    Raises:
        CodecError: not such a value.
    """
    record = codec("checkpoint_batch").decode(value)
    checkpoints = [StreamCheckpoint(**fields) for fields in record["checkpoints"]]
    return CheckpointBatch(_header(record), _some(checkpoints, "checkpoint_batch"))


def decode_mid(value: bytes | None) -> MidBatch:
    """Return the batch in the value of one record on `mids`.

    Raises:
        CodecError: not such a value.
    """
    record = codec("mid").decode(value)
    mid = Mid(**{name: record[name] for name in Mid.__struct_fields__})
    if not 0 <= mid.exponent <= _EXPONENT_MAX:
        raise CodecError(f"mid: an exponent is not 0 to {_EXPONENT_MAX}: {mid.symbol}")
    header = _header(record | {"number": fact_number(mid)})
    return MidBatch(header, [mid])


def decode_output(kind: str, value: bytes | None) -> OutputBatch:
    """Return the batch in the value of one record of the topic `kind`, one of OUTPUT_KINDS.

    Raises:
        CodecError: not such a value.
        KeyError: `kind` is none of them.
    """
    if kind == MIDS:
        return decode_mid(value)
    return decode_checkpoints(value) if kind == CHECKPOINTS else decode_events(kind, value)


def encode_dead_letter(letter: DeadLetter) -> bytes:
    """Return the value of one record on `dead_letters`."""
    return codec("dead_letter").encode(msgspec.structs.asdict(letter))


def decode_dead_letter(value: bytes | None) -> DeadLetter:
    """Return the letter in the value of one record on `dead_letters`.

    Raises:
        CodecError: not such a value.
    """
    return DeadLetter(**codec("dead_letter").decode(value))


def _decode_trades(value: bytes | None) -> TradeBatch:
    record = codec("trade_batch").decode(value)
    numbers = _unpacked(record["numbers"], "q")
    count = len(numbers)
    batch = TradeBatch(
        header=_header(record),
        numbers=numbers,
        indices=_unpacked(record["indices"], "i"),
        symbols=_texts(record["symbols"]),
        trade_ids=_texts(record["trade_ids"]),
        sequences=_unpacked(record["sequences"], "q"),
        prices=_texts(record["prices"]),
        sizes=_texts(record["sizes"]),
        sides=record["sides"],
        ts_event=_unpacked(record["ts_event"], "q"),
        ts_recv=_unpacked(record["ts_recv"], "q"),
        quality=_unpacked(record["quality"], "i"),
    )
    for field in batch.__struct_fields__[2:]:
        if len(getattr(batch, field)) != count:
            raise CodecError(f"trade_batch: column {field} is not {count} long")
    if not count or batch.sides.strip(b"\x01\x02"):
        raise CodecError("trade_batch: empty, or a side that is neither 1 nor 2")
    return batch


def _decode_books(value: bytes | None) -> BookBatch:
    record = codec("book_batch").decode(value)
    books: list[BookSnapshot] = []
    for fields in record["books"]:
        for ladder in _LADDERS:
            fields[ladder] = list(_unpacked(fields[ladder], "q"))
        book = BookSnapshot(**fields)
        if not (0 <= book.price_exponent <= _EXPONENT_MAX >= book.size_exponent >= 0):
            raise CodecError(f"book_batch: an exponent is not 0 to {_EXPONENT_MAX}: {book.symbol}")
        if len(book.bid_prices) != len(book.bid_sizes) or len(book.ask_prices) != len(
            book.ask_sizes
        ):
            raise CodecError(f"book_batch: prices and sizes differ in length: {book.symbol}")
        books.append(book)
    return BookBatch(_header(record), _some(books, "book_batch"))


def _decode_faults(value: bytes | None) -> FaultBatch:
    record = codec("fault_batch").decode(value)
    try:
        faults = [
            Fault(**fields | {"kind": _FAULTS[fields["kind"]]}) for fields in record["faults"]
        ]
    except KeyError as error:
        raise CodecError(f"fault_batch: unknown fault kind {error}") from error
    return FaultBatch(_header(record), _some(faults, "fault_batch"))


def _decode_stability(value: bytes | None) -> StabilityBatch:
    record = codec("stability_batch").decode(value)
    try:
        for fields in record["seconds"]:
            for name, known in _SECOND_ENUMS.items():
                number = fields[name]
                fields[name] = None if number is None else known[number]
    except KeyError as error:
        raise CodecError(f"stability_batch: unknown state or component {error}") from error
    seconds = [StreamSecond(**fields) for fields in record["seconds"]]
    return StabilityBatch(_header(record), _some(seconds, "stability_batch"))


def _decode_venues(value: bytes | None) -> VenueBatch:
    record = codec("venue_batch").decode(value)
    venues = [VenueSecond(**fields) for fields in record["venues"]]
    return VenueBatch(_header(record), _some(venues, "venue_batch"))


def _decode_alert(value: bytes | None) -> AlertBatch:
    record = codec("alert").decode(value)
    fields = {name: record[name] for name in Alert.__struct_fields__}
    for name, enum in _ALERT_ENUMS.items():
        try:
            fields[name] = enum[fields[name].upper()]
        except KeyError as error:
            raise CodecError(f"alert: unknown {name} {error}") from error
    alert = Alert(**fields)
    address = _address(record)
    header = Header(address, fact_number(alert), record["raw_partition"], record["raw_offset"])
    return AlertBatch(header, [alert])


_ALERT_ENUMS: Final[dict[str, type[IntEnum]]] = {
    "phase": Phase,
    "kind": AlertKind,
    "severity": Severity,
}
_DECODERS: Final[dict[str, Callable[[bytes | None], EventBatch]]] = {
    "trades": _decode_trades,
    "books": _decode_books,
    "faults": _decode_faults,
    "stability": _decode_stability,
    "alerts": _decode_alert,
    VENUES: _decode_venues,
}


def _trade_columns(events: Events) -> dict[str, Any]:
    trades = events.trades
    return {
        "numbers": _packed([t.number for t in trades], "q"),
        "indices": _packed([t.index for t in trades], "i"),
        "symbols": _encode_texts([t.symbol for t in trades]),
        "trade_ids": _encode_texts([t.trade_id for t in trades]),
        "sequences": _packed([-1 if t.sequence is None else t.sequence for t in trades], "q"),
        "prices": _encode_texts([t.price for t in trades]),
        "sizes": _encode_texts([t.size for t in trades]),
        "sides": bytes([t.side for t in trades]),
        "ts_event": _packed([t.ts_event for t in trades], "q"),
        "ts_recv": _packed([t.ts_recv for t in trades], "q"),
        "quality": _packed([t.quality for t in trades], "i"),
    }


def _book_fields(book: BookSnapshot) -> dict[str, Any]:
    fields = msgspec.structs.asdict(book)
    for ladder in _LADDERS:
        fields[ladder] = _packed(fields[ladder], "q")
    return fields


def _alert_fields(alert: Alert) -> dict[str, Any]:
    fields = msgspec.structs.asdict(alert)
    return fields | {name: fields[name].name.lower() for name in _ALERT_ENUMS}


def _address_fields(address: Address) -> dict[str, Any]:
    return {
        "exchange": address.exchange,
        "shard": address.shard,
        "line": address.line,
        "epoch": address.epoch,
    }


def _address(record: dict[str, Any]) -> Address:
    return Address(record["exchange"], record["shard"], record["line"], record["epoch"])


def _header(record: dict[str, Any]) -> Header:
    return Header(_address(record), record["number"], record["raw_partition"], record["raw_offset"])


def _packed(values: Sequence[int], code: str) -> bytes:
    return struct.pack(f"<{len(values)}{code}", *values)


def _unpacked(data: bytes, code: str) -> "array[int]":
    """Return a packed column as an array: its bytes are copied, not read one by one."""
    values = array(code)
    try:
        values.frombytes(data)
    except ValueError as error:
        raise CodecError(
            f"a packed column of {len(data)} bytes is not a multiple of {values.itemsize}"
        ) from error
    if sys.byteorder == "big":
        values.byteswap()
    return values


def _texts(data: bytes) -> list[str]:
    try:
        return _decode_texts(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError(f"a column of texts that is no JSON array of strings: {error}") from error


def _some(facts: list[_Fact], name: str) -> list[_Fact]:
    if not facts:
        raise CodecError(f"{name}: no facts")
    return facts
