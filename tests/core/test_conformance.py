"""What every venue must do, shown by its own transcript: `tests/fixtures/<venue>.jsonl`.

A new venue passes these by adding that one file; see docs/adding-a-venue.md.
"""

from collections import Counter
from itertools import groupby
from typing import Any

import pytest

from core.continuity import Bootstrap, Scheme
from core.decimals import normalised
from core.events import BookState, Events
from core.exchanges import exchange_of, exchanges
from core.frames import FrameKind
from core.protocol import (
    DecodeError,
    Delta,
    Exchange,
    Heartbeat,
    Ignored,
    Notice,
    Request,
    Snapshot,
    SnapshotRequested,
    Subscribed,
    TradePrint,
    Transport,
    Unsubscribed,
)
from tests.core.transcripts import (
    STAGES,
    Line,
    Transcript,
    cut,
    pipeline_of,
    play,
    published,
    read_transcript,
)

VENUES = sorted(exchanges())


@pytest.fixture(params=VENUES, scope="module")
def transcript(request: pytest.FixtureRequest) -> Transcript:
    return read_transcript(str(request.param))


# -- the transcript as a whole --


def test_transcript_goes_through_every_stage(transcript: Transcript) -> None:
    assert tuple(line.expect for line in transcript.lines if line.expect) == STAGES
    assert len(transcript.header.symbols) == 2
    assert transcript.header.origin
    assert transcript.header.terms


def test_transcript_gives_the_facts_that_it_expects(transcript: Transcript) -> None:
    pipeline = pipeline_of(transcript.exchange)

    for line, events in play(transcript, pipeline):
        assert line.trades == _trades(events), line.expect
        assert line.faults == _faults(events), line.expect
        assert line.books == _books(events), line.expect
        for symbol, fields in line.seconds.items():
            assert fields == _summed(events, symbol, fields), (line.expect, symbol)


@pytest.mark.parametrize("size", [2, 7, 50, 10_000])
def test_transcript_gives_the_same_facts_however_batches_are_cut(
    transcript: Transcript, size: int
) -> None:
    single, larger = (_all_facts(transcript, each) for each in (1, size))

    assert single == larger


def test_transcript_of_one_symbol_alone_gives_that_symbols_facts(transcript: Transcript) -> None:
    """What is said of a symbol depends on nothing that was said of another."""
    kept, other = transcript.header.symbols[1], transcript.header.symbols[0]
    frames = [
        frame
        for frame in transcript.frames()
        if frame.kind is not FrameKind.RECEIVED or other not in frame.payload.decode()
    ]
    pipeline = pipeline_of(transcript.exchange)
    alone = [pipeline.feed(batch) for batch in cut(frames, 1, transcript.header.exchange)]

    wanted = _of_symbol(_all_events(transcript, 1), kept)
    assert wanted == _of_symbol(alone, kept)
    assert wanted[0]


def _trades(events: list[Events]) -> list[list[Any]]:
    return [
        [
            trade.symbol,
            trade.trade_id,
            trade.sequence,
            normalised(trade.price),
            normalised(trade.size),
            trade.side.name.lower(),
            trade.ts_event,
            trade.quality,
        ]
        for each in events
        for trade in each.trades
    ]


def _faults(events: list[Events]) -> list[list[Any]]:
    return [[f.kind.name, f.symbol, f.channel, f.count, f.unit] for e in events for f in e.faults]


def _books(events: list[Events]) -> dict[str, dict[str, Any]]:
    """Return every book's state at the last tick, and what was published of the LIVE ones."""
    states = {
        second.symbol: {"state": BookState(second.book_state or 0).name}
        for second in events[-1].seconds
        if second.channel == "book"
    }
    return {**states, **{book.symbol: published(book) for book in events[-1].books}}


def _summed(events: list[Events], symbol: str, fields: dict[str, int]) -> dict[str, int]:
    total: Counter[str] = Counter(dict.fromkeys(fields, 0))
    for second in (second for each in events for second in each.seconds):
        if (second.channel, second.symbol) == ("book", symbol):
            total.update({field: getattr(second, field) for field in fields})
    return dict(total)


def _all_events(transcript: Transcript, size: int) -> list[Events]:
    pipeline = pipeline_of(transcript.exchange)
    batches = cut(transcript.frames(), size, transcript.header.exchange)
    return [pipeline.feed(batch) for batch in batches]


def _all_facts(transcript: Transcript, size: int) -> list[list[object]]:
    events = _all_events(transcript, size)
    kinds = ("trades", "books", "faults", "seconds")
    return [[fact for each in events for fact in getattr(each, kind)] for kind in kinds]


