"""`streamgauge sink`: one sink worker, until a signal.

Only the command line; the worker is `sinks.worker`.
"""

from typing import Final

import click

from infra.cli.failures import Failure, require_topics
from infra.runtime.settings import Settings
from schemas.topics import DEAD_LETTERS, EVENT_KINDS, event_topic

KINDS: Final = (*EVENT_KINDS, DEAD_LETTERS)


@click.command()
@click.argument(
    "kinds", nargs=-1, type=click.Choice((*EVENT_KINDS, DEAD_LETTERS)), metavar="[KIND]…"
)
@click.pass_obj
def command(settings: Settings, kinds: tuple[str, ...]) -> None:
    """Write events into ClickHouse, each exactly once, until Ctrl-C.

    KIND is trades, books, faults, stability, alerts or dead_letters; without one the worker
    serves all of them. Workers share the partitions of a topic and take over from one that ends.
    `/live`, `/ready` and `/metrics` are at runtime.health_port.
    """
    # The clients take a while to import: `streamgauge --help` should not wait for them.
    from infra.runtime.process import run
    from sinks.memory import keep_small
    from sinks.worker import DatabaseNotReadyError

    keep_small()
    try:
        run(_serve(settings, kinds or KINDS))
    except DatabaseNotReadyError as error:
        raise Failure(str(error), "`streamgauge migrate` makes the database ready.") from error


async def _serve(settings: Settings, kinds: tuple[str, ...]) -> None:
    from infra.runtime.process import Runtime
    from sinks.worker import SinkWorker

    topics = [event_topic(kind, settings.topics.prefix) for kind in (*kinds, DEAD_LETTERS)]
    await require_topics(settings, topics)
    async with Runtime("sink", settings.runtime) as runtime:
        await SinkWorker(settings, runtime, kinds).run()
