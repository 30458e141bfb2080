"""Figures as people read them, and the sentences that open a report.

A share that is not quite all is never rounded to 100 %, and what is not known is a dash.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from infra.report.day import Day, Delivery, Incident, Lost, Recovered, Stream

UNKNOWN: Final = "-"
_DAY_S: Final = 86_400
_CHANNELS: Final = ("connection", "data", "book", "trades")


class Venue(msgspec.Struct, frozen=True):
    """All streams of one exchange: the worst of each measure, and a lower quantile of the scores.

    Outages are those of its sockets; losses are of its books and trades.
    """

    exchange: str
    streams: int
    coverage: float
    clean: float | None
    usable: float | None
    verified: float | None
    outages: float | None
    outage_s: float | None
    score_p10: float | None
    latency_p50_ns: float | None
    latency_p99_ns: float | None
    gaps: int
    incidents: int
    stale_cost_bps: float | None


def venues(day: Day) -> list[Venue]:
    """Return every exchange, the least clean first."""
    found = [_venue(day, exchange) for exchange in sorted({s.exchange for s in day.streams})]
    return sorted(found, key=lambda venue: -1.0 if venue.clean is None else venue.clean)


def _venue(day: Day, exchange: str) -> Venue:
    streams = [each for each in day.streams if each.exchange == exchange]
    sockets = [each for each in streams if each.channel == "connection"]
    data = [each for each in streams if each.channel == "data"]
    facts = [each for each in streams if each.channel in ("book", "trades")]
    incidents = [each for each in day.incidents if each.exchange == exchange]
    # A stream of which nothing was observed is the worst there is.
    unseen = any(each.clean is None for each in streams)
    return Venue(
        exchange=exchange,
        streams=len(streams),
        coverage=min(each.coverage for each in streams),
        clean=None if unseen else _least(each.clean for each in streams),
        usable=None if unseen else _least(each.usable for each in streams),
        verified=_least(each.verified for each in facts),
        outages=_most(each.outages for each in sockets),
        outage_s=_most(each.outage_s for each in sockets),
        score_p10=_least(each.score_p10 for each in streams),
        latency_p50_ns=_most(each.latency_p50_ns for each in data),
        latency_p99_ns=_most(each.latency_p99_ns for each in data),
        gaps=sum(each.gaps or 0 for each in facts),
        incidents=len(incidents),
        stale_cost_bps=_most(each.stale_cost_bps for each in incidents),
    )


def _least(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)


def _most(values: Iterable[float | int | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


# -- figures --


def share(value: float | None) -> str:
    """Return a ratio in percent; less than all is never 100 %, and more than nothing never 0 %."""
    if value is None:
        return UNKNOWN
    percent = 100 * value
    for digits in (1, 2, 3):
        text = f"{percent:.{digits}f}"
        if not (float(text) == 100 > percent or float(text) == 0 < percent):
            return f"{_trimmed(text)} %"
    return "> 99.999 %" if percent > 50 else "< 0.001 %"


def span(seconds: float | None) -> str:
    """Return a time as a person says it."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{_trimmed(f'{seconds:.1f}')} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"


def clock(seconds: float) -> str:
    """Return s since midnight as a time of day."""
    whole = int(seconds)
    if not 0 <= whole < 86_400:
        return "the day before" if seconds < 0 else "the day after"
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def milliseconds(ns: float | None) -> str:
    """Return ns as ms."""
    if ns is None:
        return UNKNOWN
    ms = ns / 1e6
    return f"{ms:,.0f} ms" if abs(ms) >= 100 else f"{ms:.3g} ms"


def number(value: float | None) -> str:
    """Return a count or score."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def bps(value: float | None) -> str:
    """Return basis points."""
    return UNKNOWN if value is None else f"{value:.2g} bp" if value < 10 else f"{value:.0f} bp"


def counted(count: float, one: str, many: str = "") -> str:
    """Return `1 trade`, `2 trades`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def named(of: Stream | Incident) -> str:
    """Return what a stream is called in a sentence."""
    return " ".join(filter(None, (of.exchange, of.symbol, of.channel)))


def stream_order(channel: str) -> int:
    """Sort key: the socket first, then what comes on it."""
    return _CHANNELS.index(channel) if channel in _CHANNELS else len(_CHANNELS)


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


# -- sentences --


def summary(day: Day) -> list[str]:
    """Return what somebody who reads nothing else should know."""
    if not day.streams:
        return ["Nothing was recorded on this day, and nothing is known of it."]
    return list(filter(None, (_recorded(day), _quality(day), _worst(day), _lost(day), _kept(day))))


def _recorded(day: Day) -> str:
    observed = max(stream.observed_s for stream in day.streams)
    expected = day.streams[0].expected_s
    exchanges = sorted({stream.exchange for stream in day.streams})
    silent = [stream for stream in day.streams if not stream.observed_s]
    text = (
        f"{counted(len(day.streams), 'stream')} of {_listed(exchanges)}"
        f" {'was' if len(day.streams) == 1 else 'were'} recorded, for"
        f" {span(observed)} of the {span(expected)} that the day has had"
        f"{' so far' if expected < _DAY_S else ''}."
    )
    if silent:
        text += f" Of {counted(len(silent), 'stream')} nothing is known all day."
    return text


