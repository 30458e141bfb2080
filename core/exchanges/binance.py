"""Binance spot: diff depth streams joined to REST snapshots by update-id ranges.

Pages (read November 2026): developers.binance.com, "WebSocket Streams", "How to manage a local
order book correctly", "Market data endpoints", "LIMITS".
Channels: `<symbol>@depth@100ms`, `<symbol>@trade`; REST `/api/v3/depth`, `/api/v3/time` (weight 1).

Sync recipe, with L = lastUpdateId of the snapshot:
1. Open the stream and buffer; then fetch the snapshot.
2. Drop buffered events with u <= L.
3. The first applied event must cover L + 1 (U <= L + 1 <= u); if it starts later, fetch again.
4. Every next event must have U equal to the previous u + 1; u at or below it is a repeat.

There is no checksum; the REST book shows at most 5000 levels a side, deeper ones are unknown
until touched. The venue sends protocol pings every 20 s; the WebSocket library answers.
Quirks: unknown symbols are acknowledged and never deliver; stream names are lower case, symbols
in payloads upper case; `m` true means that the buyer was the maker, so the taker sold.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from core.book import Level
from core.clock import ServerTime
from core.continuity import Bootstrap, Scheme
from core.currencies import instrument_of_word
from core.events import Side
from core.protocol import (
    Answer,
    Capabilities,
    DecodeError,
    Delta,
    Endpoints,
    Ignored,
    Listing,
    Message,
    Notice,
    Pacing,
    Request,
    Shard,
    Snapshot,
    SnapshotRequested,
    Subscribed,
    TradePrint,
    Transport,
)
from core.wire import (
    NS_PER_MS,
    Id,
    Milliseconds,
    Name,
    Text,
    decimal_text,
    decoder,
    encode,
    query,
    shards,
)

SNAPSHOT_LEVELS: Final = 1000
"""Levels a side asked of REST: weight 50 of the 6000 a minute."""
STREAMS_PER_CALL: Final = 100
_LEVELS_MAX: Final = 5000
_LEVELS_DEFAULT: Final = 100
_LIMIT: Final = re.compile(r"\blimit=([0-9]{1,5})\b")


class Frame(msgspec.Struct, gc=False):
    """What tells frames apart: a combined stream's envelope, a raw event, or a control answer."""

    stream: str = ""
    id: int | str | None = None
    e: str = ""
    error: "WireError | None" = None


class WireError(msgspec.Struct):
    """`error` of a control answer."""

    code: int = 0
    msg: Text = ""


class DepthUpdate(msgspec.Struct, gc=False):
    """Event `depthUpdate`."""

    s: Name
    U: Id
    u: Id
    E: Milliseconds
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


class DepthFrame(msgspec.Struct, gc=False):
    """Event `depthUpdate` in the envelope of a combined stream."""

    data: DepthUpdate


class TradeEvent(msgspec.Struct, gc=False):
    """Event `trade`."""

    s: Name
    t: Id
    p: str
    q: str
    T: Milliseconds
    m: bool


class TradeFrame(msgspec.Struct, gc=False):
    """Event `trade` in the envelope of a combined stream."""

    data: TradeEvent


class DepthBody(msgspec.Struct):
    """Body of `/api/v3/depth`."""

    lastUpdateId: Id  # noqa: N815 - the venue's spelling
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]


class TimeBody(msgspec.Struct):
    """Body of `/api/v3/time`."""

    serverTime: Milliseconds  # noqa: N815 - the venue's spelling


_read_frame: Final = decoder(Frame)
_read_depth: Final = decoder(DepthUpdate)
_read_depth_frame: Final = decoder(DepthFrame)
_read_trade: Final = decoder(TradeEvent)
_read_trade_frame: Final = decoder(TradeFrame)
_read_body: Final = decoder(DepthBody)
_read_time: Final = decoder(TimeBody)
_ENVELOPE: Final = b'{"stream":"'
_DEPTH: Final = b'{"e":"depthUpdate"'
_TRADE: Final = b'{"e":"trade"'
"""How frames and events begin: what they are is seen without reading the rest."""


