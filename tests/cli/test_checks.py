"""The doctor's judgement, without servers: clocks, topics, disk and settings."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.cli.checks import Status
from infra.cli.checks.clock import Bounds, bounds, judge
from infra.cli.checks.machine import check_disk, check_settings
from infra.cli.checks.receivers import check_receivers
from infra.cli.checks.servers import check_kafka, check_topics
from infra.local.process import free_port
from infra.runtime.settings import KafkaSettings, Settings, load
from schemas.topics import TopicPlan


def plan(name: str, partitions: int) -> TopicPlan:
    return TopicPlan(
        name=name,
        schema="trade_batch",
        partitions=partitions,
        replication_factor=1,
        retention_ms=1,
        max_message_bytes=1,
    )


def described(name: str, leaders: list[int], error_code: int = 0) -> dict[str, Any]:
    partitions = [{"partition": n, "leader": leader} for n, leader in enumerate(leaders)]
    return {"topic": name, "error_code": error_code, "partitions": partitions}


@given(
    st.floats(-100, 100),
    st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)), min_size=1, max_size=9),
    st.integers(0, 2**32),
)
def test_clock_bounds_hold_the_true_skew(
    skew: float, delays: list[tuple[float, float]], seed: int
) -> None:
    """Whatever the delays of question and answer, the true skew is within the bounds."""
    moment, total = 1_000.0 + random.Random(seed).random(), Bounds()
    for question, answer in delays:
        theirs = moment + question + skew
        second = float(int(theirs))
        total = total.cut(bounds(moment, moment + question + answer, second, second + 1))
        moment += question + answer + 0.17

    assert total.least - 1e-6 <= skew <= total.most + 1e-6


@pytest.mark.parametrize(
    ("least", "most", "status"),
    [
        (-0.002, 0.003, Status.OK),
        (-0.5, 0.5, Status.OK),
        (0.2, 0.3, Status.WARNING),
        (-0.3, -0.2, Status.WARNING),
        (5.0, 5.1, Status.FAILED),
        (-9.0, -8.0, Status.FAILED),
    ],
)
def test_clock_is_judged_by_the_skew_that_is_certain(
    least: float, most: float, status: Status
) -> None:
    finding = judge("kraken", [Bounds(least, most)])

    assert finding.status is status
    assert bool(finding.advice) is (status is not Status.OK)


def test_clock_that_jumps_is_a_warning() -> None:
    assert judge("kraken", [Bounds(0, 1), Bounds(5, 6)]).status is Status.WARNING


def test_topics_as_planned_are_ok() -> None:
    (finding,) = check_topics([plan("trades", 2)], [described("trades", [1, 1])])

    assert finding.status is Status.OK


def test_topics_that_are_missing_leaderless_or_different_are_found() -> None:
    findings = check_topics(
        [plan("trades", 2), plan("books", 2), plan("faults", 2), plan("alerts", 1)],
        [described("trades", [1, -1]), described("books", [1]), described("faults", [], 3)],
    )

    assert [finding.status for finding in findings] == [
        Status.FAILED,
        Status.WARNING,
        Status.FAILED,
    ]
    assert "[1]" in findings[0].found
    assert "1 partitions, settings say 2" in findings[1].found
    assert findings[2].found == "missing: faults, alerts"


def test_disk_of_a_folder_that_is_not_there_yet_is_that_of_its_parent(tmp_path: Path) -> None:
    finding = check_disk(tmp_path / "var" / "kafka")

    assert finding.found.endswith(str(tmp_path))


def test_wrong_settings_are_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMGAUGE__SINK__BLOCK_ROWS", "0")

    settings, findings = check_settings()

    assert settings is None
    assert [finding.status for finding in findings] == [Status.FAILED]


def test_settings_that_starve_a_restarted_worker_are_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STREAMGAUGE__EXCHANGES__KRAKEN__SYMBOLS", "BTC/USD")
    monkeypatch.setenv("STREAMGAUGE__PRODUCER__SNAPSHOT_INTERVAL_S", "100")
    monkeypatch.setenv("STREAMGAUGE__PROCESSOR__WARMUP_S", "200")

    _, findings = check_settings()

    assert [finding.check for finding in findings if finding.advice] == ["warmup"]

    monkeypatch.setenv("STREAMGAUGE__PRODUCER__SNAPSHOT_INTERVAL_S", "10")
    monkeypatch.setenv("STREAMGAUGE__PROCESSOR__WARMUP_S", "50")

    _, findings = check_settings()

    assert ["checkpoint" in finding.advice for finding in findings if finding.advice] == [True]


async def test_kafka_that_is_away_is_told_without_objects_of_its_client() -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}"))

    (finding,) = await check_kafka(settings)

    assert finding.status is Status.FAILED
    assert "AddressFamily" not in finding.found
    assert finding.found.startswith("Kafka does not answer at ")


async def test_receivers_are_looked_at_one_by_one(tmp_path: Path) -> None:
    """One lacks its key, one is not there, one is off; a silence names a kind that there is not."""
    path = tmp_path / "streamgauge.toml"
    path.write_text(
        f"""
        [notify]
        give_up_after_s = 259200
        [notify.receivers.pager]
        kind = "pagerduty"
        [notify.receivers.gone]
        kind = "alertmanager"
        url = "http://127.0.0.1:{free_port()}"
        [notify.receivers.off]
        kind = "slack"
        enabled = false
        [notify.silences.typo]
        kinds = ["gaps"]
        ends = 2026-12-01T00:00:00Z
        reason = "x"
        """
    )

    found = {each.check: each for each in await check_receivers(load(path, environ={}))}

    assert {check: each.status for check, each in found.items()} == {
        "silences": Status.FAILED,
        "receivers": Status.WARNING,
        "receiver (pager)": Status.FAILED,
        "receiver (gone)": Status.WARNING,
    }
    assert "STREAMGAUGE__NOTIFY__RECEIVERS__PAGER__ROUTING_KEY" in found["receiver (pager)"].found
    assert found["receiver (gone)"].found.endswith("does not answer: Connection refused")


async def test_settings_without_receivers_ask_for_nothing() -> None:
    assert await check_receivers(Settings()) == []
