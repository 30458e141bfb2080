"""The canonical name of what a venue's symbol is about: one for all venues, `BTC/USD`.

Only what has no end date and is quoted in a currency is named: dated futures and options have
prices of their own. Dollars of every issuer are one quote, and perpetuals and spot one instrument:
what they differ by for long is a basis, and that is measured for each venue, not defined away.
"""

from typing import Final

_NAMES: Final = {"XBT": "BTC", "XDG": "DOGE"}
"""Codes of single venues, and what everybody else writes."""
_DOLLARS: Final = frozenset({"USD", "USDT", "USDC", "FDUSD", "DAI", "PYUSD", "USDE"})
_QUOTES: Final = (
    *("FDUSD", "PYUSD", "USDT", "USDC", "USDE", "USD", "DAI"),
    *("EUR", "GBP", "CHF", "AUD", "CAD", "JPY", "TRY", "BRL", "MXN", "PLN", "ZAR", "BTC", "ETH"),
)
"""Ends of symbols that write both codes as one word, longer ones before ends of theirs.
TUSD is none of them: `XBTUSD` and `DOTUSD` end in it too."""


def instrument(base: str, quote: str) -> str:
    """Return the canonical name, empty where a code is missing or both are one."""
    base, quote = _NAMES.get(base, base), _NAMES.get(quote, quote)
    if quote in _DOLLARS:
        quote = "USD"
    return f"{base}/{quote}" if base and quote and base != quote else ""


def instrument_of_word(word: str) -> str:
    """Return the canonical name of codes written as one word, empty where no quote is known."""
    for quote in _QUOTES:
        if word.endswith(quote):
            return instrument(word.removesuffix(quote), quote)
    return ""
