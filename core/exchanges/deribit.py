"""Deribit: JSON-RPC 2.0 over WebSocket, change ids chained per channel.

Pages (read November 2026): docs.deribit.com, "Subscriptions", "public/set_heartbeat", "Rate
limits".
Channels: `book.{instrument}.100ms`, `trades.{instrument}.100ms`.

Sync recipe:
1. Subscribe; the first notification of a book channel is the whole book (`type` snapshot, or no
   `type` and no `prev_change_id`).
2. A change applies when `prev_change_id` equals the last `change_id`.
3. A change with `change_id` at or below the last is a repeat.
4. Anything else is a gap: unsubscribe and subscribe that one channel, wait for its snapshot.
5. Renewal: open the channel anew; the snapshot audits the book if its `change_id` is the last
   one. The state of `public/get_order_book` may lie inside a 100 ms change, which names only
   what differs at its ends: the two cannot be joined, so it is not asked for.

There is no checksum. Heartbeats: after `set_heartbeat` a `test_request` must be answered with
`public/test` at once, or the venue closes the socket.
Quirks: a channel that does not exist is silently missing from the acknowledgement; `delete`
carries size 0.0; numbers may use exponents; 2020 frames have no `type`.
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
    NS_PER_MS,
    NS_PER_US,
    Id,
    Microseconds,
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

INTERVAL: Final = "100ms"
HEARTBEAT_S: Final = 10
"""Interval asked of `set_heartbeat`, s: the shortest allowed."""
CHANNELS_PER_CALL: Final = 100
_HEARTBEAT_ID: Final = 1
_TEST: Final = b'{"jsonrpc":"2.0","id":0,"method":"public/test","params":{}}'


Action = Literal["new", "change", "delete"]
"""What happened to a level; any other word is not a change that we could apply."""


class BookData(msgspec.Struct, gc=False):
    """`params.data` of a book notification."""

    instrument_name: Name
    change_id: Id
    timestamp: Milliseconds
    bids: list[tuple[Action, Number, Number]]
    asks: list[tuple[Action, Number, Number]]
    type: Literal["snapshot", "change"] | None = None
    prev_change_id: Id | None = None


class BookParams(msgspec.Struct, gc=False):
    """`params` of a book notification."""

    data: BookData


class BookFrame(msgspec.Struct, gc=False):
    """A book notification."""

    params: BookParams


class TradeData(msgspec.Struct, gc=False):
    """One element of `params.data` of a trades notification."""

    instrument_name: Name
    trade_seq: Id
    trade_id: Name
    timestamp: Milliseconds
    price: Number
    amount: Number
    direction: Literal["buy", "sell"]


class TradesParams(msgspec.Struct, gc=False):
    """`params` of a trades notification."""

    data: list[TradeData]


class TradesFrame(msgspec.Struct, gc=False):
    """A trades notification."""

    params: TradesParams


class Params(msgspec.Struct, gc=False):
    """What tells notifications apart."""

    channel: str = ""
    type: str = ""


class RpcError(msgspec.Struct):
    """`error` of an answer."""

    code: int
    message: Text = ""


class Frame(msgspec.Struct, gc=False):
    """Notification or answer, whichever the fields say."""

    method: str = ""
    params: Params | None = None
    id: int | None = None
    result: msgspec.Raw = msgspec.Raw()
    error: RpcError | None = None
    usIn: Microseconds | None = None  # noqa: N815 - the venue's spelling
    usOut: Microseconds | None = None  # noqa: N815 - the venue's spelling


class SentParams(msgspec.Struct):
    """The parameters of ours that books must know of."""

    channels: list[str] = []


class Sent(msgspec.Struct):
    """A message of ours."""

    method: str = ""
    params: SentParams = msgspec.field(default_factory=SentParams)


_read_frame: Final = decoder(Frame)
_read_book: Final = decoder(BookFrame)
_read_trades: Final = decoder(TradesFrame)
_read_channels: Final = decoder(list[str])
_read_sent: Final = decoder(Sent)
_NOTIFICATION: Final = b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"'
"""How notifications begin: the channel is seen without reading the rest."""


class Deribit:
    """See the module's docstring."""

    name = "deribit"
    aliases: tuple[str, ...] = ()
    endpoints = Endpoints(
        "wss://www.deribit.com/ws/api/v2",
        "https://www.deribit.com",
        Listing("/api/v2/public/get_instruments?currency=any", "instrument_name"),
    )
    capabilities = Capabilities(
        scheme=Scheme.CHAIN,
        bootstrap=Bootstrap.STREAM,
        loss_unit="",
        trade_ids=True,
        checksum_each=False,
        truncates=False,
        audit=True,
        silence_s=HEARTBEAT_S + 5,
        blind_spots=(
            "content errors between audits: there is no checksum, and a renewal during which the"
            " book changed is no audit",
            "the size of a loss: change ids are shared by many books",
        ),
    )
    pacing = Pacing(messages_per_s=3.0, messages_burst=10, requests_per_s=5.0, requests_burst=10)

    def plan(self, symbols: Iterable[str], *, per_shard: int, book_depth: int) -> list[Shard]:
        """Spread instruments over connections in the order given."""
        return shards(self.name, symbols, per_shard=per_shard, book_depth=book_depth)

    def instrument(self, symbol: str) -> str:
        """Perpetuals and spot: `BTC-PERPETUAL`, `ETH_USDC-PERPETUAL`, `ETH_USDC`."""
        codes, dash, kind = symbol.partition("-")
        base, _, quote = codes.partition("_")
        is_undated = kind == "PERPETUAL" or not dash
        return instrument(base, quote or ("USD" if dash else "")) if is_undated else ""

    def subscribe(self, shard: Shard) -> list[str]:
        """Ask for heartbeats, then for all channels in few calls: each call is costly."""
        heartbeat = _call(_HEARTBEAT_ID, "public/set_heartbeat", {"interval": HEARTBEAT_S})
        return [heartbeat, *_channel_calls("public/subscribe", _channels(shard.symbols), 2)]

    def unsubscribe(self, shard: Shard, first_id: int) -> list[str]:
        """Give up all channels."""
        return _channel_calls("public/unsubscribe", _channels(shard.symbols), first_id)

    def expected_channels(self, shard: Shard) -> frozenset[str]:
        """Return the channels of a shard."""
        return frozenset(_channels(shard.symbols))

    def ping(self, request_id: int) -> str | None:
        """Measure the round trip with public/test."""
        return _call(request_id, "public/test", {})

    def snapshot(self, shard: Shard, symbol: str, request_id: int) -> list[Request]:
        """Open the one channel anew: its snapshot is the only one in step with it (step 5)."""
        return self.resync(shard, symbol, request_id)

    def resync(self, shard: Shard, symbol: str, request_id: int) -> list[Request]:
        """Open the one channel anew (step 4)."""
        channel: dict[str, object] = {"channels": [f"book.{symbol}.{INTERVAL}"]}
        return [
            Request(Transport.SOCKET, _call(request_id, "public/unsubscribe", channel)),
            Request(Transport.SOCKET, _call(request_id + 1, "public/subscribe", channel)),
        ]

    def decode(self, payload: bytes) -> list[Message]:
        """Translate a notification or an answer."""
        if payload.startswith(_NOTIFICATION):
            start = len(_NOTIFICATION)
            return _notification(payload[start : payload.find(b'"', start)], payload)
        frame = _read_frame(payload)
        if frame.method == "subscription" and frame.params is not None:
            return _notification(frame.params.channel.encode(), payload)
        if frame.method == "heartbeat" and frame.params is not None:
            return [Heartbeat(_TEST if frame.params.type == "test_request" else None)]
        if frame.id is not None:
            return _answer(frame, frame.id)
        if frame.error is not None:
            return [Notice(f"{frame.error.code} {frame.error.message}")]
        raise DecodeError("neither notification nor answer")

    def decode_sent(self, payload: bytes) -> list[Message]:
        """Find books that we gave up."""
        sent = _read_sent(payload)
        if sent.method == "public/unsubscribe":
            books = [channel for channel in sent.params.channels if channel.startswith("book.")]
            return [Unsubscribed(channel.split(".")[1]) for channel in books]
        return []

    def decode_request(self, url: str) -> list[Message]:
        """Return nothing: REST books join nothing (step 5)."""
        return []

    def decode_response(self, url: str, body: bytes) -> list[Message]:
        """Ignore REST books: they join nothing (step 5)."""
        return [Ignored("rest")]


