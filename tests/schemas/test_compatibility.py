"""Every released schema stays readable, and what we write stays readable for every release."""

import copy
from typing import Any

import pytest
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import make_avsc_object

from schemas.registry import AVRO_FOLDER, NAMES, RELEASED_FOLDER, Codec, document, released

RELEASES = sorted(path.name for path in RELEASED_FOLDER.iterdir() if path.is_dir())


def _problems(reader: dict[str, Any], writer: dict[str, Any]) -> set[str]:
    checker = ReaderWriterCompatibilityChecker()  # type: ignore[no-untyped-call]
    result = checker.get_compatibility(make_avsc_object(reader), make_avsc_object(writer))
    compatible = result.compatibility is SchemaCompatibilityType.compatible
    assert compatible != bool(result.messages)
    return set(result.messages)


def test_released_versions_hold_every_schema() -> None:
    assert RELEASES
    for release in RELEASES:
        found = {path.stem for path in (RELEASED_FOLDER / release).glob("*.avsc")}
        assert found <= set(NAMES), release
    newest = {path.stem for path in (RELEASED_FOLDER / RELEASES[-1]).glob("*.avsc")}
    assert newest == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_schema_reads_what_every_release_wrote(name: str) -> None:
    current = document(AVRO_FOLDER / f"{name}.avsc")

    for version in released(name):
        assert _problems(reader=current, writer=version) == set()


@pytest.mark.parametrize("name", NAMES)
def test_schema_is_read_by_every_release(name: str) -> None:
    current = document(AVRO_FOLDER / f"{name}.avsc")

    for version in released(name):
        assert _problems(reader=version, writer=current) == set()


def test_checker_sees_a_field_without_default_and_a_narrowed_one() -> None:
    current = document(AVRO_FOLDER / "alert.avsc")
    added, narrowed = copy.deepcopy(current), copy.deepcopy(current)
    added["fields"].append({"name": "extra", "type": "string"})
    for field in narrowed["fields"]:
        if field["type"] == "long":
            field["type"] = "int"

    assert _problems(reader=added, writer=current)
    assert not _problems(reader=current, writer=added)
    assert _problems(reader=narrowed, writer=current)


def test_codec_reads_a_value_of_an_older_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    current = document(AVRO_FOLDER / "dead_letter.avsc")
    older = copy.deepcopy(current)
    older["fields"] = [field for field in older["fields"] if field["name"] != "log_id"]
    value = _encoded(older, monkeypatch)

    monkeypatch.setattr("schemas.registry.released", lambda name: [older])
    letter = Codec("dead_letter").decode(value)

    assert letter["log_id"] == ""
    assert letter["offset"] == 7


def _encoded(schema: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A value as the code of an older release wrote it."""
    record = {
        "topic": "trades",
        "partition": 1,
        "offset": 7,
        "consumer": "sink",
        "reason": "r",
        "ts": 0,
        "key": None,
        "value": b"",
    }
    with monkeypatch.context() as patch:
        patch.setattr("schemas.registry.document", lambda path: schema)
        patch.setattr("schemas.registry.released", lambda name: [])
        return Codec("dead_letter").encode(record)
