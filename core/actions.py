"""What a session asks of the shell that holds its socket.

Plain values: carried out and logged in the order in which they are returned.
"""

import msgspec

from core.frames import FrameKind


class Record(msgspec.Struct, frozen=True):
    """Log a frame of our own."""

    kind: FrameKind
    payload: bytes


class Send(msgspec.Struct, frozen=True):
    """Send a text message and log it."""

    text: str


class Ping(msgspec.Struct, frozen=True):
    """Send a protocol ping with this payload."""

    payload: bytes


class Fetch(msgspec.Struct, frozen=True):
    """Get a REST path about a symbol, in its turn; report how it went with `fetch_...`.

    `symbol` is empty where it asks for the time. What is not `urgent` waits until nothing else
    does.
    """

    symbol: str
    path: str
    urgent: bool = True


class Close(msgspec.Struct, frozen=True):
    """End the socket; with `abort` at once, the other side being lost."""

    reason: str
    planned: bool = False
    abort: bool = False


class Tell(msgspec.Struct, frozen=True):
    """Tell people, in the process' own log, what the venue said, or that it says nothing.

    `event` is one of few words, `about` a symbol, channel or list of them; the frames that show it
    are in the raw log anyway.
    """

    event: str
    about: str
    text: str


Action = Record | Send | Ping | Fetch | Close | Tell
