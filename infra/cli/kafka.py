"""`streamgauge kafka`: Apache Kafka in the foreground, until Ctrl-C.

Only the command line; the server is `infra.local.kafka`.
"""

from pathlib import Path

import click

from infra.local.foreground import serve
from infra.local.kafka import KafkaServer
from infra.local.process import ServerError


@click.command(name="kafka")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("var/kafka"),
    show_default=True,
    help="Where the log is kept.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9092,
    show_default=True,
    help="Port on 127.0.0.1; 0 takes a free one.",
)
def command(folder: Path, port: int) -> None:
    """Run Apache Kafka on this machine until Ctrl-C.

    The log survives a restart. The first start fetches Kafka (45 MB) and checks every file
    against the SHA-256 in the repository.
    """
    server = KafkaServer(folder, port)
    try:
        serve(server, lambda: click.echo(f"kafka is ready on {server.bootstrap}"))
    except ServerError as error:
        raise click.ClickException(str(error)) from error
