"""`make run` as a person and as a script start and end it: on a terminal, and without one."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

CHECKOUT = Path(__file__).parents[3]
DEADLINE_S = 120.0
RUNS = "frames/s"
INTERRUPT = b"\x03"
"""What Ctrl-C puts into a terminal."""

# Whole runs want the usual ports, and both cores.
pytestmark = pytest.mark.alone


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """Return the command line of `make run` with the code of this checkout, in `tmp_path`."""
    program = tmp_path / "bin" / "streamgauge"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m streamgauge "$@"\n')
    program.chmod(0o755)
    return [
        *("make", "--directory", str(tmp_path), "--file", str(CHECKOUT / "Makefile")),
        *("--no-print-directory", "--old-file", "setup", "run", f"BIN={program.parent}"),
    ]


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """End what a failed test leaves behind."""
    yield
    for process in of_the_run(tmp_path):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def of_the_run(folder: Path) -> list[psutil.Process]:
    """Return the processes that work in `folder` or on what is in it."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(folder) in " ".join(process.cmdline()) or process.cwd() == str(folder):
                found.append(process)
    return found


def environment() -> dict[str, str]:
    """Return an environment without settings of this machine's user."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("STREAMGAUGE", "MAKE"))}
    return kept | {"PYTHONPATH": str(CHECKOUT)}


def wait_until_all_ended(folder: Path) -> None:
    """Wait for the end of every process of a run."""
    deadline = time.monotonic() + DEADLINE_S
    while left := of_the_run(folder):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


@pytest.mark.timeout(500)
@pytest.mark.parametrize(
    ("number", "end"),
    [
        (signal.SIGINT, os.killpg),
        (signal.SIGTERM, os.killpg),
        (signal.SIGTERM, os.kill),
        (signal.SIGKILL, os.kill),
    ],
)
def test_make_run_without_a_terminal_ends_in_order(
    command: list[str], tmp_path: Path, number: signal.Signals, end: Callable[[int, int], None]
) -> None:
    """A signal to make or to its whole group, or the end of make, ends everything, once."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    assert process.stderr is not None
    for _ in range(2):
        assert any(RUNS in line for line in process.stderr)
    end(process.pid, number)
    output, said = process.communicate(timeout=DEADLINE_S)
    wait_until_all_ended(tmp_path)

    assert json.loads(output.splitlines()[-1])["ok"], said + output
    assert not (tmp_path / "var" / "run.toml").exists()


@pytest.mark.timeout(500)
def test_make_run_on_a_terminal_ends_in_order_on_ctrl_c(command: list[str], tmp_path: Path) -> None:
    child, terminal = pty.fork()
    if not child:
        os.execvpe(command[0], command, environment() | {"TERM": "xterm"})
    said = b""
    pressed = False
    with contextlib.suppress(OSError):  # A terminal whose last program has left ends so.
        while part := os.read(terminal, 4096):
            said += part
            if not pressed and said.count(RUNS.encode()) > 8:
                os.write(terminal, INTERRUPT)
                pressed = True
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    wait_until_all_ended(tmp_path)

    last = said.decode().splitlines()[-1]
    assert os.waitstatus_to_exitcode(status) == 0, said.decode()
    assert json.loads(last)["ok"]