def _of_symbol(events: list[Events], symbol: str) -> tuple[list[Any], list[Any]]:
    """Return a symbol's trades and books, without the numbers of their frames."""
    trades = [t[:] for t in _trades(events) if t[0] == symbol]
    books = [published(b) for each in events for b in each.books if b.symbol == symbol]
    return trades, books


# -- what we say --


def test_messages_of_ours_are_those_of_the_transcript(transcript: Transcript) -> None:
    exchange, shard = transcript.exchange, transcript.shard
    said = [line for line in transcript.lines if line.asks]
    assert {line.asks.split(" ")[0] for line in said} == {"subscribe", "heal", "renew"}

    for asks, group in groupby(said, lambda line: line.asks):
        lines = list(group)
        why, _, symbol = asks.partition(" ")
        if why == "subscribe":
            wanted = [Request(Transport.SOCKET, text) for text in exchange.subscribe(shard)]
        else:
            ask = exchange.resync if why == "heal" else exchange.snapshot
            wanted = ask(shard, symbol, lines[0].id)
        assert wanted == [_request(line, exchange) for line in lines], asks


def test_messages_of_ours_name_the_books_that_they_concern(transcript: Transcript) -> None:
    """Only so do the processors know that a book was given up or asked for."""
    exchange = transcript.exchange
    named = Counter[tuple[str, object]]()
    for line in transcript.lines:
        why, _, symbol = line.asks.partition(" ")
        if line.kind == "SENT":
            messages = exchange.decode_sent(line.text.encode())
        else:
            messages = exchange.decode_request(line.where) if line.kind == "REQUEST" else []
        for message in messages:
            assert message in (Unsubscribed(symbol), SnapshotRequested(symbol))
            named[why, type(message)] += 1

    by_request = exchange.capabilities.bootstrap is Bootstrap.REQUEST
    kind = SnapshotRequested if by_request else Unsubscribed
    assert set(named) == {("heal", kind), ("renew", kind)}


def test_heartbeats_are_answered_as_the_transcript_says(transcript: Transcript) -> None:
    for line in transcript.lines:
        if line.kind == "RECEIVED":
            messages = transcript.exchange.decode(line.text.encode())
            replies = [each.reply for each in messages if isinstance(each, Heartbeat)]
            assert [reply for reply in replies if reply] == [line.reply.encode()] * bool(line.reply)


def test_subscriptions_are_confirmed(transcript: Transcript) -> None:
    """Every channel that the shard expects stands in an answer, and nothing is refused."""
    heard = [message for frame in transcript.received() for message in _decoded(transcript, frame)]
    answers = [message for message in heard if isinstance(message, Subscribed)]
    confirmed = {channel for answer in answers for channel in answer.channels}

    assert answers
    assert transcript.exchange.expected_channels(transcript.shard) <= confirmed
    assert not [answer.refused for answer in answers if answer.refused]


def test_unsubscribe_messages_are_read_as_giving_up_every_book(transcript: Transcript) -> None:
    exchange, shard = transcript.exchange, transcript.shard
    messages = exchange.unsubscribe(shard, 100)
    given_up = [each for text in messages for each in exchange.decode_sent(text.encode())]

    assert messages
    if exchange.capabilities.bootstrap is Bootstrap.STREAM:
        assert [Unsubscribed(symbol) for symbol in shard.symbols] == given_up


