"""The campaign in real time: simulator, proxy, producer, Kafka and Faust as they are run.

    streamgauge produce -> proxy of each venue -> streamgauge simulate
            |
            v
         Kafka -> streamgauge process -> topic alerts -> here

Delays are taken from the first effect to the moment at which Kafka has the alert, so they hold what
every stage took. Which frame showed an effect first is read from the raw log afterwards.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final, Self

import aiohttp
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from core.events import AlertBatch
from core.exchanges import exchanges
from core.frames import Frame, FrameKind
from core.protocol import DecodeError, Delta, Shard, Snapshot, TradePrint, Unsubscribed
from core.stability.alerts import Alert, Phase
from infra.chaos.ledger import Injection, Observed
from infra.chaos.proxy import Path as Route
from infra.chaos.proxy import Proxy
from infra.local.kafka import KafkaServer
from infra.local.process import free_port
from infra.run.stages import ProcessorStage, ProducerStage, SimulatorStage, complete
from infra.runtime.settings import (
    ExchangeSettings,
    KafkaSettings,
    ProcessorSettings,
    ProducerSettings,
    Settings,
    to_toml,
)
from processors.reading import records, written_since
from schemas.codec import decode_events, decode_frame_batch
from schemas.topics import event_topic, raw_topic

SYMBOLS: Final = 12
"""Of each venue."""
SYMBOLS_PER_SHARD: Final = 3
BOOK_DEPTH: Final = 10
"""Kraken's checksum is of the best ten levels: what is wrong below them nobody can see."""
RATE: Final = 120.0
"""Book events a second of all venues."""
SNAPSHOT_S: Final = 60
WARMUP_S: Final = 200
_POLL_S: Final = 0.25
_NS_PER_MS: Final = 1_000_000

Connection = tuple[str, str]
"""Exchange and shard."""