def _quality(day: Day) -> str:
    seen = [stream for stream in day.streams if stream.clean is not None]
    if not seen:
        return ""
    clean = [stream for stream in seen if stream.clean == 1.0]
    open_now = sum(incident.resolved_s is None for incident in day.incidents)
    text = (
        f"{counted(len(clean), 'stream was', 'streams were')} clean all the time"
        if clean
        else "No stream was clean all the time"
    )
    worst = seen[0]
    if worst.clean is not None and worst.clean < 1:
        text += f"; the least clean was {named(worst)}, {share(worst.clean)} of its observed time"
    were = "was" if len(day.incidents) == 1 else "were"
    text += f". There {were} {counted(len(day.incidents), 'incident')}" if day.incidents else ""
    if not day.incidents:
        text += ". There were no incidents"
    return text + (f", {open_now} of them still open." if open_now else ".")


def _worst(day: Day) -> str:
    sockets = [each for each in day.outages if each.channel == "connection"]
    costs = [each for each in day.incidents if each.stale_cost_bps is not None]
    text = ""
    if sockets:
        longest = max(sockets, key=lambda outage: outage.to_s - outage.from_s)
        text = (
            f"The longest outage was {longest.exchange}'s, from {clock(longest.from_s)} for"
            f" {span(longest.to_s - longest.from_s)}."
        )
    if costs:
        dear = max(costs, key=lambda incident: incident.stale_cost_bps or 0.0)
        text += (
            f" Whoever trusted the held book was off by {bps(dear.stale_cost_bps)} at worst, after"
            f" {_said(dear)} at {clock(dear.started_s)}."
        )
    return text.strip()


def _lost(day: Day) -> str:
    missing = sum(each.missing_trades for each in day.recovered)
    late = sum(each.late_trades for each in day.recovered)
    lost = max(missing - late, 0)
    resyncs = sum(each.resyncs for each in day.recovered)
    text = (
        f"{counted(lost, 'trade')} of the venues {'is' if lost == 1 else 'are'} missing, those of"
        " outages and restarts included"
        if lost
        else "No trade of the venues is known to be missing"
    )
    if late:
        text += f"; {counted(late, 'trade')} came late and {'is' if late == 1 else 'are'} stored"
    if resyncs:
        text += f". Books were begun or renewed {counted(resyncs, 'time')}"
    return text + "."


def _kept(day: Day) -> str:
    if not day.delivery:
        return ""
    bad = [each.topic for each in day.delivery if not each.ok]
    rows = sum(each.stored for each in day.delivery)
    if bad:
        return f"The accounts of {_listed(bad)} do not add up: run `streamgauge reconcile`."
    letters = f", and {counted(day.dead_letters, 'dead letter')}" if day.dead_letters else ""
    return (
        "What the sinks have read from Kafka is stored once: all"
        f" {number(rows)} rows are accounted for{letters}."
    )


def _said(incident: Incident) -> str:
    kind = incident.kind.replace("_", " ")
    article = "an outage of" if incident.kind == "disconnected" else f"a {kind} of"
    return f"{article} {' '.join(filter(None, (incident.exchange, incident.symbol)))}"


def _listed(names: list[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def losses(lost: Lost) -> str:
    """Return what a kind of fault amounts to."""
    if lost.count is None:
        return counted(lost.faults, "time")
    unit = lost.unit.replace("_", " ") or "faults"
    unit = unit.removesuffix("s") if lost.count == 1 else unit
    return f"{counted(lost.faults, 'time')}, {number(lost.count)} {unit}"


def recoveries(recovered: Recovered) -> str:
    """Return what was made good at a venue."""
    parts = [
        f"books begun or renewed {counted(recovered.resyncs, 'time')}" if recovered.resyncs else "",
        f"{counted(recovered.late_trades, 'late trade')} stored" if recovered.late_trades else "",
        f"{counted(recovered.duplicates, 'repeated message')} dropped"
        if recovered.duplicates
        else "",
    ]
    return ", ".join(filter(None, parts)) or "nothing was to be made good"


def account(delivery: Delivery) -> str:
    """Return whether a topic's accounts add up, and where they do not."""
    if delivery.ok:
        return "adds up"
    parts = []
    if delivery.facts != delivery.rows + delivery.duplicates:
        parts.append("facts are not rows and duplicates")
    if delivery.stored != delivery.rows:
        parts.append(f"{number(delivery.stored)} rows are in the table")
    if delivery.missing:
        parts.append(f"{number(delivery.missing)} offsets were gone before they were read")
    if delivery.holes:
        parts.append(counted(delivery.holes, "hole or overlap", "holes or overlaps"))
    return ", ".join(parts)
