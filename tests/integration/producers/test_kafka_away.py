"""What a producer does while Kafka is away, slow to take, or refuses: nothing is lost silently."""

import asyncio
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from core.frames import Frame, FrameBatch, FrameKind, TickStatus
from infra.local.kafka import KafkaServer
from infra.local.process import free_port
from infra.runtime.metrics import Metrics
from producers.delivery import Delivery, DeliverySettings, TopicMissingError
from producers.metrics import ProducerMetrics
from producers.recorder import Recorder, RecorderSettings
from schemas.topics import raw_topic
from tests.integration.producers.processes import (
    Producer,
    Simulation,
    producer,
    settings_for,
    simulation,
    wait_until,
)
from tests.integration.producers.raw_log import (
    PARTITIONS,
    RawLog,
    make_topics,
    read_log,
    wait_recorded,
)
from tests.integration.producers.second_broker import SecondBroker, make_topic
from tests.integration.services import Kafka

OPTIONS = ("--venues", "kraken,binance", "--symbols", "4", "--rate", "2000")
NAMES = ("kraken", "binance")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[KafkaServer]:
    """A broker of the test's own, that it may stop."""
    with KafkaServer(tmp_path / "kafka", free_port()) as server:
        yield server


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulation]:
    with simulation(tmp_path, *OPTIONS) as running:
        yield running


def logs(broker: KafkaServer, prefix: str) -> dict[str, RawLog]:
    found = {name: asyncio.run(read_log(broker.bootstrap, name, prefix)) for name in NAMES}
    for log in found.values():
        log.leave_out_repeats()
        log.prove_whole()
    return found


Delivered = dict[tuple[str, str], list[str]]
"""Identities of the trades that the venues have sent, by venue and symbol."""


def delivered(simulated: Simulation) -> Delivered:
    return {
        (name, symbol): [trade["trade_id"] for trade in simulated.delivered(name, symbol)]
        for name in NAMES
        for symbol in simulated.venues[name]["symbols"]
    }


def wait_has(broker: KafkaServer, prefix: str, sent: Delivered) -> None:
    """Wait until the log has the last of these trades of every symbol."""
    for name in NAMES:
        last = {symbol: ids[-1] for (venue, symbol), ids in sent.items() if venue == name}

        def holds(log: RawLog, last: dict[str, str] = last) -> bool:
            found = log.trades()
            return all(
                any(trade.trade_id == wanted for trade in found[symbol])
                for symbol, wanted in last.items()
            )

        wait_recorded(broker.bootstrap, prefix, [name], holds, "trades made until now")


def wait_acknowledged(running: Producer) -> None:
    """Wait until Kafka has acknowledged more than it has now."""
    before = running.acknowledged()
    wait_until(lambda: running.acknowledged() > before, f"acknowledged: {running.said()}")


def wait_given_up(running: Producer) -> None:
    """Wait until aiokafka has given up more batches than it has now."""
    before = len(running.events("delivery_failed"))
    wait_until(lambda: len(running.events("delivery_failed")) > before, "batches given up")


@pytest.mark.slow
@pytest.mark.timeout(500)
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_produce_kafka_away_under_load_loses_nothing(
    broker: KafkaServer, simulated: Simulation, tmp_path: Path, how: str
) -> None:
    """The queue fills, sockets are read slower, and afterwards nothing is missing from the log."""
    prefix = asyncio.run(make_topics(broker.bootstrap, NAMES))
    settings = settings_for(simulated, broker.bootstrap, prefix, producer="queue_frames = 2000")
    with producer(tmp_path, settings) as running:
        running.wait_live(4)
        getattr(broker, how)()
        wait_until(lambda: len(running.events("socket_paused")) >= 4, "all sockets paused")
        wait_until(
            lambda: "nothing acknowledged" in running.get("/ready")[1], "it says that it waits"
        )
        code, _ = running.get("/ready")
        broker.start()
        assert code == 503
        wait_until(running.ready, "ready again")
        wait_until(lambda: len(running.events("socket_resumed")) >= 4, "all sockets read again")
        sent = delivered(simulated)
        wait_has(broker, prefix, sent)
        assert running.stop() == 0, running.said()

    all_sent = delivered(simulated)
    found = logs(broker, prefix)
    paused = 0
    for log in found.values():
        assert all(closing.planned for closing in log.closings())
        assert log.frames(FrameKind.DROPPED) == []
        ticks = [
            msgspec.json.decode(f.payload, type=TickStatus) for f in log.frames(FrameKind.TICK)
        ]
        paused += sum(tick.paused_ns for tick in ticks)
        for symbol in simulated.venues[log.exchange]["symbols"]:
            # What a slow machine had still to read when it was told to end was never received.
            recorded = [trade.trade_id for trade in log.trades()[symbol]]
            assert len(recorded) >= len(sent[log.exchange, symbol])
            assert recorded == all_sent[log.exchange, symbol][: len(recorded)]
    assert paused > 1_000_000_000


