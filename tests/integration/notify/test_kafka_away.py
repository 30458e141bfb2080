"""Kafka that is stopped and comes back, under a notifier that goes on."""

import asyncio
from pathlib import Path

import pytest

from infra.local.kafka import KafkaServer
from infra.local.process import free_port
from tests.integration.notify.rig import NotifyRig, until
from tests.integration.services import Kafka


@pytest.mark.timeout(500)
async def test_notifier_survives_kafka_being_away_and_tells_each_once(tmp_path: Path) -> None:
    """A server of its own: others must not feel it."""
    with KafkaServer(tmp_path, free_port()) as server:
        rig = NotifyRig(Kafka(server.bootstrap), hook="structured", pager="pagerduty")
        await rig.prepare()
        with rig.notifier() as notifier:
            await notifier.ready()
            async with rig.writer() as writer:
                await writer.open("a")
                await writer.open("b", 1)
                await rig.all_told(2)
            await asyncio.to_thread(server.stop)
            await until(lambda: notifier.health("ready")[0] == 503, "trouble that is said")
            said, live = notifier.health("ready"), notifier.health("live")
            await asyncio.to_thread(server.start)
            async with rig.writer() as writer:
                await writer.resolve("a")
                await writer.resolve("b", 1)
                await writer.again(4)
                await rig.all_told(4)
            await rig.settled()
        await rig.close()

    rig.assert_each_once(["a", "b"])
    assert "Kafka has not answered" in said[1]["checks"]["alerts"]["detail"]
    assert live[0] == 200
