"""Kraken Futures, WebSocket v1: one level per frame, numbered per product.

Pages (read November 2026): docs.kraken.com, "Futures WebSocket": book, trade, heartbeat.
Feeds: `book`, `trade`.

Sync recipe:
1. Subscribe; `book_snapshot` is the whole book at `seq`.
2. Every `book` of a product has seq equal to the last plus one; otherwise unsubscribe, subscribe
   that product and wait for its snapshot.
3. Renewal: subscribe anew; the snapshot audits the book if its `seq` is the last one.
Quirks: one level per frame; size 0 removes and may stand in snapshots; prices may use exponents;
answers spell products in upper case; the client must send a protocol ping every 60 s.
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from core.continuity import Bootstrap, Scheme
from core.currencies import instrument_of_word
from core.events import Side
from core.protocol import (
    Capabilities,
    DecodeError,
    Delta,
    Endpoints,
    Heartbeat,
    Ignored,
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
    NS_PER_MS,
    Id,
    Milliseconds,
    Name,
    Number,
    Text,
    decimal_text,
    decoder,
    encode,
    level,
    shards,
)


class WireLevel(msgspec.Struct, gc=False):
    """One level of a snapshot."""

    price: Number
    qty: Number


class BookSnapshot(msgspec.Struct, gc=False):
    """Feed `book_snapshot`."""

    product_id: Name
    timestamp: Milliseconds
    seq: Id
    bids: list[WireLevel]
    asks: list[WireLevel]


class BookChange(msgspec.Struct, gc=False):
    """Feed `book`: one level."""

    product_id: Name
    side: Literal["buy", "sell"]
    seq: Id
    price: Number
    qty: Number
    timestamp: Milliseconds


class TradeData(msgspec.Struct, gc=False):
    """Feed `trade`."""

    product_id: Name
    uid: Name
    side: Literal["buy", "sell"]
    seq: Id
    time: Milliseconds
    qty: Number
    price: Number


class Frame(msgspec.Struct):
    """What every frame says of itself."""

    feed: str = ""
    event: str = ""
    message: Text = ""
    product_ids: list[str] = []


_read_frame: Final = decoder(Frame)
_read_snapshot: Final = decoder(BookSnapshot)
_read_change: Final = decoder(BookChange)
_read_trade: Final = decoder(TradeData)
_BOOK: Final = b'{"feed":"book",'
"""How changes of books begin: seen without reading the rest."""


class KrakenFutures:
    """See the module's docstring."""

    name = "kraken_futures"
    aliases = ("kraken futures websocket v1",)
    endpoints = Endpoints("wss://futures.kraken.com/ws/v1", "https://futures.kraken.com")
    capabilities = Capabilities(
        scheme=Scheme.CHAIN,
        bootstrap=Bootstrap.STREAM,
        loss_unit="messages",
        trade_ids=True,
        checksum_each=False,
        truncates=False,
        audit=True,
        silence_s=60.0,
        blind_spots=(
            "content errors between audits: there is no checksum, and a renewal during which the"
            " book changed is no audit",
        ),
    )
    pacing = Pacing(messages_per_s=5.0, messages_burst=10, requests_per_s=1.0, requests_burst=3)

    def plan(self, symbols: Iterable[str], *, per_shard: int, book_depth: int) -> list[Shard]:
        """Spread products over connections in the order given."""
        return shards(self.name, symbols, per_shard=per_shard, book_depth=book_depth)

    def instrument(self, symbol: str) -> str:
        """Perpetuals begin with PI_ (inverse) or PF_ (linear)."""
        kind, _, word = symbol.partition("_")
        return instrument_of_word(word) if kind in ("PI", "PF") else ""

    def subscribe(self, shard: Shard) -> list[str]:
        """Ask for heartbeats, trades and books."""
        return [
            encode({"event": "subscribe", "feed": "heartbeat"}),
            *_calls("subscribe", shard.symbols),
        ]

    def unsubscribe(self, shard: Shard, first_id: int) -> list[str]:
        """Give up trades and books."""
        return _calls("unsubscribe", shard.symbols)

    def expected_channels(self, shard: Shard) -> frozenset[str]:
        """Return the feeds of a shard as acknowledgements spell them."""
        return frozenset(
            f"{feed}:{symbol}" for symbol in shard.symbols for feed in ("book", "trade")
        )

    def ping(self, request_id: int) -> str | None:
        """Measure the round trip with protocol pings."""
        return None

    def snapshot(self, shard: Shard, symbol: str, request_id: int) -> list[Request]:
        """Only a new subscription shows the book again; in between it is SYNCING, as planned."""
        return self.resync(shard, symbol, request_id)

    def resync(self, shard: Shard, symbol: str, request_id: int) -> list[Request]:
        """Open the one book anew (step 2)."""
        return [
            Request(
                Transport.SOCKET, encode({"event": event, "feed": "book", "product_ids": [symbol]})
            )
            for event in ("unsubscribe", "subscribe")
        ]

    def decode(self, payload: bytes) -> list[Message]:
        """Translate a feed message or an event."""
        if payload.startswith(_BOOK):
            return [_change(_read_change(payload))]
        frame = _read_frame(payload)
        if frame.event:
            return _event(frame)
        if frame.feed == "book":
            return [_change(_read_change(payload))]
        if frame.feed == "book_snapshot":
            return [_snapshot(_read_snapshot(payload))]
        if frame.feed == "trade":
            return [_trade(_read_trade(payload))]
        if frame.feed == "heartbeat":
            return [Heartbeat()]
        if not frame.feed:
            raise DecodeError("neither feed nor event")
        return [Ignored(frame.feed)]

    def decode_sent(self, payload: bytes) -> list[Message]:
        """Find books that we gave up."""
        sent = _read_frame(payload)
        if sent.event == "unsubscribe" and sent.feed == "book":
            return [Unsubscribed(product) for product in sent.product_ids]
        return []

    def decode_request(self, url: str) -> list[Message]:
        """REST books of this venue join nothing."""
        return []

    def decode_response(self, url: str, body: bytes) -> list[Message]:
        """REST books of this venue join nothing."""
        return [Ignored("rest")]


EXCHANGE: Final = KrakenFutures()


def _calls(event: str, symbols: tuple[str, ...]) -> list[str]:
    return [
        encode({"event": event, "feed": feed, "product_ids": list(symbols)})
        for feed in ("trade", "book")
    ]


def _event(frame: Frame) -> list[Message]:
    if frame.event == "subscribed":
        return [Subscribed(0, tuple(f"{frame.feed}:{product}" for product in frame.product_ids))]
    if frame.event in ("error", "alert"):
        return [Notice(frame.message)]
    return [Ignored(frame.event)]


def _snapshot(book: BookSnapshot) -> Snapshot:
    bids = [level(wire.price, wire.qty) for wire in book.bids]
    asks = [level(wire.price, wire.qty) for wire in book.asks]
    return Snapshot(book.product_id, book.seq, bids, asks, book.timestamp * NS_PER_MS)


def _change(change: BookChange) -> Delta:
    levels = [level(change.price, change.qty)]
    is_bid = change.side == "buy"
    seq = change.seq
    return Delta(
        change.product_id,
        seq,
        seq - 1,
        seq,
        levels if is_bid else [],
        [] if is_bid else levels,
        change.timestamp * NS_PER_MS,
    )


def _trade(trade: TradeData) -> TradePrint:
    return TradePrint(
        trade.product_id,
        trade.uid,
        trade.seq,
        decimal_text(trade.price),
        decimal_text(trade.qty),
        Side.BUY if trade.side == "buy" else Side.SELL,
        trade.time * NS_PER_MS,
    )
