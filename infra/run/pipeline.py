"""Starting everything in order, watching it, ending it in order, and saying what came of it.

Order of start: Kafka and ClickHouse, simulator, topics and tables, sink, processor, producer. Order
of end: the producer unsubscribes and flushes; when the processor has read all of it, it ends; when
the sink has stored all of that, it ends; then the books are compared and the servers stop. So a
clean end leaves no lag, and whatever is missing then is missing for good.
"""

import asyncio
import contextlib
import os
import time
from collections import deque
from pathlib import Path
from typing import Any, Final

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.client import Client

from infra.local.clickhouse.process import ClickHouseServer
from infra.local.kafka import KafkaServer
from infra.local.process import LocalServer, lock_folder, sign
from infra.run.screen import Screen, View
from infra.run.stages import (
    NotifierStage,
    ProcessorStage,
    ProducerStage,
    SimulatorStage,
    SinkStage,
    Stage,
    complete,
)
from infra.run.truth import Truth, Venue, compare
from infra.run.usage import Usage
from infra.run.watch import Flow, Lag, Watch
from infra.runtime.connections import clickhouse_arguments
from infra.runtime.settings import (
    ClickHouseSettings,
    ExchangeSettings,
    KafkaSettings,
    Settings,
    to_toml,
)

CONFIG_NAME: Final = "run.toml"
"""Name of the running pipeline's settings file; other commands look for it in var/."""
DRAIN_S: Final = 120.0
"""Longest wait for a stage to catch up at the end, s."""
LOOK_S: Final = 1.0
"""Seconds between two looks at the running pipeline."""
RATE_LOOKS: Final = 6
"""Looks over which the rate on the screen is taken: frames are told once a second, in blocks."""
RECENT_NS: Final = 5_000_000_000
"""Latencies on the screen are those of the last ns."""


class StageEndedError(Exception):
    """A stage or server ended that should have gone on; the text has the end of its log."""


class Report(msgspec.Struct, omit_defaults=False):
    """The last line of a run; `Usage` says what memory, CPU and slopes mean."""

    ok: bool
    seconds: float
    frames: int
    frames_per_s: float
    trades: int
    books: int
    faults: int
    rows: dict[str, int]
    lag: Lag
    lag_max: Lag
    lag_per_s: dict[str, float | None]
    latency_ms: dict[str, float | None]
    rss_mb: dict[str, float]
    rss_mb_max: dict[str, float]
    rss_mb_per_min: dict[str, float | None]
    cpu_cores: dict[str, float]
    truth: dict[str, Any]
    problems: list[str]


