"""`streamgauge query`: SQL to ClickHouse, an aligned table for people, plain lines for programs.

It passes the answer on as it comes, so that a large one takes no memory.
"""

import sys
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from typing import Final

import click
import msgspec

from infra.cli.failures import Failure
from infra.cli.sql import Sql
from infra.runtime.settings import Settings

_TABLE_ROWS_MAX: Final = 1_000
_PIECE_BYTES: Final = 65_536
_NUMBERS: Final = ("Int", "UInt", "Float", "Decimal", "Nullable(Int", "Nullable(UInt")


@click.command()
@click.argument("sql")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each row.")
@click.option("--tsv", "as_tsv", is_flag=True, help="Tab-separated with names, also on a terminal.")
@click.option(
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of {NAME:Type} in the SQL; may be repeated.",
)
@click.pass_obj
def command(
    settings: Settings, sql: str, as_json: bool, as_tsv: bool, parameters: tuple[str, ...]
) -> None:
    """Ask ClickHouse, with SQL in quotes or `-` to read it from standard input.

    A terminal gets a table; a pipe gets tab-separated lines after a line of names. A FORMAT in
    the SQL wins over both.

    \b
      streamgauge query "SELECT symbol, count() FROM trades GROUP BY symbol"
      streamgauge query "SELECT * FROM trades LIMIT 5" --json | jq .price
    """
    if as_json and as_tsv:
        raise click.UsageError("--json and --tsv exclude each other")
    statement = click.get_text_stream("stdin").read() if sql == "-" else sql
    if not statement.strip():
        raise click.UsageError("the SQL is empty")
    values = dict(_named(parameter) for parameter in parameters)
    as_table = sys.stdout.isatty() and not (as_json or as_tsv)
    form = "JSONEachRow" if as_json else "TabSeparatedWithNames"
    if as_table:
        form = "JSONCompactStringsEachRowWithNamesAndTypes"
    with Sql(settings.clickhouse) as connection:
        answer = connection.open(statement, form=form, parameters=values)
        try:
            if as_table and answer.headers.get("X-ClickHouse-Format") == form:
                _print_table(answer)
            else:
                _pass_on(answer)
        except (HTTPException, TimeoutError) as error:
            # An error after the first rows reaches us as an answer without an end.
            raise Failure(f"ClickHouse broke off its answer: {error!r:.200}") from error


def _named(parameter: str) -> tuple[str, str]:
    name, equals, value = parameter.partition("=")
    if not equals or not name.isidentifier():
        raise click.BadParameter(f"{parameter!r} is not NAME=VALUE", param_hint="--param")
    return name, value


def _pass_on(answer: HTTPResponse) -> None:
    out = click.get_binary_stream("stdout")
    while piece := answer.read1(_PIECE_BYTES):
        out.write(piece)
    out.flush()


def _print_table(answer: HTTPResponse) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = _rows(answer)
    names, types = next(rows, []), next(rows, [])
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name, kind in zip(names, types, strict=True):
        table.add_column(Text(name), justify="right" if kind.startswith(_NUMBERS) else "left")
    more = 0
    for row in rows:
        if table.row_count < _TABLE_ROWS_MAX:
            table.add_row(*map(Text, row))
        else:
            more += 1
    # Without a colour system rich leaves out bold and dim, too.
    plain = click.get_current_context().color is False
    console = Console(highlight=False, color_system=None if plain else "auto")
    console.print(table)
    if more:
        console.print(f"… and {more:,} rows more; --tsv or --json prints all", style="dim")


def _rows(answer: HTTPResponse) -> Iterator[list[str]]:
    decoder = msgspec.json.Decoder(list[str])
    for line in answer:
        if line.strip():
            yield decoder.decode(line)
