"""Whatever is received becomes facts that can be stored, and touches no other symbol.

The frames of every venue's transcript are damaged in every way that `hostile` knows, and by
hypothesis; nothing of it may raise, or be seen in the books and trades of the other symbol.
"""

import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import BookState, Events, FaultKind
from core.exchanges import exchanges
from core.frames import Address, BatchBuilder, Frame, FrameKind
from core.pipeline import ShardPipeline
from core.protocol import DecodeError, Exchange, Message
from core.wire import PAYLOAD_MAX
from tests.core import hostile
from tests.core.transcripts import (
    Line,
    Transcript,
    cut,
    pipeline_of,
    read_transcript,
    require_storable,
)

VENUES = sorted(exchanges())
TRANSCRIPTS = {name: read_transcript(name) for name in VENUES}
RECEIVED = FrameKind.RECEIVED


class Bench:
    """A pipeline in the middle of a connection: the first symbol suffers, the other is watched."""

    def __init__(self, transcript: Transcript) -> None:
        self.exchange = transcript.exchange
        self.pipeline: ShardPipeline = pipeline_of(self.exchange)
        self.builder = BatchBuilder(Address(self.exchange.name, "s", "A", 1))
        self.victim, self.watched = transcript.header.symbols
        self.last = transcript.opening()[-1]
        for frame in transcript.opening():
            self.feed(frame)
        for line in transcript.lines:
            self.feed(line.frame())
            if line.expect:
                break
        self.before = self.state()
        self.restoring = restoring(transcript, self.victim)
        assert self.before[0] is BookState.LIVE

    def state(self) -> tuple[Any, ...]:
        """Return all that is held of the symbol that is watched."""
        instrument = self.pipeline.instruments[self.watched]
        book = instrument.book
        ids = instrument.trade_ids.last
        return book.state, book.sequence, book.book.crc32(), book.ts_event, book.verified, ids

    def feed(self, frame: Frame) -> Events:
        """Feed a frame at the time of the one before it."""
        self.last = frame
        self.builder.add(frame)
        batch = self.builder.cut()
        assert batch is not None
        events = self.pipeline.feed(batch)
        require_storable(events)
        return events

    def suffer(self, kind: FrameKind, payload: bytes, where: str = "") -> Events:
        """Feed something hostile; it may be known by faults, and by nothing else elsewhere."""
        errors = self.pipeline.decode_errors
        last = self.last
        events = self.feed(Frame(kind, last.ts_recv, last.ts_mono, where, payload))
        facts: list[Any] = [*events.trades, *events.books, *events.faults]
        assert not [fact for fact in facts if fact.symbol == self.watched], payload[:200]
        if kind is RECEIVED and len(payload) <= PAYLOAD_MAX and not is_read(self.exchange, payload):
            assert self.pipeline.decode_errors == errors + 1
        return events

    def restore(self) -> None:
        """Make the book that suffers LIVE again, so that more can be done to it."""
        for frame in self.restoring:
            self.feed(frame)
        assert self.pipeline.instruments[self.victim].book.state is BookState.LIVE


def restoring(transcript: Transcript, symbol: str) -> list[Frame]:
    """Return the frames that brought the first snapshot of a symbol."""
    frames = []
    for line in transcript.lines:
        if line.expect:
            break
        frame = line.frame()
        if line.kind in ("REQUEST", "RESPONSE"):
            messages = transcript.exchange.decode_request(frame.where)
            frames += [frame] if symbol in str(messages) else []
        elif line.kind == "RECEIVED" and "Snapshot" in kind_of(transcript, frame.payload):
            frames += [frame] if symbol in line.text else []
    assert frames
    return frames


def kind_of(transcript: Transcript, payload: bytes) -> str:
    """Return the names of the messages in a frame."""
    return " ".join(type(each).__name__ for each in transcript.exchange.decode(payload))


def shapes(transcript: Transcript) -> dict[str, bytes]:
    """Return one frame of every kind that does not speak of the symbol that is watched."""
    found: dict[str, bytes] = {}
    for payload in transcript.received():
        if transcript.header.symbols[1].encode() not in payload:
            found.setdefault(kind_of(transcript, payload), payload)
    assert len(found) >= 3
    return found


