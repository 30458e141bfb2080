"""What each fault does to the frames of one socket."""

import asyncio
import json
from collections.abc import Callable
from random import Random
from typing import cast

import pytest

from simulator.clock import Clock
from simulator.connection import Connection
from simulator.faults import (
    HELD_MAX_NS,
    HELD_REST,
    CorruptChecksum,
    CorruptDigit,
    Delay,
    Drop,
    Duplicate,
    Entry,
    FaultGate,
    FrameFault,
    Reorder,
    garbage,
)
from simulator.instruments import catalogue
from simulator.market import Market
from simulator.settings import MarketSettings
from simulator.wire import Frame, control, message

LISTED = catalogue("kraken", 2)
BTC, ETH = (Market(each, MarketSettings(levels=20), seed="1", events_per_s=1.0) for each in LISTED)
ACK = control('{"success":true}')


class Wire:
    """Stands where a connection stands and keeps what is handed over."""

    def __init__(self) -> None:
        self.sent: list[Frame] = []
        self.gate: FaultGate | None = None
        self._arrived = asyncio.Event()

    def hand_over(self, frame: Frame) -> None:
        self.sent.append(frame)
        self._arrived.set()

    async def wait_for(self, count: int) -> None:
        while len(self.sent) < count:
            self._arrived.clear()
            await self._arrived.wait()


def frame(number: int, channel: str = "book", market: Market = BTC) -> Frame:
    trades = (number,) if channel == "trades" else ()
    return Frame(message(b'{"n":%d}' % number), channel, market, number, trades)


def gate_of(
    kind: type[FrameFault], count: int = 1, symbol: str | None = None, channel: str | None = None
) -> tuple[Wire, FaultGate, FrameFault]:
    entry = Entry(id=1, kind="x", venue="kraken", symbol=symbol, channel=channel)
    wire = Wire()
    no_loop = cast("asyncio.AbstractEventLoop", None)  # only a delay needs one
    gate = FaultGate(cast("Connection", wire), no_loop)
    fault = kind(entry, count, Random(1))
    gate.faults.append(fault)
    return wire, gate, fault


class SetClock(Clock):
    """A clock that stands where it is put."""

    def __init__(self, now: list[int]) -> None:
        super().__init__()
        self._now = now

    def true_ns(self) -> int:
        return self._now[0]


def test_drop_loses_the_next_frames_it_is_for_and_no_others() -> None:
    wire, gate, fault = gate_of(Drop, count=2, symbol="BTC/USD", channel="trades")
    frames = [
        frame(1, "book"),
        frame(2, "trades", ETH),
        frame(3, "trades"),
        ACK,
        frame(4, "trades"),
        frame(5, "trades"),
    ]
    for each in frames:
        gate.push(each)

    assert wire.sent == [frames[0], frames[1], ACK, frames[5]]
    assert [each["sequence"] for each in fault.entry.affected] == [3, 4]
    assert [each["trades"] for each in fault.entry.affected] == [[3], [4]]


def test_drop_without_count_lasts_until_it_is_ended_and_lets_control_frames_through() -> None:
    wire, gate, fault = gate_of(Drop, count=0)
    for each in (frame(1), ACK, frame(2)):
        gate.push(each)
    gate.end(fault)
    gate.push(frame(3))

    assert wire.sent == [ACK, frame(3)]
    assert fault.entry.affected_count == 2


def test_duplicate_sends_a_frame_twice_and_counts_its_trades_once() -> None:
    wire, gate, _ = gate_of(Duplicate, channel="trades")
    gate.push(frame(1, "trades"))
    gate.push(frame(2, "trades"))

    assert [each.sequence for each in wire.sent] == [1, 1, 2]
    assert [each.trades for each in wire.sent] == [(1,), (), (2,)]
    assert wire.sent[0].wire == wire.sent[1].wire


def test_reorder_swaps_two_frames_of_one_channel() -> None:
    wire, gate, fault = gate_of(Reorder, symbol="BTC/USD", channel="book")
    for each in (frame(1), frame(9, market=ETH), frame(2), frame(3)):
        gate.push(each)

    assert [each.sequence for each in wire.sent] == [9, 2, 1, 3]
    assert fault.entry.affected_count == 1


def test_reorder_lets_the_held_frame_go_before_an_ack() -> None:
    wire, gate, fault = gate_of(Reorder)
    fault.entry.clock = SetClock([1_000_000_000])
    gate.push(frame(1))
    gate.push(ACK)
    gate.push(frame(2))
    gate.push(frame(3))

    assert wire.sent == [frame(1), ACK, frame(3), frame(2)]
    assert [each["sequence"] for each in fault.entry.affected] == [2]


