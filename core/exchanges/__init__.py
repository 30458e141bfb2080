"""One file per venue; each ends in `EXCHANGE`. Adding a venue edits nothing else.

Exchange files never import one another.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import cast

from core.protocol import Exchange


class UnknownExchangeError(ValueError):
    """No venue has this name; the text lists those that there are."""


@cache
def exchanges() -> dict[str, Exchange]:
    """Return every venue known, by name."""
    found = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    return {module.EXCHANGE.name: cast(Exchange, module.EXCHANGE) for module in found}


def exchange_of(name: str) -> Exchange:
    """Return the venue with this name or alias.

    Raises:
        UnknownExchangeError: there is none.
    """
    for exchange in exchanges().values():
        if name == exchange.name or name in exchange.aliases:
            return exchange
    known = ", ".join(sorted(exchanges()))
    raise UnknownExchangeError(f"no exchange is called {name[:64]!r}; there are {known}")
