"""`streamgauge chaos`: small campaigns, what they print, and what they refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from infra.chaos.campaign import CampaignSettings, report
from infra.chaos.journal import Journal
from infra.chaos.ledger import Injection, Observed, Target
from infra.chaos.rehearsal import Plan, Played
from infra.cli import main
from infra.cli.chaos import show


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main.command, ["chaos", *arguments])


def played(*, alerts: list[Observed] | None = None, **plan: Any) -> Played:
    injections = [
        Injection(
            id=1,
            fault="F13",
            variant="step",
            exchange="kraken",
            shard="kraken-0",
            channels=("book",),
            symbol="BTC/USD",
            target=Target((), ()),
            ts_start=1,
            ts_end=2,
            ts_effect=1,
        )
    ]
    made = Plan(exchange="kraken", seed="1:kraken:0", **plan)
    return Played(
        plan=made,
        injections=injections if made.scenarios else [],
        alerts=alerts or [],
        stream_s=7200.0,
        connection_s=720.0,
        frames=100,
        digest="00",
        control_episodes=3 if made.control else 0,
    )


def test_small_clean_campaign_ends_with_one_object_and_is_continued(tmp_path: Path) -> None:
    arguments = [
        *("--fast", "--injections", "0", "--clean-hours", "0.5", "--controls", "0"),
        *("--jobs", "1", "--journal", str(tmp_path / "journal"), "--json"),
        *("--report", str(tmp_path / "report")),
    ]
    first = call(*arguments)
    lines = (tmp_path / "journal").read_bytes()
    again = call(*arguments)

    found = json.loads(first.stdout)
    assert first.exit_code == 0, first.output
    assert found["clean_hours"] >= 0.5
    assert found["false_alarms"] == found["injections"] == found["misses"] == 0
    assert found["goals_missed"] == []
    assert {"diagnosis", "alerts_per_fault", "delay_s", "hash"} <= found.keys()
    assert json.loads((tmp_path / "report").read_text()) == found
    assert json.loads(again.stdout) == found
    assert (tmp_path / "journal").read_bytes() == lines, "nothing was played twice"


def test_journal_knows_worlds_of_its_own_code_only(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    mine, other = played(clean_s=60.0), played(control="night lull")
    journal = Journal(path)
    journal.add(mine)
    journal.add(other)
    text = path.read_text()
    path.write_text(text.replace('"code":"', '"code":"0', 1) + '{"code": "cut of')

    read = Journal(path)

    assert read.find(mine.plan) is None
    assert read.find(other.plan) == other


def test_report_names_classes_without_detector_and_hours_that_are_missing() -> None:
    settings = CampaignSettings(clean_hours=3.0)
    worlds = [played(scenarios=("F13 step",)), played(clean_s=60.0), played(control="10x burst")]

    found = report(settings, worlds)

    assert found["goals_missed"] == [
        "F13: no detector looks for it",
        "clean hours 2.0, asked for 3",
    ]
    assert (found["injections"], found["detectable"], found["misses"]) == (1, 0, 0)
    assert found["controls"]["10x burst"]["episodes"] == 3
    assert found["confusion"] == {"F13 step": {"none": 1}}


def test_report_is_shown_with_what_is_missed(capsys: pytest.CaptureFixture[str]) -> None:
    show(report(CampaignSettings(clean_hours=0.0), [played(scenarios=("F13 step",))]))

    shown = capsys.readouterr().out
    assert "F13 step" in shown
    assert "no detector" in shown
    assert "goal missed" in shown


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("--injections", "0"), "nothing to play"),
        (("--fast", "--class", "F16"), "'F16' is not one of"),
        (("--fast", "--jobs", "0"), "0 is not in the range"),
        (
            ("--fast", "--injections", "0", "--clean-hours", "0", "--controls", "0"),
            "nothing to play",
        ),
    ],
)
def test_what_cannot_be_played_is_refused(arguments: tuple[str, ...], problem: str) -> None:
    result = call(*arguments)

    assert result.exit_code == 2
    assert problem in result.output


def test_journal_that_is_a_folder_is_refused(tmp_path: Path) -> None:
    result = call("--fast", "--journal", str(tmp_path))

    assert result.exit_code == 2
    assert "is a directory" in result.output
