"""What a producer process measures of itself, for Prometheus.

Counts that grow with every frame are kept as plain integers by those who count and copied here
once a tick.
"""

from typing import Final

from infra.runtime.metrics import Metrics

_NS_PER_S: Final = 1_000_000_000
_LINE: Final = ("exchange", "shard", "line")


class ProducerMetrics:
    """All metrics of the process; lines take theirs with `line`."""

    def __init__(self, metrics: Metrics) -> None:
        self.frames = metrics.counter("md_frames_total", "Frames put into the log.", _LINE)
        self.bytes = metrics.counter("md_payload_bytes_total", "Payload of those frames.", _LINE)
        self.batches = metrics.counter("md_frame_batches_total", "Records that hold them.", _LINE)
        self.dropped = metrics.counter(
            "md_dropped_frames_total", "Frames that were not kept; the log says why.", _LINE
        )
        self.undecoded = metrics.counter(
            "md_undecoded_frames_total", "Frames that the edge guard could not read.", _LINE
        )
        self.attempts = metrics.counter(
            "md_connect_attempts_total", "Attempts to open a socket.", (*_LINE, "outcome")
        )
        self.closed = metrics.counter(
            "md_closed_connections_total", "Sockets that ended, by who ended them.", (*_LINE, "by")
        )
        self.resyncs = metrics.counter(
            "md_resync_requests_total",
            "Books asked for anew because of a fault.",
            (*_LINE, "reason"),
        )
        self.queue_frames = metrics.gauge(
            "md_queue_frames", "Frames that Kafka has not acknowledged.", _LINE
        )
        self.live_books = metrics.gauge(
            "md_guard_live_books", "Books that the edge guard can follow.", _LINE
        )
        self.paused = metrics.counter(
            "md_socket_paused_seconds_total",
            "Time a socket was not read: the queue was full.",
            _LINE,
        )
        self.rtt = metrics.histogram(
            "md_ping_rtt_seconds", "Round trip of our own pings, s.", ("exchange",)
        )
        self.rest_wait = metrics.counter(
            "md_rest_wait_seconds_total", "Time REST requests waited for their turn.", ("exchange",)
        )
        self.rest_requests = metrics.counter(
            "md_rest_requests_total", "REST requests made.", ("exchange", "outcome")
        )
        self._acknowledge = metrics.histogram(
            "md_kafka_acknowledge_seconds", "From a record's first frame to its acknowledgement, s."
        )

    def acknowledged(self, age_ns: int) -> None:
        """A record was acknowledged; its first frame is this old."""
        self._acknowledge.observe(age_ns / _NS_PER_S)


class LineMetrics:
    """The metrics of one line; `copy_...` takes counts that only grow."""

    def __init__(self, metrics: ProducerMetrics, exchange: str, shard: str, line: str) -> None:
        labels = (exchange, shard, line)
        self._metrics = metrics
        self._labels = labels
        self._frames = metrics.frames.labels(*labels)
        self._bytes = metrics.bytes.labels(*labels)
        self._batches = metrics.batches.labels(*labels)
        self._dropped = metrics.dropped.labels(*labels)
        self._undecoded = metrics.undecoded.labels(*labels)
        self.queue_frames = metrics.queue_frames.labels(*labels)
        self.live_books = metrics.live_books.labels(*labels)
        self.paused = metrics.paused.labels(*labels)
        self.rtt = metrics.rtt.labels(exchange)
        self._copied = (0, 0, 0, 0)

    def copy(self, frames: int, payload_bytes: int, batches: int, dropped: int) -> None:
        """Take the recorder's counts."""
        before = self._copied
        self._frames.inc(frames - before[0])
        self._bytes.inc(payload_bytes - before[1])
        self._batches.inc(batches - before[2])
        self._dropped.inc(dropped - before[3])
        self._copied = (frames, payload_bytes, batches, dropped)

    def undecoded(self, count: int) -> None:
        """Count frames that could not be read."""
        self._undecoded.inc(count)

    def attempt(self, outcome: str) -> None:
        """Count an attempt: `open` or `failed`."""
        self._metrics.attempts.labels(*self._labels, outcome).inc()

    def closed(self, by: str) -> None:
        """Count the end of a socket that was open."""
        self._metrics.closed.labels(*self._labels, by).inc()

    def resync(self, reason: str) -> None:
        """Count a book that is healed."""
        self._metrics.resyncs.labels(*self._labels, reason).inc()
