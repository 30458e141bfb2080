"""Settings: every wrong value is refused with its name and what is allowed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator.options import settings_of
from simulator.server import Simulator
from simulator.settings import (
    BinanceSettings,
    DeribitSettings,
    MarketSettings,
    Settings,
    SettingsError,
)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"host": "0.0.0.0"}, "host must be 127.0.0.1"),
        ({"deribit": None, "binance": None, "kraken": None}, "at least one venue"),
        ({"ports": {"okx": 1}}, "ports.okx: unknown name"),
        ({"ports": {"kraken": 70_000}}, "ports.kraken must be between 0 and 65535"),
        ({"deribit": DeribitSettings(symbols=0)}, "deribit.symbols must be positive"),
        ({"binance": BinanceSettings(rate=float("nan"))}, "binance.rate must be positive"),
        ({"market": MarketSettings(touched_min=9, touched_max=8)}, "market.touched_min"),
        ({"market": MarketSettings(trade_share=1.5)}, "market.trade_share must be at most 1"),
        ({"market": MarketSettings(volatility=0.5)}, "market.volatility must be at most"),
        ({"market": MarketSettings(burst_length_s=40.0)}, "market.burst_length_s"),
        ({"faults_per_minute": -1.0}, "faults_per_minute must be between"),
        ({"segment_bytes": 10}, "segment_bytes"),
    ],
)
def test_settings_with_a_wrong_value_name_it(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        replace(Settings(), **changes)


def test_simulator_with_unknown_fault_kind_is_refused() -> None:
    with pytest.raises(SettingsError, match="'explode' is not one of disconnect"):
        Simulator(Settings(fault_kinds=("explode",)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"faults_per_minute": 0.0}, "needs faults_per_minute"),
        ({"faults_per_minute": 1.0, "kraken": None}, "needs the venue kraken"),
    ],
)
def test_simulator_whose_fault_kinds_can_never_happen_is_refused(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        Simulator(Settings(fault_kinds=("corrupt_checksum",), **changes))


def test_options_share_the_rate_among_venues_without_their_own() -> None:
    made = settings_of(folder=Path("x"), rate=["300", "kraken=50"], symbols=["4", "binance=9"])

    assert made.deribit is not None
    assert made.binance is not None
    assert made.kraken is not None
    assert (made.deribit.rate, made.binance.rate, made.kraken.rate) == (150.0, 150.0, 50.0)
    assert (made.deribit.symbols, made.binance.symbols, made.kraken.symbols) == (4, 9, 4)


def test_options_give_consecutive_ports_from_the_base() -> None:
    made = settings_of(folder=Path("x"), port_base=9000)

    assert made.ports == {"deribit": 9000, "binance": 9001, "kraken": 9002, "control": 9003}


def test_options_serve_only_the_venues_named() -> None:
    assert list(settings_of(folder=Path("x"), venues="kraken").venues()) == ["kraken"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"venues": "okx"}, "'okx' is not one of"),
        ({"symbols": ["many"]}, "--symbols many: expected a number"),
        ({"symbols": ["2.5"]}, "--symbols must be whole"),
        ({"rate": ["okx=5"]}, "--rate okx=5"),
        ({"touched": "a-b"}, "--touched a-b: expected LEAST-MOST"),
    ],
)
def test_options_that_are_wrong_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        settings_of(folder=Path("x"), **options)