EXCHANGE: Final = Deribit()


def _call(request_id: int, method: str, params: dict[str, object]) -> str:
    return encode({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})


def _channels(symbols: Iterable[str]) -> list[str]:
    return [f"{kind}.{symbol}.{INTERVAL}" for symbol in symbols for kind in ("trades", "book")]


def _channel_calls(method: str, channels: list[str], first_id: int) -> list[str]:
    starts = range(0, len(channels), CHANNELS_PER_CALL)
    return [
        _call(first_id + call, method, {"channels": channels[start : start + CHANNELS_PER_CALL]})
        for call, start in enumerate(starts)
    ]


def _notification(channel: bytes, payload: bytes) -> list[Message]:
    if channel.startswith(b"book."):
        # A grouped book has five parts, and is shown whole each time.
        if channel.count(b".") == 2:
            return [_book(payload)]
        return _ignored(b"grouped book", payload)
    if channel.startswith(b"trades."):
        return _trades(payload)
    return _ignored(channel.partition(b".")[0], payload)


def _ignored(kind: bytes, payload: bytes) -> list[Message]:
    # Half a frame is not one that can be ignored.
    _read_frame(payload)
    return [Ignored(kind[:40].decode(errors="replace"))]


def _book(payload: bytes) -> Message:
    data = _read_book(payload).params.data
    bids = _levels(data.bids) if data.bids else []
    asks = _levels(data.asks) if data.asks else []
    ts_event = data.timestamp * NS_PER_MS
    prev = data.prev_change_id
    # Step 1; a snapshot that carries a prev_change_id is still a snapshot.
    if data.type == "snapshot" or prev == 0 or (prev is None and data.type is None):
        return Snapshot(data.instrument_name, data.change_id, bids, asks, ts_event)
    if prev is None or prev > data.change_id:
        raise DecodeError(f"expected prev_change_id up to {data.change_id}, found {prev}")
    return Delta(data.instrument_name, prev + 1, prev, data.change_id, bids, asks, ts_event)


