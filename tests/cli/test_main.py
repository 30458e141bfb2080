"""The command's frame: help, exit codes, settings on their way to subcommands."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import pytest
from click.testing import CliRunner, Result

from infra.cli import main
from infra.cli.failures import Failure
from infra.local.process import free_port
from infra.runtime.settings import Settings, SettingsError
from infra.version import VERSION

SLOW_TO_LOAD: Final = (
    *("aiohttp", "aiokafka", "asyncio", "chdb", "clickhouse_connect", "fastavro", "faust"),
    *("numpy", "pandas", "rich", "structlog", "websockets"),
)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A folder without settings, and an environment that is restored with all its variables."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("STREAMGAUGE")]:
        del os.environ[name]
    yield
    os.environ.clear()
    os.environ.update(before)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main.command, arguments)


def with_subcommand(monkeypatch: pytest.MonkeyPatch, subcommand: click.Command) -> None:
    """Let `streamgauge sink` be this command."""
    name = "tests.cli.subcommand"
    module = type(sys)(name)
    module.command = subcommand  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(main.COMMANDS, "sink", (name, "A test."))


@click.command()
@click.pass_obj
def show(settings: Settings) -> None:
    """Show a setting."""
    click.echo(settings.sink.block_rows)


def failing(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


def test_help_lists_every_subcommand() -> None:
    result = call("--help")

    assert result.exit_code == 0
    for name, (_, text) in main.COMMANDS.items():
        assert f"  {name} " in result.output
        assert text.split()[0] in result.output


def test_version_is_that_of_the_launcher() -> None:
    assert call("--version").output.strip().endswith(VERSION)


def test_no_subcommand_and_an_unknown_one_are_wrong_usage() -> None:
    assert call().exit_code == 2
    assert call("nothing").exit_code == 2
    assert "No such command" in call("nothing").output


@pytest.mark.parametrize("name", main.COMMANDS)
def test_each_subcommand_explains_itself(name: str) -> None:
    result = call(name, "--help")

    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


def test_help_loads_nothing_that_is_slow_to_load() -> None:
    program = (
        "import resource, sys, streamgauge\n"
        "sys.argv = ['streamgauge', '--help']\n"
        "try: streamgauge.main()\n"
        "except SystemExit: pass\n"
        f"print(*(name for name in {SLOW_TO_LOAD} if name in sys.modules))\n"
        "usage = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(usage.ru_utime + usage.ru_stime)\n"
    )
    folder = Path(main.__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(folder)},
    )
    loaded, seconds = result.stdout.splitlines()[-2:]

    assert loaded == ""
    assert float(seconds) < 0.3


def test_subcommand_gets_the_settings_of_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_subcommand(monkeypatch, show)
    path = tmp_path / "mine.toml"
    path.write_text("[sink]\nblock_rows = 7\n")

    assert call("--config", str(path), "sink").output == "7\n"
    assert os.environ["STREAMGAUGE_CONFIG"] == str(path)


def test_set_overrides_the_file_for_this_process_and_its_children(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_subcommand(monkeypatch, show)
    (tmp_path / "streamgauge.toml").write_text("[sink]\nblock_rows = 7\n")

    assert call("sink").output == "7\n"
    assert call("--set", "sink.block_rows=8", "sink").output == "8\n"
    assert os.environ["STREAMGAUGE__SINK__BLOCK_ROWS"] == "8"


@pytest.mark.parametrize("override", ["sink.block_rows", "block_rows=1", "=1", ""])
def test_set_of_no_key_or_no_value_is_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    with_subcommand(monkeypatch, show)

    result = call("--set", override, "sink")

    assert result.exit_code == 2
    assert "KEY=VALUE" in result.output


@pytest.mark.parametrize("key", ["kafka.sasl_password", "CLICKHOUSE.password"])
def test_set_of_a_secret_is_refused_with_the_variable_that_takes_it(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Everybody on the machine can read the arguments of a process."""
    with_subcommand(monkeypatch, show)

    result = call("--set", f"{key}=hunter2", "sink")

    assert result.exit_code == 2
    assert f"STREAMGAUGE__{key.upper().replace('.', '__')}" in result.stderr
    assert "hunter2" not in result.stderr + result.stdout


