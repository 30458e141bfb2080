"""What ClickHouse knows of one day, gathered into one value.

Every figure is of the day from midnight to midnight, UTC. Roll-ups are the worst stream and a lower
quantile, never a mean.
"""

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import msgspec
from clickhouse_connect.driver.client import Client

NS: Final = 1_000_000_000
BUCKETS_MAX: Final = 288
"""Steps of the time axis: five minutes of a whole day."""
STEPS_S: Final = (5, 10, 30, 60, 120, 300)
HEAT_ROWS_MAX: Final = 60
INCIDENTS_MAX: Final = 500
_BAD: Final = "('down', 'connecting', 'syncing')"
_STREAM: Final = "exchange, shard, line, channel, symbol"


class Stream(msgspec.Struct, frozen=True):
    """A row of `quality_daily`: docs/data-dictionary.md says what each column means."""

    exchange: str
    shard: str
    line: str
    channel: str
    symbol: str
    expected_s: int
    observed_s: float
    coverage: float
    clean: float | None
    stable: float | None
    usable: float | None
    verified: float | None
    rows: int | None
    outages: int | None
    outage_s: float | None
    mtbf_s: float | None
    mttr_s: float | None
    score_p01: float | None
    score_p10: float | None
    score_p50: float | None
    score_min: float | None
    latency_p50_ns: float | None
    latency_p99_ns: float | None
    latency_max_ns: int | None
    frames: int | None
    gaps: int | None
    missing: int | None
    duplicates: int | None
    out_of_order: int | None
    checks: int | None
    checks_bad: int | None
    resyncs: int | None

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """What names it."""
        return self.exchange, self.shard, self.line, self.channel, self.symbol


class Incident(msgspec.Struct, frozen=True):
    """A row of `incidents`; times in s since midnight, `resolved_s` None while it is open."""

    alert_id: str
    exchange: str
    shard: str
    line: str
    channel: str
    symbol: str
    kind: str
    severity: str
    started_s: float
    detected_s: float
    resolved_s: float | None
    cause: str
    stage: str
    children: int
    stale_cost_bps: float | None


class Outage(msgspec.Struct, frozen=True):
    """A run of windows in which a stream could not be used; s since midnight."""

    exchange: str
    shard: str
    line: str
    channel: str
    symbol: str
    from_s: float
    to_s: float


class Heat(msgspec.Struct, frozen=True):
    """The 10th percentile of one stream's score in each step; None where nothing was observed."""

    exchange: str
    shard: str
    line: str
    channel: str
    symbol: str
    scores: list[float | None]


class Latency(msgspec.Struct, frozen=True):
    """The market data of one connection in each step: median of seconds' medians, and 99th
    percentile of their 99th percentiles; ns, None without frames."""

    exchange: str
    shard: str
    line: str
    p50_ns: list[float | None]
    p99_ns: list[float | None]


class Lost(msgspec.Struct, frozen=True):
    """Faults of one kind at one venue: `count` is what they say is missing, None where the venue
    does not tell."""

    exchange: str
    kind: str
    faults: int
    count: int | None
    unit: str


class Recovered(msgspec.Struct, frozen=True):
    """What came after all, or was made good, at one venue.

    `late_trades` were missing when a later one came and arrived out of order; `resyncs` are books
    made anew; `duplicates` were dropped.
    """

    exchange: str
    missing_trades: int
    late_trades: int
    resyncs: int
    duplicates: int


class Delivery(msgspec.Struct, frozen=True):
    """The sinks' accounts of one topic, of all days: `stored` rows are in the table.

    Nothing was lost or doubled on the way if facts = rows + duplicates, stored = rows, no offset
    was missing, and blocks follow one another without a `hole` or an overlap.
    """

    topic: str
    records: int
    facts: int
    rows: int
    duplicates: int
    dead_letters: int
    missing: int
    holes: int
    stored: int

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return (
            self.facts == self.rows + self.duplicates
            and self.stored == self.rows
            and not self.missing
            and not self.holes
        )


class Day(msgspec.Struct, frozen=True):
    """All of it. The time axis has `steps` of `step_s` from `from_s` after midnight."""

    day: date
    made_at: str
    version: str
    from_s: float
    to_s: float
    step_s: int
    steps: int
    streams: list[Stream]
    incidents: list[Incident]
    outages: list[Outage]
    heat: list[Heat]
    latency: list[Latency]
    lost: list[Lost]
    recovered: list[Recovered]
    delivery: list[Delivery]
    dead_letters: int


def last_day(client: Client) -> date | None:
    """Return the last day of which something was recorded, None where nothing was."""
    rows = client.query("SELECT toDate(max(ts), 'UTC'), count() FROM stability_1s").result_rows
    return rows[0][0] if rows[0][1] else None


