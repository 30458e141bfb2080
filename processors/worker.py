"""The Faust app: agents, services, signals of assignment, and the worker that runs them.

Faust stays at this edge. It runs under `faust -A processors.app worker` as well as under
`streamgauge process`; both have the same logs, health and event loop.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Iterable
from itertools import chain
from typing import Any, Final, cast

import faust
import msgspec
import uvloop
from faust.app.base import BootStrategy
from mode.utils.logging import level_name

from infra.runtime import logs
from infra.runtime.garbage import collect_seldom, keep_present
from infra.runtime.health import Health, HealthServer
from infra.runtime.metrics import Metrics
from infra.runtime.settings import Settings
from processors.broker import Broker
from processors.engines import makers
from processors.meters import Meters
from processors.options import (
    NO_PAGES,
    check_sizes,
    check_warmup,
    faust_options,
)
from processors.processor import Processor, WarmUpSettings
from processors.progress import Partition, Progress
from processors.publisher import Publisher
from processors.services import HealthService, WatchService, add_checks
from schemas.topics import CHECKPOINTS, DEAD_LETTERS, OUTPUT_KINDS, event_topic

log = logs.logger(__name__)

PROCESS: Final = "processor"
EX_SOFTWARE: Final = 70
"""Exit code of a mistake of ours, or of an output that Kafka did not take (sysexits.h)."""


def create_app(settings: Settings) -> "ProcessorApp":
    """Return the Faust app of `settings`; nothing is connected to.

    Raises:
        SettingsError: naming the key and what is allowed.
    """
    check_warmup(settings)
    check_sizes(settings)
    topics = makers(settings, consumer=PROCESS)
    app = ProcessorApp(
        settings.processor.app_id, Worker=ProcessorWorker, **faust_options(settings, len(topics))
    )
    app.assemble(settings, list(topics))
    for topic, make in topics.items():
        # Agents are declared before the start: a late subscription waits for 45 s.
        channel = app.topic(topic, key_serializer="raw", value_serializer="raw")
        app.agent(channel, name=topic, concurrency=1)(app.processor.loop(make))
    return app


class ProcessorBoot(BootStrategy):
    """Starts our services before Faust's, and Faust's pages only where they were asked for."""

    def server(self) -> Iterable[Any]:
        """Return the services of a worker, in the order of their start."""
        return chain(cast(ProcessorApp, self.app).services, super().server())


class ProcessorWorker(faust.Worker):
    """Runs the app with our logs in place of Faust's."""

    def __init__(self, app: "ProcessorApp", *services: Any, **options: Any) -> None:
        options |= {"override_logging": False, "redirect_stdouts": False}
        if app.conf.web_port == NO_PAGES:
            # `faust worker` enables its pages unless told otherwise; two workers on one machine
            # would want the same port.
            app.conf.web_enabled = False
        super().__init__(app, *services, **options)
        if self.quiet:
            self.spinner = None
        runtime = app.settings.runtime
        if self.loglevel is not None:
            # `faust worker -l debug` has the last word.
            name = level_name(self.loglevel).lower()
            allowed = {"warn": "warning", "crit": "error", "critical": "error"}
            runtime = msgspec.structs.replace(runtime, log_level=allowed.get(name, name))
        logs.configure(runtime, process=PROCESS)


class ProcessorApp(faust.App):
    """A Faust app with the parts of one worker."""

    BootStrategy = ProcessorBoot
    mundane_level = "debug"

    settings: Settings
    processor: Processor
    services: list[Any]
    topic_names: list[str]
    """All topics that the worker reads or writes."""
    partitions: set[Partition]
    """Raw partitions, and those of `mids`, that the worker has now."""

    def assemble(self, settings: Settings, topics: list[str]) -> None:
        """Make the worker's parts; they meet Kafka when Faust starts them."""
        self.settings = settings
        self.partitions = set()
        metrics, health = Metrics(PROCESS), Health(PROCESS)
        meters, progress = Meters(metrics), Progress(settings.processor.stalled_after_s)
        broker = Broker(settings.kafka, settings.processor.app_id)
        prefix = settings.topics.prefix
        names = {kind: event_topic(kind, prefix) for kind in (*OUTPUT_KINDS, DEAD_LETTERS)}
        self.topic_names = list(dict.fromkeys([*topics, *names.values()]))
        self.processor = Processor(
            self,
            WarmUpSettings(settings.kafka, names[CHECKPOINTS], settings.processor.warmup_s),
            Publisher(self, names, end_process),
            broker=broker,
            meters=meters,
            progress=progress,
            fail=end_process,
        )
        add_checks(health, progress, lambda: self.partitions)
        watch = WatchService(broker, progress, meters, lambda: self.partitions)
        runtime = settings.runtime
        self.services = [watch]
        if runtime.health_port >= 0:
            server = HealthServer(
                health, metrics, host=runtime.health_host, port=runtime.health_port
            )
            self.services.insert(0, HealthService(server))
        self.on_partitions_assigned.connect(cast(Any, self._on_assigned))

    def worker_init(self) -> None:
        """Choose the event loop: with uvloop a record costs Faust two thirds of the time."""
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        collect_seldom()
        super().worker_init()

    async def on_first_start(self) -> None:
        """Make no folders: without tables there is nothing to keep on disk."""

    async def on_started(self) -> None:
        """All services run: from here on memory is what the log brings."""
        await super().on_started()
        keep_present()

    async def _on_assigned(self, app: Any, assigned: Iterable[Any], **_: Any) -> None:
        self.partitions = {(tp.topic, tp.partition) for tp in assigned}
        self.processor.keep_only(self.partitions)
        log.info("partitions_assigned", partitions=sorted(self.partitions))


def end_process(what: str, error: BaseException) -> None:
    """End this process at once, loudly, so that nothing more is acknowledged or committed."""
    log.critical("process_ends", reason=what, error=repr(error), exc_info=error)
    logging.shutdown()
    sys.stderr.flush()
    os._exit(EX_SOFTWARE)


def run_worker(app: ProcessorApp) -> None:
    """Run a worker until a signal; raises SystemExit with its exit code."""
    app.finalize()
    app.worker_init()
    app.worker_init_post_autodiscover()
    worker = app.Worker(quiet=True)
    if app.settings.runtime.log_level == "info":
        for library in ("faust", "mode"):
            # Each of their many services tells of every step at info.
            logging.getLogger(library).setLevel(logging.WARNING)
    worker.execute_from_commandline()
