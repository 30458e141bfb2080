"""What is asked of Kafka past Faust."""

from pathlib import Path

from infra.runtime.settings import load
from processors.broker import Broker
from processors.progress import Position
from schemas.topics import event_topic, raw_topic
from tests.integration.processors.raw_log import Log, raw_records
from tests.integration.services import Kafka
from tests.processors.market import NS, Connection, batches


async def test_log_id_of_a_topic_made_anew_is_another(kafka: Kafka, tmp_path: Path) -> None:
    log = Log(kafka.bootstrap, tmp_path, "deribit")
    await log.create()
    topic, other = (event_topic(kind, log.prefix) for kind in ("trades", "books"))

    async with Broker(load(log.config, environ={}).kafka, log.group) as broker:
        before = [await broker.log_id(topic), await broker.log_id(other)]
        again = await broker.log_id(topic)
        await log.delete(topic)
        await log.wait_gone(topic)
        await log.create_one(topic)
        after = await broker.log_id(topic)

    assert len({*before, after}) == 3
    assert again == before[0]
    assert len({name.split("/")[0] for name in (*before, after)}) == 1


async def test_positions_before_the_first_commit_are_the_beginning(
    kafka: Kafka, tmp_path: Path
) -> None:
    log = Log(kafka.bootstrap, tmp_path, "deribit")
    await log.create()
    records = raw_records(batches(Connection("deribit", epoch=NS), seconds=20), 1)
    await log.write(records)
    topic = raw_topic("deribit", log.prefix)

    async with Broker(load(log.config, environ={}).kafka, log.group) as broker:
        positions = await broker.positions([(topic, 0), (topic, 1)])
        counts = await broker.partition_counts([topic, "no.such.topic"])

    assert positions == {(topic, 0): Position(0, 0), (topic, 1): Position(0, len(records))}
    assert counts == {topic: 2}
