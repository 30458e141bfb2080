"""The frame of a process, in a process of its own: signals, logs, health and exit codes."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any, Final

import pytest

PROGRAM: Final = """
import asyncio
from infra.runtime import logs
from infra.runtime.process import Runtime, run
from infra.runtime.settings import load

log = logs.logger("program")

async def main():
    async with Runtime("test", load().runtime) as runtime:
        log.info("started", loop=type(asyncio.get_running_loop()).__module__)
        {body}
    log.info("ended")

run(main())
"""
WAIT: Final = "await runtime.stop.wait()"
DEADLINE_S: Final = 20


class Program:
    """A running program and the log events it has written."""

    def __init__(self, body: str, environ: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(body=body)],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environ,
        )

    def until(self, event: str) -> dict[str, Any]:
        """Return the next event of this name."""
        assert self._process.stderr
        for line in self._process.stderr:
            if line.startswith("{") and (found := json.loads(line))["event"] == event:
                return dict(found)
        raise AssertionError(f"ended without {event}")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Wait for its end; return its exit code and the rest of its log."""
        _, rest = self._process.communicate(timeout=DEADLINE_S)
        return self._process.returncode, rest

    def kill(self) -> None:
        """End it whatever it does."""
        self._process.kill()
        self._process.communicate(timeout=DEADLINE_S)


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    started: list[Program] = []
    yield started
    for program in started:
        program.kill()


def start(programs: list[Program], body: str = WAIT, **environ: str) -> Program:
    program = Program(body, environ)
    programs.append(program)
    return program


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_ends_cleanly_on_a_signal(programs: list[Program], number: signal.Signals) -> None:
    program = start(programs)
    assert program.until("started")["loop"] == "uvloop"

    program.signal(number)

    assert program.until("stopping")["signal"] == number.name
    program.until("ended")
    assert program.end()[0] == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_ends_a_process_that_is_stuck(
    programs: list[Program], number: signal.Signals
) -> None:
    program = start(programs, "await asyncio.Event().wait()")
    program.until("started")
    program.signal(number)
    program.until("stopping")

    program.signal(number)

    assert program.end()[0] in (-number, 1)


def test_process_serves_its_health_on_the_port_that_it_logs(programs: list[Program]) -> None:
    program = start(programs)
    url = program.until("health_listening")["url"]

    with urllib.request.urlopen(f"{url}/ready", timeout=DEADLINE_S) as answer:
        assert json.load(answer)["process"] == "test"


def test_process_without_health_listens_nowhere(programs: list[Program]) -> None:
    body = "log.info('server', found=repr(runtime.server))"
    program = start(programs, body, STREAMGAUGE__RUNTIME__HEALTH_PORT="-1")

    assert program.until("server")["found"] == "None"
    assert program.end()[0] == 0


def test_failure_inside_ends_the_process_with_its_traceback(programs: list[Program]) -> None:
    program = start(programs, "raise ValueError('broken')")

    code, log = program.end()

    assert code == 1
    assert "ValueError: broken" in log


def test_failed_task_that_nobody_awaits_is_logged(programs: list[Program]) -> None:
    body = """
        async def fail():
            raise ValueError("lost")
        task = asyncio.ensure_future(fail())
        await asyncio.wait([task])
        del task
        import gc; gc.collect()
        """
    program = start(programs, body)

    assert "ValueError: lost" in program.until("lost_exception")["exception"]
    assert program.end()[0] == 0


def test_event_loop_delay_is_measured(programs: list[Program]) -> None:
    body = """
        import time
        await asyncio.sleep(0.05)
        time.sleep(0.6)
        await asyncio.sleep(0.3)
        text = runtime.metrics.exposition().decode()
        log.info("measured", lines=[x for x in text.splitlines() if "delay_seconds_bucket" in x])
        """
    program = start(programs, body)

    lines = dict(line.rsplit(" ", 1) for line in program.until("measured")["lines"])
    within, total = (
        float(lines[f'md_event_loop_delay_seconds_bucket{{le="{limit}"}}'])
        for limit in ("0.25", "+Inf")
    )
    assert total > within
