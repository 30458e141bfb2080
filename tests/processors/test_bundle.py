"""A bundle makes its alert again, byte for byte, and shows whatever was changed in it."""

import hashlib
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import msgspec
import pytest

from core.exchanges import exchanges
from core.pipeline import PipelineSettings
from core.stability.alerts import Phase
from infra.cli.bundle import derived
from processors.bundle import (
    FORMAT,
    About,
    Bundle,
    LogRecord,
    Recomputed,
    alert_of,
    differences,
    recompute,
)
from processors.bundle_file import SUMS, BundleFileError, read_bundle, write_bundle
from processors.engine import PartitionEngine, RawRecord
from schemas.codec import decode_checkpoints, encode_frame_batch
from schemas.topics import ALERTS, CHECKPOINTS
from tests.processors.market import NS, Connection, batches

EPOCH = 1_790_000_000 * NS
GAP_S, WARMUP_S, LEAD_S, SECONDS = 150, 75, 15, 230


def offset_at(records: list[LogRecord], second: int) -> int:
    return next(r.offset for r in records if r.ts_ms >= (EPOCH + second * NS) // 1_000_000)


@cache
def captured() -> Bundle:
    """A gap at 150 s, as an engine that has read everything published it, and the log around it."""
    connection = Connection("deribit", epoch=EPOCH, gap_at_s=GAP_S)
    engine = PartitionEngine(
        exchanges()["deribit"], PipelineSettings(), topic="raw.deribit", partition=0
    )
    raw, checkpoints, alerts = [], [], []
    for offset, batch in enumerate(batches(connection, seconds=SECONDS)):
        ts_ms = batch.frames[-1].ts_recv // 1_000_000
        record = LogRecord(offset, ts_ms, b"k", encode_frame_batch(batch))
        raw.append(record)
        fed = engine.feed(RawRecord(offset, b"k", record.value, ts_ms * 1_000_000))
        for kind, key, value in fed.outputs:
            published = LogRecord(offset, ts_ms, key, value)
            if kind == CHECKPOINTS:
                checkpoints.append(published)
            elif kind == ALERTS:
                alerts.append(published)
    alert_id = alert_of(alerts[0].value).alert_id
    start, first = offset_at(raw, GAP_S - LEAD_S - WARMUP_S), offset_at(raw, GAP_S - LEAD_S)
    about = About(
        format=FORMAT, streamgauge="0", python="3", alert_id=alert_id, exchange="deribit",
        shard="deribit-0", line="A", topic="raw.deribit", partition=0, log_id="log", start=start,
        first=first, end=len(raw), is_whole=True, resolves=True, settings=PipelineSettings(),
        context={},
    )  # fmt: skip
    own = [a for a in alerts if alert_of(a.value).alert_id == alert_id]
    within = [
        record
        for record in checkpoints
        if start <= decode_checkpoints(record.value).header.raw_offset < first
    ]
    return Bundle(about, raw[start:], within, own)


def made() -> tuple[Bundle, Recomputed]:
    bundle = captured()
    return bundle, recompute(bundle)


def test_row_36_alert_is_made_again_from_the_bundle_alone() -> None:
    """Row 36: from the middle of a log, opening and resolution, byte for byte."""
    bundle, recomputed = made()

    assert bundle.about.start > 0
    assert [alert_of(record.value).phase for record in bundle.alerts] == [Phase.OPEN, Phase.RESOLVE]
    assert recomputed.alerts == [record.value for record in bundle.alerts]
    assert differences(bundle, recomputed) == []


def test_repeated_alert_of_the_log_is_one() -> None:
    bundle = msgspec.structs.replace(captured(), alerts=captured().alerts * 2)

    assert differences(bundle, recompute(bundle)) == []


def without_the_gap(bundle: Bundle) -> Bundle:
    """The same connection, had nothing been lost."""
    whole = batches(Connection("deribit", epoch=EPOCH), seconds=SECONDS)
    values = [encode_frame_batch(batch) for batch in whole]
    raw = [msgspec.structs.replace(r, value=values[r.offset]) for r in bundle.raw]
    return msgspec.structs.replace(bundle, raw=raw)


def other_words(bundle: Bundle) -> Bundle:
    opening = bundle.alerts[0]
    assert opening.value is not None
    value = opening.value.replace(b"sequence_gap", b"sequence_gab")
    changed = msgspec.structs.replace(opening, value=value)
    return msgspec.structs.replace(bundle, alerts=[changed, bundle.alerts[1]])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_the_gap, "the opening was published, and is not made again"),
        (other_words, "the opening is made of other bytes"),
        (
            lambda bundle: msgspec.structs.replace(bundle, alerts=bundle.alerts[:1]),
            "the resolution is made, and was not published",
        ),
        (
            lambda bundle: msgspec.structs.replace(bundle, raw=bundle.raw[:-500]),
            "the resolution was published, and is not made again",
        ),
    ],
)
def test_bundle_that_does_not_give_its_alert_is_told(
    change: Callable[[Bundle], Bundle], said: str
) -> None:
    bundle = change(captured())

    assert any(said in each for each in differences(bundle, recompute(bundle)))


