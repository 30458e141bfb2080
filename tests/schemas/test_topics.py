"""The plan of topics: one place for names, partitions and retention."""

from schemas.registry import NAMES
from schemas.topics import (
    CHECKPOINTS,
    COMPACTED,
    DEAD_LETTERS,
    EVENT_KINDS,
    MIDS,
    OUTPUT_KINDS,
    TopicPlan,
    event_topic,
    planned,
    raw_topic,
    schema_of,
)


def _plans(prefix: str = "") -> list[TopicPlan]:
    return planned(
        ["kraken", "deribit"],
        prefix=prefix,
        raw_partitions=3,
        event_partitions=5,
        replication_factor=1,
        raw_retention_hours=2,
        event_retention_hours=4,
        max_message_bytes=1_000_000,
    )


def test_planned_topics_have_every_schema_once() -> None:
    plans = _plans()

    assert len({plan.name for plan in plans}) == len(plans)
    assert {plan.schema for plan in plans} == set(NAMES)
    assert {schema_of(plan.name) == plan.schema for plan in plans} == {True}


def test_planned_topics_differ_in_partitions_and_retention_by_kind() -> None:
    by_name = {plan.name: plan for plan in _plans()}

    assert (by_name["raw.kraken"].partitions, by_name["trades"].partitions) == (3, 5)
    assert by_name["raw.kraken"].config["retention.ms"] == "7200000"
    assert by_name["trades"].config["retention.ms"] == "14400000"


def test_only_what_is_remembered_by_key_is_compacted() -> None:
    compacted = {plan.name for plan in _plans() if plan.config["cleanup.policy"] == "compact"}

    assert compacted == set(COMPACTED) == {"receipts", "silences"}
    assert all("retention.ms" not in plan.config for plan in _plans() if plan.name in compacted)


def test_planned_topics_with_prefix_carry_it_and_are_recognised() -> None:
    for plan in _plans("test."):
        assert plan.name.startswith("test.")
        assert schema_of(plan.name, "test.") == plan.schema


def test_names_of_topics_are_spelled_once() -> None:
    assert raw_topic("okx", "p-") == "p-raw.okx"
    assert [event_topic(kind) for kind in OUTPUT_KINDS] == [*EVENT_KINDS, CHECKPOINTS, MIDS]
    assert event_topic(DEAD_LETTERS, "p-") == "p-dead_letters"
    assert schema_of("somebody-elses") is None
