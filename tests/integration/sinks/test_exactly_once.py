"""Whatever is killed, cut or repeated: every fact is one row."""

import asyncio
import random
import signal

import pytest

from sinks.delivery import Step
from tests.integration.sinks.proxy import Proxy
from tests.integration.sinks.rig import ROOT, Rig, SinkProcess, eventually


async def test_sink_stores_what_is_there_and_what_comes(rig: Rig) -> None:
    async with rig.producer() as records:
        await records.trades(50)
        await records.flush()
        with rig.sink() as sink:
            await sink.ready()
            await rig.stored(rig.produced)
            await records.trades(50)
            await records.flush()
            await rig.stored(rig.produced)
            output = sink.end()

    assert sink.process.returncode == 0, output
    totals = rig.assert_everything_is_there_once()
    assert totals["rows"] == totals["facts"] == 500


@pytest.mark.timeout(500)
async def test_sink_killed_at_random_moments_stores_every_fact_once(rig: Rig) -> None:
    draw = random.Random(3)
    async with rig.load():
        for _ in range(6):
            with rig.sink(sink__instance_id="one", sink__block_rows="200") as sink:
                await sink.ready()
                await asyncio.sleep(draw.uniform(0.2, 1.5))
                sink.kill()
    with rig.sink(sink__instance_id="one"):
        await rig.settled()

    totals = rig.assert_everything_is_there_once()
    assert totals["duplicates"] > 0


@pytest.mark.timeout(500)
@pytest.mark.parametrize("step", Step)
async def test_sink_killed_between_two_steps_stores_every_fact_once(rig: Rig, step: Step) -> None:
    """Each step twice: in the first block of all, and in one that follows others."""
    async with rig.producer() as records:
        await records.trades(20)
        await records.raw(0, b"garbage")
        await records.flush()
        for blocks in (1, 4):
            command = ("-m", "tests.integration.sinks.dying_sink", step.value, str(blocks))
            environment = rig.environment | {"STREAMGAUGE__SINK__INSTANCE_ID": "one"}
            environment |= {"STREAMGAUGE__SINK__BLOCK_ROWS": "10", "PYTHONPATH": str(ROOT)}
            dying = SinkProcess(environment, *command)
            try:
                await eventually(lambda: dying.process.poll() is not None, "crash")  # noqa: B023
            finally:
                dying.end()
            assert dying.process.returncode == -signal.SIGKILL
            await records.trades(30)
            await records.again(0, 5)
            await records.flush()
    with rig.sink(sink__instance_id="one"):
        await rig.settled()

    totals = rig.assert_everything_is_there_once()
    assert (totals["duplicates"], rig.count("dead_letters")) == (50, 1)


@pytest.mark.timeout(500)
async def test_two_sinks_with_one_killed_and_one_frozen_store_every_fact_once(rig: Rig) -> None:
    """The frozen one wakes up as a zombie, in the middle of whatever it was doing."""
    async with rig.load():
        with rig.sink() as first, rig.sink() as second, rig.sink() as third:
            for sink in (first, second, third):
                await sink.ready()
            await rig.stored(100)
            first.kill()
            second.signal(signal.SIGSTOP)
            before = rig.count()
            await eventually(lambda: rig.count() > before + 2000, "takeover")
            second.signal(signal.SIGCONT)
            await second.ready()
            before = rig.count()
            await eventually(lambda: rig.count() > before + 1000, "work of both")
    with rig.sink():
        await rig.settled()

    rig.assert_everything_is_there_once()


@pytest.mark.timeout(500)
async def test_insert_of_a_zombie_that_arrives_late_stores_nothing_twice(rig: Rig) -> None:
    """The insert is on its way when its sink freezes, and arrives when another one is done."""
    async with Proxy(rig.clickhouse.host, rig.clickhouse.port) as proxy, rig.producer() as records:
        address = {"clickhouse__host": "127.0.0.1", "clickhouse__port": str(proxy.port)}
        with rig.sink(**address) as zombie:
            await zombie.ready()
            await records.trades(40)
            await records.flush()
            await rig.settled()
            proxy.hold()
            await records.trades(40)
            await records.flush()
            await eventually(lambda: b"insert_deduplication_token" in proxy.held, "an insert")
            zombie.signal(signal.SIGSTOP)
            with rig.sink() as successor:
                await rig.settled()
                proxy.release()
                zombie.signal(signal.SIGCONT)
                await zombie.ready()
                await records.trades(40)
                await records.flush()
                await rig.settled()
                assert successor.process.poll() is None

    rig.assert_everything_is_there_once()


async def test_records_repeated_with_new_offsets_are_stored_once(rig: Rig) -> None:
    """Also by a sink that starts between the record and its repeat."""
    async with rig.producer() as records:
        for _ in range(3):
            await records.trades(20)
            await records.again(0, 6)
            await records.flush()
            with rig.sink():
                await rig.settled()
            await records.again(1, 4)
    with rig.sink():
        await rig.settled()

    totals = rig.assert_everything_is_there_once()
    assert totals["duplicates"] == 3 * (6 + 4) * 5
