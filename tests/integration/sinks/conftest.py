"""Fixtures of the sinks' tests."""

import pytest

from tests.integration.services import ClickHouse, Kafka
from tests.integration.sinks.rig import Rig


@pytest.fixture
async def rig(kafka: Kafka, clickhouse: ClickHouse, database: str) -> Rig:
    """Topics, a group and tables of one test's own."""
    made = Rig(kafka, clickhouse, database)
    await made.prepare()
    return made
