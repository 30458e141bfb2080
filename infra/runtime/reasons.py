"""Why a client could not reach a server, without the client's own objects and addresses.

Clients wrap the system's words: urllib3's pool names itself, its peer, its number of attempts and
the whole address of a request. It must not know what was asked for.
"""

import re
from typing import Final

CHARACTERS_MAX: Final = 200
_SYSTEM: Final = re.compile(r"(?<=\] )[A-Za-z][^'\"()\[\]]*|timed out")
"""The system's own words, after `[Errno 111] ` or `[SSL: …] `."""


def cause(text: str) -> str:
    """Return the system's own words, or the first line where there are none, on one line."""
    said: list[str] = _SYSTEM.findall(text)
    return (said[-1] if said else text.partition("\n")[0]).strip()[:CHARACTERS_MAX]
