"""Errors that a user can mend, as one clear line with what to do.

Everything else is a mistake of ours and keeps its traceback. Importing this is cheap: the
clients of Kafka and ClickHouse are looked at only when they are loaded.
"""

import sys
from typing import IO, Any

import click

from infra.runtime.settings.reading import SettingsError, load


class Failure(click.ClickException):
    """Something went wrong that its user can mend: exit code 1."""

    exit_code = 1

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error to standard error, its first word in colour on a terminal."""
        ctx = click.get_current_context(silent=True)
        word = click.style("error:", fg="red", bold=True)
        color = ctx.color if ctx else None
        click.echo(f"{word} {self.message}", file=file, err=file is None, color=color)


class WrongSettings(Failure):
    """A setting or an argument is wrong: exit code 2."""

    exit_code = 2


def as_failure(error: Exception) -> Failure | None:
    """Return the failure that says what to do about `error`, None where it is our mistake."""
    if isinstance(error, SettingsError):
        return WrongSettings(f"setting {error}")
    if _is(error, "aiokafka.errors", "KafkaConnectionError"):
        return kafka_away()
    if _is(error, "clickhouse_connect.driver.exceptions", "OperationalError"):
        return clickhouse_away(str(error))
    if isinstance(error, ConnectionError | TimeoutError):
        return Failure(f"no connection: {error or type(error).__name__}")
    return None


def kafka_away() -> Failure:
    """Return the failure of a Kafka that does not answer."""
    kafka = load().kafka
    return Failure(
        f"Kafka does not answer at {kafka.bootstrap} ({kafka.security_protocol}). Start it with "
        "`streamgauge run` or `streamgauge kafka`, or set kafka.bootstrap; "
        "`streamgauge doctor` tells more."
    )


def clickhouse_away(reason: str = "") -> Failure:
    """Return the failure of a ClickHouse that does not answer."""
    clickhouse = load().clickhouse
    scheme = "https" if clickhouse.secure else "http"
    detail = f": {reason.splitlines()[0][:200]}" if reason else ""
    return Failure(
        f"ClickHouse does not answer at {scheme}://{clickhouse.host}:{clickhouse.port}{detail}. "
        "Start it with `streamgauge run` or `streamgauge clickhouse`, or set clickhouse.host and "
        "clickhouse.port; `streamgauge doctor` tells more."
    )


def _is(error: Exception, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, getattr(loaded, name))
