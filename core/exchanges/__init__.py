"""One file per venue; each ends in `EXCHANGE`. Adding a venue edits nothing else.

Exchange files never import one another.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import cast

from core.protocol import Exchange


@cache
def exchanges() -> dict[str, Exchange]:
    """Return every venue known, by name."""
    found = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return {module.EXCHANGE.name: cast(Exchange, module.EXCHANGE) for module in found}
