"""`streamgauge tail` on a real broker: the very bytes of a frame, missing topics, and Ctrl-C."""

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from core.frames import Address, Frame, FrameBatch, FrameKind
from schemas.codec import encode_frame_batch
from tests.integration.cli.conftest import CHECKOUT, DEADLINE_S, Command
from tests.integration.services import Kafka

ADDRESS = Address(exchange="kraken", shard="kraken-0", line="A", epoch=1_700_000_000_000_000_000)
PAYLOADS = (b'{"price":"\xc3\xa9"}', b"\xff\x00\xfe", rb"\xff", b"")


def raw_record(number: int, payloads: tuple[bytes, ...]) -> bytes:
    frames = [
        Frame(kind=FrameKind.RECEIVED, ts_recv=index, ts_mono=index, where="", payload=payload)
        for index, payload in enumerate(payloads)
    ]
    batch = FrameBatch(
        address=ADDRESS, number=number, chain_before=bytes(16), chain=bytes(16), frames=frames
    )
    return encode_frame_batch(batch)


async def written(kafka: Kafka, topic: str) -> int:
    """Write three records into partition 1 of a new topic; return the offset of the second."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    try:
        sent = [
            await producer.send_and_wait(topic, raw_record(number, payloads), partition=1)
            for number, payloads in ((0, (b"before",)), (100, PAYLOADS), (104, (b"after",)))
        ]
    finally:
        await producer.stop()
    return int(sent[1].offset)


async def test_place_of_a_row_leads_to_the_very_bytes(
    streamgauge: Command, kafka: Kafka, tmp_path: Path
) -> None:
    prefix = f"{tmp_path.name.replace('_', '-')}."
    offset = await written(kafka, f"{prefix}raw.kraken")
    environ = {
        "STREAMGAUGE__KAFKA__BOOTSTRAP": kafka.bootstrap,
        "STREAMGAUGE__TOPICS__PREFIX": prefix,
    }
    place = ("tail", "raw.kraken", "--partition", "1", "--offset", str(offset))

    result = streamgauge(*place, "--count", "4", "--json", **environ)
    found = [json.loads(each) for each in result.stdout.splitlines()]
    one = streamgauge(*place, "--frame", "101", "--no-follow", "--json", **environ)
    text = streamgauge(*place, "--frame", "100", "--count", "1", "--payload", **environ)

    assert result.stderr == ""
    assert {(fact["partition"], fact["offset"]) for fact in found} == {(1, offset)}
    assert [fact["number"] for fact in found] == [100, 101, 102, 103]
    assert found[0]["payload"].encode() == PAYLOADS[0]
    assert base64.b64decode(found[1]["payload_base64"]) == PAYLOADS[1]
    assert [found[2]["payload"], found[3]["payload"]] == [r"\xff", ""]
    assert [json.loads(each) for each in one.stdout.splitlines()] == [found[1]]
    assert text.stdout.encode() == PAYLOADS[0]

    beyond = streamgauge(*place[:-1], "99", **environ)
    elsewhere = streamgauge("tail", "raw.kraken", "--partition", "7", **environ)
    absent = streamgauge("tail", "raw.nosuch", **environ)

    no_frame = streamgauge(*place, "--frame", "7", "--no-follow", "--payload", **environ)

    assert (no_frame.returncode, no_frame.stdout) == (1, "")
    assert "no frame 7" in no_frame.stderr
    assert [each.returncode for each in (beyond, elsewhere, absent)] == [1, 1, 1]
    assert f"it has 0 to {offset + 1}" in beyond.stderr
    assert "has the partitions 0, 1" in elsewhere.stderr
    assert f"no topic {prefix}raw.nosuch; there are {prefix}raw.kraken" in absent.stderr


@pytest.fixture
async def prefix(kafka: Kafka, tmp_path: Path) -> str:
    """A prefix under which raw.kraken has records."""
    prefix = f"{tmp_path.name.replace('_', '-')}."
    await written(kafka, f"{prefix}raw.kraken")
    return prefix


def test_ctrl_c_ends_a_tail_without_a_word(kafka: Kafka, prefix: str, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "streamgauge", "tail", "raw.kraken", "--from-beginning"],
        cwd=tmp_path,
        env=os.environ
        | {
            "PYTHONPATH": str(CHECKOUT),
            "STREAMGAUGE__KAFKA__BOOTSTRAP": kafka.bootstrap,
            "STREAMGAUGE__TOPICS__PREFIX": prefix,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()

    assert "before" in first
    assert (process.returncode, errors) == (130, "")
