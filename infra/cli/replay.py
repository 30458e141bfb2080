"""`streamgauge replay`: recompute the events from the raw log and compare them byte for byte.

Only arguments and printing; the work is in `processors.replay`.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra.cli.failures import Failure
from infra.runtime.settings import Settings, load
from processors.digests import Difference, partition_digest, partitions
from processors.ranges import RawRange, raw_ranges
from processors.replay import Comparison, Replay, Sink
from processors.rewriter import OutputError, Rewriter

_SHOWN: Final = 10
"""Differences printed for people; --json has the first of every stream."""


class Moment(click.ParamType):
    """An ISO 8601 time, UTC unless it names a zone; becomes ms since the epoch."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        """Read the time."""
        if isinstance(value, int):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time like 2026-11-23T04:00:00", param, ctx)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return int(moment.timestamp() * 1000)


@click.command(name="replay")
@click.option("--from", "from_ms", type=Moment(), help="Compare raw records from this time on.")
@click.option("--to", "to_ms", type=Moment(), help="Compare raw records before this time.")
@click.option(
    "--output", metavar="PREFIX", help="Write the recomputed events to topics of this prefix too."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(from_ms: int | None, to_ms: int | None, output: str | None, as_json: bool) -> None:
    """Recompute trades, books, faults, stability and checkpoints from the raw topics, and compare.

    Everything that the processors have committed is computed anew, from the oldest raw record on,
    and compared byte for byte with what the event topics hold; repeats count once. Where they
    differ, the first differing record of each stream is named. With --from, the engines are first
    warmed up with processor.warmup_s of the log and the checkpoints in it. Exit code 0: equal; 1:
    different, or nothing to compare.
    """
    settings = load()
    ranges, comparison = asyncio.run(_compare(settings, from_ms, to_ms, output, quiet=as_json))
    report = _report(ranges, comparison)
    if as_json:
        click.echo(msgspec.json.encode(report).decode())
    else:
        _print(report, comparison)
    sys.exit(0 if report["equal"] else 1)


async def _compare(
    settings: Settings, from_ms: int | None, to_ms: int | None, output: str | None, *, quiet: bool
) -> tuple[list[RawRange], Comparison]:
    ranges = await raw_ranges(settings, from_ms=from_ms, to_ms=to_ms)
    if not any(r.end > r.first for r in ranges):
        raise Failure("there are no processed raw records to compare")
    console = Console(stderr=True)
    columns = (
        TextColumn("raw records"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    shown = console.is_terminal and not quiet
    with Progress(*columns, console=console, disable=not shown) as progress:
        task = progress.add_task("")
        replay = Replay(
            settings,
            ranges,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
        async with AsyncExitStack() as stack:
            sink: Sink | None = None
            if output is not None:
                try:
                    sink = (await stack.enter_async_context(Rewriter(settings, output))).write
                except OutputError as error:
                    raise Failure(str(error)) from error
            return ranges, await replay.compare(sink)


def _report(ranges: list[RawRange], comparison: Comparison) -> dict[str, Any]:
    sides = comparison.computed, comparison.stored
    rows = []
    for kind, number in partitions(*sides):
        digests = [partition_digest(side, kind, number) for side in sides]
        records = [
            sum(digest.records for place, digest in side.items() if place[:2] == (kind, number))
            for side in sides
        ]
        rows.append(
            {
                "topic": kind,
                "partition": number,
                "computed_records": records[0],
                "stored_records": records[1],
                "repeats": sum(
                    digest.repeats
                    for place, digest in comparison.stored.items()
                    if place[:2] == (kind, number)
                ),
                "computed_digest": digests[0],
                "stored_digest": digests[1],
                "equal": digests[0] == digests[1],
            }
        )
    return {
        "equal": all(row["equal"] for row in rows) and bool(rows),
        "frames": comparison.frames,
        "seconds": round(comparison.seconds, 3),
        "partitions": rows,
        "differences": [_difference(difference) for difference in comparison.differences],
        "raw": [
            {
                "topic": r.topic,
                "partition": r.partition,
                "warmed_from": r.start,
                "first_offset": r.first,
                "end_offset": r.end,
                "unprocessed": r.unprocessed,
            }
            for r in ranges
        ],
    }


def _difference(difference: Difference) -> dict[str, Any]:
    place, (epoch, number), what = difference
    exchange, shard, line = place.stream
    return {
        "topic": place.kind,
        "partition": place.partition,
        "exchange": exchange,
        "shard": shard,
        "line": line,
        "epoch": epoch,
        "number": number,
        "what": what,
    }


def _print(report: dict[str, Any], comparison: Comparison) -> None:
    click.echo(f"{'topic':<11} {'part':>4} {'records':>9} {'repeats':>8}  {'digest':<32}  verdict")
    for row in report["partitions"]:
        verdict = (
            click.style("equal", fg="green")
            if row["equal"]
            else click.style(f"differs: {row['stored_digest']} is in Kafka", fg="red")
        )
        click.echo(
            f"{row['topic']:<11} {row['partition']:>4} {row['computed_records']:>9}"
            f" {row['repeats']:>8}  {row['computed_digest']}  {verdict}"
        )
    for difference in comparison.differences[:_SHOWN]:
        epoch, number = difference.mark
        stream = "/".join(difference.place.stream)
        click.echo(
            f"first difference of {stream} on {difference.place.kind}: epoch {epoch}, number"
            f" {number}: {difference.what}"
        )
    left = sum(raw["unprocessed"] for raw in report["raw"])
    if left:
        click.echo(f"{left} records are not processed yet and were left out")
    rate = comparison.frames / comparison.seconds if comparison.seconds else 0.0
    click.echo(
        f"{'equal' if report['equal'] else 'different'}: {comparison.frames} frames recomputed"
        f" in {comparison.seconds:.1f} s, {rate:.0f} frames/s"
    )