def test_wrong_value_of_set_blames_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    with_subcommand(monkeypatch, show)

    said = call("--set", "sink.block_rows=0", "sink").stderr

    assert said.startswith("error: setting sink.block_rows (--set sink.block_rows): is '0'")


def test_wrong_setting_ends_every_subcommand_but_not_its_help(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with_subcommand(monkeypatch, show)
    (tmp_path / "streamgauge.toml").write_text("[sink]\nblock_rows = 0\n")

    result = call("sink")

    assert result.exit_code == 2
    assert result.stderr.startswith("error: setting sink.block_rows")
    assert result.stdout == ""
    assert call("sink", "--help").exit_code == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("sink.x", "is wrong"), 2),
        (ConnectionRefusedError("refused"), 1),
        (TimeoutError(), 1),
        (Failure("lost", "Do this."), 1),
    ],
)
def test_error_that_a_user_can_mend_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    with_subcommand(monkeypatch, failing(error))

    result = call("sink")

    assert result.exit_code == code
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("kind", ["KafkaConnectionError", "KafkaTimeoutError", "StaleMetadata"])
def test_kafka_that_is_away_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from aiokafka import errors

    with_subcommand(monkeypatch, failing(getattr(errors, kind)("Unable to bootstrap")))

    result = call("--set", "kafka.bootstrap=broker:1234", "sink")

    assert result.exit_code == 1
    assert "broker:1234" in result.stderr
    assert "streamgauge kafka" in result.stderr


def test_kafka_that_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiokafka.errors import TopicAuthorizationFailedError

    with_subcommand(monkeypatch, failing(TopicAuthorizationFailedError("raw.kraken")))

    result = call("sink")

    assert result.exit_code == 1
    assert "TopicAuthorizationFailedError: raw.kraken" in result.stderr


def test_libraries_log_nothing_beside_the_command() -> None:
    code = """
import logging
from infra.cli.main import command

try:
    command(["--set", "sink.block_rows=8", "tail", "nothing"], standalone_mode=False)
except Exception:
    logging.getLogger("aiokafka").error("tried in vain")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(main.__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert done.stderr == ""


def test_ctrl_c_before_the_command_is_loaded_ends_it_without_a_word() -> None:
    code = """
import sys, streamgauge

class Interrupted:
    def find_spec(name, path, target=None):
        if name == "infra.cli.main":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupted)
streamgauge.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(main.__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_clickhouse_errors_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

    with_subcommand(monkeypatch, failing(OperationalError("Connection refused")))
    assert "does not answer at http://127.0.0.1:8123" in call("sink").stderr
    with_subcommand(monkeypatch, failing(DatabaseError("Code: 60. DB::Exception: no table")))
    assert "streamgauge migrate" in call("sink").stderr


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (click.ClickException("A stage ended."), 1, "error: A stage ended\n"),
        (
            click.UsageError("No such thing"),
            2,
            "error: No such thing. `command sink --help` explains it.\n",
        ),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_of_click_look_like_ours_and_an_interruption_says_nothing(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str
) -> None:
    with_subcommand(monkeypatch, failing(error))

    result = call("sink")

    assert (result.exit_code, result.stderr) == (code, said)


def test_wrong_option_is_one_line_wherever_it_stands() -> None:
    for arguments in (["--bad"], ["tail", "--bad"]):
        result = call(*arguments)

        assert result.exit_code == 2
        assert result.stderr.startswith("error: No such option")
        assert result.stderr.count("\n") == 1


def test_clickhouse_that_is_away_is_told_without_an_address_of_its_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import clickhouse_connect

    port = free_port()
    with pytest.raises(clickhouse_connect.driver.exceptions.OperationalError) as found:
        clickhouse_connect.get_client(host="127.0.0.1", port=port)
    with_subcommand(monkeypatch, failing(found.value))

    said = call("sink").stderr

    assert "does not answer at http://127.0.0.1:8123: Connection refused. Start it" in said
    assert "query_id" not in said


def test_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    with_subcommand(monkeypatch, failing(KeyError("ours")))

    assert isinstance(call("sink").exception, KeyError)


def test_servers_on_this_machine_are_never_asked_by_way_of_a_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_subcommand(monkeypatch, show)
    monkeypatch.setenv("no_proxy", "example.com")

    call("sink")

    assert os.environ["NO_PROXY"].split(",")[:2] == ["example.com", "127.0.0.1"]
