"""Kraken spot, WebSocket v1 (frozen by the venue): arrays for data, a checksum on every update.

Pages (read November 2026): docs.kraken.com, "Spot WebSocket v1": book, trade, heartbeat.
Channels: `book` at a depth, `trade`. Kept for recordings and for clients of the old feed; new
deployments use `kraken`.

Sync recipe: as in `kraken`; the checksum is a string in the last payload object and only on
updates. Quirks: an update of both sides has five elements; the pair is the last one, the channel
the one before it; a level may carry a fourth element `r` (republished) and is applied all the
same; trades have no id.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from core.book import Level
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
from core.wire import Depth, Text, decimal_text, decoder, encode, nanoseconds_of, shards


class WireLevel(msgspec.Struct, array_like=True, gc=False):
    """`[price, volume, time, "r"?]`."""

    price: str
    volume: str
    time: str


class BookPayload(msgspec.Struct, gc=False):
    """One payload object: a snapshot has `as` and `bs`, an update `a` or `b`."""

    as_: list[WireLevel] | None = msgspec.field(name="as", default=None)
    bs: list[WireLevel] | None = None
    a: list[WireLevel] = []
    b: list[WireLevel] = []
    c: str = ""


class BookFrame(msgspec.Struct, array_like=True, gc=False):
    """`[id, payload, channel, pair]`, or `[id, payload, payload, channel, pair]`."""

    id: int
    payload: BookPayload
    next: BookPayload | str
    last: str
    pair: str = ""


class Subscription(msgspec.Struct):
    """`subscription` of a control message."""

    name: str = ""
    depth: Depth | None = None


class Control(msgspec.Struct):
    """An event object."""

    event: str = ""
    pair: str = ""
    status: Text = ""
    reqid: int | None = None
    errorMessage: Text = ""  # noqa: N815 - the venue's spelling
    subscription: Subscription = msgspec.field(default_factory=Subscription)


class Sent(msgspec.Struct):
    """A message of ours."""

    event: str = ""
    pair: list[str] = []
    subscription: Subscription = msgspec.field(default_factory=Subscription)


_read_control: Final = decoder(Control)
_read_sent: Final = decoder(Sent)
_read_array: Final = decoder(list[msgspec.Raw])
_read_book: Final = decoder(BookFrame)
_read_trades: Final = decoder(list[list[str]])
_read_text: Final = decoder(str)
_SIDES: Final = {"b": Side.BUY, "s": Side.SELL}
_DEPTHS: Final = (10, 25, 100, 500, 1000)
_TAIL: Final = 48
"""Bytes at the end of an array in which the channel stands."""


class KrakenV1:
    """See the module's docstring."""

    name = "kraken_v1"
    aliases = ("kraken spot websocket v1",)
    endpoints = Endpoints(
        "wss://ws.kraken.com",
        "https://api.kraken.com",
        Listing("/0/public/AssetPairs", "wsname"),
    )
    capabilities = Capabilities(
        scheme=Scheme.CHECKSUM,
        bootstrap=Bootstrap.STREAM,
        loss_unit="",
        trade_ids=False,
        checksum_each=True,
        truncates=True,
        audit=False,
        silence_s=5.0,
        blind_spots=("levels below the best ten", "lost or repeated trades: they have no id"),
    )
    pacing = Pacing(messages_per_s=5.0, messages_burst=10, requests_per_s=1.0, requests_burst=3)

    def plan(self, symbols: Iterable[str], *, per_shard: int, book_depth: int) -> list[Shard]:
        """Spread pairs over connections; the depth is the next one that Kraken offers."""
        depth = next((depth for depth in _DEPTHS if depth >= book_depth), _DEPTHS[-1])
        return shards(self.name, symbols, per_shard=per_shard, book_depth=depth)

    def instrument(self, symbol: str) -> str:
        """Both codes, with a slash between."""
        base, _, quote = symbol.partition("/")
        return instrument(base, quote)

    def subscribe(self, shard: Shard) -> list[str]:
        """Ask for trades and books."""
        return _calls("subscribe", shard.symbols, shard.book_depth, 1)

    def unsubscribe(self, shard: Shard, first_id: int) -> list[str]:
        """Give up all channels."""
        return _calls("unsubscribe", shard.symbols, shard.book_depth, first_id)

    def expected_channels(self, shard: Shard) -> frozenset[str]:
        """Return the channels of a shard as acknowledgements spell them."""
        return frozenset(
            f"{kind}:{symbol}" for symbol in shard.symbols for kind in ("book", "trade")
        )

    def ping(self, request_id: int) -> str | None:
        """Measure the round trip with the venue's own ping."""
        return encode({"event": "ping", "reqid": request_id})

    def snapshot(self, shard: Shard, symbol: str, request_id: int) -> list[Request]:
        """Only a new subscription shows the book again; in between it is SYNCING, as planned."""
        return self.resync(shard, symbol, request_id)

    def resync(self, shard: Shard, symbol: str, request_id: int) -> list[Request]:
        """Open the one book anew."""
        depth = shard.book_depth
        return [
            Request(Transport.SOCKET, _call(event, (symbol,), _book(depth), request_id + step))
            for step, event in enumerate(("unsubscribe", "subscribe"))
        ]

    def decode(self, payload: bytes) -> list[Message]:
        """Translate a data array or a control object."""
        if payload[:1] != b"[":
            return _control(_read_control(payload))
        if b'"book-' in payload[-_TAIL:]:
            return [_book_message(_read_book(payload))]
        parts = _read_array(payload)
        if len(parts) < 4:
            raise DecodeError(f"expected at least 4 elements, found {len(parts)}")
        channel, pair = _read_text(bytes(parts[-2])), _read_text(bytes(parts[-1]))
        if channel.startswith("book"):
            return [_book_message(_read_book(payload))]
        if channel == "trade":
            return [_trade(pair, trade) for trade in _read_trades(bytes(parts[1]))]
        return [Ignored(channel)]

    def decode_sent(self, payload: bytes) -> list[Message]:
        """Find books that we gave up."""
        sent = _read_sent(payload)
        if sent.event == "unsubscribe" and sent.subscription.name == "book":
            return [Unsubscribed(pair) for pair in sent.pair]
        return []

    def decode_request(self, url: str) -> list[Message]:
        """REST books have no sequence and join nothing."""
        return []

    def decode_response(self, url: str, body: bytes) -> list[Message]:
        """REST books have no sequence and join nothing."""
        return [Ignored("rest")]


