from infra.runtime.metrics import Metrics
from producers.metrics import LineMetrics, ProducerMetrics

LINE = ('exchange="kraken"', 'line="A"', 'shard="kraken-0"')


def made() -> tuple[Metrics, LineMetrics]:
    metrics = Metrics("producer")
    return metrics, LineMetrics(ProducerMetrics(metrics), "kraken", "kraken-0", "A")


def value(metrics: Metrics, name: str, *labels: str) -> float:
    """Return the value of a metric as Prometheus reads it."""
    (found,) = [
        float(line.split()[-1])
        for line in metrics.exposition().decode().splitlines()
        if line.startswith(f"{name}{{") and all(label in line for label in (*LINE, *labels))
    ]
    return found


def test_line_metrics_counts_that_grow_are_copied_not_added() -> None:
    metrics, line = made()
    line.copy(10, 1000, 2, 0)
    line.copy(25, 3000, 4, 1)
    line.copy(25, 3000, 4, 1)

    assert value(metrics, "md_frames_total") == 25
    assert value(metrics, "md_payload_bytes_total") == 3000
    assert value(metrics, "md_frame_batches_total") == 4
    assert value(metrics, "md_dropped_frames_total") == 1


def test_line_metrics_events_are_told_apart_by_their_cause() -> None:
    metrics, line = made()
    line.attempt("open")
    line.attempt("failed")
    line.attempt("failed")
    line.closed("network")
    line.resync("sequence_gap")
    line.undecoded(3)

    assert value(metrics, "md_connect_attempts_total", 'outcome="failed"') == 2
    assert value(metrics, "md_closed_connections_total", 'by="network"') == 1
    assert value(metrics, "md_resync_requests_total", 'reason="sequence_gap"') == 1
    assert value(metrics, "md_undecoded_frames_total") == 3
