"""Print how the rows differ from the truth of the simulated exchanges, as one JSON object.

Given to the Python of the image `streamgauge`, in the network of the simulator, which answers on
its own loopback only. The comparison itself is that of `streamgauge run`.
"""

import asyncio
import os
import sys

import clickhouse_connect
import msgspec

from infra.run.truth import Truth, Venue, compare
from infra.runtime.connections import clickhouse_arguments
from infra.runtime.settings import load

TRUTH_URL = "http://127.0.0.1:18003"


async def compared() -> Truth:
    """Compare everything since the simulator's first start."""
    settings = load(environ=os.environ)
    levels = settings.processor.book_levels
    venues = {
        name: Venue(each.symbols, min(levels, each.book_depth or levels))
        for name, each in settings.exchanges.items()
    }
    client = clickhouse_connect.get_client(
        **clickhouse_arguments(settings.clickhouse), database=settings.clickhouse.database
    )
    try:
        return await compare(client, TRUTH_URL, venues, since_ns=0)
    finally:
        client.close()


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(compared())))
