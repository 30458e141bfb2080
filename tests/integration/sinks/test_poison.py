"""Records that cannot become rows become letters with a reason, and the rest goes on."""

import msgspec
import pytest

from core.events import Events
from schemas.codec import encode_events
from schemas.registry import codec
from tests.integration.sinks.rig import Rig
from tests.schemas.records import trade_events


def too_large() -> bytes:
    """A record that can be decoded, with a price for which the table has no place."""
    events: Events = trade_events(1, 3, shard="poison")
    prices = ["1.5", "9" * 25, "1.5"]
    trades = [
        msgspec.structs.replace(trade, price=price)
        for trade, price in zip(events.trades, prices, strict=True)
    ]
    return encode_events(msgspec.structs.replace(events, trades=trades), 0, 1)[0][1]


@pytest.mark.timeout(500)
async def test_poison_becomes_dead_letters_with_a_reason(rig: Rig) -> None:
    async with rig.producer() as records:
        await records.trades(20)
        _, whole = records.written[0][0]
        poison = {
            10: (b"garbage", "not an Avro"),
            11: (None, "not an Avro"),
            12: (whole[:2] + b"\x07" * 8 + whole[10:], "unknown schema fingerprint"),
            13: (whole[:-9], "malformed"),
            14: (codec("fault_batch").header + b"\x00" * 40, "unknown schema fingerprint"),
            15: (too_large(), "more than 20 digits"),
        }
        for value, _ in poison.values():
            await records.raw(0, value)
        await records.trades(20)
        await records.flush()
        with rig.sink() as sink:
            await rig.settled()
            assert sink.metric("md_sink_dead_letter_records_total") == len(poison)
            assert sink.health("ready")[0] == 200

    letters = rig.query("SELECT offset, reason, consumer FROM dead_letters ORDER BY offset")
    assert [letter[0] for letter in letters] == list(poison)
    for offset, reason, consumer in letters:
        assert poison[offset][1] in reason
        assert consumer == "sink"
    hexed = dict(rig.query("SELECT offset, hex(value) FROM dead_letters WHERE value IS NOT NULL"))
    assert hexed == {at: value.hex().upper() for at, (value, _) in poison.items() if value}
    assert rig.assert_everything_is_there_once()["dead_letters"] == len(poison)