def test_file_gives_back_the_bundle_and_is_the_same_each_time(tmp_path: Path) -> None:
    bundle, recomputed = made()
    members = derived(bundle, recomputed)
    files = [tmp_path / name for name in ("one.zip", "two.zip")]
    sizes = [write_bundle(file, bundle, members) for file in files]

    assert read_bundle(files[0]) == (bundle, members)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sizes[0] == sizes[1] == files[0].stat().st_size


def test_text_says_what_happened_and_facts_follow(tmp_path: Path) -> None:
    bundle, recomputed = made()
    members = derived(bundle, recomputed)
    text = " ".join(members["README.txt"].decode().split())

    for part in (
        f"Incident {bundle.about.alert_id}",
        "an incident was opened at deribit (shard deribit-0, line A): gap of",
        "It was over at",
        "basis points between the two",
        "Recorded faults of the connection",
        "streamgauge bundle --verify FILE",
    ):
        assert part in text
    for name in ("seconds.jsonl", "books.jsonl", "faults.jsonl"):
        lines = members[name].splitlines()
        assert lines
        assert all(isinstance(msgspec.json.decode(line), dict) for line in lines)


def rewritten(file: Path, change: Callable[[dict[str, bytes]], None], *, sums: bool) -> None:
    """Change the members of a file; `sums`: as somebody does who makes the sums fit."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    if sums:
        members.pop(SUMS)
        lines = (f"{hashlib.sha256(members[n]).hexdigest()}  {n}\n" for n in sorted(members))
        members[SUMS] = "".join(lines).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("name", ["README.txt", "bundle.json", "raw.avro", "alerts.avro"])
def test_any_changed_or_missing_member_is_refused(tmp_path: Path, name: str) -> None:
    bundle, recomputed = made()
    file = tmp_path / "bundle.zip"

    def flip(members: dict[str, bytes]) -> None:
        content = bytearray(members[name])
        content[len(content) // 2] ^= 1
        members[name] = bytes(content)

    for change, said in ((flip, "was changed"), (lambda m: m.pop(name), "is missing")):
        write_bundle(file, bundle, derived(bundle, recomputed))
        rewritten(file, change, sums=False)
        with pytest.raises(BundleFileError, match=f"{name} {said}"):
            read_bundle(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.pop("bundle.json"), "no member 'bundle.json'"),
        (lambda m: m.update({"bundle.json": b"{"}), "bundle.json: "),
        (lambda m: m.update({"raw.avro": b"Obj"}), "no Avro file"),
        (
            lambda m: m.update(
                {"bundle.json": m["bundle.json"].replace(b'"format": 1', b'"format": 3')}
            ),
            "format 3; this version reads 1 and 2",
        ),
        (lambda m: m.update({f"{n}.txt": b"" for n in range(40)}), "too much for a bundle"),
    ],
)
def test_file_that_is_no_bundle_is_refused(
    tmp_path: Path, change: Callable[[dict[str, bytes]], None], said: str
) -> None:
    bundle, recomputed = made()
    file = tmp_path / "bundle.zip"
    write_bundle(file, bundle, derived(bundle, recomputed))
    rewritten(file, change, sums=True)

    with pytest.raises(BundleFileError, match=said):
        read_bundle(file)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive at all" * 9])
def test_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bundle.zip"
    file.write_bytes(content)

    with pytest.raises(BundleFileError, match="no zip archive"):
        read_bundle(file)
