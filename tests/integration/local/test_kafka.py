"""Apache Kafka from the local archives: started, durable, alone on its folder."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError

from infra.local.kafka import KafkaServer, ask_cluster
from infra.local.process import FolderInUseError, PortTakenError, ServerError

LARGE_BYTES = 4 << 20
RECORDS = 200


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    with KafkaServer(tmp_path_factory.mktemp("broker")) as server:
        yield server


async def create_topic(bootstrap: str, partitions: int = 1) -> str:
    name = f"topic-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1)])
    finally:
        await admin.close()
    return name


async def produce(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        enable_idempotence=True,
        max_request_size=LARGE_BYTES + 1000,
    )
    await producer.start()
    try:
        for sent in [await producer.send(topic, value, partition=0) for value in values]:
            await sent
    finally:
        await producer.stop()


async def consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    """The first count records of a topic of one partition, and that there are no more."""
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, auto_offset_reset="earliest", max_partition_fetch_bytes=5 << 20
    )
    await consumer.start()
    try:
        consumer.assign([partition])
        values = [(await asyncio.wait_for(consumer.getone(), 20)).value for _ in range(count)]
        assert (await consumer.end_offsets([partition]))[partition] == count
        return values
    finally:
        await consumer.stop()


async def test_topic_takes_and_gives_records_up_to_four_megabytes(broker: KafkaServer) -> None:
    topic = await create_topic(broker.bootstrap)
    values = [b"small", bytes(LARGE_BYTES), b"last"]

    await produce(broker.bootstrap, topic, values)

    assert await consume(broker.bootstrap, topic, 3) == values


async def test_topics_are_not_created_by_use(broker: KafkaServer) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap, request_timeout_ms=2000)
    await producer.start()
    try:
        with pytest.raises((UnknownTopicOrPartitionError, KafkaTimeoutError)):
            await producer.send_and_wait("nobody-made-this", b"")
    finally:
        await producer.stop()


async def test_group_goes_on_where_it_committed(broker: KafkaServer) -> None:
    topic = await create_topic(broker.bootstrap)
    await produce(broker.bootstrap, topic, [b"0", b"1", b"2"])
    seen = []

    for count in (2, 1):
        consumer = AIOKafkaConsumer(
            topic,
            bootstrap_servers=broker.bootstrap,
            group_id=f"group-of-{topic}",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        await consumer.start()
        for _ in range(count):
            seen.append((await asyncio.wait_for(consumer.getone(), 20)).value)
        await consumer.commit()
        await consumer.stop()

    assert seen == [b"0", b"1", b"2"]


@pytest.fixture
async def folder_with_records(tmp_path: Path) -> AsyncIterator[tuple[KafkaServer, str]]:
    """A started server and a topic that holds RECORDS acknowledged records."""
    server = KafkaServer(tmp_path)
    server.start()
    topic = await create_topic(server.bootstrap)
    await produce(server.bootstrap, topic, [b"%d" % number for number in range(RECORDS)])
    yield server, topic
    server.stop()


@pytest.mark.parametrize("end", [KafkaServer.stop, KafkaServer.kill])
async def test_restart_keeps_identity_and_acknowledged_records(
    folder_with_records: tuple[KafkaServer, str], end: Callable[[KafkaServer], object]
) -> None:
    server, topic = folder_with_records
    cluster_id = server.cluster_id

    end(server)
    assert not server.running
    assert ask_cluster(server.host, server.port) is None
    server.start()

    assert ask_cluster(server.host, server.port) == cluster_id
    values = await consume(server.bootstrap, topic, RECORDS)
    assert values == [b"%d" % number for number in range(RECORDS)]


def test_second_start_on_the_same_folder_is_refused(broker: KafkaServer) -> None:
    with pytest.raises(FolderInUseError, match=f"pid {broker.pid}"):
        KafkaServer(broker.folder).start()
    with pytest.raises(ServerError, match="started already"):
        broker.start()

    assert broker.running


def test_start_on_a_taken_port_is_refused(broker: KafkaServer, tmp_path: Path) -> None:
    with pytest.raises(PortTakenError, match=f"port {broker.port} .* choose another port"):
        KafkaServer(tmp_path, broker.port).start()


def test_start_that_fails_shows_the_end_of_the_log(tmp_path: Path) -> None:
    server = KafkaServer(tmp_path)
    server.start()
    server.stop()
    meta = tmp_path / "data" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=2"))

    with pytest.raises(ServerError, match=r"ended with exit code 1(?s:.*)node id 2"):
        server.start()

    assert not server.running


def test_start_on_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()

    with pytest.raises(ServerError, match="is not a Kafka log"):
        KafkaServer(tmp_path).start()


def test_start_after_a_format_that_was_killed_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "data-new").mkdir()
    (tmp_path / "data-new" / "half").touch()

    with KafkaServer(tmp_path) as server:
        assert server.running
