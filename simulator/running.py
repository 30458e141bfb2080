"""A simulator as a process of its own: the event loop, its signals, its limits of the machine.

What is printed when it is ready is the caller's choice.
"""

import asyncio
import contextlib
import gc
import resource
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from simulator.server import Simulator
from simulator.settings import Settings
from simulator.tape import TapeServer

GC_THRESHOLDS = (50_000, 20, 100)  # books are many small objects that live long: look less often

OnReady = Callable[[Simulator], Coroutine[Any, Any, None] | None]


def run(settings: Settings, on_ready: OnReady) -> None:
    """Run until SIGTERM or SIGINT, then end cleanly.

    `on_ready` is called once everything is open; when it returns a coroutine, that runs beside
    the simulator until the end. Raises SettingsError before anything opens, OSError when a port
    is taken.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 65_536
    if soft != resource.RLIM_INFINITY and soft < wanted:  # a truth file per symbol stays open
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, on_ready))


def run_tape(server: TapeServer, on_ready: Callable[[TapeServer], None]) -> None:
    """Play tapes until SIGTERM or SIGINT."""

    async def play() -> None:
        stopped = stop_event()
        async with server:
            on_ready(server)
            await stopped.wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())


def stop_event() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    return stopped


async def serve(settings: Settings, on_ready: OnReady) -> None:
    """Do what `run` does, on the running loop."""
    stopped = stop_event()
    simulator = Simulator(settings)
    await simulator.start()
    try:
        gc.freeze()
        shown = on_ready(simulator)
        beside = asyncio.create_task(shown) if shown is not None else None
        signalled = asyncio.create_task(stopped.wait())
        failed = asyncio.create_task(simulator.failed())
        await asyncio.wait({signalled, failed}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
        for task in (signalled, failed, beside):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
    finally:
        await simulator.stop()
