"""Kafka and ClickHouse: do they answer, and do they hold what the pipeline needs?"""

import asyncio
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from infra.cli.checks import Finding, failed, ok, warning
from infra.cli.failures import Failure, kafka_away
from infra.cli.sql import Sql
from infra.runtime.connections import kafka_arguments
from infra.runtime.settings import ClickHouseSettings, Settings, SettingsError
from schemas.migrations import HISTORY_TABLE, Applied, MigrationError, migrations, pending
from schemas.topics import TopicPlan, planned

_KAFKA_TIMEOUT_S: Final = 10.0
_UNKNOWN_TOPIC: Final = 3
_CHANGE_KEY: Final = "change that key; docs/settings.md lists all of them"
_NO_DATABASE_OR_TABLE: Final = ("Code: 81.", "Code: 60.")


async def check_kafka(settings: Settings) -> list[Finding]:
    """Reach the broker and compare its topics with the plan."""
    kafka = settings.kafka
    try:
        arguments = kafka_arguments(kafka)
    except SettingsError as error:
        return [failed("kafka", str(error), _CHANGE_KEY)]
    admin = AIOKafkaAdminClient(**arguments)
    try:
        async with asyncio.timeout(_KAFKA_TIMEOUT_S):
            await admin.start()
            cluster = await admin.describe_cluster()
            plans = _plans(settings)
            topics = await admin.describe_topics([plan.name for plan in plans])
    except (KafkaError, OSError, TimeoutError) as error:
        away = kafka_away()
        return [failed("kafka", f"{away.problem}{_reason(error)}", away.advice)]
    finally:
        await admin.close()
    found = (
        f"cluster {cluster['cluster_id']} at {kafka.bootstrap}, brokers: {len(cluster['brokers'])}"
    )
    return [ok("kafka", found), *check_topics(plans, topics)]


def _reason(error: Exception) -> str:
    """Return what an error adds to "does not answer", without the client's own objects."""
    if isinstance(error, TimeoutError):
        return f" within {_KAFKA_TIMEOUT_S:g} s"
    text = " ".join(str(error).split())
    return "" if not text or "Unable to bootstrap" in text else f": {text[:200]}"


def check_topics(plans: list[TopicPlan], topics: list[dict[str, Any]]) -> list[Finding]:
    """Compare planned topics with a broker's description of them."""
    described = {topic["topic"]: topic for topic in topics}
    findings = []
    missing = []
    for plan in plans:
        topic = described.get(plan.name)
        if topic is None or topic["error_code"] == _UNKNOWN_TOPIC:
            missing.append(plan.name)
            continue
        partitions = topic["partitions"]
        leaderless = [each["partition"] for each in partitions if each["leader"] < 0]
        if leaderless:
            advice = "start the brokers that hold them; until then nothing is written there"
            found = f"{plan.name}: partitions without a leader: {leaderless}"
            findings.append(failed("topics", found, advice))
        if len(partitions) != plan.partitions:
            advice = "set topics.*_partitions to what is there, or read it empty and add partitions"
            found = f"{plan.name}: {len(partitions)} partitions, settings say {plan.partitions}"
            findings.append(warning("topics", found, advice))
    if missing:
        findings.append(failed("topics", f"missing: {', '.join(missing)}", "`streamgauge topics`"))
    return findings or [ok("topics", f"{len(plans)} as planned")]


def check_clickhouse(settings: ClickHouseSettings) -> list[Finding]:
    """Reach ClickHouse and compare the migrations it has with those of this version."""
    with Sql(settings) as sql:
        try:
            version = sql.text("SELECT version()", database="")
        except Failure as error:
            return [failed("clickhouse", error.problem, error.advice)]
        except SettingsError as error:
            return [failed("clickhouse", str(error), _CHANGE_KEY)]
        place = f"{settings.host}:{settings.port}"
        return [ok("clickhouse", f"version {version} at {place}"), _check_tables(sql, settings)]


def _check_tables(sql: Sql, settings: ClickHouseSettings) -> Finding:
    query = f"SELECT number, name, checksum FROM {HISTORY_TABLE} FINAL ORDER BY number"
    try:
        lines = sql.text(query).splitlines()
    except Failure as error:
        if not any(code in error.problem for code in _NO_DATABASE_OR_TABLE):
            return failed("tables", error.problem, "see whether the user may read the database")
        lines = []
    try:
        applied = [_applied(line) for line in lines]
        waiting = pending(migrations(), applied)
    except MigrationError as error:
        return failed("tables", str(error), "see the message; nothing was changed")
    if waiting:
        names = ", ".join(migration.name for migration in waiting)
        return failed("tables", f"not applied: {names}", "`streamgauge migrate`")
    return ok("tables", f"database {settings.database}, {len(applied)} migrations applied")


def _applied(line: str) -> Applied:
    number, name, checksum = line.split("\t")
    return Applied(int(number), name, checksum)


def _plans(settings: Settings) -> list[TopicPlan]:
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
