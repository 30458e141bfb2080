"""Settings that become Faust's, and those that are refused."""

import importlib
import sys
from typing import Any

import pytest

from core.continuity import TradeIds
from core.events import BookSnapshot, BookState, Events, StreamCheckpoint, StreamSecond
from core.frames import Address
from core.memory import StreamMemory, write
from core.stability.alerts import AlertKind
from core.stability.health import StreamHealth
from core.stability.incidents import Incident
from core.stability.score import Component
from core.stability.states import StreamState
from infra.runtime.settings import SettingsError, load
from processors.options import (
    NO_PAGES,
    check_sizes,
    check_warmup,
    faust_options,
    letter_bytes,
    raw_topics,
)
from schemas.codec import encode_events


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
    assert options["stream_buffer_maxsize"] == 333
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


def test_warmup_in_which_a_book_or_a_stream_may_find_nothing_is_refused() -> None:
    with pytest.raises(SettingsError, match="more than 150: twice"):
        check_warmup(settings(processor__warmup_s=150))

    check_warmup(settings(processor__warmup_s=151))
    check_warmup(settings(processor__warmup_s=33, producer__snapshot_interval_s=1))


_MOST = (1 << 62) - 1
"""A number that takes the most bytes."""


def largest_health() -> StreamHealth:
    """Return the health of a stream with a long history and half of all incidents open."""
    health = StreamHealth()
    for sums in (health.messages, health.wrong, health.followed):
        sums.totals = [_MOST] * len(sums.totals)
        sums.buckets = [sums.totals] * sums.keep
    health.rhythm.gaps.buckets = [_MOST] * health.rhythm.gaps.keep
    for recent in (health.latencies, health.jitters):
        recent.values = [_MOST] * recent.keep
    for usual in (health.usual_latency, health.usual_deviation, health.usual_jitter):
        usual.value = 1.5
    health.machine.resynced = [_MOST] * 3
    most = Incident("I" * 230, _MOST, _MOST, "M" * 20, 1.5, "U" * 12, 1.5, _MOST, _MOST, _MOST)
    health.incidents.open = dict.fromkeys(list(AlertKind)[:8], most)
    return health


def largest_checkpoints(symbols: int) -> list[StreamCheckpoint]:
    """Return the checkpoints of streams that remember as much as they can."""
    ids = TradeIds()
    for number in range(100):
        ids.check(_MOST - 1000 + 2 * number, _MOST)
    states = [
        write(
            StreamMemory(
                last_mono=_MOST, last_transit=-_MOST, trade_ids=trade_ids, health=largest_health()
            )
        )
        for trade_ids in (None, ids.remember())
    ]
    return [
        StreamCheckpoint(_MOST, 1 << 20, "trades", "S" * 64, state)
        for state in states
        for _ in range(symbols)
    ]


def largest_outputs(symbols: int, levels: int) -> int:
    """Return the size of the largest record that sampling or closing a second can make."""
    side = [_MOST] * levels
    name = "S" * 64
    book = BookSnapshot(
        _MOST, 9, name, _MOST, _MOST, _MOST, _MOST, 31, 36, 36, side, side, side, side, _MOST
    )
    fields: dict[str, Any] = dict.fromkeys(StreamSecond.__struct_fields__, _MOST)
    fields |= {"index": 9, "channel": "trades", "symbol": name, "book_state": BookState.LIVE}
    fields |= {"state": StreamState.STABLE, "is_blind": True, "score_unit": "times usual"}
    fields |= {"score_binding": Component.LATENCY}
    seconds = [StreamSecond(**fields)] * (2 * symbols)
    address = Address("binance", "binance-0", "A", _MOST)
    checkpoints = largest_checkpoints(symbols)
    events = Events(address, _MOST, [], [book] * symbols, [], seconds, checkpoints=checkpoints)
    return max(len(value) for _, value in encode_events(events, 9, _MOST))


@pytest.mark.parametrize(("symbols", "most"), [(20, 262_144), (100, 8_388_608), (600, 6_000_000)])
def test_books_of_a_socket_that_fit_no_record_are_refused(symbols: int, most: int) -> None:
    def chosen(levels: int) -> Any:
        names = ",".join(f"S{number}" for number in range(symbols))
        return settings(
            exchanges__deribit__symbols=names,
            exchanges__deribit__symbols_per_shard=1000,
            topics__max_message_bytes=most,
            processor__book_levels=levels,
        )

    def is_refused(levels: int) -> bool:
        try:
            check_sizes(chosen(levels))
        except SettingsError:
            return True
        return False

    fitting = [levels for levels in (1, 10, 25, 50, 1000, 10_000) if not is_refused(levels)]
    assert fitting
    assert largest_outputs(symbols, fitting[-1]) <= most
    with pytest.raises(SettingsError, match="max_message_bytes") as refused:
        check_sizes(chosen(most // symbols // 32))
    assert refused.value.key == "processor.book_levels"
    assert "symbols_per_shard" in refused.value.allowed
    check_sizes(settings())


def test_books_that_are_sampled_more_than_once_a_record_must_all_fit() -> None:
    often = {"processor__book_interval_ms": 10, "producer__batch_age_ms": 10_000}
    check_sizes(settings(processor__book_levels=6000))
    check_sizes(settings(processor__book_levels=6000, producer__batch_frames=1, **often))

    with pytest.raises(SettingsError, match="samples a record"):
        check_sizes(settings(processor__book_levels=6000, **often))


def test_checkpoints_of_a_socket_that_fit_no_record_are_refused() -> None:
    def chosen(symbols: int) -> Any:
        names = ",".join(f"S{number}" for number in range(symbols))
        return settings(
            exchanges__deribit__symbols=names,
            exchanges__deribit__symbols_per_shard=1000,
            topics__max_message_bytes=1_000_000,
            processor__book_levels=1,
        )

    check_sizes(chosen(100))
    with pytest.raises(SettingsError, match="symbols_per_shard") as refused:
        check_sizes(chosen(130))
    assert refused.value.key == "topics.max_message_bytes"


def test_letter_about_any_record_fits_where_the_record_did() -> None:
    assert letter_bytes(settings()) == 1 << 20
    assert letter_bytes(settings(topics__max_message_bytes=65_536)) == 32_768


def test_importing_the_app_reads_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMGAUGE__NO__SUCH__KEY", "1")
    monkeypatch.delitem(sys.modules, "processors.app", raising=False)

    assert importlib.import_module("processors.app").__name__ == "processors.app"