EXCHANGE: Final = KrakenV1()


def _book(depth: int) -> dict[str, object]:
    return {"name": "book", "depth": depth}


def _call(
    event: str, pairs: tuple[str, ...], subscription: dict[str, object], request_id: int
) -> str:
    return encode(
        {"event": event, "pair": list(pairs), "subscription": subscription, "reqid": request_id}
    )


def _calls(event: str, pairs: tuple[str, ...], depth: int, first_id: int) -> list[str]:
    return [
        _call(event, pairs, {"name": "trade"}, first_id),
        _call(event, pairs, _book(depth), first_id + 1),
    ]


def _control(control: Control) -> list[Message]:
    if control.event == "heartbeat":
        return [Heartbeat()]
    if control.event == "pong":
        return [Answer(control.reqid or 0)]
    if control.event == "systemStatus":
        return [Ignored("status")] if control.status == "online" else [Notice(control.status)]
    if control.event == "subscriptionStatus":
        request_id = control.reqid or 0
        if control.status == "subscribed":
            name, depth = control.subscription.name, control.subscription.depth
            depths = ((control.pair, depth),) if depth else ()
            return [Subscribed(request_id, (f"{name}:{control.pair}",), depths=depths)]
        if control.status == "unsubscribed":
            return [Answer(request_id)]
        return [Subscribed(request_id, refused=((control.pair, control.errorMessage),))]
    if control.event == "error":
        return [Notice(control.errorMessage)]
    if not control.event:
        raise DecodeError("neither data array nor event")
    return [Ignored(control.event)]


def _book_message(frame: BookFrame) -> Message:
    payload, following = frame.payload, frame.next
    pair = frame.pair or frame.last
    if isinstance(following, BookPayload):
        # Each object holds one side; the checksum is in the last.
        if not frame.pair:
            raise DecodeError("expected two payloads, channel and pair")
        payload = _joined(payload, following)
    if payload.as_ is not None or payload.bs is not None:
        wire_bids, wire_asks = payload.bs or [], payload.as_ or []
        bids, asks, ts_event = _levels(wire_bids), _levels(wire_asks), _newest(wire_bids, wire_asks)
        return Snapshot(pair, 0, bids, asks, ts_event)
    ts_event = _newest(payload.b, payload.a)
    bids = _levels(payload.b) if payload.b else []
    asks = _levels(payload.a) if payload.a else []
    checksum = payload.c
    if not checksum:
        return Delta(pair, 0, 0, 0, bids, asks, ts_event)
    if not (checksum.isdecimal() and checksum.isascii() and len(checksum) <= 10):
        raise DecodeError(f"expected a checksum, found {checksum[:40]!r}")
    return Delta(pair, 0, 0, 0, bids, asks, ts_event, int(checksum))


def _levels(levels: list[WireLevel]) -> list[Level]:
    return [(level.price, level.volume) for level in levels]


def _newest(bids: list[WireLevel], asks: list[WireLevel]) -> int:
    """Return the time of the newest level, ns; 0 where there is none."""
    levels = bids + asks if bids and asks else bids or asks
    if not levels:
        return 0
    if len(levels) == 1:
        return nanoseconds_of(levels[0].time)
    return nanoseconds_of(max([level.time for level in levels]))


def _joined(first: BookPayload, second: BookPayload) -> BookPayload:
    return BookPayload(
        as_=second.as_ if first.as_ is None else first.as_,
        bs=second.bs if first.bs is None else first.bs,
        a=first.a + second.a,
        b=first.b + second.b,
        c=second.c or first.c,
    )


def _trade(pair: str, trade: list[str]) -> TradePrint:
    if len(trade) < 4 or trade[3] not in _SIDES:
        raise DecodeError("expected price, volume, time and side b or s")
    price, size = decimal_text(trade[0]), decimal_text(trade[1])
    return TradePrint(pair, "", None, price, size, _SIDES[trade[3]], nanoseconds_of(trade[2]))