@pytest.fixture(params=VENUES)
def transcript(request: pytest.FixtureRequest) -> Transcript:
    return TRANSCRIPTS[request.param]


def test_fuzz_frames_that_are_none_are_counted_or_ignored(transcript: Transcript) -> None:
    bench = Bench(transcript)
    for payload in hostile.nothing_like_a_frame():
        bench.suffer(RECEIVED, payload)

    assert bench.pipeline.decode_errors > 30
    assert bench.state() == bench.before
    assert bench.pipeline.instruments[bench.victim].book.state is BookState.LIVE


def test_fuzz_frames_with_any_value_changed_harm_no_other_symbol(transcript: Transcript) -> None:
    bench = Bench(transcript)
    for payload in shapes(transcript).values():
        for damaged in hostile.mutated(payload):
            bench.restore()
            bench.suffer(RECEIVED, damaged)

    assert bench.pipeline.decode_errors > 200
    assert bench.state() == bench.before


def test_fuzz_frames_cut_anywhere_harm_no_other_symbol(transcript: Transcript) -> None:
    bench = Bench(transcript)
    for payload in shapes(transcript).values():
        for part in hostile.truncated(payload):
            bench.suffer(RECEIVED, part)

    assert bench.state() == bench.before


def test_fuzz_frames_of_ours_with_any_value_changed_harm_no_other_symbol(
    transcript: Transcript,
) -> None:
    bench = Bench(transcript)
    ours: dict[tuple[str, str], Line] = {}
    for line in transcript.lines:
        if line.asks and bench.watched not in line.text + line.where:
            ours.setdefault((line.kind, line.asks), line)
    for line in ours.values():
        for damaged in (*hostile.nothing_like_a_frame(), *hostile.mutated(line.text.encode())):
            bench.suffer(FrameKind.SENT, damaged)
        for damaged in hostile.truncated((line.where or "http://venue/x?symbol=").encode()):
            where = damaged.decode(errors="replace")
            bench.suffer(FrameKind.REQUEST, b"", where)
            bench.suffer(FrameKind.REQUEST_FAILED, b"\xff", where)

    assert ours
    assert bench.state() == bench.before


def test_fuzz_bodies_with_any_value_changed_harm_no_other_symbol(transcript: Transcript) -> None:
    bench = Bench(transcript)
    urls = {line.where for line in transcript.lines if line.kind == "RESPONSE"}
    bodies = [line.text.encode() for line in transcript.lines if line.kind == "RESPONSE"][:1]
    for url in [url for url in urls if bench.watched not in url] or ["https://venue/depth?x=y"]:
        for body in bodies or [b'{"lastUpdateId":1,"bids":[],"asks":[]}']:
            for damaged in (*hostile.nothing_like_a_frame(), *hostile.mutated(body)):
                bench.suffer(FrameKind.REQUEST, b"", url)
                bench.suffer(FrameKind.RESPONSE, damaged, url)

    assert bench.state() == bench.before


@pytest.mark.parametrize(
    "where",
    [
        "",
        "\x00",
        "http://[",
        "http://[::1]:x/api/v3/depth?limit=0",
        "depth?limit=99999&symbol=",
        "/api/v3/depth?symbol=%ff%00&limit=-1",
        "/api/v3/depth?symbol=%ed%a0%80&limit=00000",
        "/fapi/v1/depth?" + "a=b&" * 20_000,
        "/api/v3/depth?symbol=" + "A" * 5000 + "&limit=5000",
        "/api/v3/depth?symbol\u0661=\u0661&limit=\u0661\u0662",
    ],
)
def test_fuzz_addresses_that_are_none_harm_no_symbol(transcript: Transcript, where: str) -> None:
    bench = Bench(transcript)
    for body in (b"", b'{"lastUpdateId":1,"bids":[["1","1"]],"asks":[]}', b"[]"):
        bench.suffer(FrameKind.REQUEST, b"", where)
        bench.suffer(FrameKind.RESPONSE, body, where)
        bench.suffer(FrameKind.REQUEST_FAILED, body, where)

    assert bench.state() == bench.before


