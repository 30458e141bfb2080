"""The faults of the campaign, F1 to F15, each with its variants.

Where a fault can be, what a right alert says of it, and how it is played.
"""

from typing import Final

from core.stability.alerts import AlertKind
from infra.chaos.alterations import CrossBook, NegativeSize, RenameField
from infra.chaos.plays import (
    aborted,
    broker_and_processor_restart,
    broker_restart,
    clock_drift,
    clock_step,
    closed_cleanly,
    connection_silence,
    dropped_frames,
    frames,
    frozen_book,
    frozen_price,
    full_queue,
    half_open,
    jitter,
    latency_ramp,
    latency_step,
    price_offset,
    reconnect_storm,
    slow_kafka,
    symbol_silence,
    unreadable,
)
from infra.chaos.stage import Scenario, connection, pooled, stream, unread
from infra.chaos.world import VENUES
from simulator.faults import CorruptChecksum, CorruptDigit, Drop, Duplicate, Reorder

NUMBERED: Final = ("deribit", "binance")
"""Venues that number the changes of their books; Kraken's have checksums in place of numbers."""
STAMPED: Final = ("binance", "kraken")
"""Venues whose times are those of sending. Deribit's are up to 100 ms older than the notification:
against that, more noise of the network does not show."""
KRAKEN: Final = ("kraken",)

_K = AlertKind
SCENARIOS: Final = (
    Scenario("F1", "symbol", VENUES, stream(_K.STREAM_SILENCE, "book", "trades"), symbol_silence),
    Scenario("F1", "connection", VENUES, connection(_K.SILENCE), connection_silence),
    Scenario("F2", "half-open", VENUES, connection(_K.SILENCE), half_open),
    Scenario("F3", "heartbeats only", KRAKEN, pooled(_K.DATA_SILENCE), frozen_book),
    Scenario(
        "F4", "one change", NUMBERED, stream(_K.GAP, "book"), frames(Drop, least=1, most=1), False
    ),
    Scenario(
        "F4", "trades", VENUES, stream(_K.GAP, "trades"), frames(Drop, least=1, most=2), False
    ),
    Scenario("F4", "burst", NUMBERED, stream(_K.GAP, "book"), frames(Drop, least=3, most=6), False),
    Scenario(
        *("F4", "share", NUMBERED, stream(_K.GAP, "book")),
        frames(Drop, least=3, most=5, share=0.15),
        False,
    ),
    Scenario(
        "F4", "checksum", KRAKEN, stream(_K.CHECKSUM, "book"), frames(Drop, least=3, most=5), False
    ),
    Scenario(
        *("F5", "one change", NUMBERED, stream(_K.DUPLICATES, "book")),
        frames(Duplicate, least=1, most=1),
        False,
    ),
    Scenario(
        *("F5", "trades", VENUES, stream(_K.DUPLICATES, "trades")),
        frames(Duplicate, least=1, most=3),
        False,
    ),
    Scenario(
        *("F5", "share", NUMBERED, stream(_K.DUPLICATES, "book")),
        frames(Duplicate, least=3, most=5, share=0.15),
        False,
    ),
    Scenario(
        *("F6", "one change", NUMBERED, stream(_K.REORDERING, "book")),
        frames(Reorder, least=1, most=1),
        False,
    ),
    Scenario(
        *("F6", "trades", VENUES, stream(_K.REORDERING, "trades")),
        frames(Reorder, least=1, most=2),
        False,
    ),
    Scenario(
        *("F6", "share", NUMBERED, stream(_K.REORDERING, "book")),
        frames(Reorder, least=3, most=5, share=0.15),
        False,
    ),
    Scenario("F7", "step", VENUES, pooled(_K.LATENCY), latency_step),
    Scenario("F7", "ramp", VENUES, pooled(_K.LATENCY), latency_ramp),
    Scenario("F8", "x5", STAMPED, pooled(_K.JITTER), jitter(5.0)),
    Scenario("F8", "x10", STAMPED, pooled(_K.JITTER), jitter(10.0)),
    Scenario(
        *("F9", "checksum", KRAKEN, stream(_K.CHECKSUM, "book")),
        frames(CorruptChecksum, least=1, most=1),
        False,
    ),
    Scenario(
        *("F9", "digit", KRAKEN, stream(_K.CHECKSUM, "book")),
        frames(CorruptDigit, least=1, most=1),
        False,
    ),
    Scenario(
        *("F9", "share", KRAKEN, stream(_K.CHECKSUM, "book")),
        frames(CorruptChecksum, least=2, most=4, share=0.15),
        False,
    ),
    Scenario("F10", "slow Kafka", VENUES, connection(_K.PIPELINE), slow_kafka),
    Scenario("F10", "full queue", VENUES, connection(_K.PIPELINE), full_queue),
    Scenario("F10", "dropped frames", VENUES, connection(_K.PIPELINE), dropped_frames),
    Scenario("F11", "closed", VENUES, connection(_K.DISCONNECTED), closed_cleanly),
    Scenario("F11", "aborted", VENUES, connection(_K.DISCONNECTED), aborted),
    Scenario("F11", "storm", VENUES, connection(_K.DISCONNECTED), reconnect_storm),
    Scenario(
        *("F12", "frozen price", VENUES, stream(_K.FROZEN_PRICE, "book"), frozen_price),
        is_alone=False,
        is_compared=True,
    ),
    Scenario(
        *("F12", "offset", VENUES, stream(_K.DIVERGENCE, "book"), price_offset),
        is_alone=False,
        is_compared=True,
    ),
    Scenario("F13", "step", VENUES, connection(_K.CLOCK), clock_step),
    Scenario("F13", "drift", VENUES, connection(_K.CLOCK), clock_drift),
    Scenario(
        *("F14", "crossed", NUMBERED, stream(_K.CROSSED_BOOK, "book")),
        frames(CrossBook, least=1, most=1),
        False,
    ),
    Scenario("F14", "negative size", VENUES, unread, frames(NegativeSize, least=1, most=1)),
    Scenario("F14", "renamed field", VENUES, unread, frames(RenameField, least=1, most=1)),
    Scenario("F14", "unreadable", VENUES, connection(_K.SCHEMA), unreadable),
    Scenario("F15", "broker", VENUES, connection(_K.PIPELINE), broker_restart),
    Scenario(
        *("F15", "broker, processor", VENUES, connection(_K.PIPELINE)),
        broker_and_processor_restart,
    ),
)
FAULTS: Final = tuple(dict.fromkeys(each.fault for each in SCENARIOS))