@pytest.mark.slow
@pytest.mark.timeout(480)
def test_produce_kafka_away_for_longer_than_requests_may_take(
    broker: KafkaServer, simulated: Simulation, tmp_path: Path
) -> None:
    """aiokafka gives batches up by then; they are sent again by a new producer, in order."""
    prefix = f"t{uuid.uuid4().hex[:12]}."
    settings = settings_for(simulated, broker.bootstrap, prefix)
    settings = settings.replace("request_timeout_ms = 5000", "request_timeout_ms = 1000")
    with SecondBroker(tmp_path / "second", broker) as second:
        for name in NAMES:
            asyncio.run(make_topic(broker.bootstrap, raw_topic(name, prefix), PARTITIONS))
        with producer(tmp_path, settings) as running:
            running.wait_live(4)
            for _ in range(2):
                second.stop()
                wait_given_up(running)
                second.start()
                wait_acknowledged(running)
            wait_until(running.ready, "ready again")
            assert running.stop() == 0, running.said()

        logs(broker, prefix)


def test_produce_kafka_away_at_the_end_says_what_is_lost(
    broker: KafkaServer, simulated: Simulation, tmp_path: Path
) -> None:
    prefix = asyncio.run(make_topics(broker.bootstrap, NAMES))
    settings = settings_for(simulated, broker.bootstrap, prefix, producer="close_timeout_ms = 3000")
    with producer(tmp_path, settings) as running:
        running.wait_live(4)
        broker.stop()
        started = time.monotonic()
        assert running.stop() == 1
        assert time.monotonic() - started < 30
        assert "frames: they are lost" in running.said()


def test_produce_kafka_away_at_the_start_waits_for_it(
    broker: KafkaServer, simulated: Simulation, tmp_path: Path
) -> None:
    prefix = asyncio.run(make_topics(broker.bootstrap, NAMES))
    broker.stop()
    with producer(tmp_path, settings_for(simulated, broker.bootstrap, prefix)) as running:
        wait_until(lambda: bool(running.events("kafka_unreachable")), "it says so")
        assert running.get("/ready")[0] == 503
        assert all(simulated.sockets(name) == 0 for name in NAMES)
        broker.start()
        running.wait_live(4)
        assert running.stop() == 0, running.said()
    logs(broker, prefix)


def test_produce_asked_to_end_while_it_waits_for_kafka_ends(
    simulated: Simulation, tmp_path: Path
) -> None:
    settings = settings_for(simulated, f"127.0.0.1:{free_port()}", "")
    with producer(tmp_path, settings) as running:
        wait_until(lambda: bool(running.events("kafka_unreachable")), "it says so")
        assert running.stop() == 0, running.said()


# -- what the broker refuses --

RECORDER = RecorderSettings(
    batch_frames=10, batch_bytes=100_000, batch_age_s=60, queue_frames=10_000, queue_bytes=1 << 26
)


def delivery(bootstrap: str, *, timeout_ms: int = 5000) -> Delivery:
    arguments = {"bootstrap_servers": bootstrap, "request_timeout_ms": timeout_ms}
    settings = DeliverySettings(arguments=arguments, linger_s=0.002, batch_bytes=1 << 20)
    return Delivery(settings, ProducerMetrics(Metrics("test")))


