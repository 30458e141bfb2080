"""The log's own continuity, warm-up and sampling: facts are a function of the log alone."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.decimals import render
from core.events import BookState, Events, FaultKind
from core.exchanges import exchanges
from core.frames import (
    Address,
    BatchBuilder,
    Frame,
    FrameBatch,
    FrameKind,
    Resync,
    TickStatus,
    chained,
)
from core.pipeline import PipelineSettings, ShardPipeline
from core.protocol import Shard
from core.venues.mids import Mid
from tests.core.transcripts import SYMBOLS, Writer, cut, pipeline_of, read_transcript

VENUES = sorted(exchanges())
NS = 1_000_000_000
ROUNDS = 7
START = 1_700_000_000 * NS


def batches_of(name: str, size: int = 5) -> list[FrameBatch]:
    return cut(read_transcript(name).frames(), size, name)


def fed(name: str, batches: list[FrameBatch]) -> tuple[ShardPipeline, list[Events]]:
    pipeline = pipeline_of(exchanges()[name])
    return pipeline, [pipeline.feed(batch) for batch in batches]


def facts_of(events: list[Events]) -> list[Any]:
    found: list[Any] = []
    for kind in ("trades", "books", "faults", "seconds", "checkpoints"):
        found += [fact for each in events for fact in getattr(each, kind)]
    return found


def faults_of(events: Events) -> list[tuple[FaultKind, int | None, str]]:
    return [(fault.kind, fault.count, fault.unit) for fault in events.faults]


# -- lost, repeated and changed on our own way --


@pytest.mark.parametrize("name", VENUES)
@settings(max_examples=15)
@given(repeats=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=8))
def test_batches_that_come_again_change_nothing(name: str, repeats: list[tuple[int, int]]) -> None:
    batches = batches_of(name)
    again = list(batches)
    for at, back in repeats:
        place = at % len(again)
        again.insert(place + 1, again[max(place - back % 10, 0)])
    (once, wanted), (pipeline, found) = fed(name, batches), fed(name, again)

    assert facts_of(wanted) == facts_of(found)
    assert once.duplicate_batches == 0
    assert pipeline.duplicate_batches == len(repeats)


def test_batch_that_repeats_a_part_is_not_taken_and_the_rest_of_it_is_lost() -> None:
    frames = read_transcript("deribit").frames()
    first, second, third = cut(frames[:30], 10, "deribit")
    overlapping = cut(frames[:30], 15, "deribit")[0]
    _, events = fed("deribit", [first, overlapping, third])

    assert facts_of(events[1:2]) == []
    assert faults_of(events[2]) == [(FaultKind.FRAMES_LOST, len(second.frames), "frames")]


@pytest.mark.parametrize("name", VENUES)
def test_batch_that_is_lost_is_a_fault_and_gives_up_every_book(name: str) -> None:
    """Every batch in turn: no book is LIVE after it without a fresh snapshot."""
    batches = batches_of(name)
    for place in range(1, len(batches) - 1):
        pipeline, _ = fed(name, batches[:place])
        states = {symbol: i.book.state for symbol, i in pipeline.instruments.items()}
        before = {symbol: i.book.counters.snapshots for symbol, i in pipeline.instruments.items()}
        events = pipeline.feed(batches[place + 1])

        lost = len(batches[place].frames)
        assert faults_of(events)[0] == (FaultKind.FRAMES_LOST, lost, "frames")
        for symbol, instrument in pipeline.instruments.items():
            book = instrument.book
            if states.get(symbol) is BookState.LIVE and book.state is BookState.LIVE:
                assert book.counters.snapshots > before[symbol]


def changed_payload(batch: FrameBatch) -> FrameBatch:
    frame = batch.frames[0]
    bad = msgspec.structs.replace(frame, payload=frame.payload + b" ")
    return msgspec.structs.replace(batch, frames=[bad, *batch.frames[1:]])


def changed_time(batch: FrameBatch) -> FrameBatch:
    bad = msgspec.structs.replace(batch.frames[0], ts_recv=1)
    return msgspec.structs.replace(batch, frames=[bad, *batch.frames[1:]])


def reordered(batch: FrameBatch) -> FrameBatch:
    return msgspec.structs.replace(batch, frames=batch.frames[::-1])


def without_one(batch: FrameBatch) -> FrameBatch:
    return msgspec.structs.replace(batch, frames=batch.frames[1:])


@pytest.mark.parametrize("damage", [changed_payload, changed_time, reordered, without_one])
def test_batch_that_was_changed_breaks_the_chain(
    damage: Callable[[FrameBatch], FrameBatch],
) -> None:
    batches = batches_of("kraken_futures")
    pipeline, _ = fed("kraken_futures", batches[:8])
    events = pipeline.feed(damage(batches[8]))

    assert events.faults[0].kind is FaultKind.CHAIN_BROKEN
    assert events.faults[0].expected != events.faults[0].found
    assert len(events.faults[0].expected) == 32


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize("damage", [changed_payload, changed_time, reordered, without_one])
def test_batch_that_was_changed_leaves_no_book_live_nor_publishes_one(
    name: str, damage: Callable[[FrameBatch], FrameBatch]
) -> None:
    """Also a snapshot in it may not be the one that the venue sent."""
    batches = batches_of(name)
    for place in range(1, len(batches)):
        pipeline, _ = fed(name, batches[:place])
        events = pipeline.feed(damage(batches[place]))

        assert events.books == []
        states = {each.book.state for each in pipeline.instruments.values()}
        assert BookState.LIVE not in states


@pytest.mark.parametrize("name", VENUES)
def test_origins_are_unique_also_where_frames_are_missing(name: str) -> None:
    batches = batches_of(name)
    for place in range(1, len(batches) - 1):
        pipeline, _ = fed(name, batches[:place])
        found = facts_of([pipeline.feed(batches[place + 1])])

        origins = [(fact.number, fact.index) for fact in found]
        assert len(origins) == len(set(origins))


def test_epoch_whose_beginning_is_missing_is_a_fault_unless_reading_begins_there() -> None:
    frames = read_transcript("deribit").frames()
    old, new = (cut(frames, 5, "deribit", epoch) for epoch in (1, 2))
    pipeline, _ = fed("deribit", old)
    lost = pipeline.feed(new[1])

    assert faults_of(lost)[0] == (FaultKind.FRAMES_LOST, 5, "frames")
    assert not {fault.kind for fault in pipeline.feed(new[2]).faults} & {
        FaultKind.FRAMES_LOST,
        FaultKind.CHAIN_BROKEN,
    }
    _, (first, *_) = fed("deribit", new[1:])
    assert FaultKind.FRAMES_LOST not in {fault.kind for fault in first.faults}


def test_epoch_that_does_not_begin_with_its_chain_breaks_it() -> None:
    first, *_ = cut(read_transcript("deribit").frames(), 5, "deribit", 2)
    other = bytes(reversed(range(16)))
    moved = msgspec.structs.replace(first, chain_before=other, chain=chained(other, first.frames))
    _, (events,) = fed("deribit", [moved])

    assert FaultKind.CHAIN_BROKEN in {fault.kind for fault in events.faults}


def test_batch_of_an_epoch_that_is_over_is_not_taken() -> None:
    frames = read_transcript("deribit").frames()
    old, new = (cut(frames, 1000, "deribit", epoch) for epoch in (1, 2))
    pipeline, events = fed("deribit", [*new, *old])

    assert pipeline.duplicate_batches == len(old)
    assert facts_of(events[1:]) == []


def test_second_epoch_tells_what_was_missed_between_them() -> None:
    """Trades are followed over reconnects; books begin anew."""
    transcript = read_transcript("deribit")
    frames = transcript.frames()
    until = next(n for n, line in enumerate(transcript.lines) if line.expect == "changed")
    opened = frames[: 3 + until]
    pipeline = pipeline_of(transcript.exchange)
    for batch in cut(opened, 1000, "deribit", 1):
        pipeline.feed(batch)
    later = Writer("deribit", SYMBOLS["deribit"])
    symbol = later.symbols[0]
    later.speaker.trade_ids[symbol] += 6 + 4
    payload = later.speaker.trade(symbol)
    frame = Frame(FrameKind.RECEIVED, 2 * 10**18, 10**9, "", payload)
    events = [pipeline.feed(batch) for batch in cut([frame], 1, "deribit", 2)]

    assert faults_of(events[0]) == [(FaultKind.TRADE_GAP, 4, "trades")]


# -- readers that start in the middle --


def long_connection(name: str) -> list[list[Frame]]:
    """Return the frames of a connection, round by round; each ends in a tick and the plan."""
    writer = Writer(name, SYMBOLS[name])
    for text in writer.exchange.subscribe(writer.shard):
        writer.send(text, "subscribe")
    for _ in range(ROUNDS):
        for symbol in writer.symbols:
            writer.ask(symbol, "renew")
            for _ in range(3):
                writer.hear(writer.speaker.change(symbol))
                writer.hear(writer.speaker.trade(symbol))
        writer.stage("round", {})
    opening = writer.transcript.opening()
    plan = opening[1].payload
    rounds: list[list[Frame]] = [opening]
    for line in writer.transcript.lines:
        rounds[-1].append(line.frame())
        if line.expect:
            tick = rounds[-1][-1]
            rounds[-1].append(msgspec.structs.replace(tick, kind=FrameKind.PLAN, payload=plan))
            rounds.append([])
    return rounds[:-1]


@pytest.mark.parametrize("name", VENUES)
def test_reader_that_starts_in_the_middle_soon_gives_the_same_facts(name: str) -> None:
    """From the second keyframe of every book on, and with the checkpoints of one tick, nothing
    depends on what was before."""
    rounds = long_connection(name)
    batches = round_batches(name, rounds)
    whole = pipeline_of(exchanges()[name])
    wanted = [whole.feed(batch) for batch in batches]
    for start in range(1, ROUNDS - 2):
        late = pipeline_of(exchanges()[name])
        found = []
        for number, batch in enumerate(batches[start:], start):
            if number == start + 1:
                assert late.restore(wanted[number].checkpoints) == 0
            found.append(late.feed(batch))
        for number in range(start + 2, ROUNDS):
            assert wanted[number] == found[number - start]
            assert wanted[number].books


def round_batches(name: str, rounds: list[list[Frame]]) -> list[FrameBatch]:
    """Return one batch a round, as the producer would have chained them."""
    builder = BatchBuilder(Address(name, "s", "A", 1))
    batches = []
    for frames in rounds:
        for frame in frames:
            builder.add(frame)
        batch = builder.cut()
        assert batch is not None
        batches.append(batch)
    return batches


# -- ticks, samples, and what the producer says --


def test_books_are_published_as_they_stood_before_the_frame_that_is_later() -> None:
    transcript = read_transcript("deribit")
    pipeline = pipeline_of(transcript.exchange)
    events = [pipeline.feed(batch) for batch in cut(transcript.frames(), 1, "deribit")]
    samples = [book for each in events for book in each.books]

    assert samples
    times = [(book.symbol, book.ts_sample) for book in samples]
    assert len(times) == len(set(times))
    assert all(book.ts_recv < book.ts_sample for book in samples)
    assert all(book.ts_event is not None and book.ts_event < book.ts_recv for book in samples)


@pytest.mark.parametrize("interval_ms", [100, 250, 1000, 3000])
def test_books_are_sampled_once_an_interval(interval_ms: int) -> None:
    transcript = read_transcript("kraken_futures")
    chosen = PipelineSettings(book_levels=3, book_interval_ns=interval_ms * 1_000_000)
    pipeline = ShardPipeline(transcript.exchange, chosen)
    (batch,) = cut(transcript.frames(), 10_000, "kraken_futures")
    events = pipeline.feed(batch)

    slots = [
        (book.symbol, batch.frames[book.number].ts_mono // chosen.book_interval_ns)
        for book in events.books
    ]
    assert slots
    assert len(slots) == len(set(slots))
    assert all(len(book.bid_prices) <= 3 for book in events.books)


def test_origins_of_facts_grow_and_are_unique() -> None:
    transcript = read_transcript("binance")
    (batch,) = cut(transcript.frames(), 10_000, "binance")
    _, (events,) = fed("binance", [batch])
    origins = [(fact.number, fact.index) for fact in facts_of([events])]

    assert len(origins) == len(set(origins))
    assert max(number for number, _ in origins) == len(batch.frames) - 1
    kinds = (events.trades, events.books, events.faults, events.seconds, events.checkpoints)
    for facts in kinds:
        own = [(fact.number, fact.index) for fact in facts]
        assert own == sorted(own)


def own_frames(*frames: tuple[FrameKind, bytes]) -> Events:
    """Return the facts of frames of our own on an open connection."""
    opening = read_transcript("deribit").opening()
    last = opening[-1]
    rest = [Frame(kind, last.ts_recv, last.ts_mono, "", payload) for kind, payload in frames]
    _, (events,) = fed("deribit", cut([*opening, *rest], 1000, "deribit"))
    return events


TICK = FrameKind.TICK, msgspec.json.encode(TickStatus(True, 7, 8, 9))


@pytest.mark.parametrize(
    ("payload", "rtt"),
    [(b"15000", 15000), (b"", None), (b"-1", None), (b"1" * 19, None), (b"1.5", None)],
)
def test_pong_tells_the_round_trip(payload: bytes, rtt: int | None) -> None:
    events = own_frames((FrameKind.PONG, payload), TICK)

    connection = events.seconds[0]
    assert (connection.channel, connection.heartbeat_rtt_ns) == ("connection", rtt)
    assert (connection.queue_frames, connection.queue_age_ns, connection.paused_ns) == (7, 8, 9)


def test_heartbeats_are_those_that_the_venue_sends_by_itself() -> None:
    """Messages and protocol pings; its answers to our own pings are none."""
    beat = b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}'
    frames = (FrameKind.RECEIVED, beat), (FrameKind.PING, b""), (FrameKind.PONG, b"15000")
    events = own_frames(*frames, TICK)

    connection, data = events.seconds[:2]
    assert (connection.heartbeats, data.heartbeats) == (2, 0)
    assert connection.heartbeat_interval_max_ns == 0


def test_dropped_frames_are_counted_and_give_up_every_book() -> None:
    transcript = read_transcript("deribit")
    pipeline = pipeline_of(transcript.exchange)
    frames = transcript.frames()[:30]
    last = frames[-1]
    payload = b'{"count":12,"reason":"memory"}'
    frames.append(Frame(FrameKind.DROPPED, last.ts_recv, last.ts_mono, "", payload))
    (batch,) = cut(frames, 1000, "deribit")
    events = pipeline.feed(batch)

    assert faults_of(events)[-1] == (FaultKind.FRAMES_DROPPED, 12, "frames")
    assert {each.book.state for each in pipeline.instruments.values()} == {BookState.STALE}


def test_subscription_that_is_never_confirmed_is_a_fault_of_its_symbol() -> None:
    resync = Resync("BTC-PERPETUAL", "unconfirmed", "book.X.100ms", "no word")
    other = Resync("BTC-PERPETUAL", "sequence_gap", "a", "b")
    events = own_frames(
        (FrameKind.RESYNC, msgspec.json.encode(resync)),
        (FrameKind.RESYNC, msgspec.json.encode(other)),
    )

    (fault,) = events.faults
    assert (fault.kind, fault.symbol) == (FaultKind.SUBSCRIPTION_REJECTED, "BTC-PERPETUAL")


@pytest.mark.parametrize(
    ("payload", "kinds"),
    [
        (b'{"code":1006,"reason":"","by":"network"}', [FaultKind.DISCONNECTED]),
        (b'{"code":0,"reason":"refused","by":"handshake"}', [FaultKind.CONNECT_FAILED]),
        (b'{"code":1000,"reason":"","by":"us","planned":true}', []),
    ],
)
def test_close_is_a_fault_unless_planned(payload: bytes, kinds: list[FaultKind]) -> None:
    events = own_frames((FrameKind.CLOSE, payload), TICK)

    assert [fault.kind for fault in events.faults] == kinds


def test_batch_without_frames_implies_nothing() -> None:
    batch = msgspec.structs.replace(batches_of("deribit")[0], frames=[])
    pipeline, events = fed("deribit", [batch])

    assert facts_of(events) == []
    assert pipeline.instruments == {}


def test_batch_of_another_history_breaks_the_chain_once_and_gives_up_every_book() -> None:
    """Whole in itself, but not what followed."""
    batches = batches_of("kraken_futures")
    pipeline, _ = fed("kraken_futures", batches[:8])
    frames = batches[8].frames
    other = bytes([7]) * 16
    strange = msgspec.structs.replace(
        batches[8], chain_before=other, chain=chained(other, frames), frames=frames
    )
    events = pipeline.feed(strange)

    (fault,) = events.faults
    assert (fault.kind, fault.found) == (FaultKind.CHAIN_BROKEN, other.hex())
    assert {each.book.state for each in pipeline.instruments.values()} == {BookState.STALE}


def test_book_is_sampled_by_the_first_frame_at_the_very_end_of_an_interval() -> None:
    transcript = read_transcript("kraken_futures")
    frames = [frame for frame in transcript.frames() if frame.ts_mono < NS]
    pipeline = pipeline_of(transcript.exchange)
    (batch,) = cut(
        [*frames, *(_at(frames[-1], mono) for mono in (NS - 1, NS, NS + 1, 2 * NS - 1))],
        1000,
        "kraken_futures",
    )
    events = pipeline.feed(batch)

    assert {batch.frames[book.number].ts_mono for book in events.books} == {NS}


def _at(frame: Frame, mono: int) -> Frame:
    return Frame(FrameKind.PING, frame.ts_recv, mono, "", b"")


def test_connection_is_open_from_its_handshake_to_its_end() -> None:
    opening = read_transcript("deribit").opening()
    closed = b'{"code":1006,"reason":"","by":"network"}'
    steps = [
        *((NS, FrameKind.TICK, TICK[1]), (NS + 300, FrameKind.RECEIVED_BINARY, b"12345")),
        *((NS + 500, FrameKind.CLOSE, closed), (2 * NS, FrameKind.TICK, b'{"connected":false}')),
    ]
    later = [Frame(kind, 10**18 + mono, mono, "", payload) for mono, kind, payload in steps]
    _, (events,) = fed("deribit", cut([*opening, *later], 1000, "deribit"))
    first, second = (each for each in events.seconds if each.channel == "connection")

    start = opening[0].ts_mono
    assert (first.live_ns, first.empty_ns, first.window_ns) == (NS - start, 0, NS - start)
    assert (second.live_ns, second.empty_ns, second.window_ns) == (500, NS - 500, NS)
    assert (second.frames, second.bytes) == (1, 5)
    assert second.book_state is BookState.EMPTY
    assert {each.book_state for each in events.seconds if each.channel == "trades"} == {None}


def test_request_that_failed_leaves_nothing_to_be_joined() -> None:
    transcript = read_transcript("binance")
    pipeline = pipeline_of(transcript.exchange)
    until = next(n for n, line in enumerate(transcript.lines) if line.expect)
    frames = transcript.frames()[: 3 + until]
    request = next(frame for frame in frames if frame.kind is FrameKind.REQUEST)
    symbol = transcript.header.symbols[0]
    assert symbol in request.where
    failed = msgspec.structs.replace(request, kind=FrameKind.REQUEST_FAILED, payload=b"HTTP 500")
    fed_batches = cut([*frames, request, failed], 1000, "binance")
    (events,) = [pipeline.feed(batch) for batch in fed_batches]

    (fault,) = events.faults
    assert (fault.kind, fault.found) == (FaultKind.REQUEST_FAILED, "HTTP 500")
    assert not pipeline.instruments[symbol].book._retaining


# -- what venues are compared by --


@pytest.mark.parametrize("name", VENUES)
def test_mids_are_the_best_prices_as_they_stood_when_the_second_began(name: str) -> None:
    pipeline, exchange = pipeline_of(exchanges()[name]), exchanges()[name]
    frames = read_transcript(name).frames()
    builder = BatchBuilder(Address(name, "s", "A", 1))
    second, told = frames[0].ts_recv // NS, 0
    for number, frame in enumerate(frames):
        expected = []
        if frame.ts_recv // NS != second:
            second = frame.ts_recv // NS
            for symbol, instrument in pipeline.instruments.items():
                book = instrument.book
                best = [book.book.best_bid(), book.book.best_ask()]
                is_live = book.state is BookState.LIVE
                expected.append((symbol, [side[0] if side and is_live else None for side in best]))
        builder.add(frame)
        batch = builder.cut()
        assert batch is not None
        mids = pipeline.feed(batch).mids

        assert [(mid.symbol, _prices(mid)) for mid in mids] == expected
        for place, mid in enumerate(mids):
            assert (mid.number, mid.index, mid.second) == (number, place, second)
            assert mid.instrument == exchange.instrument(mid.symbol) != ""
            assert mid.ts_book <= second * NS
        told += len(mids)
    assert told > 4


def _prices(mid: Mid) -> list[str | None]:
    return [None if side is None else render(side, mid.exponent) for side in (mid.bid, mid.ask)]


def test_mids_are_told_of_books_that_are_not_live_and_of_none_with_an_end() -> None:
    plan = Shard("deribit", "s", ("BTC-PERPETUAL", "BTC-25JUN27"), 25)
    tick = msgspec.json.encode(TickStatus(connected=False))
    frames = [
        Frame(FrameKind.PLAN, START, 0, "", msgspec.json.encode(plan)),
        *[Frame(FrameKind.TICK, START + n * NS, n * NS, "", tick) for n in range(1, 4)],
    ]
    _, (events,) = fed("deribit", cut(frames, 10, "deribit"))

    assert {(mid.instrument, mid.symbol) for mid in events.mids} == {("BTC/USD", "BTC-PERPETUAL")}
    assert {(mid.bid, mid.ask, mid.ts_book) for mid in events.mids} == {(None, None, 0)}
    assert [mid.second for mid in events.mids] == [START // NS + n for n in range(1, 4)]
