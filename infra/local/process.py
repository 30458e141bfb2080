"""A server in a child process: started, waited for, watched, stopped.

What every local server shares: one server per folder, a port that is really free, a log whose tail
explains a failure, death with the parent, and no share in the terminal's Ctrl-C. It must not know
which server it runs.
"""

import contextlib
import fcntl
import functools
import os
import queue
import random
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO, ClassVar, Self, TypeAlias

import psutil

from infra.local import tether

HOST = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
POLL_SECONDS = 0.02
LAUNCHES = 3
LOG_BYTES_MAX = 8 << 20
_SERVER_PORTS = range(10_000, 32_000)
"""Below those that Linux (from 32768) and macOS (from 49152) give to clients by default."""
_TRIES = 100
TAIL_BYTES = 3000


class ServerError(Exception):
    """A local server could not be started or did not stay up; the message says what to do."""


class PortTakenError(ServerError):
    """The wanted port belongs to another program."""


class FolderInUseError(ServerError):
    """A running server owns the folder."""


class LocalServer(ABC):
    """A server on 127.0.0.1 with its state in one folder; a context manager."""

    name: ClassVar[str]

    def __init__(self, folder: Path, port: int = 0) -> None:
        """Take a folder, created when missing, and a port, 0 for any free one."""
        self.folder = folder.absolute()
        self.host = HOST
        self._wanted_port = port
        self._preferred_port = 0
        self._port = port
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def _prepare(self) -> None:
        """Bring the folder into the state that a start needs; called with the folder locked."""

    @abstractmethod
    def _command(self, port: int) -> tuple[Sequence[str], Mapping[str, str]]:
        """Program with arguments, and what to add to the environment."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server answers a real request; False while nothing answers."""

    @property
    def port(self) -> int:
        """Port in use; 0 before the first start if any free one was asked for."""
        return self._port

    @property
    def pid(self) -> int | None:
        """Process id while started."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_path(self) -> Path:
        """Where the server's own log is."""
        return self.folder / f"{self.name}.log"

    def prefer(self, port: int) -> Self:
        """Take this port if it is free at the start; a server of any free port only."""
        self._preferred_port = port
        return self

    def start(self) -> Self:
        """Start and block until the server answers.

        Raises:
            FolderInUseError: another running server owns the folder.
            PortTakenError: the port belongs to another program.
            ServerError: it ended or did not answer in time; the message has the tail of its log.
        """
        if self.running:
            raise ServerError(f"{self.name} in {self.folder} is started already (pid {self.pid})")
        self._release()
        self._lock = lock_folder(self.folder, self.name)
        try:
            self._prepare()
            self._launch()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, timeout: float = STOP_SECONDS) -> int | None:
        """Ask the process to end, insist after timeout seconds; returns its exit code."""
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._release()
        return process.returncode if process else None

    def kill(self) -> None:
        """End the process without warning, as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._release()

    def wait(self, timeout: float) -> int | None:
        """Exit code once the process has ended, None if it is alive after timeout seconds."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def log_tail(self) -> str:
        """The end of the server's log."""
        try:
            with self.log_path.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
                return log.read().decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _launch(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        for attempt in range(LAUNCHES):
            self._port = self._choose_port(is_first=attempt == 0)
            command, environment = self._command(self._port)
            log_start = _rotate(self.log_path)
            self._process = spawn(command, environment, self.log_path, self._lock_fd())
            self._record_pid()
            if self._wait_until_it_answers(deadline):
                return
            # A port found free may be taken before the server binds it.
            said = _read_from(self.log_path, log_start).lower()
            stolen = "address already in use" in said
            if not (stolen and self._wanted_port == 0 and attempt + 1 < LAUNCHES):
                break
        code = self._process.poll() if self._process else None
        what = "did not answer in time" if code is None else f"ended with exit code {code}"
        raise ServerError(
            f"{self.name} on port {self._port} {what}; the end of {self.log_path}:\n"
            f"{self.log_tail()}"
        )

    def _choose_port(self, *, is_first: bool) -> int:
        if self._wanted_port:
            return check_port(self._wanted_port)
        if is_first and self._preferred_port:
            with contextlib.suppress(PortTakenError):
                return check_port(self._preferred_port)
        return free_port()

    def _wait_until_it_answers(self, deadline: float) -> bool:
        while time.monotonic() < deadline:
            if self._answers() and self._listens():
                return True
            if self.wait(POLL_SECONDS) is not None:
                return False
        return False

    def _listens(self) -> bool:
        """Whether it is this process that has the port: another one may have taken it meanwhile,
        and answer as ours would."""
        assert self._process is not None
        try:
            own = psutil.Process(self._process.pid)
            return any(
                connection.status == psutil.CONN_LISTEN and connection.laddr.port == self._port
                for process in (own, *own.children(recursive=True))
                for connection in process.net_connections("tcp")
            )
        except psutil.NoSuchProcess:
            return False

    def _lock_fd(self) -> int:
        assert self._lock is not None
        return self._lock.fileno()

    def _record_pid(self) -> None:
        assert self._lock is not None
        sign(self._lock, self.pid)

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def spawn(
    command: Sequence[str], environment: Mapping[str, str], log: Path, lock_fd: int
) -> subprocess.Popen[bytes]:
    """Start a program that dies with this process, in a session of its own, logging to a file.

    The folder's lock is inherited: it is held as long as either process lives.
    """
    tethered = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command]

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                tethered,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                pass_fds=(lock_fd,),
                start_new_session=True,
            )

    started: Future[subprocess.Popen[bytes]] = Future()
    _starter(os.getpid()).put((start, started))
    return started.result()


