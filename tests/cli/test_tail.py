"""What `streamgauge tail` makes of arguments and bytes, without a broker."""

import json
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from core.events import Events, StreamCheckpoint
from core.frames import Address, Frame, FrameBatch, FrameKind
from core.memory import StreamMemory, TradeIdsMemory, write
from core.notify.receipts import Outcome, Receipt
from core.notify.silences import Matchers, Once, Silence
from core.stability.alerts import Phase
from infra.cli import main
from infra.cli.facts import facts, payload_of
from infra.cli.tail import _first, _kind, _Wanted, line
from schemas.codec import encode_events, encode_frame_batch
from schemas.notify import encode_receipt, encode_silence

ADDRESS = Address(exchange="kraken", shard="kraken-0", line="A", epoch=1_700_000_000_000_000_000)


class Record:
    """A record as the client of Kafka gives it."""

    def __init__(self, value: bytes | None, key: bytes | None = None) -> None:
        self.topic, self.partition, self.offset, self.value = "raw.kraken", 1, 7, value
        self.key = key


def record(*payloads: bytes, number: int = 40) -> Record:
    frames = [
        Frame(kind=FrameKind.RECEIVED, ts_recv=index, ts_mono=index, where="", payload=payload)
        for index, payload in enumerate(payloads)
    ]
    batch = FrameBatch(
        address=ADDRESS, number=number, chain_before=bytes(16), chain=bytes(16), frames=frames
    )
    return Record(encode_frame_batch(batch))


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_payload_survives_json_whatever_its_bytes(payloads: list[bytes]) -> None:
    found = [
        json.loads(msgspec.json.encode(fact)) for fact in facts("raw.kraken", record(*payloads))
    ]

    assert [payload_of(fact) for fact in found] == payloads


def test_bad_byte_and_its_escape_do_not_look_alike() -> None:
    bad, escape = facts("raw.kraken", record(b"\xff", rb"\xff"))

    assert bad["payload_base64"] == "/w=="
    assert "payload" not in bad
    assert escape["payload"] == r"\xff"
    assert (bad["number"], escape["number"]) == (40, 41)


def test_checkpoint_is_shown_decoded_or_as_unreadable() -> None:
    memory = StreamMemory(last_mono=5, trade_ids=TradeIdsMemory(3, 4, [(1, 2)]))
    made = [
        StreamCheckpoint(40, index, "trades", "BTC/USD", state)
        for index, state in enumerate((write(memory), b"?"))
    ]
    ((_, value),) = encode_events(Events(ADDRESS, 40, [], [], [], [], checkpoints=made), 0, 0)

    known, unknown = facts("checkpoints", Record(value))

    assert known["memory"]["trade_ids"]["missing"] == [(1, 2)]
    assert (known["symbol"], known["memory"]["last_mono"]) == ("BTC/USD", 5)
    assert '"last":3' in line("checkpoints", known)
    assert unknown["memory"] is None
    assert "unreadable" in line("checkpoints", unknown)


@pytest.mark.parametrize(
    ("topic", "prefix", "kind"),
    [
        ("trades", "", "trades"),
        ("trades", "t", "trades"),
        ("ttrades", "t", "trades"),
        ("raw.kraken", "r", "raw.kraken"),
        ("test.raw.kraken", "test.", "raw.kraken"),
    ],
)
def test_topic_is_known_with_and_without_its_prefix(topic: str, prefix: str, kind: str) -> None:
    assert _kind(topic, prefix) == kind


def test_receipt_and_silence_are_shown_decoded_and_what_is_forgotten_by_its_key() -> None:
    receipt = Receipt("pager", "gap/x", Phase.OPEN, Outcome.DELIVERED, 3, 10**18, b"opening")
    matchers = Matchers(exchanges=("kraken",), kinds=("gap", "checksum"))
    silence = Silence("move", matchers, Once(10**18, 2 * 10**18), "they move")
    (told,) = facts("receipts", Record(encode_receipt(receipt)))
    (quiet,) = facts("silences", Record(encode_silence(silence)))
    (gone,) = facts("receipts", Record(None, receipt.key))

    assert (told["receiver"], told["outcome"], told["is_open"]) == ("pager", "delivered", True)
    assert (told["partition"], told["alert_partition"]) == (1, 3)
    assert click.unstyle(line("receipts", told)).endswith("pager open delivered gap/x")
    assert click.unstyle(line("silences", quiet)).startswith(
        "move 2001-09-09 01:46:40.000000 until"
    )
    assert line("silences", quiet).endswith("exchanges kraken, kinds gap checksum: they move")
    assert click.unstyle(line("receipts", gone)) == "forgotten pager gap/x"


def test_topic_of_another_is_refused() -> None:
    with pytest.raises(click.UsageError, match="rades is not a topic of ours"):
        _kind("rades", "t")


def test_offset_outside_of_the_partition_is_refused_with_what_there_is() -> None:
    def wanted(offset: int) -> _Wanted:
        return _Wanted(False, 1, offset, None, None, True)

    assert _first(wanted(5), 5, 9) == 5
    assert _first(wanted(9), 5, 9) == 9
    for offset in (4, 10):
        with pytest.raises(click.ClickException, match="it has 5 to 8"):
            _first(wanted(offset), 5, 9)


@pytest.mark.parametrize(
    "arguments",
    [
        ["trades", "--offset", "1"],
        ["trades", "--partition", "0", "--offset", "1", "--from-beginning"],
        ["trades", "--payload"],
        ["raw.kraken", "--payload", "--json"],
        ["nothing"],
    ],
)
def test_wrong_usage_is_one_line_like_every_error(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(main.command, ["tail", *arguments])

    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
