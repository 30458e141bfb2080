"""`streamgauge produce` between simulated venues and a real Kafka."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from core.events import FaultKind
from core.frames import Address, BatchBuilder, CloseReason, Frame, FrameKind
from schemas.codec import encode_frame_batch
from schemas.topics import raw_topic
from tests.integration.producers.processes import (
    VENUES,
    Simulation,
    producer,
    settings_for,
    simulation,
    wait_until,
)
from tests.integration.producers.raw_log import RawLog, make_topics, read_log, wait_recorded
from tests.integration.services import Kafka

OPTIONS = ("--symbols", "3", "--rate", "300", "--trade-share", "0.5")
AHEAD_NS = 1_800_000_000_000
GARBAGE = ("invalid_json", "truncated", "nested", "binary", "not_a_number")


@pytest.fixture
def simulated(tmp_path: Path) -> Iterator[Simulation]:
    with simulation(tmp_path, *OPTIONS) as running:
        yield running


def recorded(kafka: Kafka, prefix: str, names: Iterable[str] = VENUES) -> dict[str, RawLog]:
    """Return the logs of venues, each proven whole."""
    logs = {name: asyncio.run(read_log(kafka.bootstrap, name, prefix)) for name in names}
    for log in logs.values():
        log.prove_whole()
    return logs


def assert_delivered_once(simulated: Simulation, log: RawLog) -> None:
    """Every trade that a venue put on a wire is in the log, once."""
    found = log.trades()
    for symbol in simulated.venues[log.exchange]["symbols"]:
        expected = [trade["trade_id"] for trade in simulated.delivered(log.exchange, symbol)]
        assert expected, f"no trades of {symbol}"
        assert [trade.trade_id for trade in found[symbol]] == expected


def fault_kinds(log: RawLog) -> dict[FaultKind, int]:
    """Count the faults that the processors find in a log."""
    kinds = [fault.kind for events in log.facts() for fault in events.faults]
    return {kind: kinds.count(kind) for kind in kinds}


def wait_settled(kafka: Kafka, prefix: str, names: Iterable[str] = VENUES) -> None:
    """Wait until the log shows every socket open and every book live."""
    wait_recorded(kafka.bootstrap, prefix, names, RawLog.is_settled, "all books live")


def unplanned(log: RawLog) -> list[CloseReason]:
    """Return the ends of sockets that we did not want."""
    return [closing for closing in log.closings() if not closing.planned]


def test_produce_all_that_venues_deliver_is_in_the_log_once(
    kafka: Kafka, simulated: Simulation, tmp_path: Path
) -> None:
    prefix = asyncio.run(make_topics(kafka.bootstrap, VENUES))
    settings = settings_for(
        simulated,
        kafka.bootstrap,
        prefix,
        producer="snapshot_interval_s = 2\nping_interval_ms = 1000",
    )

    def is_complete(log: RawLog) -> bool:
        traded = set(log.trades()) == set(simulated.venues[log.exchange]["symbols"])
        repeated = len(log.frames(FrameKind.PLAN)) > 2 * len(log.batches)
        return traded and repeated and bool(log.frames(FrameKind.PONG)) and log.is_settled()

    with producer(tmp_path, settings) as running:
        running.wait_live(3)
        wait_recorded(kafka.bootstrap, prefix, VENUES, is_complete, "trades, plans and pongs")
        metrics = running.get("/metrics")[1]
        assert running.stop() == 0, running.said()

    logs = recorded(kafka, prefix)
    for name, log in logs.items():
        assert_delivered_once(simulated, log)
        assert fault_kinds(log) == {}
        assert unplanned(log) == []
        assert log.resyncs() == []
        kinds = {frame.kind for frame in log.frames()}
        assert {FrameKind.OPEN, FrameKind.SENT, FrameKind.TICK, FrameKind.CLOSE} <= kinds
        assert f'md_frames_total{{exchange="{name}"' in metrics
    assert sum(log.frames(FrameKind.REQUEST) != [] for log in logs.values()) == 1
    assert "md_kafka_acknowledge_seconds_count" in metrics


async def recorded_ahead(kafka: Kafka, prefix: str, epoch: int) -> None:
    """Write what a producer leaves whose clock is half an hour ahead, and is then set right."""
    aiokafka = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await aiokafka.start()
    try:
        for number, ahead_ns in ((epoch, AHEAD_NS), (epoch + 1, 0)):
            now = time.time_ns() + ahead_ns
            builder = BatchBuilder(Address("kraken", "kraken-0", "A", number))
            builder.add(Frame(FrameKind.OPENING, now, 1, "wss://x", b""))
            batch = builder.cut()
            assert batch is not None
            await aiokafka.send_and_wait(
                raw_topic("kraken", prefix),
                encode_frame_batch(batch),
                key=b"kraken-0",
                timestamp_ms=now // 1_000_000,
            )
    finally:
        await aiokafka.stop()


def test_produce_after_the_clock_was_set_back_is_not_taken_for_a_repeat(
    kafka: Kafka, simulated: Simulation, tmp_path: Path
) -> None:
    prefix = asyncio.run(make_topics(kafka.bootstrap, ["kraken"]))
    epoch = time.time_ns() + AHEAD_NS
    asyncio.run(recorded_ahead(kafka, prefix, epoch))

    settings = settings_for(simulated, kafka.bootstrap, prefix)
    with producer(tmp_path, settings, "--exchange", "kraken") as running:
        running.wait_live(3)
        assert running.stop() == 0, running.said()

    log = asyncio.run(read_log(kafka.bootstrap, "kraken", prefix))
    epochs = [batch.address.epoch for batch in log.batches["kraken-0", "A"]]
    assert epochs[:2] == [epoch, epoch + 1]
    assert len(epochs) > 2
    assert set(epochs[2:]) == {epoch + 2}
    assert any(events.trades or events.books for events in log.facts())


def test_produce_two_lines_record_every_shard_twice(
    kafka: Kafka, simulated: Simulation, tmp_path: Path
) -> None:
    prefix = asyncio.run(make_topics(kafka.bootstrap, VENUES))
    settings = settings_for(simulated, kafka.bootstrap, prefix, producer="lines = 2")
    with producer(tmp_path, settings, "--exchange", "kraken") as running:
        wait_until(lambda: simulated.sockets("kraken") == 4, "four sockets")
        assert running.stop() == 0, running.said()

    log = recorded(kafka, prefix, ["kraken"])["kraken"]
    assert sorted(log.batches) == [
        (shard, line) for shard in ("kraken-0", "kraken-1") for line in "AB"
    ]


@pytest.mark.parametrize("mode", ["clean", "abort"])
def test_produce_disconnected_comes_back_in_a_new_epoch(
    kafka: Kafka, simulated: Simulation, tmp_path: Path, mode: str
) -> None:
    prefix = asyncio.run(make_topics(kafka.bootstrap, VENUES))
    with producer(tmp_path, settings_for(simulated, kafka.bootstrap, prefix)) as running:
        running.wait_live(3)
        for name in VENUES:
            simulated.inject("disconnect", name, mode=mode)
        opened = 3 * len(VENUES)
        wait_until(lambda: len(running.events("socket_open")) == opened, "sockets open again")
        wait_settled(kafka, prefix)
        assert running.stop() == 0, running.said()

    by = "exchange" if mode == "clean" else "network"
    for log in recorded(kafka, prefix).values():
        assert [closing.by for closing in unplanned(log)] == [by]
        assert fault_kinds(log).keys() <= {FaultKind.DISCONNECTED, FaultKind.TRADE_GAP}


def test_produce_frame_faults_are_healed_where_they_are(
    kafka: Kafka, simulated: Simulation, tmp_path: Path
) -> None:
    """The guard asks for the book that was hurt, and for no other."""
    prefix = asyncio.run(make_topics(kafka.bootstrap, VENUES))
    hurt = {name: simulated.venues[name]["symbols"][1] for name in VENUES}
    with producer(tmp_path, settings_for(simulated, kafka.bootstrap, prefix)) as running:
        running.wait_live(3)
        twice = [
            simulated.inject("duplicate", name, symbol=symbol, channel="book", count=2)
            for name, symbol in hurt.items()
        ]
        wait_until(lambda: simulated.finished(*twice), "changes came twice")
        for name, symbol in hurt.items():
            kind = "corrupt_checksum" if name == "kraken" else "drop"
            simulated.inject(kind, name, symbol=symbol, channel="book", count=1)
        wait_recorded(
            kafka.bootstrap, prefix, VENUES, lambda log: log.resyncs() != [], "books asked for"
        )
        for name in VENUES:
            for variant in GARBAGE:
                simulated.inject("garbage", name, variant=variant)
        wait_recorded(kafka.bootstrap, prefix, VENUES, holds_garbage, "garbage")
        wait_settled(kafka, prefix)
        assert running.stop() == 0, running.said()

    for name, log in recorded(kafka, prefix).items():
        assert {resync.symbol for resync in log.resyncs()} == {hurt[name]}
        assert unplanned(log) == []
        kinds = fault_kinds(log)
        seen = FaultKind.CHECKSUM_MISMATCH if name == "kraken" else FaultKind.SEQUENCE_GAP
        assert kinds[seen] >= 1
        assert_delivered_once(simulated, log)


def holds_garbage(log: RawLog) -> bool:
    """Say whether each piece of garbage is in the log."""
    kinds = fault_kinds(log)
    unread = kinds.get(FaultKind.DECODE_ERROR, 0) + kinds.get(FaultKind.UNEXPECTED_BINARY, 0)
    return unread >= len(GARBAGE)


def test_produce_half_open_socket_is_replaced(
    kafka: Kafka, simulated: Simulation, tmp_path: Path
) -> None:
    prefix = asyncio.run(make_topics(kafka.bootstrap, VENUES))
    settings = settings_for(
        simulated, kafka.bootstrap, prefix, producer="silence_timeout_ms = 5000"
    )
    with producer(tmp_path, settings, "--exchange", "kraken") as running:
        running.wait_live(3)
        simulated.inject("half_open", "kraken", duration_s=120)
        wait_until(lambda: bool(running.events("socket_closed")), "the socket is given up")
        wait_until(lambda: len(running.events("socket_open")) == 3, "a new socket")
        wait_settled(kafka, prefix, ["kraken"])
        assert running.stop() == 0, running.said()

    log = recorded(kafka, prefix, ["kraken"])["kraken"]
    (closing,) = unplanned(log)
    assert (closing.by, closing.reason[:6]) == ("us", "silent")


def test_produce_silent_channels_are_healed_when_they_speak_again(
    kafka: Kafka, simulated: Simulation, tmp_path: Path
) -> None:
    prefix = asyncio.run(make_topics(kafka.bootstrap, VENUES))
    with producer(tmp_path, settings_for(simulated, kafka.bootstrap, prefix)) as running:
        running.wait_live(3)
        quiet = [simulated.inject("silence", name, duration_s=1.5) for name in VENUES]
        wait_until(lambda: simulated.finished(*quiet), "they speak again")
        wait_settled(kafka, prefix)
        wait_recorded(
            kafka.bootstrap, prefix, VENUES, lambda log: log.resyncs() != [], "books asked for"
        )
        wait_settled(kafka, prefix)
        assert running.stop() == 0, running.said()

    for log in recorded(kafka, prefix).values():
        assert unplanned(log) == []


def test_produce_message_too_large_is_counted_and_the_socket_replaced(
    kafka: Kafka, simulated: Simulation, tmp_path: Path
) -> None:
    prefix = asyncio.run(make_topics(kafka.bootstrap, VENUES))
    settings = settings_for(
        simulated, kafka.bootstrap, prefix, producer="frame_bytes_max = 1000000"
    )
    with producer(tmp_path, settings, "--exchange", "deribit") as running:
        running.wait_live(3)
        simulated.inject("garbage", "deribit", variant="huge", bytes=2_000_000)
        wait_until(lambda: len(running.events("socket_open")) == 3, "a new socket")
        wait_settled(kafka, prefix, ["deribit"])
        assert running.stop() == 0, running.said()

    log = recorded(kafka, prefix, ["deribit"])["deribit"]
    (dropped,) = [msgspec.json.decode(f.payload) for f in log.frames(FrameKind.DROPPED)]
    assert dropped["count"] == 1
    assert "limit of 1000000 bytes" in dropped["reason"]
    assert fault_kinds(log)[FaultKind.FRAMES_DROPPED] == 1


def test_produce_refused_and_busy_venues_are_tried_again(
    kafka: Kafka, simulated: Simulation, tmp_path: Path
) -> None:
    prefix = asyncio.run(make_topics(kafka.bootstrap, VENUES))
    with producer(tmp_path, settings_for(simulated, kafka.bootstrap, prefix)) as running:
        running.wait_live(3)
        faults = [
            simulated.inject("refuse", "kraken", duration_s=3),
            simulated.inject("http_429", "binance", duration_s=3),
            simulated.inject("disconnect", "binance", mode="abort"),
            simulated.inject("shutdown", "deribit", duration_s=0.5),
        ]
        wait_until(lambda: simulated.finished(*faults), "the faults are over")
        wait_until(lambda: all(simulated.sockets(name) == 2 for name in VENUES), "all back")
        wait_settled(kafka, prefix)
        wait_until(running.ready, "ready again")
        assert running.stop() == 0, running.said()

    logs = recorded(kafka, prefix)
    refusals = [closing for closing in logs["kraken"].closings() if closing.by == "handshake"]
    assert refusals
    busy = [closing for closing in logs["binance"].closings() if closing.code == 429]
    assert len(busy) <= 4, "a busy venue is not hammered"


def test_produce_tells_what_is_wrong_before_it_connects(
    kafka: Kafka, simulated: Simulation, tmp_path: Path
) -> None:
    settings = settings_for(simulated, kafka.bootstrap, "nowhere.")
    with producer(tmp_path, settings, "--exchange", "coinbase") as running:
        assert running.wait() == 2
        assert "exchanges.coinbase" in running.said()
    with producer(tmp_path, settings) as running:
        assert running.wait() == 1
        said = running.said()
        assert all(raw_topic(name, "nowhere.") in said for name in VENUES)
        assert "streamgauge topics" in said
        assert "not found in cluster metadata" not in said
    assert all(simulated.sockets(name) == 0 for name in VENUES)
