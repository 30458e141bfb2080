"""The one place for topic names, partitions and retention.

Nothing else in the project spells a topic's name. This module only plans; the admin command
creates what it plans.
"""

from typing import Final

import msgspec

ALERTS: Final = "alerts"
VENUES: Final = "venues"
EVENT_KINDS: Final = ("trades", "books", "faults", "stability", ALERTS, VENUES)
"""What processors publish for sinks, each with an Avro schema and a table of its own."""
CHECKPOINTS: Final = "checkpoints"
MIDS: Final = "mids"
"""What processors publish for one another: it becomes no rows. A partition of `mids` has all venues
of an instrument, so that they are compared in an order that is itself in the log."""
OUTPUT_KINDS: Final = (*EVENT_KINDS, CHECKPOINTS, MIDS)
"""All that follows from the raw log or from `mids`, and that a replay gives again byte for byte."""
DEAD_LETTERS: Final = "dead_letters"
RECEIPTS: Final = "receipts"
"""What notifiers remember of what they told; compacted, so that the newest of each key is kept."""
SILENCES: Final = "silences"
"""What is not to be told for a while; compacted likewise."""
COMPACTED: Final = (RECEIPTS, SILENCES)
_HOUR_MS: Final = 3_600_000


class TopicPlan(msgspec.Struct, frozen=True):
    """A topic as it should be: `retention_ms` in ms, `max_message_bytes` in bytes.

    A compacted one keeps the newest record of every key for ever, and has no retention.
    """

    name: str
    schema: str
    partitions: int
    replication_factor: int
    retention_ms: int
    max_message_bytes: int
    is_compacted: bool = False

    @property
    def config(self) -> dict[str, str]:
        """Kafka's topic configuration; compression stays with the producer."""
        kept = (
            # Restarts read all of it: what is replaced is to go within hours, not a week.
            {"cleanup.policy": "compact", "segment.ms": str(_HOUR_MS)}
            if self.is_compacted
            else {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}
        )
        return {
            **kept,
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": "CreateTime",
        }


def raw_topic(exchange: str, prefix: str = "") -> str:
    """Return the name of the raw topic of `exchange`."""
    return f"{prefix}raw.{exchange}"


def event_topic(kind: str, prefix: str = "") -> str:
    """Return the name of the event topic of `kind`, such as one of `OUTPUT_KINDS`."""
    return f"{prefix}{kind}"


def schema_of(topic: str, prefix: str = "") -> str | None:
    """Return the name of the Avro schema of `topic`, None for a topic that is not ours."""
    name = topic.removeprefix(prefix)
    return "frame_batch" if name.startswith("raw.") else _SCHEMAS.get(name)


def planned(
    exchanges: list[str],
    *,
    prefix: str,
    raw_partitions: int,
    event_partitions: int,
    replication_factor: int,
    raw_retention_hours: int,
    event_retention_hours: int,
    max_message_bytes: int,
) -> list[TopicPlan]:
    """Return every topic the pipeline needs for `exchanges`."""
    raws = [
        TopicPlan(
            name=raw_topic(exchange, prefix),
            schema="frame_batch",
            partitions=raw_partitions,
            replication_factor=replication_factor,
            retention_ms=raw_retention_hours * _HOUR_MS,
            max_message_bytes=max_message_bytes,
        )
        for exchange in exchanges
    ]
    events = [
        TopicPlan(
            name=event_topic(kind, prefix),
            schema=schema,
            partitions=event_partitions,
            replication_factor=replication_factor,
            retention_ms=event_retention_hours * _HOUR_MS,
            max_message_bytes=max_message_bytes,
            is_compacted=kind in COMPACTED,
        )
        for kind, schema in _SCHEMAS.items()
    ]
    return raws + events


_SCHEMAS: Final = {
    "trades": "trade_batch",
    "books": "book_batch",
    "faults": "fault_batch",
    "stability": "stability_batch",
    CHECKPOINTS: "checkpoint_batch",
    ALERTS: "alert",
    VENUES: "venue_batch",
    MIDS: "mid",
    DEAD_LETTERS: "dead_letter",
    RECEIPTS: "receipt",
    SILENCES: "silence",
}
