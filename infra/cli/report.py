"""`streamgauge report`: the quality of one day, as a page, as text or as JSON.

Only arguments and files; what the report says is `infra.report`'s.
"""

from datetime import date
from pathlib import Path
from typing import Any

import click
import msgspec

from infra.cli.database import database
from infra.cli.failures import Failure
from infra.runtime.settings import Settings
from infra.version import VERSION


class Day(click.ParamType):
    """A day such as 2026-11-23."""

    name = "day"

    def convert(self, value: Any, param: Any, ctx: Any) -> date:
        """Read the day."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day like 2026-11-23", param, ctx)


@click.command()
@click.argument("day", type=Day(), required=False)
@click.option("--text", "as_text", is_flag=True, help="Print it as plain text.")
@click.option("--json", "as_json", is_flag=True, help="Print all its figures as one JSON object.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of the page; report-DAY.html in this folder otherwise, - for standard output.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Of a `streamgauge run` that has ended: report from the data that it left.",
)
@click.pass_obj
def command(
    settings: Settings,
    day: date | None,
    as_text: bool,
    as_json: bool,
    output: Path | None,
    folder: Path | None,
) -> None:
    """Write the quality report of DAY (UTC), such as 2026-11-23; of the last day with data if it is
    left out.

    The page is one HTML file that needs nothing else: what was covered, clean and verified, scores
    and latency over the day, outages, incidents with their cause and cost, what was lost and made
    good, and whether the sinks' accounts add up. Where no ClickHouse answers, the data that
    `streamgauge run` left in var/ are read.
    """
    if as_text + as_json + (output is not None) > 1:
        raise click.UsageError("--text, --json and --output exclude one another")
    # Both take a while to import: `streamgauge --help` should not wait for them.
    from infra.report.day import last_day, read_day
    from infra.report.page import page
    from infra.report.text import text

    with database(settings.clickhouse, folder=folder) as client:
        wanted = day or last_day(client)
        if wanted is None:
            raise Failure("nothing is recorded yet", "`streamgauge run --seconds 60` does.")
        found = read_day(client, wanted, version=VERSION)
    if as_text:
        click.echo(text(found), nl=False)
    elif as_json:
        click.echo(msgspec.json.encode(found))
    elif output == Path("-"):
        click.echo(page(found), nl=False)
    else:
        file = output or Path(f"report-{wanted}.html")
        try:
            file.write_text(page(found), encoding="utf-8")
        except OSError as error:
            raise Failure(f"{file} cannot be written: {error.strerror}") from error
        click.echo(f"wrote {file}: {len(found.streams)} streams, {len(found.incidents)} incidents")