def _levels(levels: list[tuple[Action, Number, Number]]) -> list[Level]:
    return [
        (price, "0" if action == "delete" else size)
        if type(price) is str and type(size) is str
        else level(price, "0" if action == "delete" else size)
        for action, price, size in levels
    ]


def _trades(payload: bytes) -> list[Message]:
    return [
        TradePrint(
            trade.instrument_name,
            trade.trade_id,
            trade.trade_seq,
            decimal_text(trade.price),
            decimal_text(trade.amount),
            Side.BUY if trade.direction == "buy" else Side.SELL,
            trade.timestamp * NS_PER_MS,
        )
        for trade in _read_trades(payload).params.data
    ]


def _answer(frame: Frame, request_id: int) -> list[Message]:
    answer: Message = Answer(request_id)
    if frame.error is not None:
        answer = Answer(request_id, f"{frame.error.code} {frame.error.message}")
    else:
        result = bytes(frame.result)
        if result.startswith(b"["):
            answer = Subscribed(request_id, tuple(_read_channels(result)))
    if frame.usIn is None or frame.usOut is None:
        return [answer]
    # Before the answer: whoever is waiting for it has the time by then.
    told = ServerTime(frame.usIn * NS_PER_US, frame.usOut * NS_PER_US, NS_PER_US)
    return [told, answer]
