"""What the simulator prints is what the settings want, and what the doctor finds in order."""

from pathlib import Path

import pytest

from core.exchanges import exchanges
from infra.cli.checks import Status
from infra.cli.checks.exchange import check_exchange
from tests.integration.simulator.clients import simulating

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("name", ["deribit", "binance", "kraken"])
async def test_printed_rest_url_is_that_of_the_settings(tmp_path: Path, name: str) -> None:
    async with simulating(tmp_path) as world:
        address = world.simulator.addresses[name]
        symbols = list(world.simulator.venues[name].markets)
        endpoints = exchanges()[name].endpoints
        rest_url, rest_api = str(address["rest_url"]), str(address["rest_api"])
        found = await check_exchange(name, rest_url, endpoints, symbols)
        misspelt = await check_exchange(name, rest_url, endpoints, ["NOSUCH"])
        elsewhere = await check_exchange(name, rest_api, endpoints, symbols)

    assert found is not None
    assert found.status is Status.OK
    assert misspelt is not None
    assert misspelt.found == f"{name} does not list NOSUCH"
    assert elsewhere is not None
    assert "rest_url" in elsewhere.advice
