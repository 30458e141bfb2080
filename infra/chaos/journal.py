"""Worlds that were played already, so that a campaign that was cut off goes on where it was.

A line for each world, written when it is over. A world counts only for the code that played it.
"""

from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

import core
import infra.chaos
import simulator
from infra.chaos.rehearsal import Plan, Played

_PACKAGES: Final = (core, simulator, infra.chaos)


class _Line(msgspec.Struct):
    code: str
    played: Played


class Journal:
    """The file; it is made when the first world is written."""

    def __init__(self, path: Path) -> None:
        """Raises OSError when it cannot be read. A last line that is cut off is left out."""
        self._path = path
        self._known: dict[Plan, Played] = {}
        decoder = msgspec.json.Decoder(_Line)
        for text in path.read_bytes().splitlines() if path.exists() else ():
            try:
                line = decoder.decode(text)
            except msgspec.DecodeError:
                continue
            if line.code == code():
                self._known[line.played.plan] = line.played

    def find(self, plan: Plan) -> Played | None:
        """Return what a world gave, None when it was not played yet."""
        return self._known.get(plan)

    def add(self, played: Played) -> None:
        """Write down a world."""
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(_Line(code(), played)) + b"\n")


@cache
def code() -> str:
    """Return the digest of all that a world's course depends on."""
    digest = blake2b(digest_size=16)
    for package in _PACKAGES:
        folder = Path(str(package.__file__)).parent
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
