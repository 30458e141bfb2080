"""`streamgauge produce`: record exchanges' frames into Kafka, until a signal.

Only the command line; the process is `producers.service`.
"""

import click

from infra.cli.failures import Failure
from infra.runtime.settings import load


@click.command(name="produce")
@click.option(
    "--exchange",
    "only",
    multiple=True,
    metavar="NAME",
    help="Only this one of the settings; may be repeated. Otherwise: all that are enabled.",
)
def command(only: tuple[str, ...]) -> None:
    """Record every frame of the exchanges in the settings into Kafka, until Ctrl-C.

    Sockets are opened, kept alive and reopened, and books that cannot be continued are healed. A
    clean end (SIGTERM, Ctrl-C) loses nothing and exits with 0; frames that Kafka could not take
    until then are lost, said so, and exit with 1. `/live`, `/ready` and `/metrics` are at
    runtime.health_port.
    """
    # These bring aiokafka, aiohttp and websockets: `streamgauge --help` should not wait for them.
    from infra.runtime.process import run
    from producers.delivery import TopicMissingError
    from producers.service import UndeliveredError, serve

    settings = load()
    try:
        run(serve(settings, only))
    except TopicMissingError as error:
        raise Failure(f"no topic {error}", "Make them with `streamgauge topics`.") from error
    except UndeliveredError as error:
        raise Failure(str(error)) from error
