"""Memory of the recent past in a bounded number of buckets, on the log's own time.

Each is told how much time has passed, in ns, and holds plain numbers only, so that it can be
written into a checkpoint as it is. What is asked covers between `keep - 1` and `keep` buckets.
"""

from collections.abc import Sequence
from statistics import median_low

import msgspec


class Sums(msgspec.Struct, array_like=True):
    """Sums of several counts over the last `keep` buckets of `width_ns`."""

    width_ns: int
    keep: int
    buckets: list[list[int]]
    totals: list[int]
    """Over all buckets."""
    filled_ns: int = 0

    @classmethod
    def of(cls, counts: int, *, width_ns: int, keep: int) -> "Sums":
        """Return empty sums of `counts` numbers."""
        return cls(width_ns, keep, [[0] * counts], [0] * counts)

    def add(self, values: Sequence[int], passed_ns: int) -> None:
        """Add what happened in the last `passed_ns`."""
        totals = self.totals
        if self.filled_ns >= self.width_ns:
            self.filled_ns = 0
            self.buckets.append([0] * len(values))
            if len(self.buckets) > self.keep:
                for place, value in enumerate(self.buckets.pop(0)):
                    totals[place] -= value
        self.filled_ns += passed_ns
        bucket = self.buckets[-1]
        for place, value in enumerate(values):
            if value:
                bucket[place] += value
                totals[place] += value


class Extreme(msgspec.Struct, array_like=True):
    """The largest value (of negative values: the smallest) over the last `keep` buckets."""

    width_ns: int
    keep: int
    buckets: list[int | None]
    filled_ns: int = 0

    @classmethod
    def over(cls, *, width_ns: int, keep: int) -> "Extreme":
        """Return an empty one."""
        return cls(width_ns, keep, [None])

    def add(self, value: int | None, passed_ns: int) -> None:
        """Take the largest value of the last `passed_ns`, None where there was none."""
        if self.filled_ns >= self.width_ns:
            self.filled_ns = 0
            self.buckets.append(None)
            del self.buckets[: -self.keep]
        self.filled_ns += passed_ns
        last = self.buckets[-1]
        if value is not None and (last is None or value > last):
            self.buckets[-1] = value

    def most(self) -> int | None:
        """Return the largest value, None where there was none."""
        most = None
        for value in self.buckets:
            if value is not None and (most is None or value > most):
                most = value
        return most


class Recent(msgspec.Struct, array_like=True):
    """The last `keep` values, for a median that one or two outliers do not move."""

    keep: int
    values: list[int] = []

    def add(self, value: int) -> None:
        """Take a value and forget the oldest."""
        self.values.append(value)
        del self.values[: -self.keep]

    def median(self) -> int | None:
        """Return the (lower) median; None before all `keep` values are there."""
        return median_low(self.values) if len(self.values) == self.keep else None


class Ewma(msgspec.Struct, array_like=True):
    """An exponentially weighted mean of samples at irregular times.

    `E <- E + a (x - E)` with `a = 1 - 2**(-passed / half_life)`: after one half-life half of a
    step has arrived. Source: the standard form for irregular samples, a = 1 - exp(-D/tau), with
    half-life = tau ln 2.
    """

    half_life_ns: int
    value: float | None = None

    def add(self, sample: float, passed_ns: int) -> None:
        """Take a sample that stands for the last `passed_ns`."""
        if self.value is None:
            self.value = float(sample)
        else:
            weight = 1.0 - 0.5 ** (passed_ns / self.half_life_ns)
            self.value += weight * (sample - self.value)