@pytest.mark.parametrize("per_shard", [1, 3, 7, 100])
@pytest.mark.parametrize("name", VENUES)
def test_plan_spreads_every_symbol_once(name: str, per_shard: int) -> None:
    exchange = exchanges()[name]
    symbols = [f"S{n}" for n in range(20)]

    shards = exchange.plan([*symbols, *symbols[:5]], per_shard=per_shard, book_depth=15)

    assert symbols == [symbol for shard in shards for symbol in shard.symbols]
    assert len({shard.name for shard in shards}) == len(shards) == -(-20 // per_shard)
    assert all(len(shard.symbols) <= per_shard for shard in shards)
    assert all(shard.book_depth >= 15 and shard.exchange == name for shard in shards)


@pytest.mark.parametrize("name", VENUES)
def test_ping_is_a_message_of_ours_that_concerns_no_book(name: str) -> None:
    exchange = exchanges()[name]
    ping = exchange.ping(77)

    assert ping is None or ("77" in ping and not exchange.decode_sent(ping.encode()))


def _request(line: Line, exchange: Exchange) -> Request:
    if line.kind == "SENT":
        return Request(Transport.SOCKET, line.text)
    assert line.where.startswith(exchange.endpoints.rest)
    return Request(Transport.REST, line.where.removeprefix(exchange.endpoints.rest))


def _decoded(transcript: Transcript, payload: bytes) -> list[object]:
    return list(transcript.exchange.decode(payload))


# -- what the venue says --


def test_frames_are_all_read(transcript: Transcript) -> None:
    """Every frame of the transcript means something, and each kind of message occurs."""
    kinds = Counter(
        type(message) for frame in transcript.received() for message in _decoded(transcript, frame)
    )

    assert kinds[Delta] >= 6
    assert kinds[TradePrint] >= 6
    assert kinds[Notice] == 0
    if transcript.exchange.capabilities.bootstrap is Bootstrap.STREAM:
        assert kinds[Snapshot] == 4


def test_frames_truncated_at_any_byte_are_refused(transcript: Transcript) -> None:
    """A part of a frame is no frame: what is cut must not look like less."""
    for payload in transcript.received():
        for end in range(len(payload)):
            with pytest.raises(DecodeError):
                transcript.exchange.decode(payload[:end])


def test_bodies_truncated_at_any_byte_are_refused(transcript: Transcript) -> None:
    for line in transcript.lines:
        if line.kind == "RESPONSE":
            for end in range(len(line.text)):
                with pytest.raises(DecodeError):
                    transcript.exchange.decode_response(line.where, line.text[:end].encode())


def test_fields_that_are_not_known_are_ignored(transcript: Transcript) -> None:
    for payload in transcript.received():
        if payload.startswith(b"{"):
            longer = payload[:-1] + b',"star_base":{"a":[1,null,"x"]}}'
            assert _decoded(transcript, payload) == _decoded(transcript, longer)


def test_spaces_between_tokens_change_nothing(transcript: Transcript) -> None:
    """A decoder that looks at the first bytes must have another way for other spellings."""
    for payload in transcript.received():
        assert _decoded(transcript, payload) == _decoded(transcript, _spaced(payload))


def _spaced(payload: bytes) -> bytes:
    """Return JSON with a space after every comma and colon outside of texts."""
    parts = payload.split(b'"')
    outside = [part.replace(b",", b" , ").replace(b":", b" : ") for part in parts[::2]]
    parts[::2] = [part.replace(b"{", b"{ ").replace(b"[", b"[ ") for part in outside]
    return b'"'.join(parts)


# -- what the venue's file claims --


def test_capabilities_are_what_the_transcript_shows(transcript: Transcript) -> None:
    capabilities = transcript.exchange.capabilities
    heard = [message for frame in transcript.received() for message in _decoded(transcript, frame)]
    deltas = [message for message in heard if isinstance(message, Delta)]
    trades = [message for message in heard if isinstance(message, TradePrint)]

    numbered = capabilities.scheme is Scheme.CHAIN
    assert all((delta.last > 0) is numbered for delta in deltas)
    assert all((delta.checksum is not None) is capabilities.checksum_each for delta in deltas)
    assert all((trade.sequence is not None) is capabilities.trade_ids for trade in trades)
    assert numbered or capabilities.checksum_each, "something must show a loss"
    assert capabilities.audit is numbered
    assert capabilities.blind_spots


@pytest.mark.parametrize("name", VENUES)
def test_addresses_and_limits_are_sane(name: str) -> None:
    exchange = exchanges()[name]

    assert exchange.endpoints.websocket.startswith("wss://")
    assert exchange.endpoints.rest.startswith("https://")
    assert not exchange.endpoints.rest.endswith("/")
    assert exchange.pacing.messages_per_s > 0
    assert exchange.pacing.messages_burst >= 1
    assert exchange.pacing.requests_per_s > 0
    assert exchange.capabilities.silence_s > 0


@pytest.mark.parametrize("name", VENUES)
def test_venue_is_found_by_its_name_and_by_every_alias(name: str) -> None:
    for spelled in (name, *exchanges()[name].aliases):
        assert exchange_of(spelled) is exchanges()[name]


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize("url", ["", "https://venue/nothing", "http://[", "?", "rest of prose"])
def test_rest_pages_that_are_not_books_are_ignored(name: str, url: str) -> None:
    exchange = exchanges()[name]

    assert exchange.decode_request(url) == []
    assert [type(message) for message in exchange.decode_response(url, b"{}")] == [Ignored]
