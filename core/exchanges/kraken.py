"""Kraken spot, WebSocket v2: no sequence numbers, a checksum after every change.

Pages (read November 2026): docs.kraken.com, "Spot WebSocket v2": Book, Trade, Heartbeat, Status,
Ping; "Guide: Book Checksum v2".
Channels: `book` at a depth of 10, 25, 100, 500 or 1000; `trade`.

Sync recipe:
1. Subscribe; the first `book` message of a symbol is a snapshot of the subscribed depth.
2. An update sets or (qty 0) removes levels, all entries of one message in order; then each side
   is cut to the subscribed depth: no removals are sent for levels pushed out of range.
3. After every message the checksum over the best ten levels a side must agree; if not,
   unsubscribe and subscribe that symbol, wait for its snapshot.
4. A snapshot may come again at any time and replaces the book.

Checksum: `core.book.OrderBook.checksum`, over the text of the numbers as sent.
Heartbeats come about once a second when nothing else was sent. Quirks: numbers are JSON numbers
with a fixed number of decimals whose text matters; one acknowledgement per symbol; unsubscribe
must name the same depth; a thin book's snapshot may lack the checksum.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from core.book import Level
from core.clock import ServerTime
from core.continuity import Bootstrap, Scheme
from core.currencies import instrument
from core.events import Side
from core.protocol import (
    Answer,
    Capabilities,
    DecodeError,
    Delta,
    Endpoints,
    Heartbeat,
    Ignored,
    Listing,
    Message,
    Notice,
    Pacing,
    Request,
    Shard,
    Snapshot,
    Subscribed,
    TradePrint,
    Transport,
    Unsubscribed,
)
from core.wire import (
    NS_PER_US,
    Crc,
    Depth,
    Id,
    Name,
    Number,
    Text,
    decimal_text,
    decoder,
    encode,
    level,
    nanoseconds,
    shards,
)

DEPTHS: Final = (10, 25, 100, 500, 1000)
"""Depths that can be subscribed."""


class WireLevel(msgspec.Struct, gc=False):
    """One level of a book message."""

    price: Number
    qty: Number


class BookData(msgspec.Struct, gc=False):
    """One element of `data` of a book message; old snapshots have no timestamp."""

    symbol: Name
    bids: list[WireLevel]
    asks: list[WireLevel]
    checksum: Crc | None = None
    timestamp: str = ""


class BookFrame(msgspec.Struct, gc=False):
    """A book message."""

    type: Literal["snapshot", "update"]
    data: list[BookData]


class TradeData(msgspec.Struct, gc=False):
    """One element of `data` of a trade message."""

    symbol: Name
    side: Literal["buy", "sell"]
    price: Number
    qty: Number
    trade_id: Id
    timestamp: str


class TradeFrame(msgspec.Struct, gc=False):
    """A trade message."""

    data: list[TradeData]


class StatusData(msgspec.Struct):
    """One element of `data` of a status message."""

    system: Text = ""


class StatusFrame(msgspec.Struct):
    """A status message."""

    data: list[StatusData] = []


class AckResult(msgspec.Struct):
    """`result` of an acknowledgement."""

    channel: str = ""
    symbol: str = ""
    depth: Depth | None = None


class Frame(msgspec.Struct, gc=False):
    """Channel message or answer, whichever the fields say."""

    channel: str = ""
    method: str = ""
    req_id: int | None = None
    success: bool | None = None
    error: Text = ""
    symbol: str = ""
    result: AckResult | None = None
    time_in: str = ""
    time_out: str = ""


class SentParams(msgspec.Struct):
    """The parameters of ours that books must know of."""

    channel: str = ""
    symbol: list[str] = []


class Sent(msgspec.Struct):
    """A message of ours."""

    method: str = ""
    params: SentParams = msgspec.field(default_factory=SentParams)


_read_frame: Final = decoder(Frame)
_read_books: Final = decoder(BookFrame)
_read_trades: Final = decoder(TradeFrame)
_read_status: Final = decoder(StatusFrame)
_read_sent: Final = decoder(Sent)
_HEARTBEAT: Final = b'{"channel":"heartbeat"}'
_BOOK: Final = b'{"channel":"book",'
"""How book messages begin: seen without reading the rest."""


class Kraken:
    """See the module's docstring."""

    name = "kraken"
    aliases = ("kraken spot websocket v2", "kraken v2 and futures")
    endpoints = Endpoints(
        "wss://ws.kraken.com/v2",
        "https://api.kraken.com",
        Listing("/0/public/AssetPairs", "wsname", (("XBT", "BTC"), ("XDG", "DOGE"))),
    )
    capabilities = Capabilities(
        scheme=Scheme.CHECKSUM,
        bootstrap=Bootstrap.STREAM,
        loss_unit="",
        trade_ids=True,
        checksum_each=True,
        truncates=True,
        audit=False,
        silence_s=5.0,
        blind_spots=(
            "levels below the best ten: the checksum does not cover them",
            "the size of a loss: messages are not numbered",
        ),
    )
    pacing = Pacing(messages_per_s=5.0, messages_burst=10, requests_per_s=1.0, requests_burst=3)

    def plan(self, symbols: Iterable[str], *, per_shard: int, book_depth: int) -> list[Shard]:
        """Spread symbols over connections; the depth is the next one that Kraken offers."""
        depth = next((depth for depth in DEPTHS if depth >= book_depth), DEPTHS[-1])
        return shards(self.name, symbols, per_shard=per_shard, book_depth=depth)

    def instrument(self, symbol: str) -> str:
        """Both codes, with a slash between."""
        base, _, quote = symbol.partition("/")
        return instrument(base, quote)

    def subscribe(self, shard: Shard) -> list[str]:
        """Ask for trades without history, then for books."""
        return [
            _call("subscribe", {**_trade_params(shard.symbols), "snapshot": False}, 1),
            _call("subscribe", {**_book_params(shard.symbols, shard.book_depth)}, 2),
        ]

    def unsubscribe(self, shard: Shard, first_id: int) -> list[str]:
        """Give up all channels."""
        return [
            _call("unsubscribe", _trade_params(shard.symbols), first_id),
            _call("unsubscribe", _book_params(shard.symbols, shard.book_depth), first_id + 1),
        ]

    def expected_channels(self, shard: Shard) -> frozenset[str]:
        """Return the channels of a shard as acknowledgements spell them."""
        return frozenset(
            f"{kind}:{symbol}" for symbol in shard.symbols for kind in ("book", "trade")
        )

    def ping(self, request_id: int) -> str | None:
        """Measure the round trip with the venue's own ping."""
        return encode({"method": "ping", "req_id": request_id})

    def snapshot(self, shard: Shard, symbol: str, request_id: int) -> list[Request]:
        """Only a new subscription shows the book again; in between it is SYNCING, as planned."""
        return self.resync(shard, symbol, request_id)

    def resync(self, shard: Shard, symbol: str, request_id: int) -> list[Request]:
        """Open the one book anew (step 3)."""
        params = _book_params((symbol,), shard.book_depth)
        return [
            Request(Transport.SOCKET, _call("unsubscribe", params, request_id)),
            Request(Transport.SOCKET, _call("subscribe", params, request_id + 1)),
        ]

    def decode(self, payload: bytes) -> list[Message]:
        """Translate a channel message or an answer."""
        if payload.startswith(_BOOK):
            return _books(payload)
        if payload == _HEARTBEAT:
            return [Heartbeat()]
        frame = _read_frame(payload)
        channel = frame.channel
        if channel == "book":
            return _books(payload)
        if channel == "trade":
            return [_trade(trade) for trade in _read_trades(payload).data]
        if channel == "heartbeat":
            return [Heartbeat()]
        if channel == "status":
            states = [status.system for status in _read_status(payload).data]
            return [Notice(state) for state in states if state != "online"] or [Ignored("status")]
        if channel:
            return [Ignored(channel)]
        if frame.method:
            return _answer(frame)
        if frame.error:
            return [Notice(frame.error)]
        raise DecodeError("neither channel message nor answer")

    def decode_sent(self, payload: bytes) -> list[Message]:
        """Find books that we gave up."""
        sent = _read_sent(payload)
        if sent.method == "unsubscribe" and sent.params.channel == "book":
            return [Unsubscribed(symbol) for symbol in sent.params.symbol]
        return []

    def decode_request(self, url: str) -> list[Message]:
        """REST books have no sequence and join nothing."""
        return []

    def decode_response(self, url: str, body: bytes) -> list[Message]:
        """REST books have no sequence and join nothing."""
        return [Ignored("rest")]


