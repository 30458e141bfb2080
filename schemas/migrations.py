"""Numbered ClickHouse migrations: what they are, which are still to be applied.

A migration is a file `schemas/clickhouse/NNNN_name.sql`. Every statement must be harmless when it
is repeated: then a run that died midway is simply run again, and two runs at the same moment do
the same thing twice. `streamgauge migrate` applies them; nothing here talks to a database.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = Path(__file__).parent / "clickhouse"
HISTORY_TABLE: Final = "schema_migrations"
HISTORY_DDL: Final = f"""
CREATE TABLE IF NOT EXISTS {HISTORY_TABLE}
(
    number     UInt32               COMMENT '[count] Number of the migration.',
    name       String               COMMENT '[name] Name of its file.',
    checksum   String               COMMENT '[checksum] SHA-256 of its file, hexadecimal.',
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT '[time] When it was applied.'
)
ENGINE = ReplacingMergeTree
ORDER BY number
SETTINGS non_replicated_deduplication_window = 100
COMMENT 'Migrations that were applied to this database.'
"""
"""Repeated by every run; a second record of one migration replaces the first."""

_FILE: Final = re.compile(r"([0-9]{4})_([a-z0-9_]+)\.sql")
_COMMENT: Final = re.compile(r"^\s*--.*$", re.MULTILINE)
_TEXT: Final = re.compile(r"'(?:[^'\\]|\\.|'')*'")
_REPEATABLE: Final = re.compile(
    r"CREATE\s+(TABLE|VIEW|MATERIALIZED\s+VIEW|DICTIONARY|FUNCTION)\s+IF\s+NOT\s+EXISTS\b"
    r"|DROP\s+(TABLE|VIEW|DICTIONARY|FUNCTION)\s+IF\s+EXISTS\b"
    r"|ALTER\s+TABLE\s+\w+\s+(ADD|DROP|MODIFY|COMMENT)\b",
    re.IGNORECASE,
)
_UNGUARDED: Final = re.compile(
    r"\bADD\s+(COLUMN|INDEX|PROJECTION|CONSTRAINT)\b(?!\s+IF\s+NOT\s+EXISTS\b)"
    r"|\bDROP\s+(COLUMN|INDEX|PROJECTION|CONSTRAINT)\b(?!\s+IF\s+EXISTS\b)",
    re.IGNORECASE,
)


class MigrationError(Exception):
    """The migrations and the database do not fit, or a migration is not fit to be one."""


class Migration(msgspec.Struct, frozen=True):
    """One file: its statements in order, and the SHA-256 of its bytes."""

    number: int
    name: str
    checksum: str
    statements: tuple[str, ...]


class Applied(msgspec.Struct, frozen=True):
    """What the database says of a migration that was applied to it."""

    number: int
    name: str
    checksum: str


def migrations(folder: Path = FOLDER) -> list[Migration]:
    """Return all migrations of `folder`, in order.

    Raises:
        MigrationError: a file is misnamed, a number is missing or used twice, or a statement
            could not be repeated without harm.
    """
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path.name}: expected a name such as 0001_facts.sql")
        if int(match.group(1)) != len(found) + 1:
            raise MigrationError(f"{path.name}: expected number {len(found) + 1:04}")
        content = path.read_bytes()
        migration = Migration(
            number=int(match.group(1)),
            name=path.stem,
            checksum=hashlib.sha256(content).hexdigest(),
            statements=tuple(statements(content.decode())),
        )
        for statement in migration.statements:
            _check_repeatable(path.name, statement)
        found.append(migration)
    return found


def pending(known: list[Migration], applied: Iterable[Applied]) -> list[Migration]:
    """Return the migrations that `applied` lacks.

    Raises:
        MigrationError: an applied file was changed since, or the database is ahead of this code.
    """
    by_number = {migration.number: migration for migration in known}
    done = set()
    for record in sorted(applied, key=lambda record: record.number):
        migration = by_number.get(record.number)
        if migration is None:
            raise MigrationError(
                f"the database has migration {record.name}, which this version does not know: "
                "it was made by a newer version; use that one"
            )
        if migration.checksum != record.checksum:
            raise MigrationError(
                f"{migration.name}.sql was changed after it was applied (then "
                f"{record.checksum[:12]}…, now {migration.checksum[:12]}…): restore the file and "
                "put the change into a new migration"
            )
        done.add(record.number)
    return [migration for migration in known if migration.number not in done]


def statements(sql: str) -> list[str]:
    """Return the statements of a file, without comments; each ends with `;` in the file."""
    text = _COMMENT.sub("", sql)
    parts: list[str] = []
    start = 0
    for position in _ends(text):
        parts.append(text[start:position].strip())
        start = position + 1
    if text[start:].strip():
        raise MigrationError(f"no ; after the last statement: {text[start:].strip()[:60]!r}")
    return [part for part in parts if part]


def _ends(text: str) -> list[int]:
    blanked = _TEXT.sub(lambda match: " " * len(match.group()), text)
    return [position for position, character in enumerate(blanked) if character == ";"]


def _check_repeatable(file: str, statement: str) -> None:
    bare = _TEXT.sub("''", statement)
    if not _REPEATABLE.match(bare) or _UNGUARDED.search(bare):
        raise MigrationError(
            f"{file}: cannot be repeated without harm: {' '.join(statement.split())[:80]!r}; "
            "expected CREATE … IF NOT EXISTS, DROP … IF EXISTS, or ALTER TABLE with the like"
        )
