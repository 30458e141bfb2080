"""What a sink counts; labels are topics and partitions, both small closed sets."""

import time
from collections.abc import Sequence
from typing import Final

from infra.runtime.metrics import Metrics

_SAMPLES: Final = 50
"""Rows of a block whose latency is observed: enough for a quantile, and no cost for each row."""
_NS: Final = 1e9


class SinkMetrics:
    """The metrics of one sink process."""

    def __init__(self, metrics: Metrics) -> None:
        topic = ("topic",)
        self.rows = metrics.counter("md_sink_rows_total", "Rows stored.", topic)
        self.blocks = metrics.counter("md_sink_blocks_total", "Blocks stored.", topic)
        self.duplicates = metrics.counter(
            "md_sink_duplicates_total", "Facts that repeat an earlier origin, not stored.", topic
        )
        self.letters = metrics.counter(
            "md_sink_dead_letter_records_total", "Records that could not be used.", topic
        )
        self.missing = metrics.counter(
            "md_sink_missing_offsets_total", "Offsets gone from the log before being read.", topic
        )
        self.insert = metrics.histogram(
            "md_sink_insert_seconds", "Time of an insert that succeeded, s.", topic
        )
        self.failures = metrics.counter(
            "md_sink_failed_attempts_total",
            "Inserts and letters that failed; each is tried again.",
            topic,
        )
        self.refusals = metrics.counter(
            "md_sink_refused_blocks_total",
            "Blocks that ClickHouse refused; each is cut anew, or stops its partition.",
            topic,
        )
        self.latency = metrics.histogram(
            "md_sink_latency_seconds", "From socket read to stored row, s; sampled.", topic
        )
        self.lag = metrics.gauge(
            "md_sink_lag_records", "Offsets in the log that are not stored.", ("topic", "partition")
        )
        self.held = metrics.gauge("md_sink_held_rows", "Rows in memory, not stored yet.")
        self.troubled = metrics.gauge(
            "md_sink_troubled_partitions", "Partitions whose inserts fail and are tried again."
        )
        self.stopped = metrics.gauge(
            "md_sink_stopped_partitions", "Partitions given up until a person has looked."
        )

    def observe_latency(self, topic: str, received: Sequence[int]) -> None:
        """Observe rows that were stored just now; `received` are their times, ns."""
        now = time.time_ns()
        observe = self.latency.labels(topic).observe
        for index in range(0, len(received), max(1, len(received) // _SAMPLES)):
            observe(max(0, now - received[index]) / _NS)
