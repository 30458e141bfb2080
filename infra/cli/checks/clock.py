"""This machine's clock against those of ClickHouse and of the exchanges.

Latencies are differences of two machines' clocks, so a wrong clock is a wrong latency. Every
answer bounds the other clock: it was read after the question and before the answer. Bounds of
several answers are cut with each other, so an HTTP `Date` of whole seconds is enough.
"""

import asyncio
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import msgspec

from infra.cli.checks import Finding, failed, ok, warning
from infra.cli.failures import Failure
from infra.cli.sql import Sql
from infra.runtime.settings import ClickHouseSettings, SettingsError

_SKEW_WARNING_S: Final = 0.1
_SKEW_FAILED_S: Final = 1.0
_SAMPLES: Final = 6
_SAMPLE_PAUSE_S: Final = 0.17
"""Samples fall on different parts of a second, so `Date` headers bound to about this much."""
_HTTP_TIMEOUT_S: Final = 5.0
_ADVICE: Final = "synchronise this machine's clock, with chrony or `timedatectl set-ntp true`"


class Bounds(msgspec.Struct, frozen=True):
    """How far the other clock is ahead of ours: at least and at most, s."""

    least: float = float("-inf")
    most: float = float("inf")

    def cut(self, other: "Bounds") -> "Bounds":
        """Return what both allow."""
        return Bounds(max(self.least, other.least), min(self.most, other.most))

    @property
    def skew(self) -> float:
        """The smallest skew that the bounds allow, s, without its sign."""
        return max(self.least, -self.most, 0.0)


def bounds(asked: float, answered: float, first: float, last: float) -> Bounds:
    """Return what one answer says: our times of question and answer, theirs in `first..last`."""
    return Bounds(first - answered, last - asked)


def judge(name: str, samples: Iterable[Bounds]) -> Finding:
    """Return the finding about one other clock."""
    total = Bounds()
    for sample in samples:
        total = total.cut(sample)
    check = f"clock ({name})"
    if total.least > total.most:
        return warning(check, "jumped while it was looked at", _ADVICE)
    found = f"{name} is {total.least * 1e3:+.0f} to {total.most * 1e3:+.0f} ms ahead of here"
    if total.skew > _SKEW_FAILED_S:
        return failed(check, found, _ADVICE)
    if total.skew > _SKEW_WARNING_S:
        return warning(check, found, _ADVICE)
    return ok(check, found)


def check_clickhouse_clock(settings: ClickHouseSettings) -> Finding | None:
    """Compare with ClickHouse; None where it does not answer, which is another check's finding."""
    samples = []
    with Sql(settings) as sql:
        for _ in range(_SAMPLES):
            try:
                asked = time.time()
                theirs = int(sql.text("SELECT toUnixTimestamp64Nano(now64(9))", database=""))
                answered = time.time()
            except (Failure, SettingsError):
                return None
            samples.append(bounds(asked, answered, theirs / 1e9, theirs / 1e9))
    return judge("ClickHouse", samples)


async def check_exchange_clock(name: str, rest_url: str) -> Finding:
    """Compare with an exchange, by the `Date` header of whatever its REST address answers."""
    timeout = aiohttp.ClientTimeout(total=_HTTP_TIMEOUT_S)
    samples = []
    async with aiohttp.ClientSession(timeout=timeout, trust_env=True) as session:
        for number in range(_SAMPLES):
            if number:
                await asyncio.sleep(_SAMPLE_PAUSE_S)
            try:
                samples.append(await _date(session, rest_url))
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                reason = str(error) or type(error).__name__
                found = f"no time from {rest_url}: {reason[:200]}"
                advice = f"see whether this machine may reach it, or set exchanges.{name}.rest_url"
                return failed(f"exchange ({name})", found, advice)
    return judge(name, samples)


async def _date(session: aiohttp.ClientSession, url: str) -> Bounds:
    asked = time.time()
    async with session.get(url, allow_redirects=False) as answer:
        answered = time.time()
        header = answer.headers.get("Date")
    if header is None:
        raise ValueError("the answer has no Date header")
    second = parsedate_to_datetime(header).timestamp()
    return bounds(asked, answered, second, second + 1.0)
