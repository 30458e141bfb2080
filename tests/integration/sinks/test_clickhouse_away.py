"""ClickHouse dies, is away, answers late or never: waiting is visible, and no row doubled."""

import asyncio
import time
from pathlib import Path

import pytest

from infra.local.clickhouse.process import ClickHouseServer
from infra.local.process import free_port
from tests.integration.services import ClickHouse, Kafka
from tests.integration.sinks.proxy import Answers, Proxy
from tests.integration.sinks.rig import Rig, eventually

RSS_MAX_BYTES = 250 << 20
AWAY_S = 10.0
LATE_S = 1.5


@pytest.mark.timeout(500)
async def test_clickhouse_away_makes_lag_visible_and_is_caught_up(rig: Rig) -> None:
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
                await eventually(lambda: sink.metric("md_sink_lag_records") == 0, "no lag")
                assert sink.metric("md_process_rss_bytes") < RSS_MAX_BYTES

    rig.assert_everything_is_there_once()


@pytest.mark.timeout(500)
async def test_clickhouse_killed_and_away_under_load_is_caught_up(
    kafka: Kafka, tmp_path: Path
) -> None:
    """Killed twice at once after one another, then for ten seconds, then stopped in order."""
    server = await asyncio.to_thread(ClickHouseServer(tmp_path, port=free_port()).start)
    try:
        rig = Rig(kafka, ClickHouse(server.host, server.port, server.user, ""), "facts")
        await rig.prepare()
        async with rig.load():
            with rig.sink() as sink:
                for away_s in (0.0, 0.0, AWAY_S):
                    await _progress(rig)
                    await asyncio.to_thread(server.kill)
                    if away_s:
                        back_at = time.monotonic() + away_s
                        await eventually(lambda: sink.health("ready")[0] == 503, "unready sink")
                        await eventually(lambda: sink.metric("md_sink_lag_records") > 500, "lag")
                        await asyncio.sleep(back_at - time.monotonic())
                    await asyncio.to_thread(server.start)
                await _progress(rig)
                await asyncio.to_thread(server.stop)
                await asyncio.to_thread(server.start)
                await _progress(rig)
                assert sink.metric("md_sink_failed_attempts_total") > 0
        with rig.sink():
            await rig.settled()

        rig.assert_everything_is_there_once()
    finally:
        await asyncio.to_thread(server.stop)


async def _progress(rig: Rig) -> None:
    before = await asyncio.to_thread(rig.count)
    await eventually(lambda: rig.count() > before + 500, "progress")


@pytest.mark.timeout(500)
@pytest.mark.parametrize("fate", [Answers.LOST, Answers.TORN, Answers.LATE])
async def test_insert_without_an_answer_is_stored_once(rig: Rig, fate: Answers) -> None:
    """The database has stored the block and the sink cannot know; also across a crash."""
    proxying = Proxy(rig.clickhouse.host, rig.clickhouse.port, late_s=LATE_S)
    async with proxying as proxy, rig.load():
        settings = {"clickhouse__host": "127.0.0.1", "clickhouse__port": str(proxy.port)}
        settings |= {"sink__instance_id": "one", "sink__block_rows": "200"}
        settings |= {"sink__insert_timeout_s": "1"}
        with rig.sink(**settings) as sink:
            await sink.ready()
            for _ in range(2):
                harmed = proxy.harmed
                proxy.answers = fate
                await eventually(lambda: proxy.harmed >= harmed + 4, fate.value)  # noqa: B023
                proxy.answers = Answers.ARRIVE
                await _progress(rig)
            harmed = proxy.harmed
            proxy.answers = fate
            await eventually(lambda: proxy.harmed >= harmed + 4, fate.value)
            sink.kill()
    with rig.sink(sink__instance_id="one"):
        await rig.settled()

    rig.assert_everything_is_there_once()
