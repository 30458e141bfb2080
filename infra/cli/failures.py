"""Errors that a user can mend, as one clear line with what to do.

Everything else is a mistake of ours and keeps its traceback. Importing this is cheap: the
clients of Kafka and ClickHouse are looked at only when they are loaded.
"""

import re
import sys
from collections.abc import Iterable
from typing import IO, Any, Final

import click

from infra.runtime.reasons import cause
from infra.runtime.settings import Settings
from infra.runtime.settings.reading import SettingsError, load

_CODE: Final = re.compile(r"[Cc]ode:? ?([0-9]+)")
_MIGRATE: Final = "`streamgauge migrate` makes the database and its tables."
_LOGIN: Final = "Set clickhouse.user and STREAMGAUGE__CLICKHOUSE__PASSWORD."
_ADVICE: Final = {60: _MIGRATE, 81: _MIGRATE, 192: _LOGIN, 193: _LOGIN, 194: _LOGIN, 516: _LOGIN}
"""What to do about an error of ClickHouse, by its code."""


class Failure(click.ClickException):
    """Something went wrong that its user can mend, with what to do: exit code 1."""

    exit_code = 1

    def __init__(self, problem: str, advice: str = "") -> None:
        self.problem = problem
        self.advice = advice
        end = "" if problem.endswith(("?", "!")) else "."
        super().__init__(f"{problem}{end} {advice}" if advice else problem)

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the error to standard error, its first word in colour on a terminal."""
        ctx = click.get_current_context(silent=True)
        word = click.style("error:", fg="red", bold=True)
        color = ctx.color if ctx else None
        click.echo(f"{word} {self.message}", file=file, err=file is None, color=color)


class WrongSettings(Failure):
    """A setting or an argument is wrong: exit code 2."""

    exit_code = 2


def in_our_look(error: click.ClickException) -> click.ClickException:
    """Return an error of click's as one line like those of ours, its exit code kept."""
    if isinstance(error, Failure | click.exceptions.NoArgsIsHelpError):
        return error
    ctx = error.ctx if isinstance(error, click.UsageError) else None
    advice = f"`{ctx.command_path} --help` explains it." if ctx else ""
    failure = Failure(error.format_message().rstrip("."), advice)
    failure.exit_code = error.exit_code
    return failure


def as_failure(error: Exception) -> Failure | None:
    """Return the failure that says what to do about `error`, None where it is our mistake."""
    if isinstance(error, SettingsError):
        return WrongSettings(f"setting {error}")
    away = ("KafkaConnectionError", "KafkaTimeoutError", "NodeNotReadyError", "StaleMetadata")
    if any(_is(error, "aiokafka.errors", name) for name in away):
        return kafka_away()
    if _is(error, "aiokafka.errors", "KafkaError"):
        return Failure(f"Kafka: {error}")
    if _is(error, "clickhouse_connect.driver.exceptions", "OperationalError"):
        return clickhouse_away(str(error))
    if _is(error, "clickhouse_connect.driver.exceptions", "DatabaseError"):
        return clickhouse_refuses(str(error))
    if isinstance(error, BrokenPipeError):
        # The reader of our output has left, as `head` does: click ends quietly.
        return None
    if isinstance(error, ConnectionError | TimeoutError):
        return Failure(f"no connection: {error or type(error).__name__}")
    return None


async def require_topics(settings: Settings, topics: Iterable[str]) -> None:
    """Refuse to wait for topics that nobody has made.

    Raises:
        Failure: some are missing.
        KafkaError: Kafka does not answer.
    """
    from infra.runtime.topics import missing_topics

    if missing := await missing_topics(settings.kafka, topics):
        raise Failure(f"no topic {', '.join(missing)}", "Make them with `streamgauge topics`.")


def kafka_away() -> Failure:
    """Return the failure of a Kafka that does not answer."""
    kafka = load().kafka
    return Failure(
        f"Kafka does not answer at {kafka.bootstrap} ({kafka.security_protocol})",
        "Start it with `streamgauge run` or `streamgauge kafka`, or set kafka.bootstrap, "
        "kafka.security_protocol and the login to those of your broker.",
    )


def clickhouse_away(reason: str = "") -> Failure:
    """Return the failure of a ClickHouse that does not answer."""
    clickhouse = load().clickhouse
    scheme = "https" if clickhouse.secure else "http"
    detail = f": {cause(reason)}" if reason else ""
    return Failure(
        f"ClickHouse does not answer at {scheme}://{clickhouse.host}:{clickhouse.port}{detail}",
        "Start it with `streamgauge run` or `streamgauge clickhouse`, or set clickhouse.host and "
        "clickhouse.port to those of your server.",
    )


def clickhouse_refuses(message: str) -> Failure:
    """Return the failure of a statement that ClickHouse answers with an error."""
    code = _CODE.search(message)
    advice = _ADVICE.get(int(code.group(1)), "") if code else ""
    return Failure(f"ClickHouse: {' '.join(message.split())[:500]}", advice)


def _is(error: Exception, module: str, name: str) -> bool:
    loaded = sys.modules.get(module)
    return loaded is not None and isinstance(error, getattr(loaded, name))