def test_fuzz_unknown_symbols_are_counted_and_not_followed(transcript: Transcript) -> None:
    bench = Bench(transcript)
    kinds = set()
    for payload in shapes(transcript).values():
        for name in (b"NOPE", b"A" * 64, b"A" * 65, b"", b"\\u0000", b" ", "Ω".encode()):
            renamed = payload.replace(bench.victim.encode(), name)
            kinds |= {fault.kind for fault in bench.suffer(RECEIVED, renamed).faults}

    assert FaultKind.UNKNOWN_SYMBOL in kinds
    assert set(bench.pipeline.instruments) == {bench.victim, bench.watched}
    assert bench.state() == bench.before


def test_fuzz_huge_frames_are_counted_and_not_read(transcript: Transcript) -> None:
    bench = Bench(transcript)
    payload = shapes(transcript)["Delta"]
    for padded in (payload + b" " * PAYLOAD_MAX, b"[" * (PAYLOAD_MAX + 1), bytes(PAYLOAD_MAX + 1)):
        (fault,) = bench.suffer(RECEIVED, padded).faults
        assert fault.kind is FaultKind.DECODE_ERROR
        assert str(len(padded)) in fault.found
        (fault,) = bench.suffer(FrameKind.RESPONSE, padded, "/api/v3/depth?symbol=X").faults
        assert fault.kind is FaultKind.DECODE_ERROR

    assert bench.pipeline.decode_errors == 6
    assert bench.state() == bench.before


def test_fuzz_binary_frames_are_counted_and_not_read(transcript: Transcript) -> None:
    bench = Bench(transcript)
    for payload in (b"", b"\x00", bytes(100_000), *shapes(transcript).values()):
        (fault,) = bench.suffer(FrameKind.RECEIVED_BINARY, payload).faults
        assert fault.kind is FaultKind.UNEXPECTED_BINARY

    assert bench.pipeline.instruments[bench.victim].book.state is BookState.LIVE
    assert bench.state() == bench.before


def test_fuzz_garbage_in_great_number_is_counted_and_spelled_out_in_part(
    transcript: Transcript,
) -> None:
    bench = Bench(transcript)
    spelled = sum(len(bench.suffer(RECEIVED, b"garbage").faults) for _ in range(1000))
    tick = transcript.lines[-1].frame()
    events = bench.feed(tick)

    (rest,) = events.faults
    assert spelled == 200
    assert (rest.kind, rest.count) == (FaultKind.DECODE_ERROR, 800)
    (connection,) = (each for each in events.seconds if each.channel == "connection")
    assert connection.decode_errors == 1000
    assert bench.state() == bench.before


@pytest.mark.parametrize(
    "kind", [FrameKind.PLAN, FrameKind.TICK, FrameKind.RESYNC, FrameKind.PONG, FrameKind.PING]
)
def test_fuzz_frames_of_our_own_that_cannot_be_read_harm_no_symbol(kind: FrameKind) -> None:
    """A damaged log: the chain tells too, here it is what reads the frame."""
    transcript = TRANSCRIPTS["deribit"]
    bench = Bench(transcript)
    for payload in hostile.nothing_like_a_frame():
        bench.suffer(kind, payload)

    assert bench.state() == bench.before


@pytest.mark.parametrize("kind", [FrameKind.CLOSE, FrameKind.DROPPED, FrameKind.OPEN])
def test_fuzz_ends_that_cannot_be_read_are_still_ends(kind: FrameKind) -> None:
    bench = Bench(TRANSCRIPTS["binance"])
    for payload in hostile.nothing_like_a_frame():
        last = bench.last
        bench.feed(Frame(kind, last.ts_recv, last.ts_mono, "", payload))

    state = bench.pipeline.instruments[bench.watched].book.state
    wanted = {FrameKind.CLOSE: BookState.EMPTY, FrameKind.DROPPED: BookState.STALE}
    assert state is wanted.get(kind, BookState.LIVE)


# -- by hypothesis: the whole connection, with damage on its way --

DAMAGE = st.tuples(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.sampled_from(["replace", "insert", "delete", "value", "swap", "twice"]),
    st.integers(0, 255),
)


