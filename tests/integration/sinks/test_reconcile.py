"""`streamgauge reconcile` is a check that can fail: what is tampered with is found and named."""

import asyncio
from typing import Any

import pytest

from tests.integration.sinks.rig import Rig

TAMPERED = 7
"""Offset of partition 1 that loses, gains or changes something."""
HERE = f"partition = 1 AND offset = {TAMPERED}"
NOW = "SETTINGS mutations_sync = 2"
TWICE = "SETTINGS insert_deduplicate = 0"

DAMAGES = (
    ("a missing row", f"ALTER TABLE trades DELETE WHERE {HERE} AND row = 2 {NOW}"),
    ("a missing record", f"ALTER TABLE trades DELETE WHERE {HERE} {NOW}"),
    (
        "a doubled row",
        f"INSERT INTO trades {TWICE} SELECT * FROM trades WHERE {HERE} AND row = 2",
    ),
    ("another size", f"ALTER TABLE trades UPDATE size = size + 1 WHERE {HERE} AND row = 2 {NOW}"),
    (
        "a wrong dead letter",
        f"INSERT INTO dead_letters {TWICE} SELECT * REPLACE (1 AS partition, {TAMPERED} AS offset)"
        " FROM dead_letters LIMIT 1",
    ),
)
TABLES = ("trades", "dead_letters", "blocks")


def partition(outcome: dict[str, Any], rig: Rig, number: int) -> dict[str, Any]:
    """What was found for a partition of trades."""
    (found,) = (
        each
        for each in outcome["partitions"]
        if (each["topic"], each["partition"]) == (rig.topic("trades"), number)
    )
    return dict(found)


def restore(rig: Rig) -> None:
    """Bring the tables back to what was saved."""
    for table in TABLES:
        rig.command(f"TRUNCATE TABLE {table}")
        rig.command(f"INSERT INTO {table} {TWICE} SELECT * FROM {table}_saved")


@pytest.mark.timeout(500)
async def test_reconcile_finds_and_names_what_was_tampered_with(rig: Rig) -> None:
    async with rig.producer() as records:
        await records.trades(40)
        await records.raw(0, b"garbage")
        await records.flush()
        with rig.sink():
            await rig.settled()
    rig.assert_everything_is_there_once()
    for table in TABLES:
        rig.command(f"CREATE TABLE {table}_saved ENGINE = Memory AS SELECT * FROM {table}")

    for what, sql in DAMAGES:
        await asyncio.to_thread(rig.command, sql)
        outcome = rig.reconcile("trades")
        assert not outcome["ok"], what
        assert partition(outcome, rig, 1)["first_difference"] == TAMPERED, what
        assert not partition(outcome, rig, 0)["differences"], what
        restore(rig)

    rig.command(f"ALTER TABLE dead_letters DELETE WHERE 1 {NOW}")
    outcome = rig.reconcile("trades")
    assert partition(outcome, rig, 0)["first_difference"] == 20, "a missing dead letter"
    restore(rig)
    rig.command(f"ALTER TABLE blocks DELETE WHERE partition = 0 {NOW}")
    assert not rig.reconcile("trades")["ok"], "rows without a block"
    restore(rig)
    rig.assert_everything_is_there_once()
