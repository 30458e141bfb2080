"""The report as one HTML page that needs nothing else: no script, no font, no image, no request."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from infra.report import plots, words
from infra.report.day import HEAT_ROWS_MAX, Day

_STYLE: Final = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
STREAMS_SHOWN: Final = 12
_LEGEND: Final = (
    ("s5", "90 to 100"),
    ("s4", "80 to 90"),
    ("s3", "60 to 80"),
    ("s2", "50 to 60"),
    ("s1", "20 to 50"),
    ("s0", "below 20"),
    ("s", "not observed"),
)


def page(day: Day) -> str:
    """Return the whole page."""
    title = f"Data quality of {day.day:%A, %d %B %Y}"
    body = "".join(
        (
            f"<header><p class=mark>Streamgauge</p><h1>{title}</h1>",
            f"<p class=lead>{escape(' '.join(words.summary(day)))}</p></header>",
            _venues(day),
            _scores(day),
            _incidents(day),
            _latency(day),
            _streams(day),
            _losses(day),
            _delivery(day),
            _meaning(),
            f"<footer>Made {day.made_at} by streamgauge {escape(day.version)}. All times are UTC."
            "</footer>",
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main>{body}</main></body>"
        "</html>\n"
    )


def _venues(day: Day) -> str:
    rows = [
        (
            f"<b>{escape(venue.exchange)}</b>",
            str(venue.streams),
            words.share(venue.coverage),
            _graded(venue.clean),
            words.share(venue.verified),
            words.number(venue.outages),
            words.span(venue.outage_s),
            _score(venue.score_p10),
            words.milliseconds(venue.latency_p50_ns),
            words.milliseconds(venue.latency_p99_ns),
            words.number(venue.incidents),
            words.bps(venue.stale_cost_bps),
        )
        for venue in words.venues(day)
    ]
    head = (
        "venue", "streams", "covered", "clean", "verified", "outages", "for", "score p10",
        "latency p50", "p99", "incidents", "stale cost",
    )  # fmt: skip
    note = "Each figure is that of the worst stream of the venue; outages are those of its socket."
    return _section("Venues", note, _table(head, rows))


def _scores(day: Day) -> str:
    drawing = plots.heat_map(day)
    if not drawing:
        return ""
    steps = "".join(f'<span class="key"><i class="{k}"></i>{text}</span>' for k, text in _LEGEND)
    more = len(day.streams) - HEAT_ROWS_MAX
    also = f" The {HEAT_ROWS_MAX} worst of {len(day.streams)} streams." if more > 0 else ""
    note = (
        f"Each field is {words.span(day.step_s)}: the score that nine tenths of the time was at"
        f" least reached.{also}"
    )
    return _section("Score over the day", note, f'<p class="legend">{steps}</p>{drawing}')


def _incidents(day: Day) -> str:
    if not day.incidents and not day.outages:
        return ""
    rows = [
        (
            words.clock(each.started_s),
            "<b>open</b>"
            if each.resolved_s is None
            else words.span(max(each.resolved_s - each.started_s, 0)),
            f'<span class="tag {each.severity}">{escape(each.kind.replace("_", " "))}</span>',
            escape(words.named(each)),
            f"{escape(each.cause)}"
            + (
                f" <i>with {words.counted(each.children, 'more', 'more')}</i>"
                if each.children
                else ""
            ),
            escape(each.stage),
            words.bps(each.stale_cost_bps),
        )
        for each in day.incidents
    ]
    head = ("at", "for", "incident", "of", "cause", "lies with", "stale cost")
    keys = "".join(
        f'<span class="key"><i class="bar {kind}"></i>{text}</span>'
        for kind, text in (
            ("down", "socket could not be used"),
            ("critical", "critical"),
            ("warning", "warning"),
            ("info", "info"),
        )
    )
    drawing = f'<p class="legend">{keys}</p>{plots.timeline(day)}'
    note = (
        "The time without evidence after which an incident resolves (10 or 60 s) is part of it."
        " Stale cost is how far the book that was held lay from the first one afterwards."
    )
    return _section("Outages and incidents", note, drawing + _table(head, rows, text_from=2))


def _latency(day: Day) -> str:
    drawing = plots.latencies(day)
    note = (
        "Of all market data of a connection: <b class=p50>median</b> and <b class=p99>99th"
        " percentile</b>. Our receive time less the exchange's own, so both clocks are in it."
    )
    return _section("Latency", note, drawing) if drawing else ""


def _streams(day: Day) -> str:
    rows = [
        (
            escape(" ".join(filter(None, (each.exchange, each.channel, each.symbol)))),
            words.share(each.coverage),
            _graded(each.clean),
            words.share(each.usable),
            words.share(each.verified),
            words.number(each.outages),
            words.span(each.outage_s),
            words.span(each.mtbf_s),
            words.span(each.mttr_s),
            _score(each.score_p01),
            _score(each.score_p10),
            _score(each.score_p50),
            words.milliseconds(each.latency_p99_ns),
            words.number(each.gaps),
            words.number(each.missing),
            words.number(each.duplicates),
        )
        for each in day.streams
    ]
    head = (
        "stream", "covered", "clean", "usable", "verified", "outages", "for", "MTBF", "MTTR",
        "score p01", "p10", "p50", "latency p99", "gaps", "missing", "repeated",
    )  # fmt: skip
    content = _table(head, rows[:STREAMS_SHOWN], dense=True)
    if more := rows[STREAMS_SHOWN:]:
        content += (
            f"<details><summary>{words.counted(len(more), 'stream')} more, none of them less"
            f" clean</summary>{_table(head, more, dense=True)}</details>"
        )
    return _section("Streams, the worst first", "", content) if rows else ""


def _losses(day: Day) -> str:
    lost = [
        (escape(each.exchange), escape(each.kind.replace("_", " ")), escape(words.losses(each)))
        for each in day.lost
    ]
    made = [(escape(each.exchange), escape(words.recoveries(each))) for each in day.recovered]
    content = ""
    if lost:
        content += _table(("venue", "fault", "how often"), lost, text_from=0)
    if made:
        content += _table(("venue", "made good"), made, text_from=0)
    note = "What was missing when a later message came; late trades of it came after all."
    return _section("Lost and recovered", note, content) if content else ""


def _delivery(day: Day) -> str:
    rows = [
        (
            escape(each.topic),
            words.number(each.records),
            words.number(each.facts),
            words.number(each.rows),
            words.number(each.duplicates),
            words.number(each.dead_letters),
            f'<span class="{"good" if each.ok else "bad"}">{escape(words.account(each))}</span>',
        )
        for each in day.delivery
    ]
    head = ("topic", "records", "facts", "rows", "duplicates", "dead letters", "verdict")
    note = (
        "The sinks' own accounts, of all days: facts = rows + duplicates, rows in the table = rows"
        " accounted for, no offset missing, blocks without a hole. <code>streamgauge reconcile"
        "</code> compares every value with Kafka."
    )
    return _section("Delivery from Kafka to ClickHouse", note, _table(head, rows)) if rows else ""


def _meaning() -> str:
    terms = (
        ("covered", "share of the day of which anything is known"),
        ("clean", "share of the observed time that was stable with nothing at all wrong"),
        ("usable", "share of the observed time in which it was neither down nor being made anew"),
        (
            "verified",
            "share of the stored rows that are proven: books by a checksum or an audit, trades by"
            " the venue's own numbering",
        ),
        ("score p10", "the score that was reached for nine tenths of the time; 100 is best"),
        ("-", "nothing was observed, or it does not exist there; it is never counted as good"),
    )
    items = "".join(f"<dt>{name}</dt><dd>{meaning}</dd>" for name, meaning in terms)
    return f"<section class=meaning><h2>What the words mean</h2><dl>{items}</dl></section>"


def _section(title: str, note: str, content: str) -> str:
    said = f"<p class=note>{note}</p>" if note else ""
    return f"<section><h2>{title}</h2>{said}{content}</section>"


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, text_from: int = -1, dense: bool = False
) -> str:
    """Return a table; columns from `text_from` on are text, else all but the first are figures."""

    def kind(column: int) -> str:
        is_text = column == 0 if text_from < 0 else column >= text_from
        return "" if is_text else " class=n"

    names = "".join(f"<th{kind(index)}>{name}</th>" for index, name in enumerate(head))
    lines = "".join(
        f"<tr>{''.join(f'<td{kind(index)}>{cell}</td>' for index, cell in enumerate(row))}</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{names}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="wide{" dense" if dense else ""}">{table}</div>'


def _graded(share: float | None) -> str:
    """Return a share with a mark of its grade."""
    grade = (
        "none"
        if share is None
        else "good"
        if share >= 0.999
        else "fair"
        if share >= 0.95
        else "bad"
    )
    return f'<span class="{grade}">{words.share(share)}</span>'


def _score(score: float | None) -> str:
    return f'<span class="score {plots.shade(score)}">{words.number(score)}</span>'