def read_day(client: Client, day: date, *, version: str) -> Day:
    """Ask for everything of a day. A day without a record gives a report without streams."""
    asked = _Asked(client, day)
    streams = asked.streams()
    from_s, to_s = asked.span()
    step_s = next((s for s in STEPS_S if (to_s - from_s) / s <= BUCKETS_MAX), STEPS_S[-1])
    from_s = from_s // step_s * step_s
    steps = int(-(-(to_s - from_s) // step_s))
    axis = (from_s, step_s, steps)
    return Day(
        day=day,
        made_at=datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        version=version,
        from_s=from_s,
        to_s=to_s,
        step_s=step_s,
        steps=steps,
        streams=streams,
        incidents=asked.incidents(),
        outages=asked.outages(),
        heat=asked.heat(axis, worst=streams),
        latency=asked.latency(axis),
        lost=asked.lost(),
        recovered=asked.recovered(),
        delivery=asked.delivery(),
        dead_letters=asked.dead_letters(),
    )


_Axis = tuple[float, int, int]


class _Asked:
    """Asks about one day."""

    def __init__(self, client: Client, day: date) -> None:
        self._client = client
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        self._midnight = int(midnight.timestamp()) * NS
        self._parameters: dict[str, Any] = {
            "day": day.isoformat(),
            "since": f"{midnight:%Y-%m-%d %H:%M:%S}",
            "until": f"{midnight + timedelta(days=1):%Y-%m-%d %H:%M:%S}",
            "midnight": self._midnight,
        }

    def _rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        known = self._parameters | parameters
        return list(self._client.query(sql, parameters=known).named_results())

    def streams(self) -> list[Stream]:
        """The worst first: least clean, then least covered."""
        names = ", ".join(Stream.__struct_fields__)
        rows = self._rows(
            f"SELECT {names} FROM quality_daily WHERE day = {{day:Date}}"
            f" ORDER BY clean ASC NULLS FIRST, coverage, score_p10, {_STREAM}"
        )
        return [Stream(**row) for row in rows]

    def span(self) -> tuple[float, float]:
        """From the first to the last second observed, s since midnight."""
        rows = self._rows(
            "SELECT count() AS found, min(toUnixTimestamp64Nano(ts) - window_ns) AS first,"
            f" max(toUnixTimestamp64Nano(ts)) AS last FROM stability_1s WHERE {_WITHIN}"
        )
        if not rows[0]["found"]:
            return 0.0, 0.0
        first, last = (max(rows[0][name] - self._midnight, 0) / NS for name in ("first", "last"))
        return first, last

    def incidents(self) -> list[Incident]:
        """Those that were open on the day, as they began."""
        rows = self._rows(
            f"""
            SELECT alert_id, exchange, shard, line, channel, symbol, kind, severity,
                {_since("started")} AS started_s, {_since("detected")} AS detected_s,
                if(resolved IS NULL, NULL, {_since("assumeNotNull(resolved)")}) AS resolved_s,
                cause, stage, children, stale_cost_bps
            FROM incidents
            WHERE started < {{until:DateTime64(9, 'UTC')}}
                AND (resolved IS NULL OR resolved >= {{since:DateTime64(9, 'UTC')}})
            ORDER BY started, alert_id LIMIT {INCIDENTS_MAX}
            """
        )
        return [Incident(**row) for row in rows]

    def outages(self) -> list[Outage]:
        """Runs of windows in which a stream could not be used."""
        rows = self._rows(
            f"""
            SELECT {_STREAM}, arrayMap(run -> (run[1], run[-1]), arraySplit(
                (end, step) -> step > 1500, ends, arrayDifference(ends))) AS runs
            FROM
            (
                SELECT {_STREAM}, arraySort(groupArray(toUnixTimestamp64Milli(ts))) AS ends
                FROM stability_1s
                WHERE {_WITHIN} AND NOT is_blind AND state IN {_BAD}
                GROUP BY {_STREAM}
            )
            ORDER BY {_STREAM}
            """
        )
        midnight_ms = self._midnight // 1_000_000
        return [
            Outage(
                **{name: row[name] for name in ("exchange", "shard", "line", "channel", "symbol")},
                # The first window of a run is named by its end.
                from_s=max(first - midnight_ms - 1000, 0) / 1000,
                to_s=(last - midnight_ms) / 1000,
            )
            for row in rows
            for first, last in row["runs"]
        ]

    def heat(self, axis: _Axis, *, worst: Sequence[Stream]) -> list[Heat]:
        """The scores of the worst streams over the day."""
        rows = self._rows(
            f"""
            SELECT {_STREAM}, {_STEP} AS step,
                quantileExactWeighted(0.1)(assumeNotNull(score), toUInt64(window_ns)) AS p10
            FROM stability_1s
            WHERE {_WITHIN} AND NOT is_blind AND score IS NOT NULL
            GROUP BY {_STREAM}, step
            """,
            **_axis(axis),
        )
        found: dict[tuple[str, ...], list[float | None]] = {}
        for row in rows:
            key = tuple(row[name] for name in _STREAM.split(", "))
            _put(found.setdefault(key, [None] * axis[2]), row["step"], row["p10"])
        kept = [stream.key for stream in worst[:HEAT_ROWS_MAX]]
        return [Heat(*key, scores=found.get(key, [None] * axis[2])) for key in sorted(kept)]

    def latency(self, axis: _Axis) -> list[Latency]:
        """The latency of every connection's market data over the day."""
        rows = self._rows(
            f"""
            SELECT exchange, shard, line, {_STEP} AS step,
                quantileExact(0.5)(assumeNotNull(latency_p50_ns)) AS p50,
                quantileExact(0.99)(assumeNotNull(latency_p99_ns)) AS p99
            FROM stability_1s
            WHERE {_WITHIN} AND channel = 'data' AND latency_count > 0
            GROUP BY exchange, shard, line, step
            """,
            **_axis(axis),
        )
        found: dict[tuple[str, ...], Latency] = {}
        for row in rows:
            key = row["exchange"], row["shard"], row["line"]
            empty: list[list[float | None]] = [[None] * axis[2], [None] * axis[2]]
            lines = found.setdefault(key, Latency(*key, *empty))
            _put(lines.p50_ns, row["step"], row["p50"])
            _put(lines.p99_ns, row["step"], row["p99"])
        return [found[key] for key in sorted(found)]

    def lost(self) -> list[Lost]:
        """What was recorded as bad or missing."""
        rows = self._rows(
            f"""
            SELECT exchange, toString(kind) AS kind, count() AS faults, sum(count) AS count,
                max(unit) AS unit
            FROM faults WHERE {_WITHIN.replace("ts ", "ts_recv ")}
            GROUP BY exchange, kind ORDER BY exchange, faults DESC, kind
            """
        )
        return [Lost(**row) for row in rows]

    def recovered(self) -> list[Recovered]:
        """What came late or was made good."""
        rows = self._rows(
            f"""
            SELECT exchange, ifNull(sum(missing_trades), 0) AS missing_trades,
                sum(late_trades) AS late_trades, sum(resyncs) AS resyncs,
                sum(duplicates) AS duplicates
            FROM
            (
                SELECT exchange, 0 AS missing_trades, 0 AS late_trades,
                    sumIf(resyncs, channel = 'book') AS resyncs,
                    sumIf(duplicates, channel IN ('book', 'trades')) AS duplicates
                FROM stability_1s WHERE {_WITHIN} GROUP BY exchange
                UNION ALL
                SELECT exchange, sum(count), 0, 0, 0 FROM faults
                WHERE kind = 'trade_gap' AND {_WITHIN.replace("ts ", "ts_recv ")} GROUP BY exchange
                UNION ALL
                SELECT exchange, 0, countIf(bitAnd(quality, 4) != 0), 0, 0 FROM trades
                WHERE {_WITHIN.replace("ts ", "ts_recv ")} GROUP BY exchange
            )
            GROUP BY exchange ORDER BY exchange
            """
        )
        return [Recovered(**row) for row in rows]

    def delivery(self) -> list[Delivery]:
        """The sinks' accounts, topic by topic."""
        found = []
        for table in ("trades", "books", "faults", "stability_1s", "alerts"):
            rows = self._rows(
                f"""
                SELECT any(topic) AS topic, sum(records) AS records, sum(facts) AS facts,
                    sum(rows) AS rows, sum(duplicates) AS duplicates,
                    sum(dead_letters) AS dead_letters, sum(missing) AS missing, sum(hole) AS holes,
                    (SELECT count() FROM {table}) AS stored
                FROM
                (
                    SELECT topic, records, facts, rows, duplicates, dead_letters, missing,
                        before != -1 AND before != first_offset AS hole
                    FROM
                    (
                        SELECT *, lagInFrame(end_offset, 1, -1) OVER (PARTITION BY log_id, topic,
                            partition ORDER BY first_offset ROWS BETWEEN 1 PRECEDING AND
                            CURRENT ROW) AS before
                        FROM blocks
                        WHERE (log_id, topic) IN (SELECT DISTINCT log_id, topic FROM {table})
                    )
                )
                """
            )
            if rows[0]["records"]:
                found.append(Delivery(**rows[0]))
        return found

    def dead_letters(self) -> int:
        """Records of the day that nobody could use."""
        rows = self._rows(f"SELECT count() AS found FROM dead_letters WHERE {_WITHIN}")
        return int(rows[0]["found"])


_WITHIN: Final = "ts >= {since:DateTime64(9, 'UTC')} AND ts < {until:DateTime64(9, 'UTC')}"
_STEP: Final = (
    "intDiv(toUnixTimestamp64Nano(ts) - 1 - {midnight:Int64} - {from_ns:Int64}, {step_ns:Int64})"
)


def _since(column: str) -> str:
    return f"(toUnixTimestamp64Nano({column}) - {{midnight:Int64}}) / 1e9"


def _axis(axis: _Axis) -> dict[str, int]:
    return {"from_ns": int(axis[0] * NS), "step_ns": axis[1] * NS}


def _put(places: list[float | None], step: int, value: float) -> None:
    if places:
        places[min(max(step, 0), len(places) - 1)] = value
