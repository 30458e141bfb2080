"""The pipeline's own processes as children: the simulator and the three stages.

Each is `python -m streamgauge COMMAND` as a user would start it, in the shape of a local server:
a folder with its log, a port that answers, death with the parent.
"""

import contextlib
import http.client
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from infra.local.process import (
    HOST,
    LocalServer,
    PortTakenError,
    ServerError,
    check_port,
    free_port,
)
from infra.runtime.settings import NotifySettings, Secret
from infra.runtime.settings.reading import PREFIX

_PROBE_S: Final = 1.0
_CONTROL: Final = 3
"""The control port comes after those of the three venues."""
_TRIES: Final = 50
_READY: Final = '{"ready"'


class Venue(msgspec.Struct, frozen=True):
    """Where a simulated venue listens and what it lists."""

    websocket_url: str
    rest_url: str
    symbols: tuple[str, ...]


class Announcement(msgspec.Struct, frozen=True):
    """The line that the simulator prints when it is ready."""

    venues: dict[str, Venue]


class Stage(LocalServer):
    """A stage that answers `/ready` on its health port."""

    def __init__(self, folder: Path, config: Path) -> None:
        super().__init__(folder)
        self._config = config

    def _prepare(self) -> None:
        """Nothing to bring about: the stage's state is in Kafka and ClickHouse."""

    def _command(self, port: int) -> tuple[Sequence[str], Mapping[str, str]]:
        arguments = [sys.executable, "-m", "streamgauge", "--config", str(self._config), self.name]
        return arguments, {"STREAMGAUGE__RUNTIME__HEALTH_PORT": str(port)}

    @property
    def url(self) -> str:
        """Where `/live`, `/ready` and `/metrics` are."""
        return f"http://{HOST}:{self.port}"

    def _answers(self) -> bool:
        return _status(f"{self.url}/ready") == 200


def complete(config: Path, command: str) -> None:
    """Run a subcommand to its end.

    Raises:
        ServerError: it failed; the text has what it said.
    """
    arguments = [sys.executable, "-m", "streamgauge", "--config", str(config), command]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise ServerError(f"streamgauge {command} failed:\n{done.stdout}{done.stderr}")


class SinkStage(Stage):
    """`streamgauge sink`."""

    name = "sink"


class ProcessorStage(Stage):
    """`streamgauge process`."""

    name = "process"


class ProducerStage(Stage):
    """`streamgauge produce`."""

    name = "produce"


class NotifierStage(Stage):
    """`streamgauge notify`; `settings` hold the secrets that the run's file leaves out."""

    name = "notify"

    def __init__(self, folder: Path, config: Path, settings: NotifySettings) -> None:
        super().__init__(folder, config)
        self._settings = settings

    def _command(self, port: int) -> tuple[Sequence[str], Mapping[str, str]]:
        arguments, environment = super()._command(port)
        found = {
            f"{PREFIX}NOTIFY__RECEIVERS__{name.upper()}__{field.upper()}": value.reveal()
            for name, receiver in self._settings.receivers.items()
            for field in receiver.__struct_fields__
            if isinstance(value := getattr(receiver, field), Secret) and value
        }
        return arguments, {**environment, **found}


class SimulatorStage(LocalServer):
    """The simulated venues; `rate` is book events a second over all venues."""

    name = "simulate"

    def __init__(self, folder: Path, *, symbols: int, rate: float, seed: int) -> None:
        super().__init__(folder)
        self._symbols = symbols
        self._rate = rate
        self._seed = seed

    @property
    def truth_url(self) -> str:
        """Where the truth is read."""
        return f"http://{HOST}:{self.port}"

    def venues(self) -> dict[str, Venue]:
        """Return the venues by name, as the simulator announced them."""
        with self.log_path.open(encoding="utf-8") as log:
            announced = [line for line in log if line.startswith(_READY)]
        return msgspec.json.decode(announced[-1], type=Announcement).venues

    def _prepare(self) -> None:
        self._wanted_port = _free_ports() + _CONTROL

    def _command(self, port: int) -> tuple[Sequence[str], Mapping[str, str]]:
        arguments = [sys.executable, "-m", "streamgauge", "simulate"]
        arguments += ["--folder", str(self.folder / "truth")]
        arguments += ["--port-base", str(port - _CONTROL), "--seed", str(self._seed)]
        arguments += ["--symbols", str(self._symbols), "--rate", f"{self._rate:g}"]
        return arguments, {}

    def _answers(self) -> bool:
        return _status(f"{self.truth_url}/truth/status") == 200


def _free_ports() -> int:
    """Return the first of four consecutive ports that nothing listens on at this moment."""
    for _ in range(_TRIES):
        base = free_port()
        with contextlib.suppress(PortTakenError):
            for port in range(base, base + _CONTROL + 1):
                check_port(port)
            return base
    raise PortTakenError("no four consecutive ports are free")


def _status(url: str) -> int:
    """Return the HTTP status of a URL on this machine, 0 while nothing answers."""
    try:
        with urllib.request.urlopen(url, timeout=_PROBE_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return 0
