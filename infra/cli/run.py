"""`streamgauge run`: the whole pipeline on this machine."""

import asyncio
import signal
import sys
from pathlib import Path

import click
import msgspec

from infra.local.process import ServerError
from infra.run.pipeline import CONFIG_NAME, LocalPipeline, Report, StageEndedError
from infra.run.screen import Screen
from infra.runtime.settings import Settings, load


@click.command()
@click.option("--seconds", type=click.IntRange(1), help="End after this long; else on Ctrl-C.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var"),
    show_default=True,
    help="Where all state lives; a second run continues on it.",
)
@click.option("--symbols", type=click.IntRange(1, 500), default=5, show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(1, 100_000),
    default=300.0,
    show_default=True,
    help="Book events per second over all venues.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the simulated markets.")
def command(seconds: int | None, folder: Path, symbols: int, rate: float, seed: int) -> None:
    """Run everything on this machine: Kafka, ClickHouse, simulated exchanges and all stages.

    The last line on standard output is one JSON object that says what was moved and whether it
    equals the simulator's truth. Exit code 0 only if it does.
    """
    # A run that was killed leaves its addresses behind; they are not a setting of this one.
    (folder / CONFIG_NAME).unlink(missing_ok=True)
    settings = load()
    report = asyncio.run(_run(settings, seconds, folder.absolute(), symbols, rate, seed))
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.stdout.flush()
    sys.exit(0 if report.ok else 1)


async def _run(
    settings: Settings, seconds: int | None, folder: Path, symbols: int, rate: float, seed: int
) -> Report:
    screen = Screen()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    pipeline = LocalPipeline(folder, settings, symbols=symbols, rate=rate, seed=seed, screen=screen)
    try:
        return await pipeline.run(seconds, stop)
    except (ServerError, StageEndedError) as error:
        screen.close()
        raise click.ClickException(str(error)) from error
