"""The Avro schemas in this folder and the framing that names them on the wire.

Every Kafka value is an Avro *single-object encoding*: C3 01, the little-endian CRC-64-AVRO
fingerprint of the writer's schema, then the body. A reader finds the writer's schema by its
fingerprint among the current and all released schemas, so old records stay readable.

Source: Avro 1.12 specification, "Single-object encoding" and "Schema fingerprints".
"""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

AVRO_FOLDER: Final = Path(__file__).parent / "avro"
RELEASED_FOLDER: Final = Path(__file__).parent / "released"
NAMES: Final = (
    "frame_batch",
    "trade_batch",
    "book_batch",
    "fault_batch",
    "stability_batch",
    "checkpoint_batch",
    "alert",
    "venue_batch",
    "mid",
    "dead_letter",
    "receipt",
    "silence",
)
MARKER: Final = b"\xc3\x01"
HEADER_BYTES: Final = 10

Schema = dict[str, Any]


class CodecError(ValueError):
    """Bytes are not a record of the schema that was asked for."""


def document(path: Path) -> Schema:
    """Return the schema in one `.avsc` file."""
    return cast(Schema, json.loads(path.read_text(encoding="utf-8")))


def released(name: str) -> list[Schema]:
    """Return every released version of schema `name`, oldest first."""
    return [document(path) for path in sorted(RELEASED_FOLDER.glob(f"*/{name}.avsc"))]


def frame_header(schema: Schema) -> bytes:
    """Return the ten bytes that stand before every value written with `schema`."""
    hexadecimal = fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
    # fastavro prints the fingerprint big-endian; the framing wants it little-endian.
    return MARKER + int(hexadecimal, 16).to_bytes(8, "little")


class Codec:
    """Writes one schema and reads all its versions."""

    def __init__(self, name: str) -> None:
        current = document(AVRO_FOLDER / f"{name}.avsc")
        self.name = name
        self._schema = parse_schema(current)
        self.header = frame_header(current)
        self._writers: dict[bytes, Any] = {self.header: None}
        for version in released(name):
            header = frame_header(version)
            if header != self.header:
                self._writers[header] = parse_schema(version)

    def encode(self, record: dict[str, Any]) -> bytes:
        """Return `record` framed and encoded."""
        buffer = io.BytesIO()
        buffer.write(self.header)
        schemaless_writer(buffer, self._schema, record)
        return buffer.getvalue()

    def decode(self, value: bytes | None) -> dict[str, Any]:
        """Return the record in `value`.

        Raises:
            CodecError: not framed, an unknown schema, a truncated or malformed body.
        """
        if not value or value[:2] != MARKER:
            raise CodecError(f"{self.name}: not an Avro single-object encoding")
        header = bytes(value[:HEADER_BYTES])
        if header not in self._writers:
            raise CodecError(f"{self.name}: unknown schema fingerprint {header[2:].hex()}")
        writer = self._writers[header]
        buffer = io.BytesIO(value)
        buffer.seek(HEADER_BYTES)
        try:
            if writer is None:
                record = schemaless_reader(buffer, self._schema, None)
            else:
                record = schemaless_reader(buffer, writer, self._schema)
        except (EOFError, ValueError, IndexError, OverflowError, MemoryError, TypeError) as error:
            raise CodecError(f"{self.name}: malformed body: {str(error)[:120]}") from error
        if buffer.tell() != len(value):
            raise CodecError(f"{self.name}: {len(value) - buffer.tell()} bytes after the body")
        return cast(dict[str, Any], record)


@cache
def codec(name: str) -> Codec:
    """Return the codec of schema `name`, made once."""
    return Codec(name)
