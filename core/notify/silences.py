"""Silences and maintenance windows: from when on may an incident be told?

Judged by the log's own time: an incident is silenced if it opens inside a window, whenever that is
read, so that a restart or a late reader comes to the same end. One that is still open when the
window ends may be told from then on.
"""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from core.notify.notices import Notice

DAY_NS: Final = 86_400_000_000_000
WEEK_NS: Final = 7 * DAY_NS
_MONDAY: Final = 3
"""The epoch's first day was a Thursday, three days after a Monday."""
_STEPS_MAX: Final = 100
"""Windows that follow one another without a break; then it is looked at again later."""


class Matchers(msgspec.Struct, frozen=True):
    """What is silenced: of every list that is not empty, one pattern must match (`*`: any text)."""

    exchanges: tuple[str, ...] = ()
    shards: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()

    def match(self, notice: Notice) -> bool:
        """Say whether an alert is one of these."""
        alert, address = notice.alert, notice.header.address
        return (
            _one_of(self.exchanges, address.exchange)
            and _one_of(self.shards, address.shard)
            and _one_of(self.channels, alert.channel)
            and _one_of(self.symbols, alert.symbol)
            and _one_of(self.kinds, alert.kind.name.lower())
            and _one_of(self.severities, alert.severity.name.lower())
        )

    def text(self) -> str:
        """Return them for people, such as `exchange kraken, kind gap or checksum`."""
        named = (
            ("exchange", self.exchanges),
            ("shard", self.shards),
            ("channel", self.channels),
            ("symbol", self.symbols),
            ("kind", self.kinds),
            ("severity", self.severities),
        )
        said = [f"{name} {' or '.join(values)}" for name, values in named if values]
        return ", ".join(said) or "everything"


class Once(msgspec.Struct, frozen=True, tag="once"):
    """From `starts` until before `ends`, ns since the epoch."""

    starts: int
    ends: int

    def end_of(self, ts: int) -> int | None:
        """Return when the window that holds `ts` ends, None outside of it."""
        return self.ends if self.starts <= ts < self.ends else None


class Weekly(msgspec.Struct, frozen=True, tag="weekly"):
    """Every week from `at_ns` of each of `weekdays` (0 is Monday, in UTC) for `length_ns`."""

    weekdays: tuple[int, ...]
    at_ns: int
    length_ns: int

    def end_of(self, ts: int) -> int | None:
        """Return when the window that holds `ts` ends, the last of several; None outside."""
        ends = []
        for weekday in self.weekdays:
            into_week = ((weekday - _MONDAY) % 7) * DAY_NS + self.at_ns
            began = ts - (ts - into_week) % WEEK_NS
            if ts < began + self.length_ns:
                ends.append(began + self.length_ns)
        return max(ends, default=None)


class Silence(msgspec.Struct, frozen=True):
    """A silence or a maintenance window: what, when, and why."""

    name: str
    matchers: Matchers
    window: Once | Weekly
    reason: str

    def holds(self, notice: Notice, ts: int) -> int | None:
        """Return until when an alert is held at `ts`, None where it is not."""
        end = self.window.end_of(ts)
        return end if end is not None and self.matchers.match(notice) else None


def free_from(notice: Notice, ts: int, silences: Sequence[Silence]) -> int:
    """Return the first time from `ts` on at which no silence holds the alert, ns."""
    matching = [silence for silence in silences if silence.matchers.match(notice)]
    for _ in range(_STEPS_MAX):
        ends = [end for each in matching if (end := each.window.end_of(ts)) is not None]
        if not ends:
            break
        ts = max(ends)
    return ts


def _one_of(patterns: Iterable[str], value: str) -> bool:
    patterns = tuple(patterns)
    return not patterns or any(fnmatchcase(value, pattern) for pattern in patterns)
