"""Who a server in a container lets in: named hosts, and other machines by password only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.clickhouse.process import PASSWORD_VARIABLE
from infra.local.clickhouse.request import LOOPBACK_NAMES, Refused, refuse_other_sites

NAMES = LOOPBACK_NAMES | {"clickhouse"}


@pytest.mark.parametrize("host", ["clickhouse:8123", "CLICKHOUSE", "127.0.0.1:8123"])
def test_refuse_other_sites_lets_a_given_name_in(host: str) -> None:
    refuse_other_sites({"Host": host}, NAMES)


@pytest.mark.parametrize("host", ["clickhouse.evil.example", "other:8123", ""])
def test_refuse_other_sites_keeps_out_a_name_not_given(host: str) -> None:
    with pytest.raises(Refused, match="not among"):
        refuse_other_sites({"Host": host}, NAMES)


def test_server_for_other_machines_without_a_password_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "clickhouse"
    command = [sys.executable, "-m", "infra.local.clickhouse", "--folder", str(folder)]
    command += ["--port", "1", "--memory-mb", "100", "--host", "0.0.0.0"]
    environment = {name: value for name, value in os.environ.items() if name != PASSWORD_VARIABLE}

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    assert done.returncode == 2
    assert PASSWORD_VARIABLE in done.stderr
    assert not folder.exists()
