"""Java archives: nothing without the hash of the lock reaches a class path."""

import hashlib
import tomllib
from pathlib import Path

import pytest

from infra.local import jars
from infra.local.jars import Jar, JarError, are_there, class_path, read_lock


def cached(folder: Path, content: bytes) -> Jar:
    jar = Jar("group", "artifact", "1", hashlib.sha256(content).hexdigest())
    (folder / "jars").mkdir()
    (folder / "jars" / jar.filename).write_bytes(content)
    return jar


def test_lock_names_kafka_and_its_log_binding_with_a_hash_each() -> None:
    names = {f"{jar.group}:{jar.artifact}:{jar.version}" for jar in read_lock()}

    assert set(jars.COORDINATES) <= names
    assert len(names) == len(tomllib.loads(jars.LOCK.read_text())["dependencies"])


def test_class_path_of_cached_archives_needs_no_network(tmp_path: Path) -> None:
    jar = cached(tmp_path, b"content")

    assert [tmp_path / "jars" / "artifact-1.jar"] == class_path([jar], tmp_path)


def test_archives_are_there_once_they_are_cached(tmp_path: Path) -> None:
    before = are_there([Jar("group", "artifact", "1", "")], tmp_path)
    jar = cached(tmp_path, b"content")

    assert not before
    assert are_there([jar], tmp_path)


def test_class_path_with_a_changed_archive_is_refused(tmp_path: Path) -> None:
    jar = cached(tmp_path, b"content")
    (tmp_path / "jars" / jar.filename).write_bytes(b"changed")

    with pytest.raises(JarError, match=f"the lock names {jar.sha256}"):
        class_path([jar], tmp_path)


def test_class_path_with_a_changed_hash_in_the_lock_is_refused(tmp_path: Path) -> None:
    cached(tmp_path, b"content")
    lock = tmp_path / "lock.toml"
    lock.write_text(
        '[[dependencies]]\ngroupId = "group"\nartifactId = "artifact"\nversion = "1"\n'
        f'sha256 = "{"0" * 64}"\n'
    )

    with pytest.raises(JarError, match="has SHA-256"):
        class_path(read_lock(lock), tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "dependencies = []",
        "not toml",
        '[[dependencies]]\ngroupId = "g"\nartifactId = "a"\nversion = "1"\n',
        '[[dependencies]]\ngroupId = "g"\nartifactId = "a"\nversion = "1"\nsha256 = ""\n',
    ],
)
def test_read_lock_without_hashes_is_refused(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "lock.toml"
    lock.write_text(text)

    with pytest.raises(JarError, match="lock file"):
        read_lock(lock)
