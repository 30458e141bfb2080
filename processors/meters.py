"""What a worker counts, by Prometheus' names.

It must not decide anything; labels are exchanges, kinds and raw partitions.
"""

from core.events import FaultKind
from infra.runtime.metrics import Metrics
from processors.engine import Fed
from processors.progress import Partition, Progress
from processors.warmup import WarmUp
from schemas.topics import OUTPUT_KINDS


class Meters:
    """The metrics of one worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._records = metrics.counter(
            "md_processor_records_total", "Raw records read.", ["exchange"]
        )
        self._frames = metrics.counter("md_processor_frames_total", "Frames read.", ["exchange"])
        self._events = metrics.counter(
            "md_processor_events_total", "Facts published, by kind.", ["exchange", "kind"]
        )
        self._faults = metrics.counter(
            "md_processor_faults_total", "Faults published, by kind.", ["exchange", "kind"]
        )
        self._letters = metrics.counter(
            "md_processor_dead_letter_records_total", "Raw records given up.", ["exchange"]
        )
        self._late = metrics.counter(
            "md_processor_late_mid_records_total",
            "Mids that came too late to be compared, or were far ahead of the others.",
        )
        self._engine = metrics.counter(
            "md_processor_engine_seconds_total", "Time in decoding, engine and encoding, s."
        )
        self._warmup = metrics.gauge(
            "md_processor_warmup_seconds", "How long the last warm-up took, s.", _PARTITION
        )
        self._warmup_frames = metrics.counter(
            "md_processor_warmup_frames_total", "Frames re-read by warm-ups.", ["topic"]
        )
        self._lag = metrics.gauge(
            "md_processor_lag_records", "Raw records not yet committed.", _PARTITION
        )
        self._commit_age = metrics.gauge(
            "md_processor_commit_age_seconds",
            "How long the slowest partition with lag has not committed, s.",
        )

    def fed(self, exchange: str, fed: Fed, seconds: float) -> None:
        """Count one raw record and what it gave."""
        self._records.labels(exchange).inc()
        self._engine.inc(seconds)
        if fed.events is None:
            self._letters.labels(exchange).inc()
            return
        self._late.inc(fed.late)
        self._frames.labels(exchange).inc(fed.frames)
        for events in fed.events:
            for kind, name in zip(OUTPUT_KINDS, _FACTS, strict=True):
                count = len(getattr(events, name))
                if count:
                    self._events.labels(events.address.exchange, kind).inc(count)
            for fault in events.faults:
                self._faults.labels(exchange, FaultKind(fault.kind).name.lower()).inc()

    def warmed(self, partition: Partition, warmup: WarmUp) -> None:
        """Take the figures of one warm-up."""
        topic, number = partition
        self._warmup.labels(topic, number).set(warmup.seconds)
        self._warmup_frames.labels(topic).inc(warmup.frames)

    def progress(self, progress: Progress, now: float) -> None:
        """Show where the worker stands; partitions that it no longer has are forgotten."""
        self._lag.clear()
        for (topic, number), lag in progress.lags():
            self._lag.labels(topic, number).set(lag)
        self._commit_age.set(progress.commit_age(now))


_PARTITION = ["topic", "partition"]
_FACTS = (
    *("trades", "books", "faults", "seconds", "alerts", "venues"),
    *("checkpoints", "mids"),
)
"""The fields of `Events` that hold the facts of each of OUTPUT_KINDS."""
