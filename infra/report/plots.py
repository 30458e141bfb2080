"""Plots as inline SVG: colours come from the page's style sheet, so that one drawing serves both
light and dark, and paper. Every mark says in words what it is when it is pointed at."""

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Final

from infra.report import words
from infra.report.day import Day, Heat, Incident, Latency, Outage

WIDTH: Final = 960
LEFT: Final = 190
RIGHT: Final = 8
ROW: Final = 15
AXIS: Final = 22
_TICKS_S: Final = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 10_800, 14_400)
_TICKS: Final = 8
_PLOT_HEIGHT: Final = 110
CLASSES: Final = ((90.0, "s5"), (80.0, "s4"), (60.0, "s3"), (50.0, "s2"), (20.0, "s1"))
"""Least score of each class of colour; below all it is `s0`."""


def shade(score: float | None) -> str:
    """Return the class of a score."""
    if score is None:
        return "s"
    return next((name for least, name in CLASSES if score >= least), "s0")


def heat_map(day: Day) -> str:
    """Return the scores of streams over time, a row for each."""
    rows = sorted(day.heat, key=_heat_order)
    if not rows or not day.steps:
        return ""
    place = _places(day)
    marks: list[str] = []
    for index, row in enumerate(rows):
        top = index * ROW
        name = " ".join(filter(None, (row.exchange, row.channel, row.symbol)))
        marks.append(_label(name, top + ROW - 4))
        for kind, first, last, least in _runs(row.scores):
            left, right = place(_at(day, first)), place(_at(day, last + 1))
            said = "nothing observed" if least is None else f"score {least:.0f}"
            when = f"{words.clock(_at(day, first))} to {words.clock(_at(day, last + 1))}"
            marks.append(
                f'<rect class="{kind}" x="{left:.1f}" y="{top}" width="{right - left:.1f}"'
                f' height="{ROW - 2}"><title>{escape(name)}, {when}: {said}</title></rect>'
            )
    height = len(rows) * ROW
    return _svg(height + AXIS, marks + list(_time_axis(day, height)), "Scores over the day")


def timeline(day: Day) -> str:
    """Return outages and incidents, a row for each connection, and one for each overlapping bar."""
    connections = sorted({(s.exchange, s.shard, s.line) for s in day.streams})
    if not connections or not day.steps:
        return ""
    place = _places(day)
    marks: list[str] = []
    top = 0
    for connection in connections:
        exchange, _, line = connection
        marks.append(_label(f"{exchange} {line}", top + ROW - 4))
        for outage in day.outages:
            if outage.channel == "connection" and _of(outage) == connection:
                left, right = place(outage.from_s), place(outage.to_s)
                said = f"outage, {words.clock(outage.from_s)}"
                said += f" for {words.span(outage.to_s - outage.from_s)}"
                marks.append(_bar("down", left, right, top, said))
        incidents = [each for each in day.incidents if _of(each) == connection]
        lanes = _lanes(incidents, day.to_s)
        for lane, held in enumerate(lanes, 1):
            for each in held:
                end = day.to_s if each.resolved_s is None else each.resolved_s
                until = (
                    "still open" if each.resolved_s is None else words.span(end - each.started_s)
                )
                said = f"{each.kind.replace('_', ' ')} of {words.named(each)},"
                said += f" {words.clock(each.started_s)}, {until}: {each.cause}"
                left, right = place(each.started_s), place(end)
                marks.append(_bar(each.severity, left, right, top + lane * ROW, said))
        top += (len(lanes) + 1) * ROW + 6
    return _svg(top + AXIS, marks + list(_time_axis(day, top)), "Outages and incidents")


def latencies(day: Day) -> str:
    """Return the latency of each connection's market data over time, over a logarithmic scale."""
    if not day.steps:
        return ""
    return "".join(_latency(day, each) for each in day.latency)


