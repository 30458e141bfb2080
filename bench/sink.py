"""How fast one sink process moves trades from Kafka into ClickHouse.

Real Kafka and the local ClickHouse, in a folder that is thrown away. All records are in the log
before the sink starts; the time counts from when every partition has its first block stored.
"""

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import clickhouse_connect
import psutil
from aiokafka import AIOKafkaProducer

from bench.harness import Options, note, options, report
from core.events import Events, Side, Trade
from core.frames import Address
from infra.local.clickhouse.process import ClickHouseServer
from infra.local.kafka import KafkaServer
from infra.local.process import free_port
from infra.runtime.settings import ProducerSettings
from schemas.codec import encode_events

PARTITIONS: Final = 4
TRADES_IN_RECORD: Final = ProducerSettings().batch_frames // 2
"""Half of the frames that a raw record holds at most, each with one trade."""
ROWS: Final = 1_500_000
SMOKE_ROWS: Final = 50_000
WAIT_S: Final = 300.0
_EPOCH: Final = 1_700_000_000_000_000_000
_SYMBOLS: Final = ("BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD", "ADA/USD")


def main(chosen: Options) -> None:
    """Measure rows a second."""
    rows = SMOKE_ROWS if chosen.smoke else ROWS
    with tempfile.TemporaryDirectory(prefix="streamgauge-bench-") as folder:
        place = Path(folder)
        with KafkaServer(place / "kafka") as kafka, ClickHouseServer(place / "clickhouse") as house:
            environment = os.environ | {
                "STREAMGAUGE__KAFKA__BOOTSTRAP": kafka.bootstrap,
                "STREAMGAUGE__CLICKHOUSE__PORT": str(house.port),
                "STREAMGAUGE__TOPICS__EVENT_PARTITIONS": str(PARTITIONS),
                "STREAMGAUGE__RUNTIME__HEALTH_PORT": str(free_port()),
            }
            for command in ("migrate", "topics"):
                subprocess.run(_streamgauge(command), env=environment, check=True, stdout=2)
            note(f"producing {rows:,} trades")
            asyncio.run(_produce(kafka.bootstrap, rows))
            figures, result = _measure(environment, house, rows)
    report("sink", figures, result)


async def _produce(bootstrap: str, rows: int) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        linger_ms=20,
        max_batch_size=1 << 18,
        compression_type="lz4",
        enable_idempotence=True,
    )
    await producer.start()
    try:
        for partition, value in _records(rows):
            key = f"shard{partition}".encode()
            await producer.send("trades", value, key=key, partition=partition)
    finally:
        await producer.stop()


def _records(rows: int) -> Iterator[tuple[int, bytes]]:
    """Records as a processor writes them; a seed makes them the same every time."""
    draw = random.Random(1)
    price = 9_712_350
    for number in range(0, rows, TRADES_IN_RECORD):
        partition = number // TRADES_IN_RECORD % PARTITIONS
        trades = []
        for index in range(TRADES_IN_RECORD):
            price = max(1, price + draw.randint(-30, 30))
            moment = _EPOCH + (number + index) * 1_000_000
            trades.append(
                Trade(
                    number=number + index,
                    index=0,
                    symbol=draw.choice(_SYMBOLS),
                    trade_id=str(100_000_000 + number + index),
                    sequence=number + index,
                    price=f"{price / 100:.2f}",
                    size=f"{draw.choice((1, 5, 10, draw.randint(1, 10**7))) / 1e5:.8f}",
                    side=draw.choice((Side.BUY, Side.SELL)),
                    ts_event=moment,
                    ts_recv=moment + 5_000_000,
                    quality=0,
                )
            )
        address = Address("kraken", f"shard{partition}", "A", _EPOCH)
        yield partition, encode_events(Events(address, number, trades, [], [], []), 0, number)[0][1]


def _measure(
    environment: dict[str, str], house: ClickHouseServer, rows: int
) -> tuple[dict[str, Any], bytes]:
    note("starting the sink")
    sink = subprocess.Popen(_streamgauge("sink"), env=environment)
    client = clickhouse_connect.get_client(
        host=house.host, port=house.port, database="streamgauge", autogenerate_session_id=False
    )
    try:
        memory = _wait(sink, client, rows)
        cpu = psutil.Process(sink.pid).cpu_times()
    finally:
        sink.terminate()
        sink.wait(60)
    ((seconds, later, blocks),) = client.query(
        "WITH (SELECT max(t) FROM (SELECT min(ts_stored) AS t FROM blocks GROUP BY partition))"
        " AS t0 SELECT (toUnixTimestamp64Nano(max(ts_stored)) - toUnixTimestamp64Nano(t0)) / 1e9,"
        " sumIf(rows, ts_stored > t0), count() FROM blocks"
    ).result_rows
    ((stored, content),) = client.query(
        "SELECT count(), sum(cityHash64(number, idx, symbol, trade_id, price, size, side, ts_event,"
        " ts_recv)) FROM trades"
    ).result_rows
    if stored != rows:
        raise SystemExit(f"{stored} rows stored, {rows} expected")
    figures = {
        # A small round may be one block a partition: no time passes after the first ones.
        "rows_per_s": round(later / seconds) if seconds else None,
        "rows": rows,
        "blocks": blocks,
        "trades_in_record": TRADES_IN_RECORD,
        "sink_cpu_us_per_row": round((cpu.user + cpu.system) / rows * 1e6, 2),
        "sink_rss_mb_max": round(memory / (1 << 20)),
    }
    return figures, str(content).encode()


def _wait(sink: "subprocess.Popen[bytes]", client: Any, rows: int) -> int:
    """Wait until everything is stored and return the sink's largest resident memory, bytes."""
    process, deadline = psutil.Process(sink.pid), time.monotonic() + WAIT_S
    memory = 0
    while time.monotonic() < deadline:
        if sink.poll() is not None:
            raise SystemExit(f"the sink ended with {sink.returncode}")
        memory = max(memory, int(process.memory_info().rss))
        ((stored,),) = client.query("SELECT sum(rows) FROM blocks").result_rows
        if stored >= rows:
            return memory
        time.sleep(0.2)
    raise SystemExit(f"not stored after {WAIT_S} s")


def _streamgauge(command: str) -> list[str]:
    return [sys.executable, "-m", "streamgauge", command]


if __name__ == "__main__":
    main(options(__doc__))
