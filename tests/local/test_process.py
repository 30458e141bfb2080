"""Ports for servers."""

import socket

import pytest

from infra.local import process
from infra.local.process import PortTakenError, check_port, free_port


def test_free_port_is_none_that_a_client_is_given_by_default() -> None:
    """A client that asks too early for its server would else connect to itself now and then."""
    linux_clients = range(32_768, 61_000)
    assert not {free_port() for _ in range(200)} & set(linux_clients)


def test_free_port_passes_over_those_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", free_port()))
        server.listen()
        taken = server.getsockname()[1]
        monkeypatch.setattr(process, "_SERVER_PORTS", [taken])
        with pytest.raises(PortTakenError, match="no free port"):
            free_port()
    assert check_port(taken) == taken
