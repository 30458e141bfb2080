"""The pipeline's own processes as children: the simulator and the three stages.

Each is `python -m streamgauge COMMAND` as a user would start it, in the shape of a local server:
a folder with its log, a port that answers, death with the parent.
"""

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from infra.local.process import HOST, LocalServer, free_port

_PROBE_S: Final = 1.0
VENUES: Final = ("deribit", "binance", "kraken")


class Stage(LocalServer):
    """A stage that answers `/ready` on its health port."""

    name = "stage"

    def __init__(self, folder: Path, command: str, config: Path) -> None:
        super().__init__(folder)
        self.name = command
        self._config = config

    def _prepare(self) -> None:
        """Nothing to bring about: the stage's state is in Kafka and ClickHouse."""

    def _command(self, port: int) -> tuple[Sequence[str], Mapping[str, str]]:
        arguments = [sys.executable, "-m", "streamgauge", "--config", str(self._config), self.name]
        return arguments, {"STREAMGAUGE__RUNTIME__HEALTH_PORT": str(port)}

    def _answers(self) -> bool:
        return _status(f"http://{HOST}:{self.port}/ready") == 200


class SimulatorStage(LocalServer):
    """The simulated venues; `rate` is book events a second over all venues."""

    name = "simulate"

    def __init__(self, folder: Path, *, symbols: int, rate: float, seed: int) -> None:
        super().__init__(folder)
        self.ports: dict[str, int] = {}
        self._symbols = symbols
        self._rate = rate
        self._seed = seed

    @property
    def truth_url(self) -> str:
        """Where the truth is read."""
        return f"http://{HOST}:{self.port}"

    def _prepare(self) -> None:
        self.ports = {venue: free_port() for venue in VENUES}

    def _command(self, port: int) -> tuple[Sequence[str], Mapping[str, str]]:
        arguments = [sys.executable, "-m", "streamgauge", "simulate", "--folder", str(self.folder)]
        arguments += ["--symbols", str(self._symbols), "--rate", f"{self._rate / len(VENUES):g}"]
        arguments += ["--seed", str(self._seed), "--port", f"control={port}"]
        for venue, venue_port in self.ports.items():
            arguments += ["--port", f"{venue}={venue_port}"]
        return arguments, {}

    def _answers(self) -> bool:
        return _status(f"{self.truth_url}/truth/status") == 200

    def status(self) -> dict[str, object]:
        """Return the simulator's own counters."""
        with urllib.request.urlopen(f"{self.truth_url}/truth/status", timeout=30) as answer:
            status: dict[str, object] = json.load(answer)
            return status


def _status(url: str) -> int:
    """Return the HTTP status of a URL on this machine, 0 while nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
