"""Every query of the runbooks is one that ClickHouse answers."""

import asyncio
import re
from pathlib import Path

import clickhouse_connect

from infra.cli.migrate import migrate
from infra.runtime.settings import ClickHouseSettings, Secret
from tests.integration.services import ClickHouse

RUNBOOKS = Path(__file__).parents[3] / "docs" / "runbooks"
QUERY = re.compile(r"```sql\n(.*?)```", re.DOTALL)


async def test_queries_of_the_runbooks_are_answered(clickhouse: ClickHouse, database: str) -> None:
    settings = ClickHouseSettings(
        host=clickhouse.host,
        port=clickhouse.port,
        user=clickhouse.user,
        password=Secret(clickhouse.password),
        database=database,
    )
    await asyncio.to_thread(migrate, settings)
    client = clickhouse_connect.get_client(
        host=clickhouse.host,
        port=clickhouse.port,
        username=clickhouse.user,
        password=clickhouse.password,
        database=database,
        autogenerate_session_id=False,
    )
    queries = [
        (path.stem, query)
        for path in sorted(RUNBOOKS.glob("*.md"))
        for query in QUERY.findall(path.read_text())
    ]

    # With their names: of no rows the client keeps none.
    answers = {
        f"{name}: {query}": client.raw_query(query, fmt="TabSeparatedWithNames")
        for name, query in queries
    }
    client.close()

    assert len(queries) > 20
    assert all(b"\n" in answer for answer in answers.values())
