"""`streamgauge chaos`: inject faults on purpose and score what the detectors say of them.

Only arguments and printing; the work is in `infra.chaos`.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from infra.chaos.campaign import CampaignSettings, run
from infra.chaos.journal import Journal
from infra.chaos.scenarios import FAULTS
from infra.cli.failures import Failure, WrongSettings

_JOBS_MAX: Final = 256
_FAST: Final = 300, 2160.0
"""Injections and clean hours where nothing is said."""
_LIVE_INJECTIONS: Final = 10
_LINE_S: Final = 30.0
"""How often progress is told where nobody watches a terminal."""


@click.command(name="chaos")
@click.option(
    "--fast", is_flag=True, help="In virtual time, without sockets. Otherwise in real time."
)
@click.option(
    "--injections",
    type=click.IntRange(0, 100_000),
    help="Faults of each class that have an effect, at least.  [default: 300, in real time 10]",
)
@click.option(
    "--clean-hours",
    type=click.FloatRange(0.0, 1e6),
    help="Hours of streams in which nothing is wrong.  [default: 2160, in real time 0]",
)
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same result.")
@click.option(
    "--class",
    "faults",
    multiple=True,
    type=click.Choice(FAULTS),
    help="Only faults of this class; repeatable.",
)
@click.option(
    "--controls",
    default=2,
    show_default=True,
    type=click.IntRange(0, 1000),
    help="With --fast: worlds of each control without fault, at each venue.",
)
@click.option(
    "--jobs",
    default=2,
    show_default=True,
    type=click.IntRange(1, _JOBS_MAX),
    help="With --fast: processes; they change nothing but how long it takes.",
)
@click.option(
    "--report",
    "path",
    type=click.Path(path_type=Path, dir_okay=False, writable=True),
    help="Write the whole report into this file, too.",
)
@click.option(
    "--journal",
    "journal_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --fast: write each world into this file; what is in it is not played again.",
)
@click.option(
    "--warm-up",
    "warm_up_s",
    default=420.0,
    show_default=True,
    type=click.FloatRange(0.0, 86_400.0),
    help="In real time: seconds before the first fault, in which rhythms are learned.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as one JSON object.")
def command(
    fast: bool,
    injections: int | None,
    clean_hours: float | None,
    seed: int,
    faults: tuple[str, ...],
    controls: int,
    jobs: int,
    path: Path | None,
    journal_path: Path | None,
    warm_up_s: float,
    as_json: bool,
) -> None:
    """Inject the faults F1 to F15 into simulated feeds and score the alerts.

    With --fast, worlds of one simulated venue each run in virtual time: venue, session, frames,
    pipeline and detectors are those of production, the network and Kafka are modelled. Without it,
    simulator, a TCP proxy, producer, Kafka and a Faust worker run in real time; it takes the
    warm-up and some twenty minutes for ten faults of each class.

    Every fault is in a ledger, and alerts are judged by it: what was found, how soon, as what, what
    was missed, and what was invented in clean hours and in controls without fault.
    docs/campaign.md explains the method and the goals. Exit code 0: all goals are met; 1: some are
    not.
    """
    settings = CampaignSettings(
        injections=_FAST[0] if fast and injections is None else injections or 0,
        clean_hours=_FAST[1] if fast and clean_hours is None else clean_hours or 0.0,
        seed=seed,
        faults=faults,
        controls=controls if fast else 0,
        jobs=jobs,
    )
    if not fast and injections is None:
        settings = msgspec.structs.replace(settings, injections=_LIVE_INJECTIONS)
    if not settings.injections and not settings.clean_hours and not settings.controls:
        raise WrongSettings("nothing to play", "Give --injections, --clean-hours or --controls.")
    try:
        journal = None if journal_path is None else Journal(journal_path)
    except OSError as error:
        raise Failure(f"cannot read {journal_path}: {error.strerror}") from error
    found = _run(settings, journal) if fast else _run_live(settings, warm_up_s)
    if path is not None:
        try:
            path.write_text(json.dumps(found, indent=1) + "\n")
        except OSError as error:
            raise Failure(f"cannot write {path}: {error.strerror}") from error
    if as_json:
        click.echo(json.dumps(found, separators=(",", ":")))
    else:
        show(found)
    sys.exit(1 if found["goals_missed"] else 0)


def _run(settings: CampaignSettings, journal: Journal | None) -> dict[str, Any]:
    """Play the campaign and say on standard error how far it is."""
    console = Console(stderr=True)
    columns = (
        TextColumn("worlds"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    said_at = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("")

        def told(done: int, total: int, which: str) -> None:
            nonlocal said_at
            progress.update(task, completed=done, total=total, description=which)
            now = time.monotonic()
            if not console.is_terminal and (now - said_at >= _LINE_S or done == total):
                said_at = now
                click.echo(f"{done} of {total} worlds", err=True)

        return run(settings, told, journal)


def _run_live(settings: CampaignSettings, warm_up_s: float) -> dict[str, Any]:
    """Play the campaign in real time, in a folder that is thrown away."""
    # Kafka's client takes a while to import: `streamgauge --help` should not wait for it.
    from infra.chaos.live_campaign import run_live

    def told(done: int, total: int, what: str) -> None:
        click.echo(f"{done} of {total}: {what}", err=True)

    with tempfile.TemporaryDirectory(prefix="streamgauge-chaos-") as folder:
        return asyncio.run(run_live(settings, Path(folder), warm_up_s=warm_up_s, told=told))


def show(found: dict[str, Any]) -> None:
    """Print a report for people."""
    click.echo(
        f"{'fault':<22} {'n':>5} {'missed':>6} {'median':>8} {'p99':>8} {'max':>8}"
        f" {'right':>6} {'one':>6}  goal"
    )
    for name, each in found["variants"].items():
        delay = each["delay_s"]
        click.echo(
            f"{name:<22} {each['n']:>5} {each['misses']:>6} {_seconds(delay['median'])}"
            f" {_seconds(delay['p99'])} {_seconds(delay['max'])} {each['right']:>6.1%}"
            f" {each['exactly_one']:>6.1%}  {_goal(each)}"
        )
    for name, each in found["controls"].items():
        click.echo(
            f"control {name}: {each['episodes']} episodes, {each['stream_hours']:g} stream-hours,"
            f" {each['alarms']} false alarms"
        )
    click.echo(
        f"{found['injections']} faults ({found['detectable']} with a detector, {found['misses']}"
        f" missed), {found['clean_hours']:g} clean stream-hours, {found['false_alarms']} false"
        f" alarms, hash {found['hash']}"
    )
    for missed in found["goals_missed"]:
        click.echo(f"{click.style('goal missed', fg='red')}: {missed}")
    if not found["goals_missed"]:
        click.echo(click.style("all goals are met", fg="green"))


def _seconds(value: float | None) -> str:
    return f"{'-':>8}" if value is None else f"{value:>6.2f} s"


def _goal(each: dict[str, Any]) -> str:
    if each["goal_met"] is None:
        return "no detector"
    return "met" if each["goal_met"] else "; ".join(each["why_not"])