def test_reorder_lets_go_what_nothing_overtakes_in_time() -> None:
    now = [1_000_000_000]
    wire, gate, fault = gate_of(Reorder, symbol="BTC/USD")
    fault.entry.clock = SetClock(now)
    gate.push(frame(1))
    now[0] += HELD_MAX_NS + 1
    for each in (frame(9, market=ETH), frame(2), frame(3)):
        gate.push(each)
    now[0] += HELD_REST * HELD_MAX_NS + HELD_REST
    for each in (frame(4), frame(5), frame(6)):
        gate.push(each)

    assert [each.sequence for each in wire.sent] == [1, 9, 2, 3, 5, 4, 6]
    assert [each["sequence"] for each in fault.entry.affected] == [4]


def test_reorder_that_ends_lets_the_held_frame_go() -> None:
    wire, gate, fault = gate_of(Reorder)
    gate.push(frame(1))
    gate.end(fault)

    assert wire.sent == [frame(1)]
    assert wire.gate is None


BOOKS = {
    "deribit": '{"params":{"data":{"type":"change","bids":[["new",63324.5,372280.0]],"asks":[]}}}',
    "binance": '{"e":"depthUpdate","U":1,"u":2,"b":[["61837.63000000","3.78826000"]],"a":[]}',
    "kraken": '{"data":[{"bids":[{"price":85600.4,"qty":0.20401971}],"checksum":817831036}]}',
}
TRADES = {
    "deribit": '{"params":{"data":[{"price":63344.5,"amount":20.0,"trade_id":"440192723"}]}}',
    "binance": '{"e":"trade","t":3735683259,"p":"61837.63000000","q":"0.02000000","m":true}',
    "kraken": '{"channel":"trade","data":[{"price":105944.20,"qty":0.00027625,"trade_id":7}]}',
}


@pytest.mark.parametrize(
    ("channel", "text"),
    [("book", text) for text in BOOKS.values()] + [("trades", text) for text in TRADES.values()],
)
def test_corrupt_digit_changes_one_digit_of_a_price_or_size(channel: str, text: str) -> None:
    for seed in range(40):
        wire, gate, fault = gate_of(CorruptDigit)
        fault.random = Random(seed)
        gate.push(Frame(message(text.encode()), channel, BTC, 5))
        changed = wire.sent[0].text
        pairs = zip(text, changed, strict=True)
        places = [place for place, (was, now) in enumerate(pairs) if was != now]

        assert len(places) == 1
        assert text[places[0]].isdigit()
        assert changed[places[0]].isdigit()
        assert fault.entry.affected[0]["at"] == places[0]
        assert json.loads(changed)
        for number in ("817831036", "440192723", "3735683259", '"trade_id":7'):
            assert (number in text) == (number in changed)


def test_corrupt_checksum_changes_the_checksum_only() -> None:
    wire, gate, _ = gate_of(CorruptChecksum)
    gate.push(frame(1, "trades"))
    gate.push(Frame(message(BOOKS["kraken"].encode()), "book", BTC, 2))

    assert wire.sent[1].text == BOOKS["kraken"].replace("817831036", "817831037")


async def test_delay_sends_every_frame_later_in_order() -> None:
    loop = asyncio.get_running_loop()
    entry = Entry(id=1, kind="delay", venue="kraken")
    wire = Wire()
    gate = FaultGate(cast("Connection", wire), loop)
    fault = Delay(entry, 0.05, gate)
    gate.faults.append(fault)
    begun = loop.time()
    for each in (frame(1), ACK, frame(2)):
        gate.push(each)
    assert wire.sent == []

    gate.end(fault)
    gate.push(frame(3))  # behind those that are still held
    await asyncio.wait_for(wire.wait_for(4), 5)

    assert wire.sent == [frame(1), ACK, frame(2), frame(3)]
    assert loop.time() - begun >= 0.05
    assert wire.gate is None


def test_faults_of_one_socket_act_one_behind_the_other() -> None:
    wire, gate, _ = gate_of(Duplicate)
    entry = Entry(id=2, kind="drop", venue="kraken")
    gate.faults.append(Drop(entry, 1, Random(1)))
    gate.push(frame(1, "trades"))
    gate.push(frame(2, "trades"))

    assert [each.sequence for each in wire.sent] == [1, 2]
    assert wire.gate is None


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


@pytest.mark.parametrize(
    ("variant", "claim"),
    [
        ("invalid_json", lambda text: not is_json(text)),
        ("truncated", lambda text: not is_json(text)),
        ("nested", lambda text: text == "[" * 5000),
        ("huge", lambda text: len(text) > 5000 and is_json(text)),
        ("not_a_number", lambda text: "NaN" in text),
    ],
)
def test_garbage_of_each_variant_is_what_it_says(
    variant: str, claim: Callable[[str], bool]
) -> None:
    assert claim(Frame(garbage(variant, 5000)).text)


def test_garbage_that_is_binary_says_so_in_its_opcode() -> None:
    assert garbage("binary", 0)[0] == 0x82