class Alerts:
    """Everything on the topic `alerts`, as it comes; `ts` is when Kafka had it.

    What venues are accused of beside one another counts to the connection in `shards` that carries
    the symbol.
    """

    def __init__(self, shards: Mapping[Connection, Shard]) -> None:
        self.seen: list[Observed] = []
        self._shards = shards
        self._open: dict[str, Connection] = {}
        self._known: set[tuple[str, Phase]] = set()
        self._changed = asyncio.Event()

    def open_of(self, connection: Connection) -> int:
        """Return how many incidents of a connection are open."""
        return sum(each == connection for each in self._open.values())

    async def until_well(self, connection: Connection, deadline: float) -> bool:
        """Wait until no incident of a connection is open; False: there is at the loop's time
        `deadline`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                while self.open_of(connection):
                    self._changed.clear()
                    await self._changed.wait()
        return not self.open_of(connection)

    async def read(self, consumer: AIOKafkaConsumer) -> None:
        """Read until cancelled; what a restarted processor says again counts once."""
        async for record in consumer:
            batch = decode_events("alerts", record.value)
            assert isinstance(batch, AlertBatch)
            address = batch.header.address
            for alert in batch.alerts:
                connection = self._connection(address.exchange, address.shard, alert.symbol)
                self._take(connection, alert, record.timestamp * _NS_PER_MS)

    def _connection(self, exchange: str, shard: str, symbol: str) -> Connection:
        if (exchange, shard) in self._shards:
            return exchange, shard
        return next(
            (
                connection
                for connection, planned in self._shards.items()
                if connection[0] == exchange and symbol in planned.symbols
            ),
            (exchange, shard),
        )

    def _take(self, connection: Connection, alert: Alert, ts: int) -> None:
        if (alert.alert_id, alert.phase) in self._known:
            return
        self._known.add((alert.alert_id, alert.phase))
        if alert.phase is Phase.OPEN:
            self._open[alert.alert_id] = connection
        else:
            self._open.pop(alert.alert_id, None)
            self._changed.set()
        published = msgspec.structs.replace(alert, ts=max(ts, alert.ts))
        self.seen.append(Observed(*connection, published))


class LivePipeline:
    """Everything that runs; use it as an asynchronous context."""

    def __init__(self, folder: Path, *, seed: int, told: Callable[[str], None]) -> None:
        self.shards: dict[Connection, Shard] = {}
        self.alerts = Alerts(self.shards)
        self.random = Random(f"{seed}:live")
        # A broker that comes back is to be found where it was.
        self.kafka = KafkaServer(folder / "kafka", free_port())
        self.processor: ProcessorStage | None = None
        self.proxies: dict[str, Proxy] = {}
        self._folder = folder
        self._simulator = SimulatorStage(
            folder / "simulator", symbols=SYMBOLS, rate=RATE, seed=seed
        )
        self._settings = Settings()
        self._told = told
        self._stack = contextlib.AsyncExitStack()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Start in order.

        Raises:
            ServerError: something did not start.
        """
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End in order."""
        await self._stack.aclose()

    async def _start(self) -> None:
        for server in (self.kafka, self._simulator):
            self._told(f"starting {server.name}")
            await asyncio.to_thread(server.start)
            self._stack.push_async_callback(asyncio.to_thread, server.stop)
        self._http = await self._stack.enter_async_context(
            aiohttp.ClientSession(self._simulator.truth_url)
        )
        found = {}
        for name, venue in self._simulator.venues().items():
            scheme, _, rest = venue.websocket_url.partition("://")
            address, _, path = rest.partition("/")
            proxy = Proxy(int(address.rpartition(":")[2]))
            self.proxies[name] = await self._stack.enter_async_context(proxy)
            found[name] = ExchangeSettings(
                websocket_url=f"{scheme}://127.0.0.1:{proxy.port}/{path}",
                rest_url=venue.rest_url,
                symbols=venue.symbols,
                symbols_per_shard=SYMBOLS_PER_SHARD,
                book_depth=BOOK_DEPTH,
            )
            planned = exchanges()[name].plan(
                venue.symbols, per_shard=SYMBOLS_PER_SHARD, book_depth=BOOK_DEPTH
            )
            self.shards |= {(name, shard.name): shard for shard in planned}
        self._settings = Settings(
            kafka=KafkaSettings(bootstrap=self.kafka.bootstrap),
            exchanges=found,
            producer=ProducerSettings(snapshot_interval_s=SNAPSHOT_S),
            processor=ProcessorSettings(warmup_s=WARMUP_S, session_timeout_ms=10_000),
        )
        config = self._folder / "chaos.toml"
        config.write_text(to_toml(self._settings), encoding="utf-8")
        await asyncio.to_thread(complete, config, "topics")
        consumer = await self._stack.enter_async_context(self._consumer(event_topic("alerts")))
        reading = asyncio.create_task(self.alerts.read(consumer))
        self._stack.callback(reading.cancel)
        self.processor = ProcessorStage(self._folder / "process", config)
        for stage in (self.processor, ProducerStage(self._folder / "produce", config)):
            self._told(f"starting {stage.name}")
            await asyncio.to_thread(stage.start)
            self._stack.push_async_callback(asyncio.to_thread, stage.stop)

    @contextlib.asynccontextmanager
    async def _consumer(self, *topics: str) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            *topics, bootstrap_servers=self.kafka.bootstrap, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    def compared(self) -> dict[str, dict[str, tuple[Connection, str]]]:
        """Return the instruments that all venues have: by name and exchange, connection and
        symbol."""
        found: dict[str, dict[str, tuple[Connection, str]]] = {}
        for connection, shard in self.shards.items():
            for symbol in shard.symbols:
                instrument = exchanges()[connection[0]].instrument(symbol)
                found.setdefault(instrument, {})[connection[0]] = connection, symbol
        return {name: own for name, own in found.items() if len(own) == len(self.proxies)}

    # -- the simulator --

    async def inject(self, **body: object) -> dict[str, Any]:
        """Begin a fault and return its entry in the simulator's ledger.

        Raises:
            InjectionRefusedError: it is not possible now.
        """
        assert self._http is not None
        async with self._http.post("/inject", json=body) as answer:
            entry: dict[str, Any] = await answer.json()
        if answer.status != 200:
            raise InjectionRefusedError(str(entry.get("error")))
        return entry

    async def ended(self, number: int, seconds: float) -> dict[str, Any]:
        """Wait for the end of a fault and return its entry, as it is after `seconds` at most."""
        assert self._http is not None
        deadline = time.monotonic() + seconds
        while True:
            async with self._http.get("/truth/ledger") as answer:
                entries: list[dict[str, Any]] = await answer.json()
            entry = next(each for each in entries if each["id"] == number)
            if entry["end_ns"] is not None or time.monotonic() > deadline:
                return entry
            await asyncio.sleep(_POLL_S)

    async def socket(self, connection: Connection) -> tuple[str, Route]:
        """Return the venue's name of a shard's socket, and its route through the proxy.

        Raises:
            InjectionRefusedError: it is not open.
        """
        assert self._http is not None
        exchange, shard = connection
        async with self._http.get("/truth/status") as answer:
            status = await answer.json()
        wanted = set(self.shards[exchange, shard].symbols)
        for each in status["venues"][exchange]["connections"]:
            route = self.proxies[exchange].paths.get(each["peer"])
            if route is not None and set(each["symbols"]) == wanted:
                return each["connection"], route
        raise InjectionRefusedError(f"{shard} has no socket")

    # -- the log --

    async def first_effects(self, injections: Sequence[Injection]) -> None:
        """Find the frames that first showed the faults of single frames, and note their time.

        `ts_effect` of these is when the venue touched the first frame; what shows it is the next
        frame of the stream that arrives. None where the book was just being renewed: then nobody
        could see anything. A silence (F1) shows when its first frame does not come.
        """
        sought: dict[str, list[Injection]] = {}
        for each in injections:
            if each.ts_effect is not None and each.symbol and each.fault != "F1":
                sought.setdefault(each.exchange, []).append(each)
        for exchange, own in sought.items():
            await self._first_effects(exchange, own)

    async def _first_effects(self, exchange: str, injections: list[Injection]) -> None:
        venue = exchanges()[exchange]
        found: dict[int, int | None] = {}
        renewed: set[str] = set()
        async for frame in self._frames(exchange):
            if frame.kind is FrameKind.SENT:
                sent = venue.decode_sent(frame.payload)
                renewed |= {each.symbol for each in sent if isinstance(each, Unsubscribed)}
                continue
            due = [
                each
                for each in injections
                if id(each) not in found and frame.ts_recv >= (each.ts_effect or 0)
            ]
            if not due and not renewed:
                continue
            with contextlib.suppress(DecodeError):
                messages = venue.decode(frame.payload)
                streams = {_stream(message) for message in messages}
                for each in due:
                    if any((channel, each.symbol) in streams for channel in each.channels):
                        is_followed = each.symbol not in renewed or each.channels == ("trades",)
                        found[id(each)] = frame.ts_recv if is_followed else None
                renewed -= {each.symbol for each in messages if isinstance(each, Snapshot)}
        for each in injections:
            each.ts_effect = found.get(id(each))

    async def _frames(self, exchange: str) -> AsyncIterator[Frame]:
        """Yield what was sent and received at an exchange, each partition in order."""
        topic = raw_topic(exchange)
        async with self._consumer() as consumer:
            partitions = range(self._settings.topics.raw_partitions)
            tps = [TopicPartition(topic, each) for each in partitions]
            bounds = await written_since(consumer, tps, None)
            async for _, record in records(consumer, bounds):
                for frame in decode_frame_batch(record.value).frames:
                    if frame.kind in (FrameKind.RECEIVED, FrameKind.SENT):
                        yield frame


class InjectionRefusedError(Exception):
    """A fault is not possible now: the text says why."""


def _stream(message: object) -> tuple[str, str]:
    if isinstance(message, TradePrint):
        return "trades", message.symbol
    if isinstance(message, Delta | Snapshot):
        return "book", message.symbol
    return "", ""
