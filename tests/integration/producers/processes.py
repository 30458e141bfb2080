"""A producer and a simulator as processes of their own, as users start them."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.local.process import free_port

ROOT = Path(__file__).parents[3]
DEADLINE_S = 120.0
VENUES = ("deribit", "binance", "kraken")


class Simulation:
    """A running simulator."""

    def __init__(self, announced: dict[str, Any]) -> None:
        self.venues: dict[str, dict[str, Any]] = announced["venues"]
        self._control: str = announced["control"]

    def ask(self, path: str, body: object = None) -> Any:
        """Ask the control port; lines of JSON come as a list."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._control + path, data)
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            text = answer.read().decode()
        if path.startswith("/truth/trades"):
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text)

    def inject(self, kind: str, venue: str, **more: object) -> dict[str, Any]:
        """Begin a fault; return its entry in the ledger."""
        entry: dict[str, Any] = self.ask("/inject", {"kind": kind, "venue": venue, **more})
        return entry

    def finished(self, *entries: dict[str, Any]) -> bool:
        """Say whether these faults have ended."""
        ended = {entry["id"] for entry in self.ask("/truth/ledger") if entry["end_ns"]}
        return ended >= {entry["id"] for entry in entries}

    def delivered(self, venue: str, symbol: str) -> list[dict[str, Any]]:
        """Return the true trades that were put on a wire to a subscriber."""
        trades = self.ask(f"/truth/trades?venue={venue}&symbol={symbol.replace('/', '%2F')}")
        return [trade for trade in trades if trade["delivered"]]

    def sockets(self, venue: str) -> int:
        """Return how many sockets are open."""
        status = self.ask("/truth/status")
        return int(status["venues"][venue]["sockets"])


@contextmanager
def simulation(folder: Path, *options: str) -> Iterator[Simulation]:
    """Run a simulator with these options."""
    with (folder / "simulator.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "simulator", "--folder", str(folder / "truth"), *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, (folder / "simulator.log").read_text()[-2000:]
            yield Simulation(json.loads(line))
        finally:
            process.terminate()
            process.wait(DEADLINE_S)
            process.stdout.close()


class Producer:
    """A running `streamgauge produce`."""

    def __init__(self, folder: Path, settings: str, *arguments: str) -> None:
        config = folder / "producer.toml"
        config.write_text(settings)
        self.port = free_port()
        self.log = folder / "producer.log"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("STREAMGAUGE")}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "streamgauge", "--config", str(config)),
                    *("--set", f"runtime.health_port={self.port}", "produce", *arguments),
                ],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env=kept,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ready(self) -> bool:
        """Say whether it is ready by its own word."""
        return self.get("/ready")[0] == 200

    def get(self, path: str) -> tuple[int, str]:
        """Ask its health port; status 0 while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> dict[str, int]:
        """Return a metric's sum over all its labels but the exchange, by exchange."""
        found: dict[str, int] = {}
        for line in self.get("/metrics")[1].splitlines():
            if line.startswith((f"{name}{{", f"{name} ")):
                exchange = line.partition('exchange="')[2].partition('"')[0]
                found[exchange] = found.get(exchange, 0) + int(float(line.split()[-1]))
        return found

    def acknowledged(self) -> int:
        """Return how many records Kafka has acknowledged."""
        return self.metric("md_kafka_acknowledge_seconds_count").get("", 0)

    def wait_live(self, books: int) -> None:
        """Wait until it is ready and follows so many books at each exchange."""
        wait_until(self.ready, f"ready: {self.said()}")
        wait_until(
            lambda: set(self.metric("md_guard_live_books").values()) == {books},
            f"{books} live books everywhere: {self.said()}",
        )

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        return self._process.wait(DEADLINE_S)

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def said(self) -> str:
        """Return the end of its log."""
        return self.log.read_text()[-6000:]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the events of this name in its log."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event["event"] == name]


@contextmanager
def producer(folder: Path, settings: str, *arguments: str) -> Iterator[Producer]:
    """Run a producer with these settings."""
    started = Producer(folder, settings, *arguments)
    try:
        yield started
    finally:
        started.kill()


def settings_for(
    simulated: Simulation, bootstrap: str, prefix: str, *, producer: str = "", exchange: str = ""
) -> str:
    """Return settings that connect a producer to a simulator; more lines for tables as given."""
    tables = [
        f'[kafka]\nbootstrap = "{bootstrap}"\nrequest_timeout_ms = 5000',
        f'[topics]\nprefix = "{prefix}"',
        # A simulator that is short of processor time is not silent.
        f"[producer]\n{producer}"
        + ("" if "silence_timeout_ms" in producer else "\nsilence_timeout_ms = 30000"),
    ]
    for name, venue in simulated.venues.items():
        symbols = json.dumps(venue["symbols"])
        tables.append(
            f'[exchanges.{name}]\nwebsocket_url = "{venue["websocket_url"]}"\n'
            f'rest_url = "{venue["rest_url"]}"\nsymbols = {symbols}\n'
            f"symbols_per_shard = 2\nconnects_per_minute = 600\n{exchange}"
        )
    return "\n".join(tables)


def wait_until(
    condition: Callable[[], bool],
    what: str,
    seconds: float = DEADLINE_S,
    *,
    pause_s: float = 0.05,
) -> None:
    """Return as soon as a condition holds.

    Raises:
        AssertionError: it did not in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(pause_s)
