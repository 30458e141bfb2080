"""Settings that become Faust's, and those that are refused."""

import importlib
import sys
from typing import Any

import pytest

from infra.runtime.settings import SettingsError, load
from processors.options import NO_PAGES, check_warmup, faust_options, raw_topics


def settings(**environ: object) -> Any:
    named = {f"STREAMGAUGE__{key.upper()}": str(value) for key, value in environ.items()}
    return load(environ={"STREAMGAUGE__EXCHANGES__DERIBIT__SYMBOLS": "BTC-PERPETUAL", **named})


def test_options_of_the_defaults_are_the_measured_ones() -> None:
    options = faust_options(settings(), topics=3)

    assert options["broker"] == ["kafka://127.0.0.1:9092"]
    assert options["broker_commit_interval"] == 1.0
    assert options["broker_session_timeout"] == 15.0
    assert options["stream_wait_empty"] is False
    assert options["topic_allow_declare"] is False
    assert options["consumer_auto_offset_reset"] == "earliest"
    assert options["producer_compression_type"] == "lz4"
    assert (options["web_enabled"], options["web_port"]) == (False, NO_PAGES)
    assert options["stream_buffer_maxsize"] == 500
    assert "consumer_group_instance_id" not in options


def test_options_follow_the_settings() -> None:
    options = faust_options(
        settings(
            kafka__bootstrap="a:1,b:2",
            processor__instance_id="w1",
            processor__session_timeout_ms=90_000,
            processor__web_port=8088,
            kafka__security_protocol="SASL_PLAINTEXT",
            kafka__sasl_username="user",
            kafka__sasl_password="secret",
        ),
        topics=1,
    )

    assert options["broker"] == ["kafka://a:1", "kafka://b:2"]
    assert options["consumer_group_instance_id"] == "w1"
    assert options["broker_request_timeout"] > options["broker_session_timeout"] == 90.0
    assert (options["web_enabled"], options["web_port"]) == (True, 8088)
    assert options["broker_credentials"].username == "user"
    assert options["broker_credentials"].mechanism.value == "SCRAM-SHA-512"


def test_any_free_port_is_a_real_one() -> None:
    assert faust_options(settings(processor__web_port=0), topics=1)["web_port"] > NO_PAGES


def test_raw_topics_are_those_of_enabled_exchanges() -> None:
    chosen = settings(exchanges__kraken__enabled="false", topics__prefix="p.")

    assert [(name, exchange.name) for name, exchange in raw_topics(chosen).items()] == [
        ("p.raw.deribit", "deribit")
    ]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"exchanges__deribit__enabled": "false"}, "exchanges"),
        ({"exchanges__nasdaq__symbols": "AAPL"}, "exchanges.nasdaq"),
    ],
)
def test_raw_topics_without_a_known_exchange_are_refused(changes: Any, key: str) -> None:
    with pytest.raises(SettingsError) as refused:
        raw_topics(settings(**changes))

    assert refused.value.key == key
    assert "deribit" in refused.value.allowed


def test_warmup_of_two_snapshot_intervals_is_refused() -> None:
    with pytest.raises(SettingsError, match="more than twice"):
        check_warmup(settings(processor__warmup_s=120))

    check_warmup(settings(processor__warmup_s=121))


def test_importing_the_app_reads_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE__NO__SUCH__KEY", "1")
    monkeypatch.delitem(sys.modules, "processors.app", raising=False)

    assert importlib.import_module("processors.app").__name__ == "processors.app"
