"""What happened in an incident, in words: README.txt of its bundle.

A function of the bundle alone, so that whoever verifies it gets the same text.
"""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from core.decimals import render
from core.events import BookSnapshot, StreamSecond
from core.stability.alerts import Alert, Phase
from infra.cli.venues_text import frames_text, venues_text

if TYPE_CHECKING:
    from processors.bundle import Bundle, Recomputed

WIDTH: Final = 88
_S: Final = 1_000_000_000
_FAULTS_MAX: Final = 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_CONTENTS: Final = """\
What is in this file
  bundle.json        what it is of, and the settings that the result depends on
{of_venues}\
  raw.avro           the raw records of the connection: frames as they were received, each value
                     a FrameBatch record with its schema's fingerprint in front
  checkpoints.avro   what the pipeline had written down of the time before
  alerts.avro        the alerts as they were published
  seconds.jsonl      the judgement of every second of every stream of the connection
  books.jsonl        sampled books, faults.jsonl: recorded faults
  SHA256SUMS         of all of these

To verify it, with nothing but this file:
  streamgauge bundle --verify FILE
"""
_OF_VENUES: Final = """\
  mids.avro          the mids of the instrument: what each venue said as a second began, in the
                     order in which they were compared
  venues.jsonl       what follows from them: a row of each venue and second
"""


def incident_text(bundle: "Bundle", recomputed: "Recomputed") -> str:
    """Return the whole text."""
    from processors.bundle import alert_of

    alerts = [alert_of(record.value) for record in bundle.alerts]
    opening = alerts[0]
    resolution = next((each for each in alerts if each.phase is Phase.RESOLVE), None)
    about = bundle.about
    of_venues = about.mids is not None
    paragraphs = [
        " ".join(_happened(bundle, opening, resolution)),
        frames_text(bundle) if of_venues else "",
        " ".join(_judged(recomputed.seconds, opening, resolution)),
        " ".join(_books(recomputed.books, opening)),
    ]
    parts = [textwrap.fill(each, WIDTH) for each in paragraphs if each]
    if of_venues:
        parts.append(venues_text(recomputed.venues, opening, about))
    beside = _beside_venues(recomputed) if of_venues else _beside(recomputed)
    contents = _CONTENTS.format(of_venues=_OF_VENUES if of_venues else "")
    parts += ["\n".join(_faults(recomputed)), "\n".join(beside), contents]
    return "\n\n".join(filter(None, [f"Incident {about.alert_id}", *parts]))


def _happened(bundle: "Bundle", opening: Alert, resolution: Alert | None) -> Iterator[str]:
    about = bundle.about
    stream = " ".join(filter(None, (opening.symbol, opening.channel)))
    kind = opening.kind.name.lower().replace("_", " ")
    where = f"shard {about.shard}, line {about.line}"
    if about.mids is not None:
        where = f"among the venues of {about.mids.instrument}"
    yield (
        f"At {_time(opening.ts_detected)} UTC an incident was opened at {about.exchange}"
        f" ({where}): {kind} of {stream}, {opening.severity.name.lower()}."
    )
    unit = "" if opening.unit == "faults" else opening.unit
    value = f" {opening.value:.6g} {unit}" if unit else ""
    measured = opening.metric.replace("_", " ") + value
    threshold = f", compared with {opening.threshold:.6g}" if opening.threshold else ""
    detail = f": {opening.detail}" if opening.detail else ""
    yield f"Measured was {measured}{threshold}{detail}."
    delay = (opening.ts_detected - opening.ts_effect) / _S
    yield f"Its effect began {delay:.3f} s before, as far as the log shows."
    if resolution is None:
        yield "Its end is not in this file: it was still open, or lasted longer than ten minutes."
        return
    lasted = (resolution.ts - opening.ts_effect) / _S
    yield (
        f"It was over at {_time(resolution.ts)} UTC, {lasted:.1f} s after its beginning; the time"
        f" without evidence is part of it. The worst value was {resolution.value:.6g}"
        f" {opening.unit}".rstrip()
        + "."
    )
    if resolution.hits or resolution.children:
        yield (
            f"Further evidence came {resolution.hits} times, and {resolution.children} incidents of"
            " single streams were part of it."
        )


