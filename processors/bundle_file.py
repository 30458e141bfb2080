"""A bundle as a file: a zip archive that needs no other to be read, and that shows any change.

    README.txt         what happened, in words
    bundle.json        `processors.bundle.About`
    raw.avro           raw records of the connection, each value a FrameBatch as in the log
    checkpoints.avro   what had been written down of the time before
    alerts.avro        the alerts as they were published
    mids.avro          of an incident of venues: what they were compared by
    *.jsonl            what follows from these, a JSON object a line, to be read
    SHA256SUMS         of all other members, as `sha256sum -c` takes it

The .avro files are Avro object container files, which carry their schema. One incident of one log
gives the same bytes each time. Nothing is ever unpacked to disk.
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import fastavro
import msgspec

from processors.bundle import FORMAT, FORMAT_OF_VENUES, About, Bundle, LogRecord

SUMS: Final = "SHA256SUMS"
ABOUT: Final = "bundle.json"
MEMBERS_MAX: Final = 32
BYTES_MAX: Final = 1 << 30
"""Most bytes of all members, unpacked."""
_FORMATS: Final = {
    FORMAT: ("raw", "checkpoints", "alerts"),
    FORMAT_OF_VENUES: ("raw", "checkpoints", "alerts", "mids"),
}
"""The logs in a file of each."""
_DATE: Final = (1980, 1, 1, 0, 0, 0)
"""Of every member: a file must not differ by when it was made."""
_SYNC: Final = b"streamgauge.sync"
_SCHEMA: Final = fastavro.parse_schema(
    {
        "type": "record",
        "name": "LogRecord",
        "namespace": "org.streamgauge.bundle",
        "doc": "A record of a Kafka topic as it was read.",
        "fields": [
            {"name": "offset", "type": "long", "doc": "Offset in its partition."},
            {"name": "ts_ms", "type": "long", "doc": "Kafka timestamp, ms since 1970, UTC."},
            {"name": "key", "type": ["null", "bytes"], "doc": "Key; null where it has none."},
            {"name": "value", "type": ["null", "bytes"], "doc": "Value; null where it has none."},
        ],
    }
)


class BundleFileError(Exception):
    """A file is no bundle, or was changed; the text says where."""


def file_name(alert_id: str) -> str:
    """Return what the bundle of an incident is called where nobody says otherwise."""
    return f"incident-{re.sub(r'[^A-Za-z0-9.]+', '-', alert_id)}.zip"


def write_bundle(file: Path, bundle: Bundle, derived: Mapping[str, bytes]) -> int:
    """Write a bundle with its derived members (name to content); return its size in bytes.

    It is there whole or not at all, whenever its writer is killed.

    Raises:
        OSError: the file cannot be written.
    """
    logs = {name: getattr(bundle, name) for name in _FORMATS[bundle.about.format]}
    members = {ABOUT: msgspec.json.format(msgspec.json.encode(bundle.about), indent=2) + b"\n"}
    members |= {f"{name}.avro": _written(records) for name, records in logs.items()}
    members |= derived
    sums = "".join(f"{_sum(members[name])}  {name}\n" for name in sorted(members))
    part = file.with_name(f"{file.name}.part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(members, key=lambda name: (name != "README.txt", name)):
            _add(archive, name, members[name])
        _add(archive, SUMS, sums.encode())
    part.replace(file)
    return file.stat().st_size


def read_bundle(file: Path) -> tuple[Bundle, dict[str, bytes]]:
    """Read a bundle and its derived members.

    Raises:
        BundleFileError: it is no bundle, of another format, or was changed.
        OSError: the file cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = _members(archive)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise BundleFileError(f"no zip archive that can be read: {error}") from error
    _check_sums(members)
    try:
        about = msgspec.json.decode(members.pop(ABOUT), type=About)
        if about.format not in _FORMATS:
            known = " and ".join(map(str, _FORMATS))
            raise BundleFileError(f"format {about.format}; this version reads {known}")
        logs = {name: _read(members.pop(f"{name}.avro")) for name in _FORMATS[about.format]}
    except KeyError as error:
        raise BundleFileError(f"no member {error}") from error
    except msgspec.DecodeError as error:
        raise BundleFileError(f"{ABOUT}: {error}") from error
    if (about.mids is None) is (about.format == FORMAT_OF_VENUES):
        raise BundleFileError(f"{ABOUT}: format {about.format} does not go with its mids")
    return Bundle(about, **logs), members


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    entries = archive.infolist()
    size = sum(entry.file_size for entry in entries)
    if len(entries) > MEMBERS_MAX or size > BYTES_MAX:
        raise BundleFileError(f"{len(entries)} members of {size} bytes: too much for a bundle")
    members: dict[str, bytes] = {}
    for entry in entries:
        if entry.filename in members:
            raise BundleFileError(f"two members are called {entry.filename}")
        # No more than it claims is unpacked; what it claims was counted.
        with archive.open(entry) as content:
            members[entry.filename] = content.read(entry.file_size)
    return members


def _check_sums(members: dict[str, bytes]) -> None:
    try:
        lines = members.pop(SUMS).decode().splitlines()
    except (KeyError, UnicodeDecodeError) as error:
        raise BundleFileError(f"no {SUMS}") from error
    sums = {name: known for known, _, name in (line.partition("  ") for line in lines)}
    for name in sorted(sums.keys() | members.keys()):
        if name not in members:
            raise BundleFileError(f"{name} is missing")
        if sums.get(name) != _sum(members[name]):
            raise BundleFileError(f"{name} was changed: its SHA-256 is not the one in {SUMS}")


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _written(records: Iterable[LogRecord]) -> bytes:
    out = io.BytesIO()
    rows = [msgspec.structs.asdict(record) for record in records]
    fastavro.writer(out, _SCHEMA, rows, codec="null", sync_marker=_SYNC)
    return out.getvalue()


def _read(content: bytes) -> list[LogRecord]:
    try:
        rows: Any = list(fastavro.reader(io.BytesIO(content)))
        return [msgspec.convert(row, LogRecord) for row in rows]
    except (ValueError, TypeError, EOFError, KeyError, IndexError) as error:
        raise BundleFileError(f"no Avro file of log records: {error!r:.200}") from error
