"""The ClickHouse server as seen from the process that starts it; the engine is not loaded here."""

import http.client
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from infra.local.process import HOST, LocalServer

PASSWORD_VARIABLE = "STREAMGAUGE_CLICKHOUSE_PASSWORD"
MEMORY_MB = 640
REQUEST_SECONDS = 2.0


class ClickHouseServer(LocalServer):
    """The ClickHouse engine behind HTTP, its data in one folder, durable over crashes."""

    name = "clickhouse"
    user = "default"

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        password: str | None = None,
        memory_mb: int = MEMORY_MB,
    ) -> None:
        """Take a folder, a port (0 for any free one), a password for the user default.

        memory_mb: what statements and caches may take together, MB; the engine's code takes
            some 250 MB more.
        """
        super().__init__(folder, port)
        self.password = password or ""
        self._memory_mb = memory_mb

    @property
    def url(self) -> str:
        """Address for clients."""
        return f"http://{self.host}:{self.port}"

    def _prepare(self) -> None:
        pass

    def _command(self, port: int) -> tuple[Sequence[str], Mapping[str, str]]:
        root = Path(__file__).parents[3]
        command = [sys.executable, "-m", "infra.local.clickhouse"]
        options = {"--folder": self.folder, "--port": port, "--memory-mb": self._memory_mb}
        for name, value in options.items():
            command += [name, str(value)]
        environment = {"PYTHONPATH": str(root), PASSWORD_VARIABLE: self.password}
        return command, environment

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=REQUEST_SECONDS)
        try:
            connection.request("GET", "/ping")
            response = connection.getresponse()
            return response.status == 200 and response.read() == b"Ok.\n"
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
