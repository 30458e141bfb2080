"""A bundle of an incident of venues makes its alert again from mids, and these from frames."""

import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

import msgspec
import pytest

from core.events import Events
from core.exchanges import exchanges
from core.frames import Address
from core.pipeline import PipelineSettings
from core.stability.alerts import AlertKind, Phase
from core.venues.mids import Mid
from infra.cli.bundle import derived
from processors.bundle import (
    FORMAT,
    FORMAT_OF_VENUES,
    About,
    Bundle,
    LogRecord,
    MidsSpan,
    Recomputed,
    alert_of,
    differences,
    recompute,
)
from processors.bundle_file import BundleFileError, read_bundle, write_bundle
from processors.engine import PartitionEngine, RawRecord, fed
from processors.incident_mids import carrier, reaching, said_of
from processors.venues import VenueEngine
from schemas.codec import decode_checkpoints, decode_mid, encode_frame_batch
from schemas.topics import ALERTS, CHECKPOINTS, MIDS
from tests.core.venues.market import KNOWN_S, mid
from tests.processors.market import NS, Connection, batches
from tests.processors.test_bundle import captured as captured_of_connection
from tests.processors.test_bundle import offset_at, rewritten

EPOCH_S = 1_790_000_000
"""When the socket of the venue that will be named was opened."""
MOVES_S, ENDS_S, SECONDS, WARMUP_S, LEAD_S = 150, 190, 230, 75, 15
INSTRUMENT = "BTC/USD"


class Made(NamedTuple):
    """Records of one topic, and what an engine that has read all of it published."""

    records: list[LogRecord]
    checkpoints: list[LogRecord]
    alerts: list[LogRecord]


def raw_log(*, seed: int = 1) -> tuple[list[LogRecord], list[LogRecord], list[LogRecord]]:
    """Return raw records of kraken, the checkpoints and the mids that follow from them."""
    connection = Connection("kraken", epoch=EPOCH_S * NS, seed=seed)
    engine = PartitionEngine(
        exchanges()["kraken"], PipelineSettings(), topic="raw.kraken", partition=1
    )
    raw: list[LogRecord] = []
    checkpoints: list[LogRecord] = []
    mids: list[LogRecord] = []
    for offset, batch in enumerate(batches(connection, seconds=SECONDS)):
        ts_ms = batch.frames[-1].ts_recv // 1_000_000
        raw.append(LogRecord(offset, ts_ms, b"k", encode_frame_batch(batch)))
        given = engine.feed(RawRecord(offset, b"k", raw[-1].value, ts_ms * 1_000_000))
        for kind, key, value in given.outputs:
            kept = {CHECKPOINTS: checkpoints, MIDS: mids}.get(kind)
            if kept is not None:
                kept.append(LogRecord(len(kept), ts_ms, key, value))
    return raw, checkpoints, mids


