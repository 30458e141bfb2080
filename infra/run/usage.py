"""What the running processes use, and whether it grows: memory, CPU time and lag over a run.

Holds what was seen at each look; judges nothing.
"""

import contextlib
import statistics
from collections.abc import Callable, Mapping
from typing import Final

import psutil

from infra.run.watch import Lag

_MIB: Final = 1 << 20
_SETTLED: Final = 1 / 3
"""The first part of a run, in which everything warms up, says nothing about growth."""
_LOOKS_MIN: Final = 10
"""Fewer looks than this have no trend."""


class Usage:
    """One series for each process and for the lag; `elapsed_s` is that of the run, s."""

    def __init__(self) -> None:
        self._elapsed: list[float] = []
        self._memory: list[dict[str, float]] = []
        self._lags: list[Lag] = []
        self._cpu_first: dict[str, float] = {}
        self._cpu_last: dict[str, float] = {}

    def note(self, elapsed_s: float, lag: Lag, pids: Mapping[str, int | None]) -> None:
        """Take one look."""
        self._elapsed.append(elapsed_s)
        self._lags.append(lag)
        self._memory.append({name: resident_mb(pid) for name, pid in pids.items()})
        self._cpu_last = {name: _cpu_s(pid) for name, pid in pids.items()}
        self._cpu_first = self._cpu_first or self._cpu_last

    @property
    def rss_mb(self) -> dict[str, float]:
        """Resident memory at the last look, MiB, by process."""
        return self._memory[-1] if self._memory else {}

    @property
    def rss_mb_max(self) -> dict[str, float]:
        """The most that each process had at any look, MiB."""
        return {name: max(look[name] for look in self._memory) for name in self.rss_mb}

    @property
    def rss_mb_per_min(self) -> dict[str, float | None]:
        """Slope of each process's memory, MiB a minute, once it has settled."""
        return {
            name: self._slope([look[name] for look in self._memory], per_s=60.0)
            for name in self.rss_mb
        }

    @property
    def lag_max(self) -> Lag:
        """The longest lags, records."""
        return Lag(
            max((lag.raw for lag in self._lags), default=0),
            max((lag.events for lag in self._lags), default=0),
        )

    @property
    def lag_per_s(self) -> dict[str, float | None]:
        """Slope of each lag, records a second, once it has settled."""
        return {
            "raw": self._slope([lag.raw for lag in self._lags]),
            "events": self._slope([lag.events for lag in self._lags]),
        }

    @property
    def cpu_cores(self) -> dict[str, float]:
        """CPU seconds a second, between the first look and the last, by process."""
        seconds = self._elapsed[-1] - self._elapsed[0] if self._elapsed else 0.0
        if not seconds:
            return {}
        return {
            name: round((last - self._cpu_first[name]) / seconds, 3)
            for name, last in self._cpu_last.items()
        }

    def _slope(self, values: list[float] | list[int], per_s: float = 1.0) -> float | None:
        """Return the least-squares slope of the settled part; None while it is too short."""
        first = int(len(values) * _SETTLED)
        if len(values) - first < _LOOKS_MIN:
            return None
        slope = statistics.linear_regression(self._elapsed[first:], values[first:]).slope
        return round(slope * per_s, 3)


def resident_mb(pid: int | None) -> float:
    """Return the resident memory of a process and its children, MiB; 0 when it is gone."""
    return round(_sum(pid, lambda process: float(process.memory_info().rss)) / _MIB, 1)


def _cpu_s(pid: int | None) -> float:
    def seconds(process: psutil.Process) -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    return _sum(pid, seconds)


def _sum(pid: int | None, of: Callable[[psutil.Process], float]) -> float:
    """Sum over a process and its children, those that are gone left out."""
    total = 0.0
    if pid is None:
        return total
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += of(member)
    return total
