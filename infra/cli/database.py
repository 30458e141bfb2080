"""ClickHouse for a command that reads: the one of the settings, or what a run on this machine left.

`streamgauge run` takes its ClickHouse with it when it ends, and its data stay. A command that asks
for them afterwards starts the engine on them for as long as it takes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from infra.cli.failures import Failure, clickhouse_away
from infra.runtime.settings import ClickHouseSettings

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

FOLDER: Final = Path("var")
"""Where `streamgauge run` keeps everything unless it is told otherwise."""


@contextmanager
def database(clickhouse: ClickHouseSettings, *, folder: Path | None = None) -> "Iterator[Client]":
    """Connect to the database; `folder` is that of a run, whose own engine is then asked.

    Raises:
        Failure: nothing answers and nothing is left of a run, or another process has its data.
    """
    from clickhouse_connect.driver.exceptions import OperationalError

    if folder is not None:
        with _left_by_a_run(clickhouse, folder) as client:
            yield client
        return
    try:
        client = _connected(clickhouse)
    except OperationalError as error:
        if not _data_of(FOLDER).is_dir():
            raise clickhouse_away(str(error)) from error
    else:
        with client:
            yield client
        return
    with _left_by_a_run(clickhouse, FOLDER) as client:
        yield client


def _data_of(folder: Path) -> Path:
    return folder / "clickhouse"


def _connected(clickhouse: ClickHouseSettings) -> "Client":
    import clickhouse_connect

    from infra.runtime.connections import clickhouse_arguments

    arguments = clickhouse_arguments(clickhouse)
    client: Client = clickhouse_connect.get_client(**arguments, database=clickhouse.database)
    return client


@contextmanager
def _left_by_a_run(clickhouse: ClickHouseSettings, folder: Path) -> "Iterator[Client]":
    from infra.cli.migrate import migrate
    from infra.local.clickhouse.process import ClickHouseServer
    from infra.local.process import ServerError

    if not _data_of(folder).is_dir():
        raise Failure(f"no data of a run in {folder}", "`streamgauge run` makes some.")
    click.echo(f"no ClickHouse runs: starting it on what is in {_data_of(folder)}", err=True)
    try:
        server = ClickHouseServer(_data_of(folder)).start()
    except ServerError as error:
        raise Failure(str(error)) from error
    try:
        here = ClickHouseSettings(host=server.host, port=server.port, database=clickhouse.database)
        # As a run does when it starts: what an older version left lacks the newer views.
        migrate(here)
        with _connected(here) as client:
            yield client
    finally:
        server.stop()
