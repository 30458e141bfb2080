"""Binance USD-M futures: depth events chained by `pu`, joined to REST snapshots.

Pages (read November 2026): developers.binance.com, "USDⓈ-M Futures: How to manage a local order
book correctly", "Diff. Book Depth Streams", "Trade Streams".
Channels: `<symbol>@depth@100ms`, `<symbol>@trade`, both under the `/public` prefix; REST
`/fapi/v1/depth`.

Sync recipe, with L = lastUpdateId of the snapshot:
1. Open the stream and buffer; then fetch the snapshot.
2. Drop events with u < L.
3. The first applied event must have U <= L <= u, or start exactly after it (pu == L).
4. Every next event must have pu equal to the previous u; update ids have holes between events.

There is no checksum. Quirks: trades with `X` other than MARKET (insurance fund, ADL) are no
market trades and are left out; a stream under the wrong prefix is acknowledged and stays silent.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

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
"""Levels a side asked of REST, the most there are: weight 20 of the 2400 a minute."""
STREAMS_PER_CALL: Final = 100
_LIMIT: Final = re.compile(r"\blimit=([0-9]{1,4})\b")


class WireError(msgspec.Struct):
    """`error` of a control answer."""

    code: int = 0
    msg: Text = ""


class Frame(msgspec.Struct, gc=False):
    """What tells frames apart: a combined stream's envelope, a raw event, or a control answer."""

    stream: str = ""
    id: int | None = None
    e: str = ""
    error: WireError | None = None


class DepthEvent(msgspec.Struct, gc=False):
    """Event `depthUpdate` of futures; `T` is the transaction time."""

    s: Name
    U: Id
    u: Id
    pu: Id
    T: Milliseconds
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]


class DepthFrame(msgspec.Struct, gc=False):
    """Event `depthUpdate` in the envelope of a combined stream."""

    data: DepthEvent


class TradeEvent(msgspec.Struct, gc=False):
    """Event `trade` of futures; old frames have no `X`."""

    s: Name
    t: Id
    p: str
    q: str
    T: Milliseconds
    m: bool
    X: str = "MARKET"


class TradeFrame(msgspec.Struct, gc=False):
    """Event `trade` in the envelope of a combined stream."""

    data: TradeEvent


class DepthBody(msgspec.Struct):
    """Body of `/fapi/v1/depth`."""

    lastUpdateId: Id  # noqa: N815 - the venue's spelling
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    T: Milliseconds = 0


_read_frame: Final = decoder(Frame)
_read_depth: Final = decoder(DepthEvent)
_read_depth_frame: Final = decoder(DepthFrame)
_read_trade: Final = decoder(TradeEvent)
_read_trade_frame: Final = decoder(TradeFrame)
_read_body: Final = decoder(DepthBody)
_ENVELOPE: Final = b'{"stream":"'
_DEPTH: Final = b'{"e":"depthUpdate"'
_TRADE: Final = b'{"e":"trade"'
"""How frames and events begin: what they are is seen without reading the rest."""


class BinanceUsdm:
    """See the module's docstring."""

    name = "binance_usdm"
    aliases = ("binance usd-m futures",)
    endpoints = Endpoints(
        "wss://fstream.binance.com/public/ws",
        "https://fapi.binance.com",
        Listing("/fapi/v1/exchangeInfo", "symbol"),
    )
    capabilities = Capabilities(
        scheme=Scheme.CHAIN,
        bootstrap=Bootstrap.REQUEST,
        loss_unit="",
        trade_ids=True,
        checksum_each=False,
        truncates=False,
        audit=True,
        silence_s=10.0,
        blind_spots=(
            "content errors between audits: there is no checksum",
            "the size of a loss: update ids have holes",
        ),
    )
    pacing = Pacing(messages_per_s=5.0, messages_burst=5, requests_per_s=1.5, requests_burst=10)

    def plan(self, symbols: Iterable[str], *, per_shard: int, book_depth: int) -> list[Shard]:
        """Spread symbols over connections in the order given."""
        return shards(self.name, symbols, per_shard=per_shard, book_depth=book_depth)

    def instrument(self, symbol: str) -> str:
        """Both codes are one word; what ends has its date behind an underscore."""
        return "" if "_" in symbol else instrument_of_word(symbol)

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
        path = f"/fapi/v1/depth?symbol={symbol}&limit={SNAPSHOT_LEVELS}"
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
        if frame.error is not None:
            text = f"{frame.error.code} {frame.error.msg}"
            return [Notice(text)] if frame.id is None else [Answer(frame.id, text)]
        if frame.id is not None:
            return [Subscribed(frame.id)]
        if not frame.e:
            raise DecodeError("neither event nor answer")
        return [Ignored(frame.e)]

    def decode_sent(self, payload: bytes) -> list[Message]:
        """Nothing that we send to the socket concerns a book's state."""
        return []

    def decode_request(self, url: str) -> list[Message]:
        """Find the book that was asked for."""
        segment, values = query(url)
        return [SnapshotRequested(values.get("symbol", ""))] if segment == "depth" else []

    def decode_response(self, url: str, body: bytes) -> list[Message]:
        """Translate a REST book; the URL names its symbol and limit."""
        if "depth" not in url:
            return [Ignored("rest")]
        _, values = query(url)
        limit = _LIMIT.search(url)
        book = _read_body(body)
        return [
            Snapshot(
                values.get("symbol", ""),
                book.lastUpdateId,
                book.bids,
                book.asks,
                book.T * NS_PER_MS,
                limit=max(1, int(limit.group(1))) if limit else 500,
                requested=True,
            )
        ]


EXCHANGE: Final = BinanceUsdm()


def _stream_calls(method: str, shard: Shard, first_id: int) -> list[str]:
    streams = [
        f"{symbol.lower()}@{kind}" for symbol in shard.symbols for kind in ("trade", "depth@100ms")
    ]
    calls = range(0, len(streams), STREAMS_PER_CALL)
    return [
        encode(
            {"method": method, "params": streams[at : at + STREAMS_PER_CALL], "id": first_id + n}
        )
        for n, at in enumerate(calls)
    ]


def _wrapped(stream: bytes, payload: bytes) -> list[Message]:
    kind = stream.partition(b"@")[2]
    if kind == b"depth" or kind.startswith(b"depth@"):
        return [_delta(_read_depth_frame(payload).data)]
    if kind == b"trade":
        return [_trade(_read_trade_frame(payload).data)]
    # Half a frame is not one that can be ignored.
    _read_frame(payload)
    return [Ignored(kind[:40].decode(errors="replace"))]


def _delta(event: DepthEvent) -> Delta:
    prev, last = event.pu, event.u
    if prev > last:
        raise DecodeError(f"expected pu <= u, found pu {prev} and u {last}")
    return Delta(event.s, event.U, prev, last, event.b, event.a, event.T * NS_PER_MS)


def _trade(event: TradeEvent) -> Message:
    if event.X != "MARKET":
        return Ignored("settlement trade")
    side = Side.SELL if event.m else Side.BUY
    price, size = decimal_text(event.p), decimal_text(event.q)
    return TradePrint(event.s, str(event.t), event.t, price, size, side, event.T * NS_PER_MS)
