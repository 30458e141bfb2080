"""Which fields a venue's messages have: those that are new, and those that are gone, are told once.

Decoders take the fields that they know and pass over the rest, so a field that a venue adds or
leaves away shows nowhere else, as long as nothing that is needed is missing. One message of each
kind is looked at in a second; what the first LEARNED of a kind have is taken for usual.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

LEARNED: Final = 300
"""Messages of a kind that are looked at before anything is told of it."""
FIELDS_MAX: Final = 128
"""Fields of a kind that are known apart; of a kind with more nothing is told."""
NAME_MAX: Final = 64
ELEMENTS_MAX: Final = 4
"""Elements of a list that are looked at."""
PAYLOAD_MAX: Final = 65_536
"""Longer messages, bytes, are not looked at."""


class Fields(msgspec.Struct, array_like=True):
    """What was seen of one kind of message."""

    looked: int = 0
    always: list[str] = []
    """Fields that every one of them had, sorted."""
    sometimes: list[str] = []
    """Fields that some had, sorted."""


class Change(msgspec.Struct, frozen=True):
    """Fields that no message of the kind had before, and those that all of them had but this."""

    new: list[str]
    gone: list[str]


class Shapes:
    """The fields of each kind of message on one connection, over all its epochs."""

    def __init__(self) -> None:
        self.by_kind: dict[str, Fields] = {}

    def look(self, kind: str, payload: bytes) -> Change | None:
        """Look at a message; return what is unusual about its fields, None where nothing is."""
        if len(payload) > PAYLOAD_MAX:
            return None
        try:
            found = set(_fields(msgspec.json.decode(payload), ""))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            # What decoders pass over may be anything.
            return None
        known = self.by_kind.get(kind)
        if known is None:
            known = self.by_kind[kind] = Fields(0, sorted(found))
        always, sometimes = set(known.always), set(known.sometimes)
        if len(found | always | sometimes) > FIELDS_MAX:
            return None
        new, gone = found - always - sometimes, always - found
        if new or gone:
            known.always = sorted(always - gone)
            known.sometimes = sorted(sometimes | new | gone)
        known.looked = min(known.looked + 1, LEARNED)
        if known.looked < LEARNED or not (new or gone):
            return None
        return Change(sorted(new), sorted(gone))


def _fields(value: Any, path: str) -> Iterator[str]:
    """Yield the path of each field in a message, `a.b` for `b` in `a`."""
    if isinstance(value, dict):
        for name, inner in value.items():
            place = f"{path}.{name}"[-NAME_MAX:].lstrip(".")
            yield place
            yield from _fields(inner, place)
    elif isinstance(value, list):
        for inner in value[:ELEMENTS_MAX]:
            yield from _fields(inner, path)
