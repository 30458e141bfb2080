"""`streamgauge reconcile`: prove that what was read from the log is in ClickHouse, once.

Only the command line; the comparison is `sinks.reconciliation`.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from infra.cli.failures import Failure
from infra.cli.sink import KINDS
from infra.runtime.settings import Settings
from schemas.topics import event_topic

if TYPE_CHECKING:
    from sinks.reconciliation import Account, Progress

FETCH_WAIT_MS: Final = 20


class Outcome(msgspec.Struct, frozen=True):
    """All partitions, and whether nothing differs."""

    ok: bool
    partitions: "list[Account]"


@click.command()
@click.argument("kinds", nargs=-1, type=click.Choice(KINDS), metavar="[KIND]…")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def command(settings: Settings, kinds: tuple[str, ...], as_json: bool) -> None:
    """Compare every record in the log with the rows in ClickHouse, value by value.

    Of each partition the part is compared that blocks say is stored and that the log still has:
    facts read = rows + known duplicates, unusable records = dead letters, blocks without a hole
    or an overlap, equal values. Exit code 1 on any difference; the first offset is named.
    """
    accounts = asyncio.run(_reconcile(settings, kinds or KINDS))
    ok = all(account.ok for account in accounts)
    if as_json:
        click.echo(msgspec.json.encode(Outcome(ok, accounts)))
    else:
        _print(accounts)
    sys.exit(0 if ok else 1)


async def _reconcile(settings: Settings, kinds: tuple[str, ...]) -> "list[Account]":
    # The clients take a while to import: `streamgauge --help` should not wait for them.
    import clickhouse_connect
    from aiokafka import AIOKafkaConsumer, TopicPartition
    from aiokafka.admin import AIOKafkaAdminClient
    from aiokafka.client import AIOKafkaClient

    from infra.runtime.connections import clickhouse_arguments, kafka_arguments
    from infra.runtime.log_identity import log_ids
    from sinks.reconciliation import Reconciliation

    arguments = kafka_arguments(settings.kafka)
    topics = {event_topic(kind, settings.topics.prefix): kind for kind in kinds}
    admin, client = AIOKafkaAdminClient(**arguments), AIOKafkaClient(**arguments)
    consumer = AIOKafkaConsumer(
        **arguments,
        auto_offset_reset="none",
        enable_auto_commit=False,
        # A fetch that waits for new records holds up every question asked behind it.
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )
    database = clickhouse_connect.get_client(
        **clickhouse_arguments(settings.clickhouse), database=settings.clickhouse.database
    )
    try:
        await admin.start()
        await client.bootstrap()
        await consumer.start()
        there = await _partitions(admin, list(topics))
        commits = await admin.list_consumer_group_offsets(settings.sink.group)
        committed = {tp: commit.offset for tp, commit in commits.items() if commit.offset >= 0}
        reconciliation = Reconciliation(database, consumer, committed)
        identities = await log_ids(client, topics)
        with _progress(len(there)) as progress:
            return [
                await reconciliation.account(
                    topics[topic], TopicPartition(topic, partition), identities[topic], progress
                )
                for topic, partition in there
            ]
    finally:
        # A consumer whose broker has gone ends its own tasks in our name.
        with suppress(asyncio.CancelledError):
            await consumer.stop()
        await client.close()
        await admin.close()
        database.close()


async def _partitions(admin: Any, topics: list[str]) -> list[tuple[str, int]]:
    described = {topic["topic"]: topic for topic in await admin.describe_topics(topics)}
    missing = [topic for topic in topics if described[topic]["error_code"]]
    if missing:
        raise Failure(f"no topic {', '.join(missing)}", "Make them with `streamgauge topics`.")
    return [
        (topic, partition)
        for topic in topics
        for partition in sorted(each["partition"] for each in described[topic]["partitions"])
    ]


@contextmanager
def _progress(partitions: int) -> "Iterator[Progress]":
    """Show how many offsets were compared, where a person looks."""
    if not sys.stderr.isatty():
        yield lambda offsets: None
        return
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    with Progress(
        TextColumn(f"comparing {partitions} partitions: {{task.completed:,.0f}} offsets"),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("")
        yield lambda offsets: bar.advance(task, offsets)


_COUNTS = ("records", "facts", "rows", "duplicates", "dead_letters", "lag")


def _print(accounts: "list[Account]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # A pipe has no width: nothing is to be shortened for it.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("topic", no_wrap=True)
    for name in ("partition", "offsets", *_COUNTS):
        table.add_column(name.replace("_", " "), justify="right")
    table.add_column("")
    for account in accounts:
        verdict = Text("ok", "green") if account.ok else Text("differs", "bold red")
        offsets = f"{account.first:,}-{account.end:,}"
        counts = [f"{getattr(account, name):,}" for name in _COUNTS]
        table.add_row(account.topic, str(account.partition), offsets, *counts, verdict)
    console.print(table)
    for account in accounts:
        _print_differences(console, account)
    bad = sum(not account.ok for account in accounts)
    rows = sum(account.rows for account in accounts)
    if bad:
        console.print(f"{bad} of {len(accounts)} partitions differ", style="bold red")
    else:
        console.print(f"{len(accounts)} partitions, {rows:,} rows: everything is there, once")


def _print_differences(console: Any, account: "Account") -> None:
    from rich.text import Text

    for example in account.examples:
        console.print(Text(f"{account.topic}/{account.partition}: {example}"))
    more = account.differences - len(account.examples)
    if more > 0:
        console.print(Text(f"{account.topic}/{account.partition}: and {more} more differences"))
