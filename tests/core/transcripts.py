"""Transcripts of venues: what was said on one connection, and the facts that must follow.

`tests/fixtures/<venue>.jsonl`: a line that describes the rest, then frames in order, and after each
stage the facts that are expected since the stage before. `docs/adding-a-venue.md` explains every
field. `python -m tests.core.transcripts` writes the fixtures of the venues in `speakers`.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from core.book import Level
from core.decimals import render
from core.events import BookSnapshot, Events
from core.exchanges import exchanges
from core.frames import Address, BatchBuilder, CloseReason, Frame, FrameBatch, FrameKind, TickStatus
from core.memory import read
from core.pipeline import PipelineSettings, ShardPipeline
from core.protocol import Exchange, Shard, Transport
from core.rows import Place, RowBuffer
from schemas.codec import decode_checkpoints, decode_events, decode_mid, encode_events
from schemas.topics import CHECKPOINTS, MIDS
from tests.core.speakers import SPEAKERS, START_MS, Speaker

FOLDER: Final = Path(__file__).parents[1] / "fixtures"
STAGES: Final = ("subscribed", "changed", "repeated", "lost", "healed", "renewed", "closed")
LATENCY_MS: Final = 5
NS_PER_MS: Final = 1_000_000


class Header(msgspec.Struct):
    """The first line: the venue, the shard, and where the frames are from and under what terms."""

    exchange: str
    symbols: list[str]
    book_depth: int
    origin: str
    terms: str


class Line(msgspec.Struct, omit_defaults=True):
    """A frame, `ms` after the start; or, with `expect`, a stage's end and what must be known then.

    `asks` says which method of the venue's file makes a message of ours, with the symbol that it is
    about; `id` is its request id. `reply` is what a received frame wants to be answered with.
    """

    ms: int
    kind: str = "TICK"
    text: str = ""
    where: str = ""
    asks: str = ""
    id: int = 0
    reply: str = ""
    expect: str = ""
    trades: list[list[Any]] = []
    """Symbol, id, sequence, price, size, side, exchange's time in ns, quality; in order."""
    faults: list[list[Any]] = []
    """Kind, symbol, channel, count, unit; in order."""
    books: dict[str, dict[str, Any]] = {}
    """By symbol: `state`, and of a LIVE book `sequence`, `bids`, `asks` with normalised levels."""
    seconds: dict[str, dict[str, int]] = {}
    """By symbol: fields of the book's stability records, summed up over the stage."""

    def frame(self) -> Frame:
        """Return the frame as the producer would have logged it."""
        payload = self.text.encode()
        if self.kind == "TICK":
            payload = msgspec.json.encode(TickStatus(connected=True))
        return Frame(
            FrameKind[self.kind],
            (START_MS + self.ms) * NS_PER_MS,
            (self.ms + 1) * NS_PER_MS,
            self.where,
            payload,
        )


class Transcript(msgspec.Struct):
    """One venue's fixture."""

    header: Header
    lines: list[Line]

    @property
    def exchange(self) -> Exchange:
        """Return the venue."""
        return exchanges()[self.header.exchange]

    @property
    def shard(self) -> Shard:
        """Return the shard as the venue plans it."""
        header = self.header
        (shard,) = self.exchange.plan(
            header.symbols, per_shard=len(header.symbols), book_depth=header.book_depth
        )
        return shard

    def opening(self) -> list[Frame]:
        """Return the frames with which every epoch begins."""
        plan = msgspec.json.encode(self.shard)
        kinds = {FrameKind.OPENING: b"", FrameKind.PLAN: plan, FrameKind.OPEN: b""}
        start = START_MS * NS_PER_MS
        return [Frame(kind, start, NS_PER_MS, "", payload) for kind, payload in kinds.items()]

    def frames(self) -> list[Frame]:
        """Return the whole connection."""
        return self.opening() + [line.frame() for line in self.lines]

    def received(self) -> list[bytes]:
        """Return every frame that the venue sent."""
        return [line.text.encode() for line in self.lines if line.kind == "RECEIVED"]


def read_transcript(name: str) -> Transcript:
    """Return the fixture of a venue."""
    header, *lines = (FOLDER / f"{name}.jsonl").read_text().splitlines()
    return Transcript(
        msgspec.json.decode(header, type=Header),
        [msgspec.json.decode(line, type=Line) for line in lines],
    )


def pipeline_of(exchange: Exchange) -> ShardPipeline:
    """Return a pipeline that publishes every level that a fixture has, and every checkpoint."""
    return ShardPipeline(exchange, PipelineSettings(book_levels=1000, checkpoint_interval_ns=1))


def cut(frames: Iterable[Frame], size: int, exchange: str, epoch: int = 1) -> list[FrameBatch]:
    """Return the frames in batches of `size`."""
    builder = BatchBuilder(Address(exchange, "s", "A", epoch))
    batches: list[FrameBatch | None] = []
    for frame in frames:
        builder.add(frame)
        if len(builder) == size:
            batches.append(builder.cut())
    batches.append(builder.cut())
    return [batch for batch in batches if batch is not None]


