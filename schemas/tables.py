"""The tables of ClickHouse as the migrations leave them: columns, types, units, meanings.

Views are apart: they hold nothing of their own.

Read from the SQL itself, so that the sink's column types and the data dictionary cannot drift
from it. It knows the few forms of DDL that our migrations use and refuses others.
"""

import re
from functools import cache
from typing import Final

import msgspec

from schemas.migrations import MigrationError, migrations

_CREATE: Final = re.compile(r"CREATE TABLE IF NOT EXISTS (\w+)\s*\(", re.IGNORECASE)
_SAID: Final = re.compile(r"ALTER TABLE (\w+)\s+COMMENT COLUMN (\w+)\s+", re.IGNORECASE)
_VIEW: Final = re.compile(r"CREATE VIEW IF NOT EXISTS (\w+)\s*(\(|AS\b)", re.IGNORECASE)
_DROPPED_VIEW: Final = re.compile(r"DROP VIEW IF EXISTS \w+$", re.IGNORECASE)
_ADD: Final = re.compile(r"ALTER TABLE (\w+)\s+ADD COLUMN IF NOT EXISTS\s+", re.IGNORECASE)
_MODIFY: Final = re.compile(r"ALTER TABLE (\w+)\s+MODIFY COLUMN\s+", re.IGNORECASE)
_COMMENT: Final = re.compile(r"\bCOMMENT\s+'((?:[^'\\]|\\.|'')*)'", re.IGNORECASE)
_AFTER: Final = re.compile(r"\sAFTER\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)
_AFTER_TYPE: Final = re.compile(r"\s(DEFAULT|COMMENT|CODEC|TTL|AFTER)\b", re.IGNORECASE)
_UNIT: Final = re.compile(r"\[([a-z]+)\] (.+)", re.DOTALL)


class Column(msgspec.Struct, frozen=True):
    """A column: its ClickHouse type, the unit that its comment names, and the rest of it."""

    name: str
    type: str
    unit: str
    meaning: str
    default: bool
    """Whether ClickHouse fills it when an insert leaves it out."""

    @property
    def nullable(self) -> bool:
        """Whether it can be null."""
        return self.type.startswith("Nullable(")


class Table(msgspec.Struct, frozen=True):
    """A table with its columns in order."""

    name: str
    meaning: str
    columns: tuple[Column, ...]

    def column(self, name: str) -> Column:
        """Return the column called `name`."""
        return next(column for column in self.columns if column.name == name)


@cache
def tables() -> dict[str, Table]:
    """Return every table by name, in the order of the migrations."""
    found: dict[str, Table] = {}
    for migration in migrations():
        for statement in migration.statements:
            if create := _CREATE.match(statement):
                found[create.group(1)] = _created(create.group(1), statement[create.end() :])
            elif add := _ADD.match(statement):
                table = found[add.group(1)]
                column = _column(statement[add.end() :])
                after = _AFTER.search(statement)
                names = [each.name for each in table.columns]
                place = names.index(after.group(1)) + 1 if after else len(names)
                columns = (*table.columns[:place], column, *table.columns[place:])
                found[table.name] = msgspec.structs.replace(table, columns=columns)
            elif said := _SAID.match(statement):
                table = found[said.group(1)]
                name, rest = said.group(2), statement[said.end() :]
                columns = tuple(
                    _column(f"{name} {old.type} COMMENT {rest}") if old.name == name else old
                    for old in table.columns
                )
                found[table.name] = msgspec.structs.replace(table, columns=columns)
            elif modify := _MODIFY.match(statement):
                table = found[modify.group(1)]
                new = _column(statement[modify.end() :])
                columns = tuple(new if old.name == new.name else old for old in table.columns)
                found[table.name] = msgspec.structs.replace(table, columns=columns)
            elif not (_VIEW.match(statement) or _DROPPED_VIEW.match(statement)):
                raise MigrationError(
                    f"a statement that this module does not know: {statement[:60]}"
                )
    return found


@cache
def views() -> dict[str, Table]:
    """Return every view that names its columns, by name, as its last migration makes it."""
    found: dict[str, Table] = {}
    for migration in migrations():
        for statement in migration.statements:
            if (view := _VIEW.match(statement)) and view.group(2) == "(":
                parts, _ = _parts(statement[view.end() :])
                columns = tuple(_column(part) for part in parts)
                found[view.group(1)] = Table(view.group(1), "", columns)
    return found


def _created(name: str, rest: str) -> Table:
    parts, end = _parts(rest)
    comment = _COMMENT.search(rest, end)
    return Table(
        name=name,
        meaning=comment.group(1) if comment else "",
        columns=tuple(_column(part) for part in parts),
    )


def _parts(text: str) -> tuple[list[str], int]:
    """Return what stands between commas up to the bracket that closes, and where that is."""
    parts, start, depth, quoted = [], 0, 0, False
    for position, character in enumerate(text):
        if character == "'":
            quoted = not quoted
        elif quoted:
            continue
        elif character == "(":
            depth += 1
        elif character == ")" and depth:
            depth -= 1
        elif character in ",)" and not depth:
            parts.append(text[start:position].strip())
            start = position + 1
            if character == ")":
                return parts, position
    raise MigrationError(f"no closing bracket: {text[:60]!r}")


def _column(text: str) -> Column:
    name, _, rest = text.partition(" ")
    after = _AFTER_TYPE.search(rest)
    comment = _COMMENT.search(rest)
    described = _UNIT.fullmatch(comment.group(1)) if comment else None
    if described is None:
        raise MigrationError(f"column {name}: expected COMMENT '[unit] What it means.'")
    return Column(
        name=name,
        type=rest[: after.start() if after else None].strip(),
        unit=described.group(1),
        meaning=described.group(2),
        default=bool(re.search(r"\bDEFAULT\b", rest)),
    )
