"""The report as plain text, for a mail or a terminal."""

import textwrap
from collections.abc import Sequence
from typing import Final

from infra.report import words
from infra.report.day import Day

WIDTH: Final = 100
STREAMS_MAX: Final = 15
INCIDENTS_MAX: Final = 40


def text(day: Day) -> str:
    """Return the whole report, ended by a line end."""
    parts = [
        f"Streamgauge: data quality of {day.day:%A, %d %B %Y} (UTC)",
        "",
        *textwrap.wrap(" ".join(words.summary(day)), WIDTH),
        *_venues(day),
        *_streams(day),
        *_incidents(day),
        *_losses(day),
        *_delivery(day),
        "",
        f"Made {day.made_at} by streamgauge {day.version}.",
    ]
    return "\n".join(parts) + "\n"


def _venues(day: Day) -> list[str]:
    rows = [
        (
            venue.exchange,
            str(venue.streams),
            words.share(venue.coverage),
            words.share(venue.clean),
            words.share(venue.verified),
            f"{words.number(venue.outages)} / {words.span(venue.outage_s)}",
            words.number(venue.score_p10),
            f"{words.milliseconds(venue.latency_p50_ns)}"
            f" / {words.milliseconds(venue.latency_p99_ns)}",
            words.number(venue.incidents),
            words.bps(venue.stale_cost_bps),
        )
        for venue in words.venues(day)
    ]
    head = (
        "venue", "streams", "covered", "clean", "verified", "outages", "score p10",
        "latency p50 / p99", "incidents", "stale cost",
    )  # fmt: skip
    return _section("Venues (each figure is that of the worst stream)", head, rows)


def _streams(day: Day) -> list[str]:
    rows = [
        (
            " ".join(filter(None, (each.exchange, each.channel, each.symbol))),
            words.share(each.coverage),
            words.share(each.clean),
            words.share(each.verified),
            f"{words.number(each.outages)} / {words.span(each.outage_s)}",
            f"{words.number(each.score_p01)} {words.number(each.score_p10)}"
            f" {words.number(each.score_p50)}",
            words.number(each.gaps),
            words.number(each.missing),
        )
        for each in day.streams[:STREAMS_MAX]
    ]
    head = (
        "stream", "covered", "clean", "verified", "outages", "score p01 p10 p50", "gaps", "missing"
    )  # fmt: skip
    more = len(day.streams) - len(rows)
    after = [f"and {more} more, none of them worse"] if more > 0 else []
    return [*_section("Streams, the worst first", head, rows), *after]


def _incidents(day: Day) -> list[str]:
    rows = [
        (
            words.clock(each.started_s),
            "open"
            if each.resolved_s is None
            else words.span(max(each.resolved_s - each.started_s, 0)),
            each.kind.replace("_", " "),
            words.named(each),
            words.bps(each.stale_cost_bps),
            textwrap.shorten(each.cause, 60, placeholder="…"),
        )
        for each in day.incidents[:INCIDENTS_MAX]
    ]
    head = ("at", "for", "incident", "of", "stale cost", "cause")
    more = len(day.incidents) - len(rows)
    return [*_section("Incidents", head, rows), *([f"and {more} more"] if more > 0 else [])]


def _losses(day: Day) -> list[str]:
    lost = [(each.exchange, each.kind.replace("_", " "), words.losses(each)) for each in day.lost]
    made = [(each.exchange, words.recoveries(each)) for each in day.recovered]
    return [
        *_section("Faults", ("venue", "fault", "how often"), lost),
        *_section("Recovered", ("venue", "what"), made),
    ]


def _delivery(day: Day) -> list[str]:
    rows = [
        (
            each.topic,
            words.number(each.records),
            words.number(each.facts),
            words.number(each.rows),
            words.number(each.duplicates),
            words.number(each.dead_letters),
            words.account(each),
        )
        for each in day.delivery
    ]
    head = ("topic", "records", "facts", "rows", "duplicates", "dead letters", "")
    return _section("Delivery from Kafka to ClickHouse, of all days", head, rows)


def _section(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    table = [tuple(head), *map(tuple, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
    return ["", title, "-" * len(title), *lines]