def play(transcript: Transcript, pipeline: ShardPipeline) -> Iterator[tuple[Line, list[Events]]]:
    """Feed a transcript frame by frame; yield every stage's end with the facts of the stage."""
    frames = transcript.frames()
    lines: list[Line | None] = [None] * (len(frames) - len(transcript.lines))
    facts: list[Events] = []
    batches = cut(frames, 1, transcript.header.exchange)
    for line, batch in zip(lines + list(transcript.lines), batches, strict=True):
        facts.append(pipeline.feed(batch))
        if line is not None and line.expect:
            yield line, facts
            facts = []


def published(book: BookSnapshot) -> dict[str, Any]:
    """Return what a published book says, in the form of a fixture."""
    return {
        "state": "LIVE",
        "sequence": book.sequence,
        "bids": _texts(book, book.bid_prices, book.bid_sizes),
        "asks": _texts(book, book.ask_prices, book.ask_sizes),
    }


def _texts(book: BookSnapshot, prices: list[int], sizes: list[int]) -> list[list[str]]:
    levels: list[Level] = [
        (render(price, book.price_exponent), render(size, book.size_exponent))
        for price, size in zip(prices, sizes, strict=True)
    ]
    return [list(level) for level in levels]


def require_storable(events: Events) -> None:
    """Make sure that facts can be written to the topics and become rows, or be restored."""
    for kind, value in encode_events(events, 0, 1):
        if kind == CHECKPOINTS:
            states = [checkpoint.state for checkpoint in decode_checkpoints(value).checkpoints]
            assert None not in map(read, states)
            continue
        if kind == MIDS:
            assert decode_mid(value).mids[0] in events.mids
            continue
        batch = decode_events(kind, value)
        buffer = RowBuffer(kind, Place("log", kind, 0))
        assert buffer.append(batch, 1) == len(batch)


