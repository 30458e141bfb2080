"""What every line of one exchange is given: addresses, limits, and whose turn it is."""

import msgspec

from core.connection import SessionSettings
from core.protocol import Exchange
from producers.pacer import Pacer
from producers.rest import RestClient


class LineSettings(msgspec.Struct, frozen=True):
    """How sockets are opened and closed; times in s or ns as named."""

    session: SessionSettings
    frame_bytes_max: int
    compression: bool
    connect_timeout_s: float
    close_timeout_s: float
    tick_s: float
    backoff_initial_ns: int
    backoff_cap_ns: int
    backoff_reset_ns: int


class Access(msgspec.Struct, frozen=True):
    """The way to one exchange; `sockets` and `rest` are shared by all its lines."""

    exchange: Exchange
    websocket_url: str
    rest_url: str
    sockets: Pacer
    rest: RestClient