_Start: TypeAlias = tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]


@functools.cache
def _starter(_pid: int) -> "queue.SimpleQueue[_Start]":
    """Queue of a thread that lives as long as this process.

    The kernel sends the parent-death signal when the *thread* that started the child ends, so a
    server started from a short-lived thread would be killed with it.
    """
    requests: queue.SimpleQueue[_Start] = queue.SimpleQueue()

    def serve() -> None:
        while True:
            start, started = requests.get()
            try:
                started.set_result(start())
            except OSError as error:
                started.set_exception(error)

    threading.Thread(target=serve, name="server-starter", daemon=True).start()
    return requests


def free_port() -> int:
    """A port that nothing listens on at this moment.

    Not one of those that systems give to clients: such a client could take it before the server
    does, and one that asks for the server too early could even connect to itself.
    """
    for _ in range(_TRIES):
        with contextlib.suppress(PortTakenError):
            return check_port(random.choice(_SERVER_PORTS))
    raise PortTakenError(f"no free port in {_TRIES} tries")


def check_port(port: int) -> int:
    """The same port, if it can be bound.

    Raises:
        PortTakenError: it cannot.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortTakenError(
                f"port {port} on {HOST} cannot be used ({error.strerror}): stop what listens "
                f"there, or choose another port with --port"
            ) from error
    return port


def sign(lock: IO[str], pid: int | None) -> None:
    """Write into a folder's lock who owns it."""
    lock.seek(0)
    lock.truncate()
    lock.write(f"{pid}\n")
    lock.flush()


def lock_folder(folder: Path, name: str) -> IO[str]:
    """Take a folder for one process called `name`, for as long as the file stays open.

    Raises:
        FolderInUseError: another running process owns it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / "lock").open("a+")
    deadline = time.monotonic() + STOP_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            owner = lock.read().strip()
            if _is_ending(owner) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                continue
            lock.close()
            raise FolderInUseError(
                f"{folder} belongs to a running {name}"
                + (f" (pid {owner})" if owner else "")
                + ": stop it, or choose another folder"
            ) from error
        return lock


def _is_ending(pid: str) -> bool:
    """Whether a killed process only waits for its last threads, which still hold its files."""
    try:
        return bool(psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
    except ValueError:
        return False


def _rotate(log: Path) -> int:
    """Keep the log small by setting one older file aside; returns where new lines will begin."""
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))
    return log.stat().st_size if log.exists() else 0


def _read_from(log: Path, start: int) -> str:
    with log.open("rb") as lines:
        lines.seek(start)
        return lines.read(LOG_BYTES_MAX).decode(errors="replace")
