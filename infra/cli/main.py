"""The `streamgauge` command: its options, the list of its subcommands, and its exit codes.

Subcommands are imported when they are called, so that `--help` is quick. Exit codes: 0 done, 1
it failed, 2 the arguments or settings are wrong, 130 cut off by Ctrl-C. Those that run on until
then (`run`, `kafka`, `clickhouse`, `simulate` and the stages) end by themselves and with 0.
"""

import importlib
import logging
import os
from typing import Any, Final

import click

from infra.cli.failures import as_failure, in_our_look
from infra.runtime.settings.reading import (
    FILE_VARIABLE,
    PREFIX,
    SettingsError,
    is_secret,
    load,
)
from infra.runtime.settings.sections import Settings
from infra.version import VERSION

COMMANDS: Final = {
    "run": ("infra.cli.run", "Run the whole pipeline on this machine."),
    "kafka": ("infra.cli.kafka", "Run Apache Kafka on this machine."),
    "clickhouse": ("infra.cli.clickhouse", "Run the ClickHouse engine on this machine."),
    "simulate": ("infra.cli.simulate", "Run simulated exchanges whose truth is known."),
    "produce": ("infra.cli.produce", "Record exchanges' frames into Kafka."),
    "process": ("infra.cli.process", "Turn raw frames into trades, books and statistics."),
    "sink": ("infra.cli.sink", "Write events into ClickHouse, each once."),
    "notify": ("infra.cli.notify", "Deliver alerts to people, each incident once."),
    "silence": ("infra.cli.silence", "Hold alerts back for a while."),
    "topics": ("infra.cli.topics", "Make and check the Kafka topics."),
    "migrate": ("infra.cli.migrate", "Make and update the ClickHouse tables."),
    "status": ("infra.cli.status", "Show what can be relied on right now, and why not."),
    "report": ("infra.cli.report", "Write the quality report of a day."),
    "bundle": ("infra.cli.bundle", "Put an incident into one file that replays to its alert."),
    "query": ("infra.cli.query", "Ask ClickHouse with SQL."),
    "tail": ("infra.cli.tail", "Show the newest records of a topic, decoded."),
    "rebuild": ("infra.cli.rebuild", "Rebuild books from recorded frames."),
    "replay": ("infra.cli.replay", "Recompute events from raw topics and compare."),
    "chaos": ("infra.cli.chaos", "Inject faults and score the alerts."),
    "reconcile": ("infra.cli.reconcile", "Prove that every record became rows, once."),
    "doctor": ("infra.cli.doctor", "Check settings, servers, symbols and clock."),
}
"""Name of each subcommand, its module, and its line in the help."""

_HELP_OPTIONS: Final = ["-h", "--help"]
_HELP_ASKED: Final = "streamgauge.help_asked"
_INTERRUPTED: Final = 130
_DIRECT: Final = "127.0.0.1,localhost,::1"


class Commands(click.Group):
    """The subcommands of `COMMANDS`, imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the pipeline."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one subcommand, None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        found: click.Command = module.command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of subcommands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note whether help is asked for: it is given even where the settings are wrong."""
        ctx.meta[_HELP_ASKED] = any(option in args for option in _HELP_OPTIONS)
        return super().parse_args(ctx, args)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Read the options before the subcommand; wrong ones end in one line, too."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.ClickException as error:
            raise in_our_look(error) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run a subcommand; what its user can mend ends in one line and an exit code."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            raise in_our_look(error) from error
        except KeyboardInterrupt:
            # Cut off on purpose: no word about it, and the code that a shell gives it.
            raise click.exceptions.Exit(_INTERRUPTED) from None
        except Exception as error:
            if failure := as_failure(error):
                raise failure from error
            raise


@click.command(cls=Commands, context_settings={"help_option_names": _HELP_OPTIONS})
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    help="Settings file. Otherwise: $STREAMGAUGE_CONFIG, streamgauge.toml, var/run.toml.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one setting, as in --set sink.block_rows=1000; may be repeated.",
)
@click.version_option(VERSION, message="%(prog)s %(version)s")
@click.pass_context
def command(ctx: click.Context, config: str | None, overrides: tuple[str, ...]) -> None:
    """Record crypto market data, measure how far to trust it, and ask for it in SQL.

    `streamgauge run` starts everything on this machine. `streamgauge COMMAND --help` explains
    one command.
    """
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    # A process that runs on has logs; for all others an error is one line of ours, and not also
    # what the client of Kafka says about every try.
    logging.getLogger().addHandler(logging.NullHandler())
    _keep_this_machine_direct()
    given = _put_in_environment(config, overrides)
    # The doctor reports wrong settings itself, as one finding among others.
    if ctx.invoked_subcommand != "doctor":
        ctx.obj = _settings(given, help_asked=ctx.meta[_HELP_ASKED])


def _put_in_environment(config: str | None, overrides: tuple[str, ...]) -> dict[str, str]:
    """Let settings travel in the environment: processes that a subcommand starts have them too.

    Returns the variables of `overrides`, each with the option that a message should name.
    """
    if config:
        os.environ[FILE_VARIABLE] = config
    given = {}
    for override in overrides:
        key, equals, value = override.partition("=")
        key = key.strip().lower()
        if not equals or "." not in key:
            raise click.BadParameter(f"{override!r} is not KEY=VALUE", param_hint="--set")
        variable = PREFIX + key.upper().replace(".", "__")
        if is_secret(key):
            # Everybody on this machine can read the arguments of a process.
            advice = f"is a secret: set it in the environment, {variable}"
            raise SettingsError(key, advice, source="--set")
        os.environ[variable] = value
        given[variable] = f"--set {key}"
    return given


def _settings(given: dict[str, str], *, help_asked: bool) -> Settings | None:
    try:
        return load()
    except SettingsError as error:
        if help_asked:
            return None
        if option := given.get(error.source):
            raise SettingsError(
                error.key, error.problem, allowed=error.allowed, source=option
            ) from None
        raise


def _keep_this_machine_direct() -> None:
    """Let no client ask a proxy for servers on this machine, whatever the environment says."""
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    if direct != "*":
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [direct, _DIRECT]))
