"""Prometheus metrics of one process, named `md_<what>_<unit>[_total]`.

Labels come from small closed sets: an exchange, a shard, a topic, never a trade or a price. A
wrong name is a mistake of ours and stops the process.
"""

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import psutil
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
"""Upper limits that suit a latency between a socket and a row, s."""

_NAME: Final = re.compile(r"md(_[a-z0-9]+)+")
_UNITS: Final = frozenset(
    {
        "alerts",
        "attempts",
        "batches",
        "blocks",
        "books",
        "bytes",
        "connections",
        "duplicates",
        "events",
        "faults",
        "files",
        "frames",
        "gaps",
        "info",
        "offsets",
        "partitions",
        "ratio",
        "records",
        "requests",
        "rows",
        "seconds",
        "shards",
        "snapshots",
        "state",
        "symbols",
        "trades",
    }
)


class Metrics:
    """The metrics of one process. `process` is a label of `md_process_info` only."""

    def __init__(self, process: str) -> None:
        disable_created_metrics()
        self.registry = CollectorRegistry()
        self.registry.register(_ProcessCollector(process))

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """Return a new count that only grows; its name ends in `_<unit>_total`."""
        _check(name, total=True)
        return Counter(name, text, labels, registry=self.registry)

    def gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        """Return a new value that goes up and down; its name ends in `_<unit>`."""
        _check(name, total=False)
        return Gauge(name, text, labels, registry=self.registry)

    def histogram(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = SECONDS_BUCKETS,
    ) -> Histogram:
        """Return a new distribution; its name ends in `_<unit>`, `buckets` are in that unit."""
        _check(name, total=False)
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def _check(name: str, *, total: bool) -> None:
    assert _NAME.fullmatch(name), f"not md_<what>_<unit>: {name}"
    assert name.endswith("_total") is total, f"only a counter ends in _total: {name}"
    unit = name.removesuffix("_total").rpartition("_")[2]
    assert unit in _UNITS, f"{unit} in {name} is not a unit: {sorted(_UNITS)}"


class _ProcessCollector(Collector):
    """What the operating system says of this process, alike on Linux and macOS."""

    def __init__(self, process: str) -> None:
        self._name = process
        self._process = psutil.Process()
        self._started = time.time()

    def collect(self) -> Iterable[Metric]:
        info = GaugeMetricFamily(
            "md_process_info", "Always 1; says which process this is.", labels=["process"]
        )
        info.add_metric([self._name], 1)
        yield info
        yield from self._usage()

    def _usage(self) -> Iterator[Metric]:
        with self._process.oneshot():
            memory = self._process.memory_info().rss
            cpu = self._process.cpu_times()
            files = self._process.num_fds()
        yield GaugeMetricFamily("md_process_rss_bytes", "Resident memory, bytes.", memory)
        yield CounterMetricFamily(
            "md_process_cpu_seconds_total", "User and system time, s.", cpu.user + cpu.system
        )
        yield GaugeMetricFamily("md_process_open_files", "Open files and sockets.", files)
        yield GaugeMetricFamily(
            "md_process_uptime_seconds", "Time since the start, s.", time.time() - self._started
        )