EXCHANGE: Final = Kraken()


def _call(method: str, params: dict[str, object], request_id: int) -> str:
    return encode({"method": method, "params": params, "req_id": request_id})


def _trade_params(symbols: tuple[str, ...]) -> dict[str, object]:
    return {"channel": "trade", "symbol": list(symbols)}


def _book_params(symbols: tuple[str, ...], depth: int) -> dict[str, object]:
    return {"channel": "book", "symbol": list(symbols), "depth": depth}


def _books(payload: bytes) -> list[Message]:
    frame = _read_books(payload)
    messages: list[Message] = []
    for book in frame.data:
        bids = _levels(book.bids) if book.bids else []
        asks = _levels(book.asks) if book.asks else []
        ts_event = nanoseconds(book.timestamp) if book.timestamp else 0
        if frame.type == "update":
            delta = Delta(book.symbol, 0, 0, 0, bids, asks, ts_event, book.checksum)
            messages.append(delta)
        else:
            messages.append(Snapshot(book.symbol, 0, bids, asks, ts_event, book.checksum))
    return messages


def _levels(levels: list[WireLevel]) -> list[Level]:
    return [
        (wire.price, wire.qty)
        if type(wire.price) is str and type(wire.qty) is str
        else level(wire.price, wire.qty)
        for wire in levels
    ]


def _trade(trade: TradeData) -> TradePrint:
    return TradePrint(
        trade.symbol,
        str(trade.trade_id),
        trade.trade_id,
        decimal_text(trade.price),
        decimal_text(trade.qty),
        Side.BUY if trade.side == "buy" else Side.SELL,
        nanoseconds(trade.timestamp),
    )


def _answer(frame: Frame) -> list[Message]:
    request_id = frame.req_id or 0
    if frame.method == "pong":
        if not frame.time_in or not frame.time_out:
            return [Answer(request_id)]
        told = nanoseconds(frame.time_in), nanoseconds(frame.time_out)
        # Before the answer: whoever is waiting for it has the time by then.
        return [ServerTime(*told, NS_PER_US), Answer(request_id)]
    if frame.method != "subscribe":
        return [Answer(request_id, "" if frame.success else frame.error)]
    result = frame.result
    if frame.success and result is not None:
        depths = ((result.symbol, result.depth),) if result.depth else ()
        return [Subscribed(request_id, (f"{result.channel}:{result.symbol}",), depths=depths)]
    return [Subscribed(request_id, refused=((frame.symbol, frame.error),))]
