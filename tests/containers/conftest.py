"""Tests of our images need a Docker engine: `make test-containers` builds the images first."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything below this folder, and leave it out where no engine is asked for."""
    asked = os.environ.get("STREAMGAUGE_TEST_BACKEND") == "containers"
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.integration)
            if not asked:
                item.add_marker(pytest.mark.skip(reason="needs Docker: make test-containers"))


@pytest.fixture(scope="session")
def engine() -> Iterator[Any]:
    """A client of the Docker engine."""
    import docker  # type: ignore[import-untyped]

    client = docker.from_env()
    yield client
    client.close()
