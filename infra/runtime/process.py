"""The frame of a long-running process: uvloop, logs, metrics, health and a clean end.

    async def main(settings: Settings) -> None:
        async with Runtime("producer", settings.runtime) as runtime:
            ...
            await runtime.stop.wait()

    run(main(settings))

SIGTERM and SIGINT set `stop`; a second one ends the process at once. It must not know what the
process does.
"""

import asyncio
import signal
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import uvloop

from infra.runtime import logs
from infra.runtime.health import Health, HealthServer
from infra.runtime.metrics import Metrics
from infra.runtime.settings import RuntimeSettings

log = logs.logger(__name__)

_Result = TypeVar("_Result")
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
_DELAY_INTERVAL_S: Final = 0.25


def run(main: Coroutine[Any, Any, _Result]) -> _Result:
    """Run `main` to its end on uvloop and return its result."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


class Runtime:
    """What every process has while it runs; use it as an asynchronous context.

    `stop` is set when the process is asked to end. `server` is None where health is off.
    """

    def __init__(self, process: str, settings: RuntimeSettings) -> None:
        self.stop = asyncio.Event()
        self.metrics = Metrics(process)
        self.health = Health(process)
        self.server: HealthServer | None = None
        self._settings = settings
        self._process = process
        self._delay_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        logs.configure(self._settings, process=self._process)
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal, number)
        loop.set_exception_handler(_log_lost_exception)
        if self._settings.health_port >= 0:
            server = HealthServer(
                self.health,
                self.metrics,
                host=self._settings.health_host,
                port=self._settings.health_port,
            )
            await server.start()
            self.server = server
            log.info("health_listening", url=server.url)
        self._delay_task = asyncio.create_task(self._measure_delay())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop.set()
        if self._delay_task:
            self._delay_task.cancel()
        if self.server:
            await self.server.stop()
        _restore_signals()

    def _on_signal(self, number: signal.Signals) -> None:
        # From here on a signal has its usual effect: nobody has to wait for a stuck end.
        _restore_signals()
        log.info("stopping", signal=number.name)
        self.stop.set()

    async def _measure_delay(self) -> None:
        delay = self.metrics.histogram(
            "md_event_loop_delay_seconds",
            "How much later than asked the event loop runs a task, s.",
        )
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _DELAY_INTERVAL_S
            await asyncio.sleep(_DELAY_INTERVAL_S)
            delay.observe(max(0.0, loop.time() - due))


def _restore_signals() -> None:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.remove_signal_handler(number)


def _log_lost_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # A task that nobody awaits has failed: that is our mistake, and must be seen.
    log.error("lost_exception", message=context["message"], exc_info=context.get("exception"))
