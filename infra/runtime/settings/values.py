"""What settings are made of: the values that they allow, secrets, and sections."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=1, le=65_535)]
AtLeast1 = Annotated[int, Meta(ge=1)]
Text = Annotated[str, Meta(min_length=1)]
Addresses = Annotated[
    str,
    Meta(
        pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^\s,:\[\]]+):[0-9]{1,5}(,\s*(\[[0-9A-Fa-f:.]+\]|[^\s,:\[\]]+):[0-9]{1,5})*$",
        description="`host:port`, several with commas between",
    ),
]
KafkaName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="1 to 200 letters, digits, `.`, `_` and `-`",
    ),
]
KafkaInstance = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._-]{0,200}$",
        description="at most 200 letters, digits, `.`, `_` and `-`",
    ),
]
TopicPrefix = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9._-]{0,100}$",
        description="at most 100 letters, digits, `.`, `_` and `-`",
    ),
]
DatabaseName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$",
        description="1 to 64 letters, digits and `_`, no digit first",
    ),
]
Moment = Annotated[
    datetime, Meta(tz=True, description="a time with its zone, as 2026-11-28T10:00:00Z")
]
TimeOfDay = Annotated[
    str,
    Meta(
        pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9])?$",
        description="hours and minutes in UTC, as 02:30",
    ),
]
WebSocketUrl = Annotated[
    str,
    Meta(
        pattern=r"^(wss?://[^\s/]+\S*)?$", description="an address that begins with ws:// or wss://"
    ),
]
RestUrl = Annotated[
    str,
    Meta(
        pattern=r"^(https?://[^\s/]+\S*)?$",
        description="an address that begins with http:// or https://",
    ),
]


class Secret:
    """Text that never shows: `reveal()` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself, for the client that logs in with it."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "***" if self._text else "''"

    __str__ = __repr__


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the settings file."""
