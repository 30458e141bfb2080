"""Settings of the delivery of alerts: receivers, silences and maintenance windows.

The text under a field is the operator's reference, as in `sections`.
"""

from typing import Annotated, Literal

from msgspec import Meta, field

from infra.runtime.settings.values import (
    KafkaInstance,
    KafkaName,
    Moment,
    RestUrl,
    Secret,
    Section,
    Text,
    TimeOfDay,
)

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


class ReceiverSettings(Section, frozen=True, kw_only=True):
    """One receiver of alerts, in a table of its own: `[notify.receivers.pager]`.

    Its name is part of what is remembered of it: under another name it is a new receiver, which is
    told the incidents that are open and everything from then on. Letters, digits and single `_`.
    """

    kind: Literal["alertmanager", "webhook", "slack", "pagerduty"]
    """What stands there: Prometheus' Alertmanager (its address without `/api/v2/alerts`), a
    webhook that takes CloudEvents, a Slack-compatible incoming webhook, or PagerDuty."""
    url: RestUrl = ""
    """Its address, where that is no secret. `pagerduty` has a default, PagerDuty's own."""
    secret_url: Secret = Secret()
    """Its address, where whoever knows it may post there, as for `slack`; in place of `url`."""
    routing_key: Secret = Secret()
    """Integration key of the PagerDuty service; needed for `pagerduty`, unused by others."""
    token: Secret = Secret()
    """Sent as `Authorization: Bearer …`, where there is one."""
    enabled: bool = True
    """Whether anything is delivered to it."""
    severity_min: Literal["info", "warning", "critical"] = "info"
    """Alerts below this are not for this receiver."""
    content: Literal["structured", "binary"] = "structured"
    """How a `webhook` gets its CloudEvent: all in the JSON body, or attributes as `ce-` headers."""
    timeout_ms: Annotated[int, Meta(ge=100, le=120_000)] = 10_000
    """Longest wait for its answer, ms."""


class SilenceSettings(Section, frozen=True, kw_only=True):
    """A silence in the file, in a table of its own: `[notify.silences.kraken_migration]`.

    An alert matches if every list that is not empty has its value; `*` in a value stands for any
    text. One list at least must be given. `streamgauge silence add` makes silences at run time.
    """

    exchanges: tuple[Text, ...] = ()
    """Exchanges."""
    shards: tuple[Text, ...] = ()
    """Shards, as in the column `shard`."""
    channels: tuple[Text, ...] = ()
    """Channels: connection, data, book or trades."""
    symbols: tuple[Text, ...] = ()
    """Symbols, as the exchange spells them; incidents of a whole connection have none."""
    kinds: tuple[Text, ...] = ()
    """Kinds of alert, as in `docs/runbooks/`."""
    severities: tuple[Literal["info", "warning", "critical"], ...] = ()
    """Severities."""
    starts: Moment | None = None
    """Incidents that open before this are not silenced; empty: from ever."""
    ends: Moment | None = None
    """From here on incidents that are still open are delivered. Needed."""
    reason: str = ""
    """Why, for whoever asks `streamgauge silence list`. Needed."""


class MaintenanceSettings(Section, frozen=True, kw_only=True):
    """A planned window, in a table of its own: `[notify.maintenance.deribit_weekly]`.

    Once, from `starts` until `ends`, or every week on `weekdays` at `at` for `minutes`. It matches
    like a silence, and without any list it matches every alert.
    """

    exchanges: tuple[Text, ...] = ()
    """Exchanges."""
    shards: tuple[Text, ...] = ()
    """Shards, as in the column `shard`."""
    channels: tuple[Text, ...] = ()
    """Channels: connection, data, book or trades."""
    symbols: tuple[Text, ...] = ()
    """Symbols, as the exchange spells them; incidents of a whole connection have none."""
    kinds: tuple[Text, ...] = ()
    """Kinds of alert, as in `docs/runbooks/`."""
    severities: tuple[Literal["info", "warning", "critical"], ...] = ()
    """Severities."""
    starts: Moment | None = None
    """Beginning of a window that is once."""
    ends: Moment | None = None
    """End of a window that is once."""
    weekdays: tuple[Weekday, ...] = ()
    """Days, in UTC, on which a weekly window begins."""
    at: TimeOfDay = ""
    """Time of day at which a weekly window begins."""
    minutes: Annotated[int, Meta(ge=0, le=10_080)] = 0
    """Length of a weekly window, min."""
    reason: str = ""
    """What is planned, for whoever asks `streamgauge silence list`."""


class NotifySettings(Section, frozen=True, kw_only=True):
    """From the topic `alerts` to people: `streamgauge notify`."""

    group: KafkaName = "streamgauge-notify"
    """Kafka consumer group: notifiers that share it share the partitions."""
    instance_id: KafkaInstance = ""
    """Name of this notifier, kept over restarts and different for each: one that comes back
    within the session timeout has its partitions at once. Empty: Kafka names it anew each time."""
    runbook_base_url: Text = "docs/runbooks/"
    """Put before `<kind>.md` in every delivery: where the pages of `docs/runbooks/` are served."""
    link_url: RestUrl = ""
    """Address that deliveries name as their source, such as a dashboard's; empty: none."""
    retry_initial_ms: Annotated[int, Meta(ge=1, le=600_000)] = 500
    """Upper limit of the random wait before a delivery is tried again, ms; it doubles each time."""
    retry_cap_ms: Annotated[int, Meta(ge=1, le=3_600_000)] = 30_000
    """Upper limit that doubling stops at, ms."""
    give_up_after_s: Annotated[int, Meta(ge=1, le=31_536_000)] = 86_400
    """An alert that a receiver has not taken for this long becomes a dead letter, s. Less than
    `topics.event_retention_hours`."""
    repeat_interval_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    """How often an Alertmanager is told of every open incident, s; it forgets one that it has not
    heard of for four times as long."""
    flap_openings: Annotated[int, Meta(ge=0, le=1_000)] = 5
    """Openings of one kind in one stream within `flap_window_s` after which it flaps; 0: never."""
    flap_window_s: Annotated[int, Meta(ge=1, le=86_400)] = 600
    """Time in which openings are counted, s."""
    flap_hold_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    """An incident of what flaps is delivered once it has lasted this long, s; others never."""
    session_timeout_ms: Annotated[int, Meta(ge=1_000, le=600_000)] = 15_000
    """A notifier that is silent for this long loses its partitions, ms."""
    stalled_after_s: Annotated[int, Meta(ge=1, le=86_400)] = 60
    """A notifier whose work stands still for this long fails its `/live` check, s."""
    stop_timeout_ms: Annotated[int, Meta(ge=100, le=600_000)] = 10_000
    """Longest wait for deliveries under way at the end, ms."""
    receivers: dict[str, ReceiverSettings] = field(default_factory=dict)
    """Who is told."""
    silences: dict[str, SilenceSettings] = field(default_factory=dict)
    """What is not told for a while."""
    maintenance: dict[str, MaintenanceSettings] = field(default_factory=dict)
    """What is not told in planned windows."""
