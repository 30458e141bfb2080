"""Records whose rows ClickHouse refuses: found by trying ever fewer, named, and left out.

A refused block is tried again as a shorter one, down to one record: a suspect. It waits for the
next record. Both are tried together, and if they are refused, the next one without the suspect.
Only when that is stored is it known that the record was at fault and not the table; so a fault of
the table, which concerns every row, makes no dead letters, and one that passes makes none either.

A range may be announced anew, shorter or without suspects, only after ClickHouse has refused its
insert: what is on its way from a process that was frozen is then refused as well.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

Refused = tuple[tuple[int, str], ...]
"""Offsets of records and why their rows are refused, in order."""

SUSPECTS_MAX: Final = 16
"""Records in a row that may be suspects; more are taken for a fault of the table."""
REASON_CHARACTERS: Final = 180
"""All suspects have room in the metadata of a commit, of which Kafka keeps 4096 bytes."""


class Isolation(msgspec.Struct, frozen=True):
    """What to try instead of a refused block, from where it began.

    `end`: up to before this offset; None for as far as can be, beyond the suspects. `refused`: what
    to leave out.
    """

    end: int | None
    refused: Refused
    suspects: Refused

    @property
    def beyond(self) -> int:
        """The offset that a block has to reach with a row."""
        return self.suspects[-1][0] + 1 if self.suspects else 0


def isolation(
    offsets: Iterable[int], *, end: int, refused: Refused, suspects: Refused, reason: str
) -> Isolation | None:
    """Decide what to try after a block was refused; None if it seems to be the table.

    `offsets` are those of the block's rows, at least one of them no suspect's. `refused` had been
    left out.
    """
    if suspects and not refused:
        return Isolation(end, suspects, suspects)
    known = dict(suspects)
    fresh = sorted({offset for offset in offsets if offset not in known})
    if len(fresh) > 1:
        return Isolation(fresh[len(fresh) // 2], refused, suspects)
    if len(suspects) >= SUSPECTS_MAX:
        return None
    return Isolation(None, (), (*suspects, (fresh[0], _shortened(reason))))


def refused_text(refused: Refused) -> str:
    """Return the text that stands in a commit's metadata: no semicolon, ASCII only."""
    return "|".join(f"{offset} {reason}" for offset, reason in refused)


def restored_refused(text: str) -> Refused:
    """Return what `refused_text` wrote.

    Raises:
        ValueError: not such a text.
    """
    if not text:
        return ()
    pairs = [entry.partition(" ") for entry in text.split("|")]
    return tuple((int(offset), reason) for offset, _, reason in pairs)


def _shortened(reason: str) -> str:
    text = reason.encode("ascii", "replace").decode()[:REASON_CHARACTERS]
    return "".join("." if sign in ";|" or not sign.isprintable() else sign for sign in text)
