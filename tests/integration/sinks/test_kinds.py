"""Books, faults, seconds and alerts go the same way as trades: each fact one equal row."""

import asyncio
import random

import pytest

from schemas.topics import DEAD_LETTERS, EVENT_KINDS
from tests.integration.sinks.facts import TABLES
from tests.integration.sinks.rig import Rig, eventually


@pytest.mark.timeout(500)
async def test_facts_of_every_kind_become_equal_rows(rig: Rig) -> None:
    """Whole rows are compared: decimals, ladders, nulls, limits, and times to the nanosecond."""
    async with rig.producer() as records:
        await records.mixed(120)
        await records.again(0, 9)
        await records.again(1, 5)
        await records.flush()
        with rig.sink() as sink:
            await rig.settled()
            assert sink.metric("md_sink_rows_total") == sum(rig.facts.values())

    totals = rig.assert_everything_is_there_once()
    assert totals["rows"] == sum(rig.facts.values())
    assert min(rig.facts[kind] for kind in EVENT_KINDS) >= 120
    await rig.assert_rows_are_what_was_written(records)


@pytest.mark.timeout(500)
async def test_sink_killed_under_a_mixed_load_stores_every_fact_of_every_kind_once(
    rig: Rig,
) -> None:
    draw = random.Random(11)
    async with rig.load(100, mixed=True) as records:
        for _ in range(5):
            before = rig.block_ends()
            with rig.sink(sink__instance_id="one", sink__block_rows="60") as sink:
                await sink.ready()
                # However slow the machine is: something is stored, then it dies in the middle.
                await eventually(lambda: rig.block_ends() != before, "a block")  # noqa: B023
                await asyncio.sleep(draw.uniform(0.0, 1.2))
                sink.kill()
    with rig.sink(sink__instance_id="one"):
        await rig.settled()

    totals = rig.assert_everything_is_there_once()
    assert totals["duplicates"] > 0
    # Row 36: what is made of seconds counts each of them once, too.
    assert rig.query("SELECT sum(windows) FROM stability_1m") == [(rig.facts["stability"],)]
    await rig.assert_rows_are_what_was_written(records)


@pytest.mark.timeout(500)
async def test_poison_on_each_topic_becomes_a_dead_letter_of_that_topic(rig: Rig) -> None:
    """Also a record of one kind on the topic of another, and poison among the dead letters."""
    kinds = (*EVENT_KINDS, DEAD_LETTERS)
    async with rig.producer() as records:
        await records.mixed(8)
        values = dict(records.written[1][: len(EVENT_KINDS)])
        values[DEAD_LETTERS] = values["trades"]
        for kind, other in zip(kinds, (*kinds[1:], kinds[0]), strict=True):
            await records.raw(1, b"garbage", kind)
            await records.raw(1, values[other], kind)
        await records.mixed(8)
        await records.flush()
        with rig.sink():
            await rig.settled()

    found = rig.query("SELECT topic, reason FROM dead_letters ORDER BY topic, offset")
    by_topic = {topic: [why for name, why in found if name == topic] for topic, _ in found}
    # What is written to the dead letters as trades is poison there, and so for the others.
    assert set(by_topic) == {rig.topic(kind) for kind in kinds}
    for garbage, foreign in by_topic.values():
        assert "not an Avro" in garbage
        assert "schema" in foreign
    assert rig.assert_everything_is_there_once()["dead_letters"] == 2 * len(kinds)
    await rig.assert_rows_are_what_was_written(records)
    assert set(TABLES) == set(EVENT_KINDS)