def _judged(
    seconds: Sequence[StreamSecond], opening: Alert, resolution: Alert | None
) -> Iterator[str]:
    own = [s for s in seconds if (s.channel, s.symbol) == (opening.channel, opening.symbol)]
    before = [s for s in own if s.ts <= opening.ts_effect]
    until = resolution.ts if resolution else 1 << 62
    meanwhile = [s for s in own if opening.ts_effect < s.ts <= until and s.score is not None]
    if before and before[-1].score is not None:
        state, score = _state(before[-1]), _score(before[-1])
        yield f"The second before, the stream was {state}, its score {score}."
    if not meanwhile:
        return
    worst = min(meanwhile, key=lambda second: (second.score or 0.0, second.ts))
    yield (
        f"Of the {len(meanwhile)} seconds meanwhile the worst closed at {_time(worst.ts)}:"
        f" {_state(worst)}, score {_score(worst)}"
        + (
            f", held down by {worst.score_binding.name.lower()} of {worst.score_badness:.4g}"
            f" {worst.score_unit}, which counts from {worst.score_threshold:.4g}."
            if worst.score_binding is not None
            and worst.score_badness is not None
            and worst.score_threshold is not None
            else "."
        )
    )
    yield f"The last one was {_state(meanwhile[-1])}, score {_score(meanwhile[-1])}."


def _books(books: Sequence[BookSnapshot], opening: Alert) -> Iterator[str]:
    symbols = sorted({book.symbol for book in books if opening.symbol in ("", book.symbol)})
    for symbol in symbols:
        own = [book for book in books if book.symbol == symbol]
        before = [book for book in own if book.ts_recv <= opening.ts_effect]
        after = [book for book in own if book.ts_recv > opening.ts_effect]
        if not before or not after:
            continue
        held, true = _middle(before[-1]), _middle(after[0])
        text = f"The book of {symbol} that was held then: {_best(before[-1])}; the first with"
        text += f" anything received since, of {_time(after[0].ts_recv)}: {_best(after[0])}"
        if held and true:
            text += f"; {abs(held - true) / true * 1e4:.3g} basis points between the two"
        yield text + "."


def _faults(recomputed: "Recomputed") -> Iterator[str]:
    faults = recomputed.faults
    if faults:
        yield "Recorded faults of the connection"
    for fault in faults[:_FAULTS_MAX]:
        of = " ".join(filter(None, (fault.symbol, fault.channel)))
        what = f"expected {fault.expected}, found {fault.found}"
        shortened = textwrap.shorten(what, 100, placeholder="…")
        yield f"  {_time(fault.ts_recv)}  {fault.kind.name.lower()} of {of}: {shortened}"
    if len(faults) > _FAULTS_MAX:
        yield f"  and {len(faults) - _FAULTS_MAX} more in faults.jsonl"


def _beside(recomputed: "Recomputed") -> Iterator[str]:
    if recomputed.others:
        yield "Other incidents of the connection meanwhile"
    for alert in recomputed.others:
        of = " ".join(filter(None, (alert.symbol, alert.channel)))
        happened = "opened" if alert.phase is Phase.OPEN else "resolved"
        yield f"  {_time(alert.ts)}  {alert.kind.name.lower()} of {of} {happened}"


def _beside_venues(recomputed: "Recomputed") -> Iterator[str]:
    if recomputed.others:
        yield "Other incidents of the instrument and of the connection meanwhile"
    for alert in sorted(recomputed.others, key=lambda each: each.ts):
        happened = "opened" if alert.phase is Phase.OPEN else "resolved"
        yield f"  {_time(alert.ts)}  {alert.alert_id} {happened}"


def _best(book: BookSnapshot) -> str:
    if not book.bid_prices or not book.ask_prices:
        return "a side is empty"
    bid, ask = (
        render(prices[0], book.price_exponent) for prices in (book.bid_prices, book.ask_prices)
    )
    return f"bid {bid}, ask {ask}"


def _middle(book: BookSnapshot) -> float | None:
    if not book.bid_prices or not book.ask_prices:
        return None
    scale: float = 10.0**book.price_exponent
    return (book.bid_prices[0] + book.ask_prices[0]) / 2 / scale


def _state(second: StreamSecond) -> str:
    return "not judged" if second.state is None else second.state.name.lower()


def _score(second: StreamSecond) -> str:
    return "unknown" if second.score is None else f"{second.score:.1f}"


def _time(ts: int) -> str:
    moment = _EPOCH + timedelta(microseconds=ts // 1000)
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}"
