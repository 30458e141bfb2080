"""Collect what the Kafka image consists of: a Java, the locked archives, options and settings.

`collect.py FOLDER`, run while the image is built. The result needs no Python package. It must not
hold anything about one broker: that comes from the environment when the container starts.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from infra.local import jars
from infra.local.java import find_java
from infra.local.kafka import LOGGING, SETTINGS

SETTINGS_OF_THE_IMAGE = {
    **SETTINGS,
    "listeners": "PLAINTEXT://:9092,CONTROLLER://localhost:9093",
    "advertised.listeners": "PLAINTEXT://localhost:9092",
    "controller.quorum.bootstrap.servers": "localhost:9093",
    "log.dirs": "/var/lib/kafka/data",
}


def collect(folder: Path) -> None:
    """Fill a folder with `java/`, `jars/`, `java.options` and `server.properties`.

    Raises:
        ServerError: an archive cannot be fetched or is not the locked one.
    """
    java = find_java()
    shutil.copytree(java.program.resolve().parents[1], folder / "java", symlinks=True)
    places = []
    with tempfile.TemporaryDirectory() as cache:
        (folder / "jars").mkdir()
        for path in jars.class_path(jars.read_lock(), Path(cache)):
            places.append(shutil.copy(path, folder / "jars"))
    options = ["-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", *java.quiet_options, *LOGGING]
    # The codecs of lz4 and zstd are native libraries, which Java would warn about.
    options += ["--enable-native-access=ALL-UNNAMED", "-cp", ":".join(map(str, places))]
    (folder / "java.options").write_text("".join(f'"{option}"\n' for option in options))
    settings = SETTINGS_OF_THE_IMAGE.items()
    (folder / "server.properties").write_text("".join(f"{k}={v}\n" for k, v in settings))


if __name__ == "__main__":
    collect(Path(sys.argv[1]))
