"""Ports for servers."""

import socket

import pytest

from infra.local import process
from infra.local.process import PortTakenError, check_port, free_port


def test_free_port_is_none_that_a_client_is_given() -> None:
    """A client that asks too early for its server would else connect to itself now and then."""
    for _ in range(100):
        with socket.socket() as server, socket.socket() as client:
            port = free_port()
            server.bind(("127.0.0.1", port))
            server.listen()
            client.connect(("127.0.0.1", port))
            given = client.getsockname()[1]
        assert port < 32_000 < given


def test_free_port_passes_over_those_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
        server.listen()
        taken = server.getsockname()[1]
        monkeypatch.setattr(process, "_SERVER_PORTS", [taken])
        with pytest.raises(PortTakenError, match="no free port"):
            free_port()
    assert check_port(taken) == taken
