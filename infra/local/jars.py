"""Java archives by a lock file: every one has its SHA-256 in the repository.

jgo fetches what is missing; nothing reaches a class path, on any start, without having the hash of
the lock. Which archives are needed is decided when the lock is renewed, by
`python -m infra.local.jars`, never when a server starts.
"""

import hashlib
import os
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import requests
from jgo.env import LockFile
from jgo.maven import MavenContext

from infra.local.process import ServerError

COORDINATES = ("org.apache.kafka:kafka_2.13:4.3.1", "org.slf4j:slf4j-simple:1.7.36")
LOCK = Path(__file__).with_name("kafka.lock.toml")
FETCHES = 8
FETCH_SECONDS = 60


class JarError(ServerError):
    """A Java archive is missing or is not the one that the lock names."""


@dataclass(frozen=True)
class Jar:
    """One locked archive."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def filename(self) -> str:
        """Its file name in a Maven repository."""
        return f"{self.artifact}-{self.version}.jar"


def cache_folder() -> Path:
    """Where fetched archives are kept for every checkout of this user."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "streamgauge"


def read_lock(path: Path = LOCK) -> list[Jar]:
    """The archives of a lock file, in class path order.

    Raises:
        JarError: it cannot be read, or an archive lacks its hash.
    """
    try:
        entries = tomllib.loads(path.read_text())["dependencies"]
        jars = [
            Jar(entry["groupId"], entry["artifactId"], entry["version"], entry["sha256"])
            for entry in entries
        ]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise JarError(f"lock file {path} cannot be read: {error!r}") from error
    if not jars or not all(len(jar.sha256) == 64 for jar in jars):
        raise JarError(f"lock file {path} must give every archive a SHA-256 of 64 digits")
    return jars


def are_there(jars: Sequence[Jar], cache: Path) -> bool:
    """Whether nothing has to be fetched."""
    return all((cache / "jars" / jar.filename).exists() for jar in jars)


def class_path(jars: Sequence[Jar], cache: Path) -> list[Path]:
    """Paths of the archives, fetched where missing, each with the hash of the lock.

    Raises:
        JarError: one cannot be fetched, or is not what the lock names.
    """
    folder = cache / "jars"
    missing = [jar for jar in jars if not (folder / jar.filename).exists()]
    if missing:
        _fetch(missing, folder)
    for jar in jars:
        _check(jar, folder / jar.filename)
    return [folder / jar.filename for jar in jars]


def _fetch(jars: Sequence[Jar], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # jgo writes in place; only checked files are moved to where another process may look.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        context = MavenContext(repo_cache=Path(scratch), timeout=FETCH_SECONDS)

        def fetch(jar: Jar) -> None:
            component = context.project(jar.group, jar.artifact).at_version(jar.version)
            try:
                path = component.artifact().resolve()
            except (requests.RequestException, RuntimeError, OSError) as error:
                raise JarError(
                    f"{jar.group}:{jar.artifact}:{jar.version} cannot be fetched ({error}): the "
                    f"first start needs a Maven repository within reach"
                ) from error
            # What differs is never moved, so the next start fetches it again.
            _check(jar, path)
            path.replace(folder / jar.filename)

        with ThreadPoolExecutor(FETCHES) as pool:
            list(pool.map(fetch, jars))


def _check(jar: Jar, path: Path) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != jar.sha256:
        raise JarError(
            f"{jar.group}:{jar.artifact}:{jar.version} in {path} has SHA-256 {found}, but the lock "
            f"names {jar.sha256}: delete the file if it is there, and do not go on if the "
            f"difference comes back"
        )


def renew_lock(coordinates: Sequence[str] = COORDINATES, path: Path = LOCK) -> int:
    """Resolve what the coordinates need and write the lock; returns the number of archives."""
    with tempfile.TemporaryDirectory() as scratch:
        context = MavenContext(repo_cache=Path(scratch), timeout=FETCH_SECONDS)
        wanted = [context.create_dependency(coordinate) for coordinate in coordinates]
        inputs, transitive = context.resolver.resolve(wanted)
        needed = inputs + [dep for dep in transitive if dep.scope in ("compile", "runtime")]
        LockFile.from_resolved_dependencies(needed, environment_name="kafka").save(path)
        return len(needed)


if __name__ == "__main__":
    sys.stdout.write(f"{renew_lock()} archives locked in {LOCK}\n")
