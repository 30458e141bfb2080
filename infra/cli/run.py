"""`streamgauge run`: the whole pipeline on this machine."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
import msgspec

from infra.cli.failures import Failure
from infra.local.process import ServerError
from infra.run.pipeline import CONFIG_NAME, LocalPipeline, Report, StageEndedError
from infra.run.screen import Screen
from infra.runtime.settings import Settings, find_file, load
from infra.runtime.settings.reading import FILE_VARIABLE, PREFIX

INTERRUPTED: Final = 130
"""Exit code of a run that was interrupted before it could report (128 + SIGINT)."""

ONE_REQUEST_S: Final = 1.0
"""Signals this close together are one request: make hands on what its whole group was sent, s."""
PARENT_LOOK_S: Final = 0.5
"""How often `--with-parent` looks whether the parent is there, s."""


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
@click.option(
    "--with-parent", is_flag=True, help="End in order, too, when what started it has ended."
)
def command(
    seconds: int | None, folder: Path, symbols: int, rate: float, seed: int, with_parent: bool
) -> None:
    """Run everything on this machine: Kafka, ClickHouse, simulated exchanges and all stages.

    The last line on standard output is one JSON object that says what was moved and whether it
    equals the simulator's truth. Exit code 0 only if it does. Ctrl-C ends the run in order; a
    second one does not wait for the end.
    """
    settings = _settings(folder)
    parent = os.getppid() if with_parent else None
    pipeline = LocalPipeline(
        folder.absolute(), settings, symbols=symbols, rate=rate, seed=seed, screen=Screen()
    )
    report = asyncio.run(_run(pipeline, seconds, parent))
    if report is None:
        left = ": what Kafka has is stored by the next run" if pipeline.produced else ""
        click.echo(f"interrupted{left}", err=True)
        sys.exit(INTERRUPTED)
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    sys.stdout.flush()
    sys.exit(0 if report.ok else 1)


def _settings(folder: Path) -> Settings:
    """Return the user's settings, and keep them from the processes that are started.

    Those read the file of this run, which has all of them with the addresses on this machine: an
    address in the environment would win over it. The file of a run, killed or going on beside this
    one, is no setting of this one.
    """
    file = find_file()
    if file is not None and file.name == CONFIG_NAME:
        rest = {name: value for name, value in os.environ.items() if name != FILE_VARIABLE}
        settings = load(environ=rest, folder=folder)
    else:
        settings = load()
    for name in list(os.environ):
        if name == FILE_VARIABLE or name.startswith(PREFIX):
            del os.environ[name]
    return settings


async def _run(pipeline: LocalPipeline, seconds: int | None, parent: int | None) -> Report | None:
    """Run to the end; None where an interrupt did not wait for it."""
    stop = asyncio.Event()
    running = asyncio.create_task(pipeline.run(seconds, stop))
    loop = asyncio.get_running_loop()
    asked_at = float("-inf")

    def interrupt() -> None:
        # The first one ends the run in order. While it starts there is nothing to bring to an
        # end, and whoever asks again while it ends does not want to wait.
        nonlocal asked_at
        since, asked_at = asked_at, loop.time()
        if asked_at - since < ONE_REQUEST_S:
            return
        if pipeline.looking and not stop.is_set():
            stop.set()
        else:
            running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    watching = None if parent is None else loop.create_task(_watch(parent, stop, interrupt))
    try:
        return await running
    except asyncio.CancelledError:
        return None
    except (ServerError, StageEndedError) as error:
        pipeline.screen.close()
        raise Failure(str(error)) from error
    finally:
        if watching is not None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching


async def _watch(parent: int, stop: asyncio.Event, interrupt: Callable[[], None]) -> None:
    """End the run when the parent is gone: nobody is left who could."""
    while os.getppid() == parent:  # noqa: ASYNC110 - the system gives no event of it
        await asyncio.sleep(PARENT_LOOK_S)
    if not stop.is_set():
        interrupt()