class Writer:
    """Lets a speaker go through every stage, and notes what is true."""

    def __init__(self, name: str, symbols: tuple[str, str]) -> None:
        self.speaker: Speaker = SPEAKERS[name](symbols)
        self.symbols = symbols
        header = Header(
            name, list(symbols), self.speaker.depth, "tests/core/speakers.py", "Apache-2.0"
        )
        self.transcript = Transcript(header, [])
        self.exchange = self.transcript.exchange
        self.shard = self.transcript.shard
        self.ms = 0
        self.next_id = 1
        self.told = 0

    def write(self) -> Transcript:
        """Return the transcript of all stages."""
        first, second = self.symbols
        for text in self.exchange.subscribe(self.shard):
            self.send(text, "subscribe")
        for symbol in self.symbols:
            self.fetch(symbol, "renew")
        self.stage("subscribed", {symbol: {"resyncs": 1, "gaps": 0} for symbol in self.symbols})
        for _ in range(6):
            for symbol in self.symbols:
                self.hear(self.speaker.change(symbol))
                self.hear(self.speaker.trade(symbol))
        for frame, reply in self.speaker.heartbeats():
            self.hear(frame, reply or "")
        self.stage("changed", {symbol: {"frames": 6, "gaps": 0} for symbol in self.symbols})
        self.repeat(first, second)
        self.lose(first, second)
        self.ask(first, "heal")
        self.stage("healed", {first: {"resyncs": 1, "gaps": 0}, second: {"resyncs": 0}})
        self.ask(second, "renew")
        resyncs = 0 if self.is_by_request else 1
        renewed = {"audits_ok": int(self.is_chained), "audits_bad": 0, "resyncs": resyncs}
        self.stage("renewed", {second: renewed, first: {"resyncs": 0}})
        reason = CloseReason(1006, "", "network")
        self.add(Line(self.ms, "CLOSE", msgspec.json.encode(reason).decode()))
        faults = [["DISCONNECTED", "", "connection", None, ""]]
        self.stage("closed", {}, faults, empty=True)
        return self.transcript

    @property
    def is_chained(self) -> bool:
        """Say whether changes are numbered."""
        return self.speaker.sequence(self.symbols[0]) is not None

    @property
    def is_by_request(self) -> bool:
        """Say whether snapshots come by REST."""
        requests = self.exchange.snapshot(self.shard, self.symbols[0], 1)
        return requests[0].transport is Transport.REST

    def repeat(self, first: str, second: str) -> None:
        """Let a change and a trade come twice, where that can be told."""
        change, trade = self.speaker.change(first), self.speaker.trade(second)
        self.hear(change)
        self.hear(trade)
        if self.is_chained:
            self.hear(change)
        if self.exchange.capabilities.trade_ids:
            self.hear(trade)
        seconds = {first: {"duplicates": int(self.is_chained), "gaps": 0}, second: {"gaps": 0}}
        self.stage("repeated", seconds)

    def lose(self, first: str, second: str) -> None:
        """Let a change and a trade of the first symbol get lost."""
        before = self.speaker.ids[first]
        self.speaker.change(first)
        unit = self.speaker.loss_unit
        missing = self.speaker.ids[first] - before if unit else 0
        self.speaker.trade(first)
        self.told += 1
        for symbol in (first, second):
            self.hear(self.speaker.change(symbol))
        self.hear(self.speaker.trade(first))
        kind = "SEQUENCE_GAP" if self.is_chained else "CHECKSUM_MISMATCH"
        faults = [[kind, first, "book", missing if unit else None, unit]]
        quality = 0
        if self.exchange.capabilities.trade_ids:
            quality = 2
            faults.append(["TRADE_GAP", first, "trades", 1, "trades"])
        seen = {"gaps": 1, "missing": missing} if self.is_chained else {"checksums_bad": 1}
        seconds = {first: seen, second: {"gaps": 0, "checksums_bad": 0}}
        self.stage("lost", seconds, faults, stale=first, quality=quality)

    def ask(self, symbol: str, why: str) -> None:
        """Ask for a fresh book, which goes on changing while its answer is on its way."""
        if self.is_by_request:
            self.fetch(symbol, why)
        else:
            for step, request in enumerate(self._requests(symbol, why)):
                self.send(request, f"{why} {symbol}", first=not step)

    def fetch(self, symbol: str, why: str) -> None:
        """Get a book by REST, where that is the way."""
        if not self.is_by_request:
            return
        (path,) = self._requests(symbol, why)
        url = f"{self.exchange.endpoints.rest}{path}"
        self.hear(self.speaker.change(symbol))
        self.add(Line(self.ms, "REQUEST", where=url, asks=f"{why} {symbol}"))
        body = self.speaker.body(url).decode()
        self.hear(self.speaker.change(symbol))
        self.add(Line(self.ms, "RESPONSE", body, url))

    def send(self, text: str, asks: str, *, first: bool = True) -> None:
        """Say something to the venue and hear its answers."""
        number = self.next_id if first else 0
        self.next_id += 1
        self.add(Line(self.ms, "SENT", text, asks=asks, id=number))
        for answer in self.speaker.answers(text):
            self.hear(answer)

    def hear(self, payload: bytes, reply: str = "") -> None:
        """Let the venue say something."""
        self.add(Line(self.ms, "RECEIVED", payload.decode(), reply=reply))

    def add(self, line: Line) -> None:
        """Let 10 ms pass."""
        self.transcript.lines.append(line)
        self.ms += 10
        self.speaker.ms = START_MS + self.ms - LATENCY_MS

    def stage(
        self,
        name: str,
        seconds: dict[str, dict[str, int]],
        faults: list[list[Any]] | None = None,
        *,
        stale: str = "",
        empty: bool = False,
        quality: int = 0,
    ) -> None:
        """End a stage: note what must be known."""
        self.ms += -self.ms % 1000
        marks = [quality, *[0] * len(self.speaker.trades)]
        trades = [
            [*trade, mark]
            for trade, mark in zip(self.speaker.trades[self.told :], marks, strict=False)
        ]
        self.told = len(self.speaker.trades)
        states = dict.fromkeys(self.symbols, "EMPTY" if empty else "LIVE")
        states |= {stale: "STALE"} if stale else {}
        books = {symbol: self._book(symbol, state) for symbol, state in states.items()}
        self.add(
            Line(
                self.ms,
                expect=name,
                trades=trades,
                faults=faults or [],
                books=books,
                seconds=seconds,
            )
        )

    def _book(self, symbol: str, state: str) -> dict[str, Any]:
        if state != "LIVE":
            return {"state": state}
        sides = {side: self.speaker.levels(symbol, side) for side in ("bids", "asks")}
        return {"state": state, "sequence": self.speaker.sequence(symbol), **sides}

    def _requests(self, symbol: str, why: str) -> list[str]:
        ask = self.exchange.resync if why == "heal" else self.exchange.snapshot
        return [request.content for request in ask(self.shard, symbol, self.next_id)]


SYMBOLS: Final = {
    "binance": ("BTCUSDT", "ETHEUR"),
    "binance_usdm": ("BTCUSDT", "ETHUSDC"),
    "deribit": ("BTC-PERPETUAL", "ETH_USDC"),
    "kraken": ("BTC/USD", "ETH/EUR"),
    "kraken_v1": ("XBT/USD", "ETH/EUR"),
    "kraken_futures": ("PI_XBTUSD", "PF_ETHEUR"),
}


def write_fixtures() -> None:
    """Write the fixture of every venue that has a speaker."""
    for name, symbols in SYMBOLS.items():
        transcript = Writer(name, symbols).write()
        rows = [msgspec.json.encode(row) for row in (transcript.header, *transcript.lines)]
        (FOLDER / f"{name}.jsonl").write_bytes(b"\n".join(rows) + b"\n")


if __name__ == "__main__":
    write_fixtures()