def written(exchange: str, second: int, price: float) -> tuple[bytes, bytes]:
    """Return key and value of a mid as a worker writes it."""
    half = round(price * 100)
    arrival, _ = mid(exchange, second, (half - 5, half + 5), second * NS - NS // 5)
    address = Address(exchange, arrival.shard, arrival.line, arrival.epoch - EPOCH_S)
    said = msgspec.structs.replace(
        arrival.mid, symbol=INSTRUMENT if exchange == "kraken" else arrival.mid.symbol
    )
    ((_, key, value),) = fed([Events(address, 0, [], [], [], [], mids=[said])], 0, 7).outputs
    return key, value


def prices(mids: list[LogRecord]) -> dict[int, float]:
    """Return what kraken's price was in each second, before the first as after it."""
    found = {m.second: m.price for r in mids for m in decode_mid(r.value).mids if own(m)}
    known = {second: price for second, price in found.items() if price is not None}
    first = known[min(known)]
    seconds = range(EPOCH_S - KNOWN_S, EPOCH_S + SECONDS)
    return {second: known.get(second, first) for second in seconds}


def own(said: Mid) -> bool:
    return said.instrument == INSTRUMENT


def mids_log(mids: list[LogRecord]) -> Made:
    """Two venues follow kraken's price, and leave it for a while; its own mids are of frames since
    its socket was opened, and of another socket before."""
    random = Random(5)
    entries: list[tuple[bytes | None, bytes | None]] = []
    told = {second: [r for r in mids if decode_mid(r.value).mids[0].second == second]
            for second in range(EPOCH_S, EPOCH_S + SECONDS)}  # fmt: skip
    for second, price in prices(mids).items():
        away = 1.003 if MOVES_S <= second - EPOCH_S < ENDS_S else 1.0
        for exchange, basis in (("binance", 0.0), ("deribit", 12e-4)):
            noise = random.gauss(0, 0.3e-4)
            entries.append(written(exchange, second, price * away * (1 + basis + noise)))
        if second < EPOCH_S:
            entries.append(written("kraken", second, price * (1 + random.gauss(0, 0.3e-4))))
        entries += [(record.key, record.value) for record in told.get(second, ())]
    engine = VenueEngine(topic="mids", partition=2, letter_bytes=0)
    made = Made([], [], [])
    for offset, (key, value) in enumerate(entries):
        # As if all of it had been processed long after.
        record = LogRecord(offset, (EPOCH_S + 9000) * 1000 + offset, key, value)
        made.records.append(record)
        for kind, _, output in engine.feed(RawRecord(offset, key, value, 0)).outputs:
            published = LogRecord(offset, record.ts_ms, key, output)
            if kind in (CHECKPOINTS, ALERTS):
                (made.checkpoints if kind == CHECKPOINTS else made.alerts).append(published)
    return made


@cache
def captured() -> Bundle:
    """A divergence of kraken, as engines that have read everything published it."""
    raw, checkpoints, mids = raw_log()
    made = mids_log(mids)
    opening = alert_of(made.alerts[0].value)
    detected_s = opening.ts_detected // NS
    said = said_of(INSTRUMENT, made.records)
    start = reaching(said, opening.ts_effect // NS - LEAD_S - WARMUP_S)
    first = reaching(said, opening.ts_effect // NS - LEAD_S)
    assert start is not None
    assert first is not None
    end = made.alerts[1].offset + 1
    held = [each for each in said if start <= each.record.offset < end]
    carried = carrier(held, "kraken", INSTRUMENT, detected_s, first=first)
    assert carried is not None
    raw_start = offset_at(raw, carried.second - EPOCH_S - WARMUP_S)
    about = About(
        format=FORMAT_OF_VENUES, streamgauge="0", python="3", alert_id=opening.alert_id,
        exchange="kraken", shard=carried.shard, line=carried.line, topic="raw.kraken",
        partition=carried.partition, log_id="log", start=raw_start, first=carried.first,
        end=carried.last + 1, is_whole=True, resolves=True, settings=PipelineSettings(), context={},
        mids=MidsSpan(
            topic="mids", partition=2, log_id="log", start=start, first=first, end=end,
            is_whole=True, instrument=INSTRUMENT,
        ),
    )  # fmt: skip
    remembered = [r for r in checkpoints if offset_of(r) in range(raw_start, carried.first)]
    remembered += [r for r in made.checkpoints if offset_of(r) in range(start, first)]
    assert {decode_checkpoints(r.value).header.source for r in remembered} == {"kraken", ""}
    return Bundle(
        about, raw[raw_start : carried.last + 1], remembered, made.alerts,
        [each.record for each in held],
    )  # fmt: skip


def offset_of(record: LogRecord) -> int:
    return decode_checkpoints(record.value).header.raw_offset


def made() -> tuple[Bundle, Recomputed]:
    return captured(), recompute(captured())


def test_alert_of_venues_is_made_again_from_the_bundle_alone() -> None:
    """From the middle of both logs: opening and resolution, byte for byte, and mids of frames."""
    bundle, recomputed = made()

    assert bundle.about.mids is not None
    assert 0 < bundle.about.start < bundle.about.first
    assert 0 < bundle.about.mids.start < bundle.about.mids.first
    assert [alert_of(record.value).phase for record in bundle.alerts] == [Phase.OPEN, Phase.RESOLVE]
    assert alert_of(bundle.alerts[0].value).kind is AlertKind.DIVERGENCE
    assert recomputed.alerts == [record.value for record in bundle.alerts]
    assert sum(kind == MIDS for kind, _ in recomputed.outputs) > 100
    assert differences(bundle, recomputed) == []


def other_frames(bundle: Bundle) -> Bundle:
    """The same socket, had the venue sent other prices."""
    raw, _, _ = raw_log(seed=2)
    held = [r for r in raw if bundle.about.start <= r.offset < bundle.about.end]
    return msgspec.structs.replace(bundle, raw=held)


def without(exchange: str) -> Callable[[Bundle], Bundle]:
    def change(bundle: Bundle) -> Bundle:
        left = [r for r in bundle.mids if of(r) != exchange]
        return msgspec.structs.replace(bundle, mids=left)

    return change


def of(record: LogRecord) -> str:
    return decode_mid(record.value).header.address.exchange


def without_memory(bundle: Bundle) -> Bundle:
    left = [r for r in bundle.checkpoints if decode_checkpoints(r.value).header.source]
    return msgspec.structs.replace(bundle, checkpoints=left)


def without_a_mid(bundle: Bundle) -> Bundle:
    """One of kraken's is gone, with the source of the first second that could tell."""
    gone = [r for r in bundle.mids if of(r) == "kraken"][-20]
    return msgspec.structs.replace(bundle, mids=[r for r in bundle.mids if r is not gone])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (other_frames, "mids of kraken are others than follow from its frames"),
        (without("deribit"), "the opening was published, and is not made again"),
        (without_memory, "the opening was published, and is not made again"),
        (without_a_mid, "1 mids that follow from the frames of kraken are not held"),
        (
            lambda bundle: msgspec.structs.replace(bundle, raw=bundle.raw[:-9]),
            "mids of kraken do not follow from its frames",
        ),
        (
            lambda bundle: msgspec.structs.replace(bundle, raw=[]),
            "mids of kraken do not follow from its frames",
        ),
    ],
)
def test_bundle_of_venues_that_does_not_give_its_alert_or_mids_is_told(
    change: Callable[[Bundle], Bundle], said: str
) -> None:
    bundle = change(captured())

    assert any(said in each for each in differences(bundle, recompute(bundle)))


def without_frames(bundle: Bundle) -> Bundle:
    assert bundle.about.mids is not None
    mids = msgspec.structs.replace(bundle.about.mids, without_frames="the log lost them")
    about = msgspec.structs.replace(
        bundle.about, start=0, first=0, end=0, is_whole=False, mids=mids
    )
    return msgspec.structs.replace(bundle, about=about, raw=[])


def test_mids_are_enough_where_the_log_has_no_frames_any_more() -> None:
    bundle = without_frames(captured())
    recomputed = recompute(bundle)

    assert differences(bundle, recomputed) == []
    assert recomputed.seconds == []
    text = " ".join(derived(bundle, recomputed)["README.txt"].decode().split())
    assert "The frames of kraken are not in this file: the log lost them." in text


def test_frames_without_their_warm_up_are_not_held_against_the_mids() -> None:
    bundle = captured()
    about = msgspec.structs.replace(bundle.about, is_whole=False)
    bundle = msgspec.structs.replace(other_frames(bundle), about=about)

    assert differences(bundle, recompute(bundle)) == []


def test_text_says_what_every_venue_was_at_second_by_second() -> None:
    bundle, recomputed = made()
    members = derived(bundle, recomputed)
    text = members["README.txt"].decode()

    words = " ".join(text.split())
    opened = next(line for line in text.splitlines() if line.endswith("<- opened"))
    second, exchange, symbol, price, consensus, basis, away, *_ = opened.split()
    assert "an incident was opened at kraken (among the venues of BTC/USD): divergence" in words
    assert "shard kraken-0, line A): its mids, seconds, books and faults follow from them" in words
    assert (exchange, symbol) == ("kraken", INSTRUMENT)
    assert -31 < float(away) < -29
    assert abs(float(price) / float(consensus) - 1) > 20e-4
    assert float(basis)
    assert len(second) == 8
    assert sum(line.split()[1:2] == ["deribit"] for line in text.splitlines()) == 21
    assert "mids.avro" in text
    rows = [msgspec.json.decode(line) for line in members["venues.jsonl"].splitlines()]
    assert {row["exchange"] for row in rows} == {"binance", "deribit", "kraken"}
    assert members["books.jsonl"]
    assert members["seconds.jsonl"]


def test_file_of_venues_gives_back_the_bundle_in_a_format_of_its_own(tmp_path: Path) -> None:
    bundle, recomputed = made()
    members = derived(bundle, recomputed)
    files = [tmp_path / name for name in ("one.zip", "two.zip")]
    for file in files:
        write_bundle(file, bundle, members)

    assert read_bundle(files[0]) == (bundle, members)
    assert files[0].read_bytes() == files[1].read_bytes()
    with zipfile.ZipFile(files[0]) as archive:
        assert msgspec.json.decode(archive.read("bundle.json"))["format"] == FORMAT_OF_VENUES


def test_file_of_a_connection_is_what_it_was_before_there_were_others(tmp_path: Path) -> None:
    """Whoever knows the first format alone reads it, and reads nothing new in it."""
    file = tmp_path / "bundle.zip"
    write_bundle(file, captured_of_connection(), {})

    with zipfile.ZipFile(file) as archive:
        about = msgspec.json.decode(archive.read("bundle.json"))
        assert (about["format"], "mids" in about) == (FORMAT, False)
        assert set(archive.namelist()) == {
            "SHA256SUMS", "alerts.avro", "bundle.json", "checkpoints.avro", "raw.avro",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.pop("mids.avro"), "no member 'mids.avro'"),
        (
            lambda m: m.update(
                {"bundle.json": m["bundle.json"].replace(b'"format": 2', b'"format": 1')}
            ),
            "format 1 does not go with its mids",
        ),
    ],
)
def test_file_that_is_no_bundle_of_venues_is_refused(
    tmp_path: Path, change: Callable[[dict[str, bytes]], None], said: str
) -> None:
    file = tmp_path / "bundle.zip"
    write_bundle(file, captured(), {})
    rewritten(file, change, sums=True)

    with pytest.raises(BundleFileError, match=said):
        read_bundle(file)
