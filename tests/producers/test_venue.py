from pathlib import Path

import pytest

from infra.runtime.settings import Settings, SettingsError, load
from producers.venue import plan


def settings(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "streamgauge.toml"
    path.write_text(text)
    return load(path, environ={})


KRAKEN = '[exchanges.kraken]\nsymbols = ["BTC/USD", "ETH/USD", "XRP/USD"]\n'


def test_plan_spreads_symbols_over_sockets(tmp_path: Path) -> None:
    (venue,) = plan(settings(tmp_path, KRAKEN + "symbols_per_shard = 2\n"))

    assert [shard.symbols for shard in venue.shards] == [("BTC/USD", "ETH/USD"), ("XRP/USD",)]
    assert venue.shards[0].book_depth == 25
    assert venue.websocket_url == "wss://ws.kraken.com/v2"
    assert venue.rest_url == "https://api.kraken.com"


@pytest.mark.parametrize(
    ("given", "opened"),
    [
        ("ws://127.0.0.1:7000", "ws://127.0.0.1:7000/v2"),
        ("ws://127.0.0.1:7000/", "ws://127.0.0.1:7000/v2"),
        ("ws://127.0.0.1:7000/other", "ws://127.0.0.1:7000/other"),
    ],
)
def test_plan_address_without_a_path_gets_the_usual_one(
    tmp_path: Path, given: str, opened: str
) -> None:
    (venue,) = plan(settings(tmp_path, KRAKEN + f'websocket_url = "{given}"\n'))

    assert venue.websocket_url == opened


def test_plan_takes_only_the_exchanges_that_are_named(tmp_path: Path) -> None:
    text = KRAKEN + 'enabled = false\n[exchanges.deribit]\nsymbols = ["BTC-PERPETUAL"]\n'
    made = settings(tmp_path, text)

    assert [venue.exchange.name for venue in plan(made)] == ["deribit"]
    assert [venue.exchange.name for venue in plan(made, ["kraken"])] == ["kraken"]


@pytest.mark.parametrize(
    ("text", "only", "key", "allowed"),
    [
        ("", [], "exchanges", "one or more"),
        (KRAKEN, ["deribit"], "exchanges.deribit", ""),
        (KRAKEN, ["nowhere"], "exchanges.nowhere", "kraken"),
        ('[exchanges.nowhere]\nsymbols = ["A"]\n', [], "exchanges.nowhere", "kraken"),
        (
            KRAKEN + "symbols_per_shard = 1\nconnections_max = 2\n",
            [],
            "exchanges.kraken.connections_max",
            "3 or more",
        ),
        (
            KRAKEN + "[topics]\nmax_message_bytes = 100000\n",
            [],
            "producer.frame_bytes_max",
            "at most 34464",
        ),
        (
            KRAKEN + 'websocket_url = "ws://127.0.0.1:99999999/"\n',
            [],
            "exchanges.kraken.websocket_url",
            "ws://",
        ),
        (
            KRAKEN + 'websocket_url = "wss://venue..example/v2"\n',
            [],
            "exchanges.kraken.websocket_url",
            "ws://",
        ),
        (
            KRAKEN + 'rest_url = "https://venue..example"\n',
            [],
            "exchanges.kraken.rest_url",
            "https://",
        ),
    ],
)
def test_plan_refuses_what_cannot_be(
    tmp_path: Path, text: str, only: list[str], key: str, allowed: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        plan(settings(tmp_path, text), only)

    assert raised.value.key.startswith(key)
    assert allowed in raised.value.allowed