class LocalPipeline:
    """Everything that `streamgauge run` starts, in one folder."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *,
        symbols: int,
        rate: float,
        seed: int,
        screen: Screen,
    ) -> None:
        self._folder = folder
        self._settings = settings
        self.screen = screen
        # Ports that are not free are no trouble: settings go by those that were taken.
        self._kafka = KafkaServer(folder / "kafka").prefer(_port(settings.kafka.bootstrap))
        self._clickhouse = ClickHouseServer(folder / "clickhouse").prefer(settings.clickhouse.port)
        self._simulator = SimulatorStage(
            folder / "simulator", symbols=symbols, rate=rate, seed=seed
        )
        self._stages: dict[str, Stage] = {}
        self._ended: set[str] = set()
        self._usage = Usage()
        self._since_ns = 0
        self._has_config = False
        self.looking = False
        """Everything runs, and the end has not begun."""
        self.produced = False
        """Frames may have been recorded in Kafka."""
        self.problems: list[str] = []

    async def run(self, seconds: int | None, stop: asyncio.Event) -> Report:
        """Run for `seconds` (None: until `stop`), end in order, and report.

        Raises:
            ServerError: a server did not start, or another run owns the folder.
            StageEndedError: a stage or server ended by itself.
        """
        with await asyncio.to_thread(lock_folder, self._folder, "streamgauge run") as lock:
            sign(lock, os.getpid())
            return await self._run(seconds, stop)

    async def _run(self, seconds: int | None, stop: asyncio.Event) -> Report:
        try:
            await self._start_servers()
            self._write_settings()
            await self._prepare()
            client = self._client()
            watch = Watch(self._settings, client)
            await watch.start()
            try:
                await self._start_stages()
                started = time.monotonic()
                self.looking = True
                await self._look_until(seconds, stop, watch)
                self.looking = False
                return await self._end(watch, client, time.monotonic() - started)
            finally:
                self.screen.close()
                await watch.stop()
                client.close()
        finally:
            await self._stop_everything()

    # -- start --

    async def _start_servers(self) -> None:
        fetches = "" if self._kafka.is_fetched else " (the first start fetches it)"
        for server, what in (
            (self._kafka, f"Kafka{fetches}"),
            (self._clickhouse, "ClickHouse"),
            (self._simulator, "simulated exchanges"),
        ):
            self.screen.step(f"starting {what}")
            await asyncio.to_thread(server.start)
        self._since_ns = time.time_ns()

    def _write_settings(self) -> None:
        """Point the settings at what was started, for the stages and for any other command."""
        tree = msgspec.structs.replace
        settings = self._settings
        exchanges = {}
        for name, venue in self._simulator.venues().items():
            given = settings.exchanges.get(name, ExchangeSettings())
            exchanges[name] = tree(
                given,
                websocket_url=venue.websocket_url,
                rest_url=venue.rest_url,
                symbols=venue.symbols,
            )
        self._settings = tree(
            settings,
            # Nothing of another broker or server goes with the address: no login, no TLS.
            kafka=KafkaSettings(bootstrap=self._kafka.bootstrap),
            clickhouse=ClickHouseSettings(
                host=self._clickhouse.host,
                port=self._clickhouse.port,
                database=settings.clickhouse.database,
            ),
            exchanges=exchanges,
        )
        self.config.write_text(to_toml(self._settings), encoding="utf-8")
        self._has_config = True

    @property
    def config(self) -> Path:
        """The settings of the running pipeline."""
        return self._folder / CONFIG_NAME

    def _client(self) -> Client:
        database = self._settings.clickhouse.database
        arguments = clickhouse_arguments(self._settings.clickhouse)
        client: Client = clickhouse_connect.get_client(database=database, **arguments)
        return client

    async def _prepare(self) -> None:
        self.screen.step("topics and tables")
        await asyncio.gather(
            asyncio.to_thread(complete, self.config, "topics"),
            asyncio.to_thread(complete, self.config, "migrate"),
        )

    async def _start_stages(self) -> None:
        stages: list[Stage] = [SinkStage(self._folder / SinkStage.name, self.config)]
        if any(each.enabled for each in self._settings.notify.receivers.values()):
            folder = self._folder / NotifierStage.name
            stages.append(NotifierStage(folder, self.config, self._settings.notify))
        for kind in (ProcessorStage, ProducerStage):
            stages.append(kind(self._folder / kind.name, self.config))
        for stage in stages:
            self.screen.step(f"starting {stage.name}")
            self.produced = self.produced or isinstance(stage, ProducerStage)
            self._stages[stage.name] = stage
            await asyncio.to_thread(stage.start)
        self.screen.step(
            f"everything runs: Kafka {self._kafka.bootstrap}, ClickHouse {self._clickhouse.url}, "
            f"the simulator's truth {self._simulator.truth_url}; settings in {self.config}"
        )
        pages = ", ".join(f"{name} {stage.url}" for name, stage in self._stages.items())
        self.screen.step(f"health and metrics (/live /ready /metrics): {pages}")

    # -- run --

    async def _look_until(self, seconds: int | None, stop: asyncio.Event, watch: Watch) -> None:
        started = time.monotonic()
        seen = deque([(0.0, 0)], maxlen=RATE_LOOKS)
        while not stop.is_set():
            elapsed = time.monotonic() - started
            if seconds is not None and elapsed >= seconds:
                return
            self._check_alive()
            now_ns = time.time_ns()
            flow = await asyncio.to_thread(watch.flow, self._since_ns, now_ns - RECENT_NS)
            lag = await watch.lag()
            pids = {name: process.pid for name, process in self._processes().items()}
            self._usage.note(elapsed, lag, pids)
            since, before = seen[0]
            seen.append((elapsed, flow.frames))
            view = View(
                elapsed_s=int(elapsed),
                seconds=seconds,
                flow=flow,
                rate=(flow.frames - before) / max(elapsed - since, 1e-3),
                lag=lag,
                memory=self._usage.rss_mb,
                tops=await asyncio.to_thread(watch.tops),
            )
            self.screen.show(view)
            left = LOOK_S if seconds is None else min(LOOK_S, seconds - elapsed)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(left, 0.05))

    def _check_alive(self) -> None:
        for name, process in self._processes().items():
            if not process.running and name not in self._ended:
                raise StageEndedError(
                    f"{name} ended by itself; the end of {process.log_path}:\n{process.log_tail()}"
                )

    def _processes(self) -> dict[str, LocalServer]:
        return {
            "kafka": self._kafka,
            "clickhouse": self._clickhouse,
            "simulate": self._simulator,
            **self._stages,
        }

    # -- end --

    async def _end(self, watch: Watch, client: Client, seconds: float) -> Report:
        self.screen.close()
        await self._stop_stage("produce")
        lag = await self._drained(watch, "raw")
        await self._stop_stage("process")
        lag = await self._drained(watch, "events")
        await self._stop_stage("sink")
        if "notify" in self._stages:
            await self._stop_stage("notify")
        self.screen.step("comparing ClickHouse with the simulator's truth")
        url = self._simulator.truth_url
        truth = await compare(client, url, self._compared(), since_ns=self._since_ns)
        flow = await asyncio.to_thread(watch.flow, self._since_ns, self._since_ns)
        for example in truth.examples:
            self.screen.problem(example)
        return self._report(seconds, watch, flow, lag, truth)

    def _compared(self) -> dict[str, Venue]:
        levels = self._settings.processor.book_levels
        return {
            name: Venue(each.symbols, min(levels, each.book_depth or levels))
            for name, each in self._settings.exchanges.items()
        }

    def _report(self, seconds: float, watch: Watch, flow: Flow, lag: Lag, truth: Truth) -> Report:
        usage = self._usage
        if lag.raw or lag.events:
            self.problems.append(f"lag left at the end: {lag.raw} raw, {lag.events} event records")
        if not (truth.trades_expected and truth.books_compared):
            self.problems.append("too short a run: there are no trades or no books to compare")
        counts = {
            field: getattr(truth, field) for field in truth.__struct_fields__ if field != "examples"
        }
        return Report(
            ok=truth.ok and not self.problems,
            seconds=round(seconds, 1),
            frames=flow.frames,
            frames_per_s=round(flow.frames / max(seconds, 1e-3), 1),
            trades=flow.trades,
            books=flow.books,
            faults=flow.faults,
            rows=watch.rows(),
            lag=lag,
            lag_max=usage.lag_max,
            lag_per_s=usage.lag_per_s,
            latency_ms={"p50": flow.latency_ms_p50, "p99": flow.latency_ms_p99},
            rss_mb=usage.rss_mb,
            rss_mb_max=usage.rss_mb_max,
            rss_mb_per_min=usage.rss_mb_per_min,
            cpu_cores=usage.cpu_cores,
            truth=counts,
            problems=self.problems,
        )

    async def _drained(self, watch: Watch, part: str) -> Lag:
        """Wait until a stage has read everything; a stage that does not is a problem."""
        deadline = time.monotonic() + DRAIN_S
        while True:
            self._check_alive()
            lag = await watch.lag()
            if not getattr(lag, part) or time.monotonic() > deadline:
                return lag
            await asyncio.sleep(0.1)

    async def _stop_stage(self, name: str) -> None:
        stage = self._stages[name]
        self.screen.step(f"ending {name}")
        self._ended.add(name)
        code = await asyncio.to_thread(stage.stop)
        if code:
            self.problems.append(f"{name} ended with exit code {code}: see {stage.log_path}")

    async def _stop_everything(self) -> None:
        stages = [
            self._stages[name]
            for name in ("produce", "process", "sink", "notify")
            if name in self._stages
        ]
        for process in (*stages, self._simulator, self._clickhouse, self._kafka):
            if process.pid is not None:
                await asyncio.to_thread(process.stop)
        if self._has_config:
            self.config.unlink(missing_ok=True)


def _port(address: str) -> int:
    return int(address.rsplit(":", 1)[-1])
