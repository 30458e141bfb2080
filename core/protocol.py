"""The language between the exchanges' own protocols and everything else.

An exchange file translates frames into these messages and intentions into frames. It must not
keep state about books: that is `core.sync`'s. Nothing here is sent anywhere.
"""

from collections.abc import Iterable
from enum import Enum
from typing import Protocol

import msgspec

from core.book import Level
from core.clock import ServerTime
from core.continuity import Bootstrap, Scheme
from core.events import Side


class DecodeError(ValueError):
    """A frame cannot be read; the text says what was expected, at most 200 characters."""


class Delta(msgspec.Struct, gc=False):
    """Absolute new sizes. `first`, `prev`, `last` as in `core.continuity.Chain`, 0 if unnumbered.

    `ts_event` in ns; `checksum` over the state after it, None where the venue sends none.
    """

    symbol: str
    first: int
    prev: int
    last: int
    bids: list[Level]
    asks: list[Level]
    ts_event: int
    checksum: int | None = None


class Snapshot(msgspec.Struct, gc=False):
    """A full replacement. `last` is the id of this state, 0 if unnumbered.

    `limit` is how many levels a side it could show, None for the whole book. `requested` tells
    an answer to a request of ours, not ordered with the changes, from the stream's own. `symbol`
    is empty when neither answer nor request name it (old recordings of one symbol).
    """

    symbol: str
    last: int
    bids: list[Level]
    asks: list[Level]
    ts_event: int
    checksum: int | None = None
    limit: int | None = None
    requested: bool = False


class TradePrint(msgspec.Struct, gc=False):
    """One execution; `sequence` is the venue's contiguous counter, None where it has none."""

    symbol: str
    trade_id: str
    sequence: int | None
    price: str
    size: str
    side: Side
    ts_event: int


class Heartbeat(msgspec.Struct, frozen=True):
    """A sign of life; `reply` is what must be sent back at once, None for nothing."""

    reply: bytes | None = None


class Answer(msgspec.Struct, frozen=True):
    """The answer to a request of ours; `id` is ours, `error` empty when it succeeded."""

    id: int
    error: str = ""


class Subscribed(msgspec.Struct, frozen=True):
    """The venue's word on subscriptions: channels now carried, and refusals with their reason.

    `depths` are (symbol, levels a side) of books that the venue keeps at a subscribed depth.
    """

    id: int
    channels: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    depths: tuple[tuple[str, int], ...] = ()


class Unsubscribed(msgspec.Struct, frozen=True):
    """We gave up the book channel of a symbol (seen in a frame that we sent)."""

    symbol: str


class SnapshotRequested(msgspec.Struct, frozen=True):
    """We asked for a fresh snapshot of a symbol (seen in a frame or request of ours)."""

    symbol: str


class Notice(msgspec.Struct, frozen=True):
    """The venue speaks of itself: maintenance, a planned disconnect, an error."""

    text: str
    ends_connection: bool = False


class Ignored(msgspec.Struct, frozen=True):
    """A frame that is understood and not needed; `channel` names its kind."""

    channel: str


Message = (
    Delta
    | Snapshot
    | TradePrint
    | Heartbeat
    | Answer
    | ServerTime
    | Subscribed
    | Unsubscribed
    | SnapshotRequested
    | Notice
    | Ignored
)


class Capabilities(msgspec.Struct, frozen=True):
    """What a venue can and cannot reveal, as data.

    `loss_unit` is the unit of a counted loss, empty where a gap shows but not its size.
    `blind_spots` is for people: what no check of this venue can see.
    """

    scheme: Scheme
    bootstrap: Bootstrap
    loss_unit: str
    trade_ids: bool
    checksum_each: bool
    truncates: bool
    """The venue keeps books at the subscribed depth without sending removals."""
    audit: bool
    """A renewed snapshot can show the very state that is held, and is then compared with it."""
    silence_s: float
    """Longest normal silence of the whole connection, s."""
    blind_spots: tuple[str, ...]


class Pacing(msgspec.Struct, frozen=True):
    """Limits a client must keep: messages sent on one socket, and requests, each a token bucket."""

    messages_per_s: float
    messages_burst: int
    requests_per_s: float
    requests_burst: int


class Listing(msgspec.Struct, frozen=True):
    """The venue's public list of instruments: its REST path, and the key of a symbol in it.

    `respelled`: codes (as listed, as subscribed to) where the list spells them in another way.
    """

    path: str
    key: str
    respelled: tuple[tuple[str, str], ...] = ()


class Endpoints(msgspec.Struct, frozen=True):
    """The venue's public addresses: of its WebSocket with its path, of REST without one.

    `listing` is for `streamgauge doctor`; None where we know of none. `time` is the REST path of
    the venue's time, empty where answers on the socket tell it.
    """

    websocket: str
    rest: str
    listing: Listing | None = None
    time: str = ""


class Shard(msgspec.Struct, frozen=True):
    """A planned set of subscriptions on one connection; `name` is the key of its records."""

    exchange: str
    name: str
    symbols: tuple[str, ...]
    book_depth: int


class Transport(Enum):
    """How a request reaches the venue."""

    SOCKET = 1
    REST = 2


class Request(msgspec.Struct, frozen=True):
    """Something to ask of the venue: a message for the socket, or a REST path with its query."""

    transport: Transport
    content: str


class Exchange(Protocol):
    """One venue. Implementations are stateless; `id` numbers our requests on one socket."""

    name: str
    aliases: tuple[str, ...]
    """Other names of this wire format, as headers of recordings spell them."""
    endpoints: Endpoints
    capabilities: Capabilities
    pacing: Pacing

    def plan(self, symbols: Iterable[str], *, per_shard: int, book_depth: int) -> list[Shard]:
        """Spread symbols over connections."""
        ...

    def instrument(self, symbol: str) -> str:
        """Return the canonical name by which venues are compared (see `core.currencies`), empty for
        symbols that are not compared."""
        ...

    def subscribe(self, shard: Shard) -> list[str]:
        """Return the messages that open every channel of a shard, in order; ids start at 1."""
        ...

    def unsubscribe(self, shard: Shard, first_id: int) -> list[str]:
        """Return the messages that close every channel of a shard; each is acknowledged."""
        ...

    def expected_channels(self, shard: Shard) -> frozenset[str]:
        """Return the channels that `Subscribed` must confirm."""
        ...

    def ping(self, request_id: int) -> str | None:
        """Return a message whose `Answer` measures the round trip, None to use protocol pings."""
        ...

    def snapshot(self, shard: Shard, symbol: str, request_id: int) -> list[Request]:
        """Return what renews the book of one symbol while it is live."""
        ...

    def resync(self, shard: Shard, symbol: str, request_id: int) -> list[Request]:
        """Return what heals the book of one symbol after a fault."""
        ...

    def decode(self, payload: bytes) -> list[Message]:
        """Translate a received frame.

        Raises:
            DecodeError: it is not a frame of this venue.
        """
        ...

    def decode_sent(self, payload: bytes) -> list[Message]:
        """Translate a frame of ours, as far as books must know of it."""
        ...

    def decode_request(self, url: str) -> list[Message]:
        """Translate a REST request of ours, as far as books must know of it."""
        ...

    def decode_response(self, url: str, body: bytes) -> list[Message]:
        """Translate a REST body.

        Raises:
            DecodeError: it is not an answer of this venue to that URL.
        """
        ...
