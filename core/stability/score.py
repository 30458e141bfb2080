"""The stability score, version 1: from measured badness to one number that explains itself.

Each component maps its badness x to a desirability d in [0, 1], 1 up to `good` and 0 from `bad`
on, straight or over logarithms. Then

    G = product of (f + (1 - f) d) ** w       over the components that are known, weights to 1
    ceiling = k + (1 - k) d                   of each component
    score = 100 * min(G, all ceilings, cap)

The product lets no good part pay for a bad one, and the ceilings let no bad part hide behind a
small weight: any one that is fully bad forces the score to 65 or below, liveness and integrity to
0. Every function is non-decreasing in d, so that nothing that gets worse can raise the score.

Source of the form: desirability functions combined by a weighted geometric mean (Derringer and
Suich 1980), against compensation between parts (OECD Handbook on Composite Indicators 2008, 1.6).
"""

from collections.abc import Mapping
from enum import IntEnum
from math import log
from typing import Final

import msgspec

VERSION: Final = 1
"""Of everything that the score depends on; another set of parameters is another version."""


class Component(IntEnum):
    """What a score is made of; the numbers are part of the Avro contract and never change."""

    LIVENESS = 1
    """Silence against the stream's own rhythm: 2 at its longest gap, 8 at twice that."""
    INTEGRITY = 2
    """The larger one of the lost and the wrongly summed share of messages, over a minute."""
    LATENCY = 3
    """Median latency above its floor, in multiples of what is usual."""
    BOOK = 4
    """Share of the last minute in which the book was known to be wrong."""
    CONTINUITY = 5
    """Share of the last 15 minutes in which nothing could be published."""
    ORDER = 6
    """Share of repeated and late messages, over a minute."""
    JITTER = 7
    """How much consecutive latencies differ, in multiples of what is usual."""


class Scale(msgspec.Struct, frozen=True):
    """How one component counts; `good` and `bad` are badness in `unit`."""

    good: float
    bad: float
    unit: str
    weight: float
    floor: float
    ceiling: float
    is_logarithmic: bool = False

    def desirability(self, badness: float) -> float:
        """Return 1 for what is good, 0 for what is bad, and what lies between."""
        if badness <= self.good:
            return 1.0
        if badness >= self.bad:
            return 0.0
        if self.is_logarithmic:
            return (log(self.bad) - log(badness)) / (log(self.bad) - log(self.good))
        return (self.bad - badness) / (self.bad - self.good)


SCALES: Final[Mapping[Component, Scale]] = {
    Component.LIVENESS: Scale(2.0, 8.0, "suspicion", 0.25, 0.0, 0.0),
    Component.INTEGRITY: Scale(1e-5, 1e-2, "ratio", 0.25, 0.0, 0.20, is_logarithmic=True),
    Component.LATENCY: Scale(2.5, 8.0, "times usual", 0.15, 0.1, 0.40, is_logarithmic=True),
    Component.BOOK: Scale(0.0, 0.05, "ratio", 0.10, 0.1, 0.30),
    Component.CONTINUITY: Scale(5e-4, 1e-2, "ratio", 0.10, 0.3, 0.65, is_logarithmic=True),
    Component.ORDER: Scale(1e-4, 5e-2, "ratio", 0.05, 0.3, 0.65, is_logarithmic=True),
    Component.JITTER: Scale(3.0, 10.0, "times usual", 0.05, 0.3, 0.65, is_logarithmic=True),
}


class Score(msgspec.Struct, frozen=True):
    """A score from 0 to 100 and why it is not higher.

    `desirabilities` are of the known components. `binding` is the one that a better score waits
    for, None where nothing is wrong or where the state alone caps it; `badness` is its value,
    which `SCALES` compares with `good`.
    """

    value: float
    desirabilities: dict[Component, float]
    binding: Component | None
    badness: float | None


def score(badness: Mapping[Component, float], *, cap: float = 1.0) -> Score:
    """Return the score of what is known; `cap` from 0 to 1 is what the state allows at most."""
    found = {
        component: SCALES[component].desirability(value) for component, value in badness.items()
    }
    if min(found.values(), default=1.0) == 1.0:
        return Score(100.0 * min(cap, 1.0), found, None, None)
    product = _product(found)
    ceilings = {
        component: _raised(desirability, SCALES[component].ceiling)
        for component, desirability in found.items()
    }
    lowest = min(ceilings.values(), default=1.0)
    value = min(product, lowest, cap)
    binding = None
    if value < 1.0 and value >= min(product, lowest):
        binding = _binding(found, ceilings, by_ceiling=lowest <= product)
    return Score(100.0 * value, found, binding, None if binding is None else badness[binding])


def _product(found: Mapping[Component, float]) -> float:
    total = sum(SCALES[component].weight for component in found)
    product = 1.0
    for component, desirability in found.items():
        scale = SCALES[component]
        product *= _raised(desirability, scale.floor) ** (scale.weight / total)
    return product


def _binding(
    found: Mapping[Component, float], ceilings: Mapping[Component, float], *, by_ceiling: bool
) -> Component:
    """Return the component with the lowest ceiling, or with the largest share in the product."""
    if by_ceiling:
        return min(ceilings, key=ceilings.__getitem__)
    return min(
        found,
        key=lambda component: (
            _raised(found[component], SCALES[component].floor) ** SCALES[component].weight
        ),
    )


def _raised(desirability: float, least: float) -> float:
    return least + (1.0 - least) * desirability
