"""`streamgauge silence`: what it refuses before it asks Kafka, and how silences read."""

import os
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from core.notify.silences import Matchers, Once, Silence, Weekly
from infra.cli import main
from infra.cli.silence import Duration, _fields, _line, _state

S = 1_000_000_000
NOW = 1_790_000_000 * S


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No settings of this machine, and no Kafka."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("STREAMGAUGE")]:
        del os.environ[name]
    os.environ["STREAMGAUGE__KAFKA__BOOTSTRAP"] = "127.0.0.1:1"
    yield
    os.environ.clear()
    os.environ.update(before)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main.command, ("silence", *arguments))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--for", "1h"), "say what is silent"),
        (("--all", "--kind", "gap", "--for", "1h"), "say what is silent"),
        (("--kind", "gaps", "--for", "1h"), "'gaps' matches none of disconnected"),
        (("--severity", "low", "--for", "1h"), "info, warning, critical"),
        (("--all",), "one of --for and --until"),
        (("--all", "--for", "1h", "--until", "2030-01-01T00:00:00Z"), "one of --for and --until"),
        (("--all", "--for", "soon"), "no duration such as 90m"),
        (("--all", "--for", "0m"), "no duration such as 90m"),
        (("--all", "--until", "2030-01-01T00:00:00"), "no time with its zone"),
        (("--all", "--until", "2020-01-01T00:00:00Z"), "over already"),
        (("--all", "--for", "1h", "--from", "2020-01-01T00:00:00Z"), "in the past"),
        (("--all", "--for", "1h", "--name", "a b"), "--name is at most"),
    ],
)
def test_silence_that_makes_no_sense_is_refused(arguments: tuple[str, ...], said: str) -> None:
    result = call("add", *arguments, "--reason", "r")

    assert result.exit_code == 2
    assert said in result.output


def test_silence_without_kafka_says_so() -> None:
    result = call("add", "--all", "--for", "1h", "--reason", "r")

    assert result.exit_code == 1
    assert "Kafka does not answer at 127.0.0.1:1" in result.output


@pytest.mark.parametrize(
    ("text", "seconds"), [("90m", 5400), ("1d12h", 129_600), ("2h5s", 7205), ("30s", 30)]
)
def test_duration_is_read_as_it_is_said(text: str, seconds: int) -> None:
    assert Duration().convert(text, None, None) == seconds * S


def test_silence_is_past_holds_or_is_to_come() -> None:
    everything = Matchers()
    once = Silence("a", everything, Once(NOW, NOW + S), "")
    weekly = Silence("w", everything, Weekly((0,), 150 * 60 * S, 60 * S), "")

    assert [_state(once, ts) for ts in (NOW - 1, NOW, NOW + S)] == ["to come", "holds", "past"]
    assert _state(weekly, NOW) == "to come"


def test_silence_reads_as_a_line_and_as_fields() -> None:
    silence = Silence("a", Matchers(kinds=("gap",)), Once(NOW, NOW + 3600 * S), "they move")
    weekly = Silence("w", Matchers(), Weekly((1, 6), 150 * 60 * S, 45 * 60 * S), "")

    assert click.unstyle(_line(silence, "added", NOW)) == (
        "holds    a (added)  kind gap  from 2026-09-21T14:13:20Z until 2026-09-21T15:13:20Z:"
        " they move"
    )
    assert click.unstyle(_line(weekly, "settings", NOW)).endswith(
        "weekly, Tuesday, Sunday 02:30 UTC for 45 min"
    )
    assert _fields(silence, "added", NOW)["ends"] == "2026-09-21T15:13:20.000000Z"
    assert "weekly" in _fields(weekly, "settings", NOW)
