"""What people are told about one socket: each thing once, and of many only so many.

A venue repeats its refusal with every attempt, and one that never delivers says nothing at all.
Nothing is printed here: `Tell` is an action like any other.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from core.actions import Tell
from core.pacing import NEVER

TOLD_MAX: Final = 1000
"""Different things that are told about one socket."""
NAMED_MAX: Final = 20
"""Symbols that are named in one."""
_TEXT_MAX: Final = 200


class Told:
    """See the module's docstring. A book that never came is told of `no_book_ns` after the start.

    `deadline` says when `absent` has something to do.
    """

    def __init__(self, no_book_ns: int) -> None:
        self.deadline = NEVER
        self._no_book_ns = no_book_ns
        self._told: set[Tell] = set()

    def subscribed(self, now: int) -> None:
        """The last subscription was sent: books are to come."""
        self.deadline = now + self._no_book_ns

    def once(self, event: str, about: str, text: str) -> Iterator[Tell]:
        """Yield what is to be told, unless it was."""
        tell = Tell(event, about[:_TEXT_MAX], text[:_TEXT_MAX])
        if tell not in self._told and len(self._told) < TOLD_MAX:
            self._told.add(tell)
            yield tell

    def absent(self, symbols: Sequence[str]) -> Iterator[Tell]:
        """Yield, at the deadline, which symbols have no book: venues may ignore unknown ones."""
        self.deadline = NEVER
        if symbols:
            more = len(symbols) - NAMED_MAX
            named = ", ".join(symbols[:NAMED_MAX])
            about = f"{named} and {more} more" if more > 0 else named
            text = f"no book {self._no_book_ns / 1e9:g} s after it was subscribed"
            yield Tell("no_book", about, text)
