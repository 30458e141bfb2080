"""Migrations: read in order, refused when they could do harm, never applied twice."""

from pathlib import Path

import pytest

from schemas.migrations import Applied, MigrationError, migrations, pending, statements

GOOD = "CREATE TABLE IF NOT EXISTS a (b Int8 COMMENT 'x;y -- z') ENGINE = Memory;\n"


def _write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name.removeprefix('m')}.sql").write_text(text)
    return folder


def _applied(folder: Path) -> list[Applied]:
    return [Applied(m.number, m.name, m.checksum) for m in migrations(folder)]


def test_migrations_of_the_project_are_numbered_and_repeatable() -> None:
    found = migrations()

    assert [migration.number for migration in found] == list(range(1, len(found) + 1))
    assert all(migration.statements for migration in found)


def test_statements_split_at_semicolons_outside_text_and_lose_comments() -> None:
    sql = "-- a; b\nCREATE TABLE x;\n  -- c\nSELECT 'it''s; fine';"

    assert statements(sql) == ["CREATE TABLE x", "SELECT 'it''s; fine'"]


def test_statements_without_last_semicolon_are_refused() -> None:
    with pytest.raises(MigrationError, match="no ; after"):
        statements("CREATE TABLE x")


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE a (b Int8) ENGINE = Memory;",
        "DROP TABLE a;",
        "ALTER TABLE a ADD COLUMN b Int8;",
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS b Int8, ADD COLUMN c Int8;",
        "ALTER TABLE a DROP COLUMN b;",
        "INSERT INTO a VALUES (1);",
        "RENAME TABLE a TO b;",
        "TRUNCATE TABLE a;",
    ],
)
def test_migrations_that_cannot_be_repeated_are_refused(tmp_path: Path, sql: str) -> None:
    _write(tmp_path, m0001_a=sql)

    with pytest.raises(MigrationError, match=r"0001_a\.sql: cannot be repeated"):
        migrations(tmp_path)


@pytest.mark.parametrize(
    "sql",
    [
        GOOD,
        "DROP TABLE IF EXISTS a;",
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS b Int8 COMMENT 'DROP COLUMN b';",
        "ALTER TABLE a MODIFY COLUMN b Int16;",
        "ALTER TABLE a COMMENT COLUMN b 'INSERT INTO';",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS a TO b AS SELECT 1;",
    ],
)
def test_migrations_that_can_be_repeated_are_read(tmp_path: Path, sql: str) -> None:
    _write(tmp_path, m0001_a=sql)

    assert [migration.number for migration in migrations(tmp_path)] == [1]


@pytest.mark.parametrize("names", [["m0002_b"], ["m0001_a", "m0003_c"], ["m1_a"], ["m0001_A"]])
def test_migrations_with_wrong_names_are_refused(tmp_path: Path, names: list[str]) -> None:
    _write(tmp_path, **dict.fromkeys(names, GOOD))

    with pytest.raises(MigrationError, match="expected"):
        migrations(tmp_path)


def test_pending_of_a_new_database_is_everything(tmp_path: Path) -> None:
    known = migrations(_write(tmp_path, m0001_a=GOOD, m0002_b=GOOD))

    assert known == pending(known, [])


def test_pending_of_a_partly_migrated_database_is_the_rest(tmp_path: Path) -> None:
    known = migrations(_write(tmp_path, m0001_a=GOOD, m0002_b=GOOD))

    assert known[1:] == pending(known, _applied(tmp_path)[:1])


def test_pending_with_a_changed_file_is_refused(tmp_path: Path) -> None:
    applied = _applied(_write(tmp_path, m0001_a=GOOD))
    known = migrations(_write(tmp_path, m0001_a=GOOD + "-- changed\n"))

    with pytest.raises(MigrationError, match=r"0001_a\.sql was changed after it was applied"):
        pending(known, applied)


def test_pending_of_a_newer_database_is_refused(tmp_path: Path) -> None:
    known = migrations(_write(tmp_path, m0001_a=GOOD))

    with pytest.raises(MigrationError, match="newer version"):
        pending(known, [*_applied(tmp_path), Applied(2, "0002_b", "0" * 64)])
