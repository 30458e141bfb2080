"""Avro, structs and SQL say the same thing, and the data dictionary says it to people."""

import re
from typing import Any

import msgspec
import pytest

from core.blocks import BLOCK_COLUMNS
from core.events import (
    BookSnapshot,
    BookState,
    Fault,
    FaultKind,
    Quality,
    Side,
    StreamSecond,
    Trade,
)
from core.frames import Frame, FrameBatch
from core.letters import DeadLetter
from core.rows import COLUMNS, ORIGIN, TABLES, TIMES
from core.stability.alerts import Alert, AlertKind, Phase, Severity
from core.stability.judgement import Judgement
from core.stability.score import Component
from core.stability.states import StreamState
from core.venues.seconds import VenueSecond
from schemas import dictionary
from schemas.registry import AVRO_FOLDER, NAMES, document
from schemas.tables import tables, views
from schemas.topics import EVENT_KINDS

STRUCTS: dict[str, type[msgspec.Struct]] = {
    "trades": Trade,
    "books": BookSnapshot,
    "faults": Fault,
    "stability": StreamSecond,
    "alerts": Alert,
    "venues": VenueSecond,
}
ARRAYS: dict[str, tuple[str, type[msgspec.Struct]]] = {
    "book_batch": ("books", BookSnapshot),
    "fault_batch": ("faults", Fault),
    "stability_batch": ("seconds", StreamSecond),
    "venue_batch": ("venues", VenueSecond),
}
ENUMS = {
    ("trades", "side"): Side,
    ("faults", "kind"): FaultKind,
    ("stability_1s", "book_state"): BookState,
    ("stability_1s", "state"): StreamState,
    ("stability_1s", "score_binding"): Component,
    ("alerts", "phase"): Phase,
    ("alerts", "kind"): AlertKind,
    ("alerts", "severity"): Severity,
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_rows_and_sql_have_equal_columns_in_order(kind: str) -> None:
    filled = [column.name for column in tables()[TABLES[kind]].columns if not column.default]

    assert filled == list(COLUMNS[kind])


def test_blocks_and_sql_have_equal_columns_in_order() -> None:
    filled = [column.name for column in tables()["blocks"].columns if not column.default]

    assert filled == list(BLOCK_COLUMNS)


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_structs_and_sql_have_equal_columns(kind: str) -> None:
    fields = STRUCTS[kind].__struct_fields__[2:]  # number and index are part of the origin
    facts = [field for field in fields if not field.endswith("_exponent")]

    assert facts == list(COLUMNS[kind][len(ORIGIN) :])


@pytest.mark.parametrize("kind", EVENT_KINDS)
def test_structs_and_sql_agree_on_null(kind: str) -> None:
    table = tables()[TABLES[kind]]
    for field in msgspec.structs.fields(STRUCTS[kind])[2:]:
        if not field.name.endswith("_exponent"):
            optional = type(None) in getattr(field.type, "__args__", ())
            assert table.column(field.name).nullable == optional, field.name


@pytest.mark.parametrize(("place", "enum"), ENUMS.items())
def test_enums_of_sql_and_structs_are_equal(place: tuple[str, str], enum: Any) -> None:
    table, column = place
    pairs = re.findall(r"'(\w+)' = (\d+)", tables()[table].column(column).type)

    assert {name: int(number) for name, number in pairs} == {
        member.name.lower(): member.value for member in enum
    }


@pytest.mark.parametrize("table", ["trades", "books"])
def test_quality_flags_are_all_in_the_comment(table: str) -> None:
    meaning = tables()[table].column("quality").meaning

    for flag in Quality:
        assert f"{flag.value} {str(flag.name).lower().replace('_', ' ')}" in meaning


@pytest.mark.parametrize("name", ARRAYS)
def test_avro_facts_and_structs_have_equal_fields(name: str) -> None:
    array, struct = ARRAYS[name]
    fields = {field["name"]: field for field in document(AVRO_FOLDER / f"{name}.avsc")["fields"]}
    items = fields[array]["type"]["items"]["fields"]

    assert [field["name"] for field in items] == list(struct.__struct_fields__)
    for avro, field in zip(items, msgspec.structs.fields(struct), strict=True):
        optional = type(None) in getattr(field.type, "__args__", ())
        assert ("null" in avro["type"]) == optional, field.name


def test_judgement_is_the_end_of_a_second() -> None:
    fields = Judgement.__struct_fields__

    assert StreamSecond.__struct_fields__[-len(fields) :] == fields


def test_avro_alert_and_struct_have_equal_fields() -> None:
    fields = {field["name"] for field in document(AVRO_FOLDER / "alert.avsc")["fields"]}
    origin = {"exchange", "shard", "line", "epoch", "raw_partition", "raw_offset"}

    assert fields == origin | set(Alert.__struct_fields__)


def test_avro_trades_and_struct_have_equal_fields() -> None:
    fields = [field["name"] for field in document(AVRO_FOLDER / "trade_batch.avsc")["fields"]]
    plural = {"index": "indices", "quality": "quality", "ts_event": "ts_event"}
    plural |= {"ts_recv": "ts_recv"}

    columns = [plural.get(field, f"{field}s") for field in Trade.__struct_fields__]
    assert fields[7:] == columns


def test_avro_frames_and_letters_and_structs_have_equal_fields() -> None:
    frames = document(AVRO_FOLDER / "frame_batch.avsc")["fields"]
    letters = document(AVRO_FOLDER / "dead_letter.avsc")["fields"]

    assert [f["name"] for f in frames[4:]] == list(FrameBatch.__struct_fields__[1:])
    assert [f["name"] for f in frames[-1]["type"]["items"]["fields"]] == list(
        Frame.__struct_fields__
    )
    assert [field["name"] for field in letters] == list(DeadLetter.__struct_fields__)
    assert set(DeadLetter.__struct_fields__) <= set(COLUMNS["dead_letters"])


@pytest.mark.parametrize("name", NAMES)
def test_avro_fields_are_all_documented(name: str) -> None:
    def undocumented(schema: Any) -> list[str]:
        found = [] if schema.get("doc") else [schema["name"]]
        for field in schema["fields"]:
            found += [] if field.get("doc") else [field["name"]]
            kind = field["type"]
            if isinstance(kind, dict) and isinstance(kind.get("items"), dict):
                found += undocumented(kind["items"] | {"doc": field["doc"]})
        return found

    assert undocumented(document(AVRO_FOLDER / f"{name}.avsc")) == []


def test_columns_have_a_known_unit_and_say_what_null_means() -> None:
    assert all(table.meaning for table in tables().values())
    for table in (*tables().values(), *views().values()):
        for column in table.columns:
            assert column.unit in dictionary.UNITS, f"{table.name}.{column.name}"
            assert column.meaning.endswith("."), f"{table.name}.{column.name}"
            assert column.nullable == ("null" in column.meaning), f"{table.name}.{column.name}"


def test_times_that_partition_tables_are_columns_without_null() -> None:
    for kind, name in TIMES.items():
        assert tables()[TABLES[kind]].column(name).type == "DateTime64(9, 'UTC')"


def test_dictionary_says_what_every_view_is() -> None:
    assert dictionary.VIEWS.keys() == views().keys()


def test_data_dictionary_is_made_from_the_sql() -> None:
    message = "run: python -m schemas.dictionary"

    assert dictionary.FILE.read_text(encoding="utf-8") == dictionary.document(), message
