"""A migrated database, and rows of it written by hand."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from infra.cli.migrate import migrate
from infra.runtime.settings import ClickHouseSettings
from infra.runtime.settings.values import Secret
from tests.integration.services import ClickHouse

DAY = datetime(2026, 11, 20, tzinfo=UTC)
STREAM: dict[str, Any] = {"exchange": "kraken", "shard": "kraken-0", "line": "A"}
NS = 1_000_000_000


class Tables:
    """Writes rows of which only what matters is named, and asks views."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def seconds(
        self, first_s: int, count: int, *, channel: str = "book", symbol: str = "X", **values: Any
    ) -> None:
        """Write stable windows of one second that close in `count` seconds of DAY."""
        row = {"window_ns": NS, "state": "stable", "score": 100.0, "frames": 10}
        row |= STREAM | {"channel": channel, "symbol": symbol} | values
        self._insert("stability_1s", [row | {"ts": at(first_s + index)} for index in range(count)])

    def book(self, at_s: float, mid: int, **values: Any) -> None:
        """Write a sampled book of one level a side, whose last change came at `at_s`."""
        row = STREAM | {"symbol": "X", "ts_recv": at(at_s), "ts_sample": at(at_s + 0.1)}
        row |= {"bid_prices": [mid - 1], "ask_prices": [mid + 1]}
        self._insert("books", [row | {"bid_sizes": [1], "ask_sizes": [1]} | values])

    def trade(self, at_s: float, **values: Any) -> None:
        """Write a trade that came at `at_s`."""
        row = STREAM | {"symbol": "X", "sequence": 1, "price": 100, "size": 1, "side": "buy"}
        self._insert("trades", [row | {"ts_event": at(at_s), "ts_recv": at(at_s)} | values])

    def fault(self, at_s: float, **values: Any) -> None:
        """Write a fault of the trades."""
        row = STREAM | {"symbol": "X", "channel": "trades", "ts_recv": at(at_s)}
        self._insert("faults", [row | values])

    def incident(self, started_s: float, resolved_s: float | None, **values: Any) -> None:
        """Write the opening and, unless it is None, the resolution of an incident."""
        row = STREAM | {"alert_id": f"gap/{started_s}", "kind": "gap", "severity": "warning"}
        row |= {"channel": "book", "symbol": "X", "metric": "sequence_gap", "unit": "faults"}
        row |= {"value": 1.0, "detail": "expected 5, found 8", "ts_effect": at(started_s)}
        row |= {"ts_detected": at(started_s + 0.25), "epoch": 7, "number": 9} | values
        rows = [row | {"phase": "open", "ts": at(started_s + 0.25)}]
        if resolved_s is not None:
            rows.append(row | {"phase": "resolve", "ts": at(resolved_s), "value": 4.0})
        self._insert("alerts", rows)

    def mids(
        self, exchange: str, first_s: int, mids: Sequence[float | None], **values: Any
    ) -> None:
        """Write a venue's mids of one second after the other; None where its book was not LIVE."""
        row = {"symbol": "X", "instrument": "X/USD", "is_fresh": True} | values
        seconds = enumerate(mids, int(at(first_s).timestamp()))
        rows = [
            row
            | {"exchange": exchange, "number": second, "mid": mid}
            | {"ts": datetime.fromtimestamp(second, UTC)}
            for second, mid in seconds
        ]
        self._insert("venues_1s", rows)

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of an answer, by column."""
        return list(self.client.query(sql).named_results())

    def one(self, sql: str) -> dict[str, Any]:
        """Return the one row of an answer."""
        (row,) = self.ask(sql)
        return row

    def _insert(self, table: str, rows: list[dict[str, Any]]) -> None:
        names = list(rows[0])
        self.client.insert(table, [[row[name] for name in names] for row in rows], names)


def at(second: float) -> datetime:
    """Return a moment of DAY."""
    return DAY + timedelta(seconds=second)


@pytest.fixture
def settings(clickhouse: ClickHouse, database: str) -> ClickHouseSettings:
    """The way to a migrated database."""
    found = ClickHouseSettings(
        host=clickhouse.host,
        port=clickhouse.port,
        user=clickhouse.user,
        password=Secret(clickhouse.password),
        database=database,
    )
    migrate(found)
    return found


@pytest.fixture
def tables(settings: ClickHouseSettings) -> Iterator[Tables]:
    """A migrated database of one test's own."""
    client = clickhouse_connect.get_client(
        host=settings.host,
        port=settings.port,
        username=settings.user,
        password=settings.password.reveal(),
        database=settings.database,
        autogenerate_session_id=False,
        tz_mode="aware",
    )
    yield Tables(client)
    client.close()
