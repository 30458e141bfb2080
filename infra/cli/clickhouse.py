"""`streamgauge clickhouse`: the ClickHouse engine behind HTTP in the foreground, until Ctrl-C.

Only the command line; the server is `infra.local.clickhouse`.
"""

from pathlib import Path

import click

from infra.local.clickhouse.process import PASSWORD_VARIABLE, ClickHouseServer
from infra.local.foreground import serve
from infra.local.process import ServerError


@click.command(name="clickhouse")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("var/clickhouse"),
    show_default=True,
    help="Where the data is kept.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8123,
    show_default=True,
    help="Port on 127.0.0.1; 0 takes a free one.",
)
@click.option(
    "--password",
    envvar=PASSWORD_VARIABLE,
    show_envvar=True,
    default=None,
    help="Password of the user 'default'; without one any program on this machine is let in.",
)
def command(folder: Path, port: int, password: str | None) -> None:
    """Run ClickHouse on this machine until Ctrl-C.

    This is the ClickHouse engine (chDB) behind ClickHouse's HTTP interface, for
    clickhouse-connect, curl and Grafana. The data survives a restart.
    """
    server = ClickHouseServer(folder, port, password)
    try:
        serve(server, lambda: click.echo(f"clickhouse is ready on {server.url}"))
    except ServerError as error:
        raise click.ClickException(str(error)) from error
