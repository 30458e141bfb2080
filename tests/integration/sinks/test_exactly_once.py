"""Whatever is killed, cut or repeated: every fact is one row."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sinks.delivery import Step
from tests.integration.sinks.proxy import Proxy
from tests.integration.sinks.rig import ROOT, Rig, SinkProcess, eventually

RSS_MAX = 250 << 20


@asynccontextmanager
async def load(rig: Rig, per_second: int = 200) -> AsyncIterator[None]:
    """Records that keep coming, repeats among them."""
    stop = asyncio.Event()
    async with rig.producer() as records:
        task = asyncio.create_task(records.keep_writing(stop, per_second=per_second))
        try:
            yield
        finally:
            stop.set()
            await task


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


@pytest.mark.timeout(300)
async def test_sink_killed_at_random_moments_stores_every_fact_once(rig: Rig) -> None:
    draw = random.Random(3)
    async with load(rig):
        for _ in range(6):
            with rig.sink(sink__instance_id="one", sink__block_rows="200") as sink:
                await sink.ready()
                await asyncio.sleep(draw.uniform(0.2, 1.5))
                sink.kill()
    with rig.sink(sink__instance_id="one"):
        await rig.settled()

    totals = rig.assert_everything_is_there_once()
    assert totals["duplicates"] > 0


@pytest.mark.timeout(200)
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


@pytest.mark.timeout(300)
async def test_two_sinks_with_one_killed_and_one_frozen_store_every_fact_once(rig: Rig) -> None:
    """The frozen one wakes up as a zombie, in the middle of whatever it was doing."""
    async with load(rig):
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
            await asyncio.sleep(2)
    with rig.sink():
        await rig.settled()

    rig.assert_everything_is_there_once()


@pytest.mark.timeout(300)
async def test_sink_without_clickhouse_waits_visibly_and_catches_up(rig: Rig) -> None:
    async with Proxy(rig.clickhouse.host, rig.clickhouse.port) as proxy:
        address = {"clickhouse__host": "127.0.0.1", "clickhouse__port": str(proxy.port)}
        with rig.sink(**address, sink__block_rows="2000") as sink:
            async with rig.producer() as records:
                await records.trades(100)
                await records.flush()
                await rig.stored(rig.produced)
                await proxy.cut()
                await records.trades(4000, facts=25)
                await records.flush()
                await eventually(lambda: sink.health("ready")[0] == 503, "unready sink")
                await eventually(
                    lambda: sink.metric("md_sink_lag_records") >= 3000, "lag in the metrics"
                )
                assert sink.metric("md_sink_troubled_partitions") > 0
                assert sink.metric("md_sink_held_rows") <= 2000 * 3 + 2 * 500 * 25
                assert sink.health("live")[0] == 200
                await proxy.mend()
                await rig.settled()
                await sink.ready()
                assert sink.metric("md_process_rss_bytes") < RSS_MAX

    rig.assert_everything_is_there_once()


@pytest.mark.timeout(300)
async def test_inserts_whose_answer_is_lost_are_stored_once(rig: Rig) -> None:
    """The database has stored the block and the sink cannot know; also across a crash."""
    async with Proxy(rig.clickhouse.host, rig.clickhouse.port) as proxy, load(rig):
        address = {"clickhouse__host": "127.0.0.1", "clickhouse__port": str(proxy.port)}
        for _ in range(3):
            with rig.sink(**address, sink__instance_id="one", sink__block_rows="100") as sink:
                await sink.ready()
                lost = proxy.lost
                proxy.lose_answers = True
                await eventually(lambda: proxy.lost >= lost + 4, "lost answers")  # noqa: B023
                proxy.lose_answers = False
                await rig.stored(rig.count() + 50)
                proxy.lose_answers = True
                await eventually(lambda: proxy.lost >= lost + 8, "lost answers")  # noqa: B023
                sink.kill()
                proxy.lose_answers = False
    with rig.sink(sink__instance_id="one"):
        await rig.settled()

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
