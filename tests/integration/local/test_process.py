"""A server's process: dies with its parent, is deaf to Ctrl-C, and ends in the foreground."""

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from infra.local.clickhouse.process import ClickHouseServer
from infra.local.process import ServerError, free_port
from tests.integration.local.conftest import Http

ROOT = Path(__file__).parents[3]
WAIT_SECONDS = 40.0
COMMAND = "from infra.cli.{name} import command; command()"
PARENT = """
import sys, time
from pathlib import Path
from infra.local.clickhouse.process import ClickHouseServer
server = ClickHouseServer(Path(sys.argv[1])).start()
print(server.pid, flush=True)
time.sleep(600)
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_line(process: subprocess.Popen[str]) -> str:
    output, lines = process.stdout, queue.Queue[str]()
    assert output is not None
    threading.Thread(target=lambda: lines.put(output.readline()), daemon=True).start()
    return lines.get(timeout=WAIT_SECONDS).strip()


def ended(pid: int) -> bool:
    """Whether a process that is no child of ours is gone, or dead and not yet collected."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_server_dies_with_a_killed_parent_and_frees_its_folder(tmp_path: Path) -> None:
    with python(PARENT, str(tmp_path)) as parent:
        pid = int(read_line(parent))
        assert psutil.pid_exists(pid)
        parent.kill()

    deadline = time.monotonic() + WAIT_SECONDS
    while not ended(pid):
        assert time.monotonic() < deadline
    with ClickHouseServer(tmp_path) as server:
        assert Http(server.url).rows("SELECT 1") == [["1"]]


def test_server_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    server = ClickHouseServer(tmp_path)
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()

    ended_within = server.wait(0.3)
    stopped = server.stop()

    assert ended_within is None
    assert stopped == 0


def test_server_is_in_a_session_of_its_own(server: ClickHouseServer) -> None:
    assert server.pid is not None
    assert os.getsid(server.pid) == server.pid != os.getsid(0)


def test_server_whose_port_another_takes_while_it_starts_goes_elsewhere(tmp_path: Path) -> None:
    """The other answers as ours would: it must not be taken for ours."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"Ok.\n")

    others: list[HTTPServer] = []

    class Overtaken(ClickHouseServer):
        def _command(self, port: int) -> tuple[Sequence[str], Mapping[str, str]]:
            if not others:
                others.append(HTTPServer(("127.0.0.1", port), Answer))
                threading.Thread(target=others[0].serve_forever, daemon=True).start()
            return super()._command(port)

    preferred = free_port()
    try:
        with Overtaken(tmp_path).prefer(preferred) as server:
            assert others[0].server_port == preferred
            assert server.port != preferred
            assert server.running
    finally:
        for other in others:
            other.shutdown()
            other.server_close()


def test_start_that_fails_names_its_reason_and_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    server = ClickHouseServer(tmp_path)

    with pytest.raises(ServerError, match=r"clickhouse on port .* ended with exit code 1"):
        server.start()

    assert not server.running


@pytest.mark.parametrize("name", ["kafka", "clickhouse"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_until_a_signal(tmp_path: Path, name: str, number: signal.Signals) -> None:
    code = COMMAND.format(name=name)
    with python(code, "--folder", str(tmp_path), "--port", "0") as process:
        line = read_line(process)
        child = psutil.Process(process.pid).children()[0]
        process.send_signal(number)
        returned = process.wait(WAIT_SECONDS)

    assert line.startswith(f"{name} is ready on ")
    assert "127.0.0.1:" in line
    assert returned == 0
    assert not child.is_running()


@pytest.mark.parametrize("name", ["kafka", "clickhouse"])
def test_command_on_a_taken_port_says_what_to_do(tmp_path: Path, name: str) -> None:
    port = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        code = COMMAND.format(name=name)
        process = python(code, "--folder", str(tmp_path), "--port", str(port))
        _, error = process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == 1
    assert f"port {port} on 127.0.0.1 cannot be used" in error
    assert "--port" in error


def test_command_of_a_server_that_dies_ends_with_the_log(tmp_path: Path) -> None:
    process = python(COMMAND.format(name="clickhouse"), "--folder", str(tmp_path), "--port", "0")
    read_line(process)
    psutil.Process(process.pid).children()[0].kill()

    _, error = process.communicate(timeout=WAIT_SECONDS)

    assert process.returncode == 1
    assert "clickhouse ended by itself with exit code -9" in error
    assert "listening on" in error