class Binance:
    """See the module's docstring."""

    name = "binance"
    aliases = ("binance spot",)
    endpoints = Endpoints(
        "wss://data-stream.binance.vision/ws",
        "https://data-api.binance.vision",
        Listing("/api/v3/exchangeInfo?showPermissionSets=false", "symbol"),
        time="/api/v3/time",
    )
    capabilities = Capabilities(
        scheme=Scheme.CHAIN,
        bootstrap=Bootstrap.REQUEST,
        loss_unit="update_ids",
        trade_ids=True,
        checksum_each=False,
        truncates=False,
        audit=True,
        silence_s=10.0,
        blind_spots=(
            "content errors between audits: there is no checksum",
            "levels beyond the snapshot's depth until they are touched",
        ),
    )
    # 5 incoming messages a second are allowed, pongs included: leave room for those.
    pacing = Pacing(messages_per_s=3.0, messages_burst=3, requests_per_s=1.5, requests_burst=10)

    def plan(self, symbols: Iterable[str], *, per_shard: int, book_depth: int) -> list[Shard]:
        """Spread symbols over connections in the order given."""
        return shards(self.name, symbols, per_shard=per_shard, book_depth=book_depth)

    def instrument(self, symbol: str) -> str:
        """Both codes are one word."""
        return instrument_of_word(symbol)

    def subscribe(self, shard: Shard) -> list[str]:
        """Ask for all streams in few calls."""
        return _stream_calls("SUBSCRIBE", shard, 1)

    def unsubscribe(self, shard: Shard, first_id: int) -> list[str]:
        """Give up all streams."""
        return _stream_calls("UNSUBSCRIBE", shard, first_id)

    def expected_channels(self, shard: Shard) -> frozenset[str]:
        """Acknowledgements name no streams: there is nothing to compare."""
        return frozenset()

    def ping(self, request_id: int) -> str | None:
        """Measure the round trip with protocol pings."""
        return None

    def snapshot(self, shard: Shard, symbol: str, request_id: int) -> list[Request]:
        """Fetch the REST book (step 1)."""
        path = f"/api/v3/depth?symbol={symbol}&limit={SNAPSHOT_LEVELS}"
        return [Request(Transport.REST, path)]

    def resync(self, shard: Shard, symbol: str, request_id: int) -> list[Request]:
        """Start over from the REST snapshot; the stream goes on."""
        return self.snapshot(shard, symbol, request_id)

    def decode(self, payload: bytes) -> list[Message]:
        """Translate an event, raw or wrapped, or a control answer."""
        if payload.startswith(_ENVELOPE):
            start = len(_ENVELOPE)
            return _wrapped(payload[start : payload.find(b'"', start)], payload)
        if payload.startswith(_DEPTH):
            return [_delta(_read_depth(payload))]
        if payload.startswith(_TRADE):
            return [_trade(_read_trade(payload))]
        frame = _read_frame(payload)
        if frame.stream:
            return _wrapped(frame.stream.encode(), payload)
        if frame.e == "depthUpdate":
            return [_delta(_read_depth(payload))]
        if frame.e == "trade":
            return [_trade(_read_trade(payload))]
        if frame.e == "serverShutdown":
            return [Notice("serverShutdown", ends_connection=True)]
        if frame.error is not None:
            text = f"{frame.error.code} {frame.error.msg}"
            return [Notice(text)] if frame.id is None else [_refused(frame.id, text)]
        if frame.id is not None:
            return [Subscribed(frame.id)] if isinstance(frame.id, int) else [Ignored("answer")]
        return [Ignored(frame.e or "book ticker")]

    def decode_sent(self, payload: bytes) -> list[Message]:
        """Nothing that we send to the socket concerns a book's state."""
        return []

    def decode_request(self, url: str) -> list[Message]:
        """Find the book that was asked for."""
        segment, values = query(url)
        return [SnapshotRequested(values.get("symbol", ""))] if segment == "depth" else []

    def decode_response(self, url: str, body: bytes) -> list[Message]:
        """Translate a REST book; the URL names its symbol and limit."""
        # Recordings may name their requests in prose; the body says as much as we need.
        segment, values = query(url)
        if segment == "time":
            told = _read_time(body).serverTime * NS_PER_MS
            return [ServerTime(told, told, NS_PER_MS)]
        if "depth" not in url:
            return [Ignored("rest")]
        limit = _LIMIT.search(url)
        book = _read_body(body)
        return [
            Snapshot(
                values.get("symbol", ""),
                book.lastUpdateId,
                book.bids,
                book.asks,
                0,
                limit=max(1, min(int(limit.group(1)), _LEVELS_MAX)) if limit else _LEVELS_DEFAULT,
                requested=True,
            )
        ]


EXCHANGE: Final = Binance()


def _stream_calls(method: str, shard: Shard, first_id: int) -> list[str]:
    streams = [
        f"{symbol.lower()}@{kind}" for symbol in shard.symbols for kind in ("trade", "depth@100ms")
    ]
    starts = range(0, len(streams), STREAMS_PER_CALL)
    return [
        encode(
            {
                "method": method,
                "params": streams[start : start + STREAMS_PER_CALL],
                "id": first_id + call,
            }
        )
        for call, start in enumerate(starts)
    ]


def _refused(request_id: int | str, text: str) -> Message:
    return Answer(request_id, text) if isinstance(request_id, int) else Notice(text)


def _wrapped(stream: bytes, payload: bytes) -> list[Message]:
    kind = stream.partition(b"@")[2]
    if kind == b"depth" or kind.startswith(b"depth@"):
        return [_delta(_read_depth_frame(payload).data)]
    if kind == b"trade":
        return [_trade(_read_trade_frame(payload).data)]
    # Half a frame is not one that can be ignored.
    _read_frame(payload)
    return [Ignored(kind[:40].decode(errors="replace"))]


def _delta(event: DepthUpdate) -> Delta:
    first, last = event.U, event.u
    if last < first:
        raise DecodeError(f"expected U <= u, found U {first} and u {last}")
    bids: list[Level] = event.b
    asks: list[Level] = event.a
    return Delta(event.s, first, first - 1, last, bids, asks, event.E * NS_PER_MS)


def _trade(event: TradeEvent) -> TradePrint:
    return TradePrint(
        event.s,
        str(event.t),
        event.t,
        decimal_text(event.p),
        decimal_text(event.q),
        Side.SELL if event.m else Side.BUY,
        event.T * NS_PER_MS,
    )
