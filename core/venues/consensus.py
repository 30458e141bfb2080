"""The price that venues agree on, and whether they do.

Each exchange has one vote: the middle of its symbols' prices, less what each of them usually is
apart. The consensus is the median of the votes, so that one venue that is wrong, and with five two,
move it no further than the next one is. Because votes are less the usual basis, it does not jump
when the venue in the middle leaves it.
"""

from collections.abc import Iterable
from typing import Final

VENUES_MIN: Final = 3
"""With fewer exchanges nobody can say who is wrong."""


def votes(estimates: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return one estimate for each exchange, given (exchange, log price less basis)."""
    found: dict[str, list[int]] = {}
    for exchange, estimate in estimates:
        found.setdefault(exchange, []).append(estimate)
    return {exchange: median(values) for exchange, values in found.items()}


def consensus(voted: dict[str, int]) -> int | None:
    """Return the median of the votes; None where there are too few."""
    return median(voted.values()) if len(voted) >= VENUES_MIN else None


def agree(voted: dict[str, int], agreed: int, limit: int) -> bool:
    """Say whether more than half of the votes are less than `limit` from the consensus.

    Where they are not, it is not single venues that are wrong: the market moves, or all are.
    """
    return 2 * sum(abs(vote - agreed) < limit for vote in voted.values()) > len(voted)


def median(values: Iterable[int]) -> int:
    """Return the middle of at least one value; of two in the middle the mean, rounded down."""
    ordered = sorted(values)
    half = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[half]
    return (ordered[half - 1] + ordered[half]) // 2
