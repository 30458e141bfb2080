"""`streamgauge topics`: make the Kafka topics that are planned, and say how others differ.

Only what talks to Kafka; the plan is `schemas.topics`. Existing topics are never changed here: a
difference is shown with the command that would mend it, because adding partitions moves shards
from one partition to another, and a shorter retention deletes data.
"""

import asyncio
import sys
from typing import Any, Final

import click
import msgspec
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from infra.cli.failures import Failure
from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import Settings
from schemas.topics import TopicPlan, planned

_UNKNOWN_TOPIC: Final = 3
_VISIBLE_S: Final = 30.0


class Difference(msgspec.Struct, frozen=True):
    """A property of an existing topic that is not as planned."""

    topic: str
    property: str
    planned: str
    found: str


class Outcome(msgspec.Struct, frozen=True):
    """Names of topics that were made, are missing (after a check), or were there as planned."""

    created: list[str]
    missing: list[str]
    unchanged: list[str]
    differences: list[Difference]


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 unless all is as planned.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def command(settings: Settings, check: bool, as_json: bool) -> None:
    """Make the topics that are missing and report how existing ones differ.

    It may be run at any time. Existing topics are never changed.
    """
    outcome = asyncio.run(make_topics(settings, check=check))
    if as_json:
        click.echo(msgspec.json.encode(outcome))
    else:
        _print(outcome)
    if check and (outcome.missing or outcome.differences):
        sys.exit(1)


def plans(settings: Settings) -> list[TopicPlan]:
    """Return the topics that `settings` ask for."""
    topics = settings.topics
    return planned(
        [name for name, exchange in settings.exchanges.items() if exchange.enabled],
        prefix=topics.prefix,
        raw_partitions=topics.raw_partitions,
        event_partitions=topics.event_partitions,
        replication_factor=topics.replication_factor,
        raw_retention_hours=topics.raw_retention_hours,
        event_retention_hours=topics.event_retention_hours,
        max_message_bytes=topics.max_message_bytes,
    )


async def make_topics(settings: Settings, *, check: bool = False) -> Outcome:
    """Make what is missing unless `check`, and compare the rest with the plan.

    Raises:
        Failure: the broker refuses to make a topic, or to say what its topics are.
        KafkaConnectionError: no broker answers.
    """
    wanted = plans(settings)
    admin = AIOKafkaAdminClient(**kafka_arguments(settings.kafka))
    await admin.start()
    try:
        there = await _partitions(admin, wanted)
        missing = [plan for plan in wanted if plan.name not in there]
        if missing and not check:
            await _create(admin, missing)
        present = [plan for plan in wanted if plan.name in there]
        differences = await _differences(admin, present, there)
    finally:
        await admin.close()
    names = [plan.name for plan in missing]
    differing = {difference.topic for difference in differences}
    return Outcome(
        created=[] if check else names,
        missing=names if check else [],
        unchanged=[plan.name for plan in present if plan.name not in differing],
        differences=differences,
    )


async def _partitions(admin: Any, wanted: list[TopicPlan]) -> dict[str, int]:
    """Return the number of partitions of those planned topics that exist."""
    found: dict[str, int] = {}
    for topic in await admin.describe_topics([plan.name for plan in wanted]):
        code = topic["error_code"]
        if code == _UNKNOWN_TOPIC:
            continue
        if code:
            raise Failure(f"Kafka says of topic {topic['topic']}: {for_code(code).__name__}")
        found[topic["topic"]] = len(topic["partitions"])
    return found


async def _create(admin: Any, missing: list[TopicPlan]) -> None:
    response = await admin.create_topics(
        [
            NewTopic(
                plan.name,
                num_partitions=plan.partitions,
                replication_factor=plan.replication_factor,
                topic_configs=plan.config,
            )
            for plan in missing
        ]
    )
    for name, code, *message in response.topic_errors:
        # Somebody else who runs this at the same moment has made it, by the same plan.
        if code and for_code(code) is not TopicAlreadyExistsError:
            reason = next(filter(None, message), for_code(code).__name__)
            raise Failure(f"Kafka will not make topic {name}: {reason.rstrip('.')}", _advice(code))
    await _until_visible(admin, missing)


async def _until_visible(admin: Any, made: list[TopicPlan]) -> None:
    """Wait until brokers know the topics, so that whoever comes next finds them."""
    async with asyncio.timeout(_VISIBLE_S):
        while len(await _partitions(admin, made)) < len(made):  # noqa: ASYNC110 - Kafka tells nobody
            await asyncio.sleep(0.1)


def _advice(code: int) -> str:
    if for_code(code).__name__ == "InvalidReplicationFactorError":
        return "Set topics.replication_factor to at most the number of brokers."
    return ""


async def _differences(
    admin: Any, present: list[TopicPlan], partitions: dict[str, int]
) -> list[Difference]:
    found = [
        Difference(plan.name, "partitions", str(plan.partitions), str(partitions[plan.name]))
        for plan in present
        if partitions[plan.name] != plan.partitions
    ]
    if not present:
        return found
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, plan.name, configs=dict(plan.config))
        for plan in present
    ]
    try:
        responses = await admin.describe_configs(resources)
    except KafkaError as error:
        raise Failure(f"Kafka does not tell how its topics are configured: {error}") from error
    configs = {name: entries for response in responses for *_, name, entries in response.resources}
    for plan in present:
        values = {entry[0]: entry[1] for entry in configs[plan.name]}
        for key, value in plan.config.items():
            if values.get(key) != value:
                found.append(Difference(plan.name, key, value, str(values.get(key))))
    return found


def _print(outcome: Outcome) -> None:
    for name in outcome.created:
        click.echo(f"made {click.style(name, bold=True)}")
    for name in outcome.missing:
        click.echo(f"{click.style('missing', fg='red')} {name}")
    for each in outcome.differences:
        word = click.style("differs", fg="yellow")
        click.echo(f"{word} {each.topic}: {each.property} is {each.found}, planned {each.planned}")
    if outcome.differences:
        click.echo(
            "Existing topics are never changed here. Mend a difference with kafka-configs.sh "
            "--alter or kafka-topics.sh --alter, or set topics.* to what is there."
        )
    if outcome.unchanged:
        click.echo(f"{len(outcome.unchanged)} topics are as planned")