async def test_delivery_record_that_the_broker_refuses_is_counted_in_the_log(kafka: Kafka) -> None:
    limit = {"max.message.bytes": "20000"}
    prefix = await make_topics(kafka.bootstrap, ["kraken"], **limit)
    made = delivery(kafka.bootstrap)
    courier = await made.courier(raw_topic("kraken", prefix), "kraken-0")
    recorder = Recorder("kraken", "kraken-0", "A", courier, RECORDER)
    recorder.begin_epoch()
    recorder.note(FrameKind.OPENING, where="ws://venue")
    for number in range(60):
        size = 3000 if 20 <= number < 30 else 10
        recorder.note(FrameKind.RECEIVED, b"%03d" % number + b"x" * size)
    recorder.cut()
    assert await made.flush(30)
    recorder.cut()
    assert await made.flush(30)
    await made.stop()

    log = await read_log(kafka.bootstrap, "kraken", prefix)
    numbers = [n for batch in log.batches["kraken-0", "A"] for n in _numbers(batch)]
    missing = set(range(62)) - set(numbers)
    (dropped,) = [msgspec.json.decode(f.payload) for f in log.frames(FrameKind.DROPPED)]
    assert numbers == sorted(numbers)
    assert dropped["count"] == len(missing) == recorder.dropped > 0
    assert "MessageSizeTooLarge" in dropped["reason"]
    received = [frame.payload[:3] for frame in log.frames(FrameKind.RECEIVED)]
    assert received[:19] == [b"%03d" % n for n in range(19)]
    assert received[-29:] == [b"%03d" % n for n in range(31, 60)]


async def test_delivery_record_of_a_clock_that_was_ahead_holds_nothing_up(kafka: Kafka) -> None:
    prefix = await make_topics(kafka.bootstrap, ["kraken"])
    made = delivery(kafka.bootstrap)
    courier = await made.courier(raw_topic("kraken", prefix), "kraken-0")
    recorder = Recorder("kraken", "kraken-0", "A", courier, RECORDER)
    recorder.begin_epoch()
    wrong = time.time_ns() + 2 * 3600 * 1_000_000_000
    recorder.add(Frame(FrameKind.OPENING, wrong, time.monotonic_ns(), "ws://venue", b""))
    recorder.cut()
    recorder.note(FrameKind.RECEIVED, b"after the clock was put right")
    recorder.cut()
    is_flushed = await made.flush(20)
    await made.stop()

    assert is_flushed
    log = await read_log(kafka.bootstrap, "kraken", prefix, restamped=True)
    assert [frame.ts_recv for frame in log.frames(FrameKind.OPENING)] == [wrong]
    assert len(log.frames(FrameKind.RECEIVED)) == 1


def _numbers(batch: FrameBatch) -> range:
    return range(batch.number, batch.number + len(batch.frames))


async def test_delivery_shards_of_one_partition_keep_their_own_order(kafka: Kafka) -> None:
    prefix = await make_topics(kafka.bootstrap, ["kraken"])
    made = delivery(kafka.bootstrap)
    recorders = []
    for number in range(6):
        shard = f"kraken-{number}"
        courier = await made.courier(raw_topic("kraken", prefix), shard)
        recorders.append(Recorder("kraken", shard, "A", courier, RECORDER))
        recorders[-1].begin_epoch()
        recorders[-1].note(FrameKind.OPENING, where="ws://venue")
    for number in range(3000):
        recorders[number % 6].note(FrameKind.RECEIVED, b"%d" % number)
        if number % 100 == 0:
            await asyncio.sleep(0)
    for recorder in recorders:
        recorder.cut()
    assert await made.flush(30)
    await made.stop()

    log = await read_log(kafka.bootstrap, "kraken", prefix)
    log.prove_whole()
    assert len(log.batches) == 6
    assert len(log.frames(FrameKind.RECEIVED)) == 3000


async def test_delivery_topic_that_is_not_there_is_an_error(kafka: Kafka) -> None:
    made = delivery(kafka.bootstrap, timeout_ms=2000)
    try:
        with pytest.raises(TopicMissingError, match=r"raw\.nowhere"):
            await made.courier("raw.nowhere", "kraken-0")
    finally:
        await made.stop()
