"""Fetch and prepare what the local servers need, so that their first start is as short as any.

Optional: a start fetches what is missing by itself, and only lacks the cache of loaded classes.
"""

import sys
import tempfile
from pathlib import Path

from infra.local import jars
from infra.local.kafka import KafkaServer
from infra.local.process import ServerError


def install(cache: Path | None = None) -> Path:
    """Put Kafka's checked archives and its cache of loaded classes into a folder, and return it.

    Raises:
        ServerError: an archive cannot be fetched or is not the locked one, or Java is missing.
    """
    cache = cache or jars.cache_folder()
    with tempfile.TemporaryDirectory() as folder:
        KafkaServer(Path(folder) / "kafka", cache=cache).train()
    return cache


def main() -> int:
    """Install and say where; 1 with the reason when it cannot be done."""
    try:
        sys.stdout.write(f"Kafka is ready in {install()}\n")
    except ServerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
