"""What a notifier counts; labels are receivers, phases and partitions, all small closed sets."""

from infra.runtime.metrics import Metrics


class NotifyMetrics:
    """The metrics of one notifier."""

    def __init__(self, metrics: Metrics) -> None:
        receiver = ("receiver",)
        told = ("receiver", "phase")
        self.delivered = metrics.counter(
            "md_notify_delivered_alerts_total", "Alerts that a receiver has taken.", told
        )
        self.suppressed = metrics.counter(
            "md_notify_suppressed_alerts_total",
            "Incidents over before a silence, a window or damping was: told neither way.",
            receiver,
        )
        self.refused = metrics.counter(
            "md_notify_dead_letter_alerts_total",
            "Alerts given up, each with a dead letter that says why.",
            told,
        )
        self.failures = metrics.counter(
            "md_notify_failed_attempts_total", "Deliveries that failed; tried again.", receiver
        )
        self.repeats = metrics.counter(
            "md_notify_repeated_requests_total",
            "Times an Alertmanager was told again of all that is open.",
            receiver,
        )
        self.latency = metrics.histogram(
            "md_notify_latency_seconds",
            "From the frame that showed it to an answer of the receiver, s.",
            receiver,
        )
        self.waiting = metrics.gauge(
            "md_notify_waiting_alerts", "Incidents that a receiver is to be told of.", receiver
        )
        self.oldest = metrics.gauge(
            "md_notify_oldest_seconds",
            "Age of the oldest alert that a receiver could have been told, s; 0: none waits.",
            receiver,
        )
        self.open = metrics.gauge("md_notify_open_alerts", "Incidents that are open.")
        self.duplicates = metrics.counter(
            "md_notify_duplicates_total", "Alerts that repeat an earlier one, not told."
        )
        self.unreadable = metrics.counter(
            "md_notify_unreadable_records_total", "Records of the topic that are no alerts."
        )
        self.silences = metrics.gauge(
            "md_notify_silences_state", "Silences and windows that hold alerts now."
        )
        self.lag = metrics.gauge(
            "md_notify_lag_records", "Alerts in the log that are not settled.", ("partition",)
        )
