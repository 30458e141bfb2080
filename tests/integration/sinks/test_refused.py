"""Rows that ClickHouse refuses: the record becomes a letter, unless the table is at fault."""

import signal
from typing import Any

import pytest

from sinks.delivery import Step
from sinks.letters import REFUSED
from tests.integration.sinks.rig import ROOT, Rig, SinkProcess, eventually

NOW = "SETTINGS mutations_sync = 2"
NARROW = "ALTER TABLE trades MODIFY COLUMN price Decimal(18, 6)"
"""Has room for every price but the largest."""
TOO_NARROW = "ALTER TABLE trades MODIFY COLUMN price Decimal(9, 8)"
"""Has room for no price."""
WIDE = f"ALTER TABLE trades MODIFY COLUMN price Decimal(38, 18) {NOW}"
OVERFLOW = "Decimal convert overflow"


def letters(rig: Rig) -> list[tuple[int, str]]:
    """Offsets and reasons of partition 0 of trades."""
    topic = rig.topic("trades")
    sql = "SELECT offset, reason FROM dead_letters WHERE topic = '{}' AND partition = 0"
    return [tuple(row) for row in rig.query(f"{sql.format(topic)} ORDER BY offset")]


def refused(rig: Rig) -> int:
    """Records that reconcile knows were refused."""
    return sum(each["refused"] for each in rig.reconcile()["partitions"])


@pytest.mark.timeout(500)
async def test_record_whose_rows_are_refused_becomes_a_letter_and_the_rest_is_stored(
    rig: Rig,
) -> None:
    """One alone, two neighbours, one that is repeated, and the last one of the log."""
    rig.command(NARROW)
    async with rig.producer() as records:
        await records.trades(40)
        await records.huge(0)
        await records.trades(40)
        await records.raw(0, b"garbage")
        await records.huge(0, 2)
        await records.again(0, 3)
        await records.trades(10)
        await records.huge(0)
        await records.flush()
        with rig.sink() as sink:
            await eventually(lambda: len(letters(rig)) == 4, "letters")
            await eventually(lambda: rig.count() == rig.produced, "rows")
            # Nobody knows yet whether the table would take another record.
            await eventually(lambda: OVERFLOW in str(sink.health("ready")), "trouble in health")
            assert sink.health("ready")[0] == 503
            assert sink.health("live")[0] == 200
            await records.trades(2)
            await records.flush()
            await rig.settled()
            await sink.ready()
            assert sink.metric("md_sink_dead_letter_records_total") == 5
            assert sink.metric("md_sink_refused_blocks_total") > 5
            assert sink.metric("md_sink_stopped_partitions") == 0

    rig.command(WIDE)
    found = letters(rig)
    assert [offset for offset, _ in found] == [20, 41, 42, 43, 52]
    for offset, reason in found:
        assert reason.startswith("trade_batch: not an Avro" if offset == 41 else REFUSED)
        assert offset == 41 or OVERFLOW in reason
    totals = rig.assert_everything_is_there_once()
    assert (totals["dead_letters"], totals["duplicates"], refused(rig)) == (5, 5 + 3 + 3, 4)


@pytest.mark.timeout(500)
async def test_sink_killed_while_it_isolates_decides_the_same_again(rig: Rig) -> None:
    rig.command(NARROW)
    environment = rig.environment | {"STREAMGAUGE__SINK__INSTANCE_ID": "one"}
    environment |= {"STREAMGAUGE__SINK__BLOCK_ROWS": "60", "PYTHONPATH": str(ROOT)}
    environment |= {"STREAMGAUGE__SINK__RETRY_INITIAL_MS": "1"}
    async with rig.producer() as records:
        for step in Step:
            for blocks in (1, 2, 4):
                await records.trades(10)
                await records.huge(0, blocks)
                await records.trades(4)
                await records.again(0, 3)
                await records.flush()
                command = ("-m", "tests.integration.sinks.dying_sink", step.value, str(blocks))
                dying = SinkProcess(environment, *command)
                try:
                    await eventually(lambda: dying.process.poll() is not None, "crash")  # noqa: B023
                finally:
                    dying.end()
                assert dying.process.returncode == -signal.SIGKILL
    with rig.sink(sink__instance_id="one"):
        await rig.settled()

    rig.command(WIDE)
    assert rig.assert_everything_is_there_once()["dead_letters"] == 7 * len(Step)
    assert refused(rig) == len(letters(rig)) == 7 * len(Step)


@pytest.mark.timeout(500)
@pytest.mark.parametrize(
    ("breaks", "mends"),
    [
        (TOO_NARROW, WIDE),
        (
            "ALTER TABLE trades DROP COLUMN quality",
            "ALTER TABLE trades ADD COLUMN quality UInt16 AFTER ts_recv",
        ),
    ],
    ids=["type", "column"],
)
async def test_table_that_takes_no_row_stops_the_sink_and_makes_no_letters(
    rig: Rig, breaks: str, mends: str
) -> None:
    async with rig.producer() as records:
        with rig.sink(sink__retry_initial_ms="1") as sink:
            await sink.ready()
            rig.command(breaks)
            await records.trades(80)
            await records.flush()
            await eventually(
                lambda: sink.metric("md_sink_stopped_partitions") == 2, "a stopped sink"
            )
            status, health = sink.health("ready")
            assert status == 503
            said = str(health)
            assert "ClickHouse refuses block" in said
            assert "streamgauge migrate" in said
            assert sink.health("live")[0] == 200
            await eventually(lambda: sink.metric("md_sink_lag_records") == 80, "lag")
            assert sink.metric("md_sink_dead_letter_records_total") == 0
        rig.command(mends)
        with rig.sink():
            await rig.settled()

    totals: dict[str, Any] = rig.assert_everything_is_there_once()
    assert totals["dead_letters"] == rig.count("dead_letters") == 0


@pytest.mark.timeout(500)
async def test_letter_that_is_refused_stops_its_partition_and_no_other(rig: Rig) -> None:
    """A letter about the letter would be refused as well, and so for ever."""
    rig.command("ALTER TABLE dead_letters MODIFY COLUMN reason FixedString(3)")
    async with rig.producer() as records:
        await records.raw(0, b"garbage")
        await records.flush()
        with rig.sink() as sink:
            await eventually(
                lambda: sink.metric("md_sink_stopped_partitions") == 1, "a stopped partition"
            )
            await records.trades(20)
            await records.flush()
            await rig.stored(rig.produced)
            assert "TOO_LARGE_STRING_SIZE" in str(sink.health("ready"))
        rig.command(f"ALTER TABLE dead_letters MODIFY COLUMN reason String {NOW}")
        with rig.sink():
            await rig.settled()

    assert rig.assert_everything_is_there_once()["dead_letters"] == 1
