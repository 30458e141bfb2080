"""`streamgauge status` on a real broker: what is on its topics, and the exit code that says it."""

import json
import time
import uuid

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from core.events import Events, StreamSecond
from core.frames import Address
from core.stability.alerts import Alert, Phase
from core.stability.states import StreamState
from schemas.codec import encode_events
from tests.core.stability.test_overview import alert, second
from tests.integration.cli.conftest import Command
from tests.integration.services import Kafka


def soon() -> int:
    """Return a time that is not old for as long as one test takes, ns."""
    return time.time_ns() + 600_000_000_000


@pytest.fixture
def prefix() -> str:
    """Of topics of one test's own."""
    return f"{uuid.uuid4().hex[:12]}."


async def write(
    kafka: Kafka, prefix: str, seconds: list[StreamSecond], alerts: list[Alert]
) -> None:
    """Make both topics and publish facts as a processor does."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    topics = [NewTopic(f"{prefix}{kind}", 2, 1) for kind in ("stability", "alerts")]
    await admin.create_topics(topics)
    await admin.close()
    address = Address("kraken", "kraken-0", "A", 1)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    try:
        events = Events(address, 1, [], [], [], seconds, alerts)
        for kind, value in encode_events(events, 0, 0):
            await producer.send_and_wait(f"{prefix}{kind}", value, partition=1)
    finally:
        await producer.stop()


def environ(kafka: Kafka, prefix: str) -> dict[str, str]:
    return {
        "STREAMGAUGE__KAFKA__BOOTSTRAP": kafka.bootstrap,
        "STREAMGAUGE__TOPICS__PREFIX": prefix,
        "STREAMGAUGE__EXCHANGES__KRAKEN__SYMBOLS": "X",
    }


async def test_stable_streams_end_with_0(streamgauge: Command, kafka: Kafka, prefix: str) -> None:
    await write(kafka, prefix, [second("X", soon()), second("Y", soon())], [])

    result = streamgauge("status", **environ(kafka, prefix))

    assert (result.returncode, result.stderr) == (0, "")
    assert "all 2 streams are stable" in result.stdout


async def test_what_is_wrong_is_named_and_ends_with_3(
    streamgauge: Command, kafka: Kafka, prefix: str
) -> None:
    bad = second("Y", soon(), state=StreamState.UNSTABLE, score=40.0)
    await write(kafka, prefix, [second("X", soon()), bad], [alert(Phase.OPEN)])

    text = streamgauge("status", **environ(kafka, prefix))
    result = streamgauge("status", "--json", **environ(kafka, prefix))

    status = json.loads(result.stdout)
    assert (text.returncode, result.returncode, status["stable"]) == (3, 3, False)
    (channel,) = status["channels"]
    assert (channel["stable"], channel["streams"], channel["score_min"]) == (1, 2, 40.0)
    assert (channel["worst"]["symbol"], channel["worst"]["state"]) == ("Y", "unstable")
    assert [each["alert_id"] for each in status["incidents"]] == ["gap/1"]
    assert "1 of 2 streams are not stable, 1 incident open" in text.stdout
    assert "sequence gap 3 update_ids" in text.stdout


async def test_silence_of_our_own_is_unknown_and_ends_with_3(
    streamgauge: Command, kafka: Kafka, prefix: str
) -> None:
    await write(kafka, prefix, [], [])

    result = streamgauge("status", **environ(kafka, prefix))

    assert result.returncode == 3
    assert "kraken" in result.stdout
    assert "nothing was heard of it" in result.stdout


def test_missing_topics_end_with_1(streamgauge: Command, kafka: Kafka, prefix: str) -> None:
    result = streamgauge("status", **environ(kafka, prefix))

    assert result.returncode == 1
    assert "streamgauge topics" in result.stderr
