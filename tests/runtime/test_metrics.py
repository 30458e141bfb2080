"""Metrics: names keep the rule, and a process says how much it uses."""

import os

import psutil
import pytest

from infra.runtime.metrics import Metrics


def values(metrics: Metrics) -> dict[str, float]:
    lines = metrics.exposition().decode().splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))
    }


def test_metrics_are_exposed_with_their_labels() -> None:
    metrics = Metrics("test")
    metrics.counter("md_frames_received_frames_total", "Frames.", ["exchange"]).labels(
        "kraken"
    ).inc(3)
    metrics.gauge("md_queue_frames", "Waiting.").set(2)
    metrics.histogram("md_delay_seconds", "Delay.", buckets=(1.0, 2.0)).observe(1.5)

    found = values(metrics)
    assert found['md_frames_received_frames_total{exchange="kraken"}'] == 3
    assert found["md_queue_frames"] == 2
    assert found['md_delay_seconds_bucket{le="1.0"}'] == 0
    assert found['md_delay_seconds_bucket{le="2.0"}'] == 1
    assert not [name for name in found if "created" in name]


def test_process_metrics_are_those_of_the_operating_system() -> None:
    found = values(Metrics("test"))

    resident = psutil.Process(os.getpid()).memory_info().rss
    assert found["md_process_rss_bytes"] == pytest.approx(resident, rel=0.2)
    assert found["md_process_cpu_seconds_total"] > 0
    assert found["md_process_open_files"] >= 3
    assert found['md_process_info{process="test"}'] == 1


@pytest.mark.parametrize(
    "name", ["frames_total", "md_Frames_total", "md_frames", "md_x_parsecs_total", "md__rows_total"]
)
def test_counter_with_a_wrong_name_is_a_mistake(name: str) -> None:
    with pytest.raises(AssertionError):
        Metrics("test").counter(name, "Wrong.")


def test_gauge_that_is_named_as_a_counter_is_a_mistake() -> None:
    with pytest.raises(AssertionError):
        Metrics("test").gauge("md_lag_records_total", "Wrong.")


def test_two_processes_in_one_interpreter_share_nothing() -> None:
    first, second = Metrics("first"), Metrics("second")
    first.gauge("md_queue_frames", "Waiting.").set(1)
    second.gauge("md_queue_frames", "Waiting.").set(2)

    assert values(first)["md_queue_frames"] == 1
