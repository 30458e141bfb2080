"""`streamgauge process`: one processor worker, until a signal.

Only the command line; the worker is `processors.worker`.
"""

import asyncio

import click

from infra.cli.failures import require_topics
from infra.runtime.logs import logger
from infra.runtime.settings import load


@click.command(name="process")
def command() -> None:
    """Turn raw frames into trades, books, faults and stability, until Ctrl-C.

    One process is one worker. Start as many as there are raw partitions: they share the
    partitions, and take over from one that ends. `/live`, `/ready` and `/metrics` are at
    runtime.health_port. The same worker runs under `faust -A processors.app worker`.
    """
    # Faust takes a second to import: `streamgauge --help` should not wait for it.
    from processors.worker import create_app, run_worker

    settings = load()
    app = create_app(settings)
    asyncio.run(require_topics(settings, app.topic_names))
    try:
        run_worker(app)
    except SystemExit as end:
        if not end.code:
            logger(__name__).info("stopped")
        raise
