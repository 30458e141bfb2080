"""`streamgauge migrate`: make the database and bring its tables to this version.

Only what talks to ClickHouse; which migrations there are is `schemas.migrations`. Two runs at the
same moment are harmless: every statement may be repeated, and a migration is recorded only after
all its statements have succeeded, by a row that replaces its like.
"""

from typing import Any

import click
import msgspec

from infra.cli.failures import Failure
from infra.runtime.settings import ClickHouseSettings, Settings
from schemas.migrations import (
    HISTORY_DDL,
    HISTORY_TABLE,
    Applied,
    Migration,
    MigrationError,
    migrations,
    pending,
)


class Outcome(msgspec.Struct, frozen=True):
    """What was or, after a dry run, would be done. Names of migrations, in order."""

    database: str
    created: bool
    applied: list[str]
    known: int
    dry_run: bool


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be applied and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def command(settings: Settings, dry_run: bool, as_json: bool) -> None:
    """Make the ClickHouse database and apply the migrations that it lacks.

    A migration is applied once and recorded in the table schema_migrations. A file that was
    changed after it was applied is refused. It may be run at any time, also twice at once.
    """
    try:
        outcome = migrate(settings.clickhouse, dry_run=dry_run)
    except MigrationError as error:
        raise Failure(str(error), "Nothing was changed.") from error
    if as_json:
        click.echo(msgspec.json.encode(outcome))
    else:
        _print(outcome)


def migrate(clickhouse: ClickHouseSettings, *, dry_run: bool = False) -> Outcome:
    """Apply to the database what it lacks.

    Raises:
        MigrationError: an applied file was changed, or the database is ahead of this version.
        clickhouse_connect's Error: ClickHouse does not answer, or refuses a statement.
    """
    import clickhouse_connect

    from infra.runtime.connections import clickhouse_arguments

    known = migrations()
    arguments = clickhouse_arguments(clickhouse)
    with clickhouse_connect.get_client(**arguments, database="") as client:
        created = not _exists(client, clickhouse.database)
        if created and not dry_run:
            client.command(f"CREATE DATABASE IF NOT EXISTS {clickhouse.database}")
    if created and dry_run:
        waiting = pending(known, [])
    else:
        with clickhouse_connect.get_client(**arguments, database=clickhouse.database) as client:
            waiting = pending(known, _applied(client))
            if not dry_run:
                _apply(client, waiting)
    return Outcome(
        database=clickhouse.database,
        created=created,
        applied=[migration.name for migration in waiting],
        known=len(known),
        dry_run=dry_run,
    )


def _exists(client: Any, database: str) -> bool:
    sql = "SELECT count() FROM system.databases WHERE name = {name:String}"
    return bool(client.query(sql, parameters={"name": database}).result_rows[0][0])


def _applied(client: Any) -> list[Applied]:
    sql = f"EXISTS TABLE {HISTORY_TABLE}"
    if not client.query(sql).result_rows[0][0]:
        return []
    rows = client.query(f"SELECT number, name, checksum FROM {HISTORY_TABLE} FINAL").result_rows
    return [Applied(*row) for row in rows]


def _apply(client: Any, waiting: list[Migration]) -> None:
    client.command(HISTORY_DDL)
    for migration in waiting:
        for statement in migration.statements:
            client.command(statement)
        client.insert(
            HISTORY_TABLE,
            [(migration.number, migration.name, migration.checksum)],
            column_names=["number", "name", "checksum"],
            column_type_names=["UInt32", "String", "String"],
        )


def _print(outcome: Outcome) -> None:
    verb = "would make" if outcome.dry_run else "made"
    if outcome.created:
        click.echo(f"{verb} database {outcome.database}")
    verb = "would apply" if outcome.dry_run else "applied"
    for name in outcome.applied:
        click.echo(f"{verb} {click.style(name, bold=True)}")
    if not outcome.applied:
        click.echo(f"database {outcome.database} has all {outcome.known} migrations")