def _latency(day: Day, latency: Latency) -> str:
    known = [ns for ns in (*latency.p50_ns, *latency.p99_ns) if ns is not None and ns > 0]
    if not known:
        return ""
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    high = max(high, low + 1)
    place = _places(day)

    def height(ns: float) -> float:
        share = (math.log10(max(ns, 10.0**low)) - low) / (high - low)
        return _PLOT_HEIGHT - share * (_PLOT_HEIGHT - 8)

    marks = [_label(f"{latency.exchange} {latency.line}", 14)]
    for power in range(low, high + 1):
        y = height(10.0**power)
        marks.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        label = words.milliseconds(10.0**power)
        marks.append(
            f'<text class="tick" x="{LEFT - 6}" y="{y + 3:.1f}" text-anchor="end">{label}</text>'
        )
    for name, values in (("p99", latency.p99_ns), ("p50", latency.p50_ns)):
        marks += _line(day, name, values, place, height)
    marks += _time_axis(day, _PLOT_HEIGHT)
    title = f"Latency of {latency.exchange} {latency.line}"
    return _svg(_PLOT_HEIGHT + AXIS, marks, title)


def _line(
    day: Day,
    name: str,
    values: Sequence[float | None],
    place: Callable[[float], float],
    height: Callable[[float], float],
) -> Iterator[str]:
    """Yield the line, broken where nothing is known; a value alone is a dot."""
    points = [(index, value) for index, value in enumerate(values) if value is not None]
    for _, group in groupby(enumerate(points), key=lambda each: each[1][0] - each[0]):
        run = [point for _, point in group]
        drawn = [f"{place(_at(day, index + 0.5)):.1f},{height(value):.1f}" for index, value in run]
        if len(drawn) == 1:
            x, y = drawn[0].split(",")
            yield f'<circle class="dot {name}" cx="{x}" cy="{y}" r="2"/>'
        else:
            yield f'<polyline class="line {name}" points="{" ".join(drawn)}"/>'


def _places(day: Day) -> Callable[[float], float]:
    """Return what maps s since midnight to the drawing."""
    total = max(day.steps * day.step_s, 1)
    scale = (WIDTH - LEFT - RIGHT) / total
    return lambda at: LEFT + min(max(at - day.from_s, 0.0), total) * scale


def _at(day: Day, step: float) -> float:
    return day.from_s + step * day.step_s


def _runs(
    scores: Sequence[float | None],
) -> Iterator[tuple[str, int, int, float | None]]:
    """Yield class, first and last step, and least score of steps alike."""
    for kind, group in groupby(enumerate(scores), key=lambda each: shade(each[1])):
        steps = list(group)
        known = [score for _, score in steps if score is not None]
        yield kind, steps[0][0], steps[-1][0], min(known, default=None)


def _lanes(incidents: Sequence[Incident], end_s: float) -> list[list[Incident]]:
    """Return the incidents in as few rows as they need, none over another."""
    lanes: list[list[Incident]] = []
    ends: list[float] = []
    for incident in sorted(incidents, key=lambda each: each.started_s):
        end = end_s if incident.resolved_s is None else incident.resolved_s
        lane = next((index for index, busy in enumerate(ends) if busy <= incident.started_s), None)
        if lane is None:
            lanes.append([incident])
            ends.append(end)
        else:
            lanes[lane].append(incident)
            ends[lane] = end
    return lanes


def _of(each: Outage | Incident) -> tuple[str, str, str]:
    return each.exchange, each.shard, each.line


def _heat_order(row: Heat) -> tuple[str, str, str, int, str]:
    return row.exchange, row.shard, row.line, words.stream_order(row.channel), row.symbol


def _bar(kind: str, left: float, right: float, top: float, said: str) -> str:
    return (
        f'<rect class="bar {kind}" x="{left:.1f}" y="{top}" width="{max(right - left, 2):.1f}"'
        f' height="{ROW - 3}" rx="2"><title>{escape(said)}</title></rect>'
    )


def _label(text: str, y: float) -> str:
    shown = text if len(text) <= 30 else text[:29] + "…"
    return f'<text class="name" x="0" y="{y}">{escape(shown)}</text>'


def _time_axis(day: Day, top: float) -> Iterator[str]:
    total = day.steps * day.step_s
    step = next((s for s in _TICKS_S if total / s <= _TICKS), _TICKS_S[-1])
    place = _places(day)
    at = math.ceil(day.from_s / step) * step
    while at <= day.from_s + total:
        x = place(at)
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{top + 4}"/>'
        label = words.clock(at) if step < 60 else words.clock(at)[:5]
        if at == 86_400:
            label = "24:00"
        anchor = "end" if x > WIDTH - RIGHT - 24 else "middle"
        yield f'<text class="tick" x="{x:.1f}" y="{top + 16}" text-anchor="{anchor}">{label}</text>'
        at += step


def _svg(height: float, marks: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(marks)}</svg>"
    )
