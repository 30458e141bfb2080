"""An exchange's REST address, and whether the exchange lists the symbols of the settings.

Where an exchange has a public list of instruments, that list is asked for: an address that does
not know it is not the exchange's, and a symbol that is not in it is misspelt or gone.
"""

import difflib
import re
from collections.abc import Iterable
from typing import Final

import aiohttp

from core.protocol import Endpoints, Listing
from infra.cli.checks import Finding, failed, ok, warning

_TIMEOUT_S: Final = 20.0
_BODY_BYTES_MAX: Final = 64 << 20
_NAMED_MAX: Final = 10
_GONE: Final = 404


async def check_exchange(
    name: str, rest_url: str, endpoints: Endpoints, symbols: Iterable[str]
) -> Finding | None:
    """Compare symbols with the exchange's list; None where it has none or does not answer.

    One that does not answer is the finding of the look at its clock.
    """
    listing = endpoints.listing
    if listing is None:
        return None
    url = rest_url.rstrip("/") + listing.path
    check = f"symbols ({name})"
    try:
        status, body = await _get(url)
    except (aiohttp.ClientConnectionError, TimeoutError):
        return None
    except (aiohttp.ClientError, ValueError) as error:
        return warning(check, f"no list from {url}: {str(error)[:200]}", "try again later")
    if status == _GONE:
        advice = f"set exchanges.{name}.rest_url to an address as {endpoints.rest}, without a path"
        return failed(f"exchange ({name})", f"{url} is not there (HTTP 404)", advice)
    if status != 200:
        return warning(check, f"no list from {url}: HTTP {status}", "try again later")
    return judge_symbols(name, symbols, listed(body, listing))


def listed(body: bytes, listing: Listing) -> set[str]:
    """Return the symbols in the body of a list, spelled as they are subscribed to."""
    key = re.escape(listing.key.encode())
    found = re.findall(rb'"%s"\s*:\s*"([^"\\]+)"' % key, body)
    return {_spelled(symbol.decode(errors="replace"), listing) for symbol in found}


def judge_symbols(name: str, symbols: Iterable[str], there: set[str]) -> Finding:
    """Return the finding about the symbols of one exchange."""
    wanted = list(symbols)
    unknown = [symbol for symbol in wanted if symbol not in there]
    check = f"symbols ({name})"
    if not there:
        return warning(check, "the exchange lists no instruments", "try again later")
    if not unknown:
        return ok(check, f"{name} lists all {len(wanted)}")
    more = len(unknown) - _NAMED_MAX
    found = f"{name} does not list {', '.join(unknown[:_NAMED_MAX])}"
    if more > 0:
        found += f" and {more} more"
    return failed(check, found, f"correct exchanges.{name}.symbols{_suggested(unknown, there)}")


def _suggested(unknown: list[str], there: set[str]) -> str:
    """Return which listed symbols may have been meant, best first, empty where none is alike."""
    by_letters = {re.sub(r"[^A-Z0-9]", "", symbol.upper()): symbol for symbol in sorted(there)}
    meant = []
    for symbol in unknown[:_NAMED_MAX]:
        letters = re.sub(r"[^A-Z0-9]", "", symbol.upper())
        close = difflib.get_close_matches(letters, by_letters, n=1)
        meant += [by_letters[each] for each in close]
    return f"; did you mean {', '.join(dict.fromkeys(meant))}?" if meant else ""


def _spelled(symbol: str, listing: Listing) -> str:
    for old, new in listing.respelled:
        symbol = re.sub(rf"\b{old}\b", new, symbol)
    return symbol


async def _get(url: str) -> tuple[int, bytes]:
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
        session.get(url, allow_redirects=False) as answer,
    ):
        body = bytearray()
        async for chunk in answer.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > _BODY_BYTES_MAX:
                raise ValueError(f"a body of more than {_BODY_BYTES_MAX} bytes")
        return answer.status, bytes(body)
