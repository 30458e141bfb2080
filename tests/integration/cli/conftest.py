"""The `streamgauge` command as a user starts it: a process of its own in an empty folder."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.integration.services import ClickHouse

DEADLINE_S: Final = 60
CHECKOUT: Final = Path(__file__).parents[3]

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def streamgauge(tmp_path: Path) -> Command:
    """Run `streamgauge` with arguments; keywords become environment variables."""

    def run(*arguments: str, stdin: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith("STREAMGAUGE")
        }
        return subprocess.run(
            [sys.executable, "-m", "streamgauge", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            cwd=tmp_path,
            env=clean | {"PYTHONPATH": str(CHECKOUT)} | environ,
        )

    return run


@pytest.fixture
def environ(clickhouse: ClickHouse, database: str) -> dict[str, str]:
    """Variables that lead to an empty database."""
    return {
        "STREAMGAUGE__CLICKHOUSE__HOST": clickhouse.host,
        "STREAMGAUGE__CLICKHOUSE__PORT": str(clickhouse.port),
        "STREAMGAUGE__CLICKHOUSE__USER": clickhouse.user,
        "STREAMGAUGE__CLICKHOUSE__PASSWORD": clickhouse.password,
        "STREAMGAUGE__CLICKHOUSE__DATABASE": database,
    }