@pytest.mark.parametrize("name", VENUES)
@settings(max_examples=40)
@given(damages=st.lists(DAMAGE, min_size=1, max_size=30))
def test_fuzz_damage_to_one_symbol_leaves_the_facts_of_the_other_as_they_were(
    name: str, damages: list[tuple[int, int, str, int]]
) -> None:
    """Frames of one symbol are damaged, repeated and made up; the other's facts are equal."""
    transcript = TRANSCRIPTS[name]
    watched = transcript.header.symbols[1]
    frames = transcript.frames()
    places = [
        place
        for place, frame in enumerate(frames)
        if frame.kind is RECEIVED and watched.encode() not in frame.payload
    ]
    inserted: dict[int, list[Frame]] = {}
    for which, position, how, byte in damages:
        place = places[which % len(places)]
        frame = frames[place]
        payload = damaged(frame.payload, position, how, byte)
        if watched.encode() not in payload:
            inserted.setdefault(place, []).append(msgspec.structs.replace(frame, payload=payload))
    hit = [each for n, frame in enumerate(frames) for each in (frame, *inserted.get(n, ()))]

    assert facts_of(transcript, frames, watched) == facts_of(transcript, hit, watched)


def damaged(payload: bytes, position: int, how: str, byte: int) -> bytes:
    """Return a frame with one thing changed."""
    place = position % max(len(payload), 1)
    if how == "replace":
        return payload[:place] + bytes([byte]) + payload[place + 1 :]
    if how == "insert":
        return payload[:place] + bytes([byte]) + payload[place:]
    if how == "delete":
        return payload[:place] + payload[place + 1 + byte % 8 :]
    if how == "swap":
        return payload[:place] + payload[place : place + 2][::-1] + payload[place + 2 :]
    if how == "twice":
        return payload[:place] + payload[place : place + 1 + byte % 8] + payload[place:]
    tokens = list(hostile.TOKEN.finditer(payload))
    token = tokens[position % len(tokens)]
    value = hostile.VALUES[byte % len(hostile.VALUES)]
    return payload[: token.start()] + value + payload[token.end() :]


def facts_of(transcript: Transcript, frames: Iterable[Frame], symbol: str) -> list[Any]:
    """Return a symbol's facts, without the numbers of their frames."""
    pipeline = pipeline_of(transcript.exchange)
    (batch,) = cut(frames, 10_000, transcript.header.exchange)
    events = pipeline.feed(batch)
    require_storable(events)
    facts: list[Any] = [*events.trades, *events.books, *events.faults, *events.seconds]
    found = [
        msgspec.structs.replace(fact, number=0, index=0) for fact in facts if fact.symbol == symbol
    ]
    assert found
    return found


# -- decoders alone, with bytes from nowhere --


@pytest.mark.parametrize("name", VENUES)
@settings(max_examples=300)
@given(payload=st.binary(max_size=80) | st.text(max_size=40).map(lambda text: text.encode()))
def test_fuzz_decoders_given_any_bytes_decode_or_refuse(name: str, payload: bytes) -> None:
    decodes_or_refuses(name, payload)


KEYS = ("e", "s", "stream", "data", "id", "method", "params", "channel", "event", "feed", "type")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "a", "1.5"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner),
    max_leaves=12,
)


@pytest.mark.parametrize("name", VENUES)
@settings(max_examples=60)
@given(value=st.dictionaries(st.sampled_from(KEYS), JSON))
def test_fuzz_decoders_given_any_json_decode_or_refuse(name: str, value: object) -> None:
    decodes_or_refuses(name, json.dumps(value).encode())


def decodes_or_refuses(name: str, payload: bytes) -> None:
    exchange = exchanges()[name]
    text = payload.decode(errors="replace")
    page = "https://venue/api/v3/depth?symbol=A&limit=5"

    messages = exchange.decode_request(text)
    readers: list[Callable[[bytes], list[Message]]] = [exchange.decode, exchange.decode_sent]
    readers += [partial(exchange.decode_response, url) for url in (page, text)]
    for read in readers:
        with suppress(DecodeError):
            messages += read(payload)
    assert all(isinstance(each, msgspec.Struct) for each in messages)


def is_read(exchange: Exchange, payload: bytes) -> bool:
    """Say whether a frame can be read; why it cannot is said briefly."""
    try:
        exchange.decode(payload)
    except DecodeError as error:
        reason = str(error)
    else:
        return True
    assert 0 < len(reason) <= 200
    return False
