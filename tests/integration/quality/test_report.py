"""What a report reads from tables, and the command that writes it."""

import json
from pathlib import Path

from infra.local.clickhouse.process import ClickHouseServer
from infra.report.day import last_day, read_day
from infra.runtime.settings import ClickHouseSettings
from tests.integration.cli.conftest import Command, environ, streamgauge
from tests.integration.quality.conftest import DAY, Tables

__all__ = ["environ", "streamgauge"]


def write(tables: Tables) -> None:
    """Ten minutes of a socket with its book, an outage of 5 s, a gap and lost and late trades."""
    for channel, symbol in (("connection", ""), ("data", ""), ("book", "X"), ("trades", "X")):
        values = {"latency_count": 9, "latency_p50_ns": 1_000_000, "latency_p99_ns": 9_000_000}
        tables.seconds(1, 300, channel=channel, symbol=symbol, **values)
        tables.seconds(301, 5, channel=channel, symbol=symbol, state="down", score=0.0)
        tables.seconds(306, 295, channel=channel, symbol=symbol, **values)
    for second, mid in ((299, 100), (307, 101)):
        tables.book(second, mid)
    tables.trade(10.0)
    tables.trade(20.0, quality=4)
    tables.incident(301.0, 366.0)
    tables.fault(301.0, kind="trade_gap", count=3, unit="trades")


def test_report_has_every_figure_of_the_day(tables: Tables) -> None:
    write(tables)

    day = read_day(tables.client, DAY.date(), version="0")

    assert last_day(tables.client) == DAY.date()
    assert (day.from_s, day.to_s, day.step_s, day.steps) == (0.0, 600.0, 5, 120)
    assert {each.channel for each in day.streams} == {"connection", "data", "book", "trades"}
    (outage,) = (each for each in day.outages if each.channel == "connection")
    assert (outage.from_s, outage.to_s) == (300.0, 305.0)
    (heat,) = (each for each in day.heat if each.channel == "book")
    assert (heat.scores[59], heat.scores[60], heat.scores[61]) == (100.0, 0.0, 100.0)
    assert len(heat.scores) == 120
    (latency,) = day.latency
    assert (latency.p50_ns[0], latency.p50_ns[60], latency.p99_ns[119]) == (1e6, None, 9e6)
    (incident,) = day.incidents
    assert (incident.started_s, incident.resolved_s) == (301.0, 366.0)
    assert incident.stale_cost_bps is not None
    assert round(incident.stale_cost_bps) == 99
    assert [(each.kind, each.count) for each in day.lost] == [("trade_gap", 3)]
    assert (day.recovered[0].missing_trades, day.recovered[0].late_trades) == (3, 1)


def test_day_with_nothing_is_a_report_that_says_so(tables: Tables) -> None:
    day = read_day(tables.client, DAY.date(), version="0")

    assert (day.streams, day.steps, last_day(tables.client)) == ([], 0, None)


def test_command_writes_page_text_and_json(
    tables: Tables, streamgauge: Command, environ: dict[str, str], tmp_path: Path
) -> None:
    write(tables)

    written = streamgauge("report", **environ)
    as_text = streamgauge("report", "2026-11-20", "--text", **environ)
    as_json = streamgauge("report", "--json", **environ)

    assert written.returncode == as_text.returncode == as_json.returncode == 0
    assert written.stdout == "wrote report-2026-11-20.html: 4 streams, 1 incidents\n"
    assert "<!doctype html>" in (tmp_path / "report-2026-11-20.html").read_text()
    assert "least clean was kraken X book" in as_text.stdout
    assert json.loads(as_json.stdout)["day"] == "2026-11-20"


def test_command_reads_what_a_run_left_without_any_server(
    streamgauge: Command, tmp_path: Path
) -> None:
    """Nothing listens where the settings say; the data of var/ are brought up to date and read."""
    with ClickHouseServer(tmp_path / "var" / "clickhouse") as server:
        import clickhouse_connect

        from infra.cli.migrate import migrate

        settings = ClickHouseSettings(host=server.host, port=server.port)
        migrate(settings)
        with clickhouse_connect.get_client(
            host=server.host, port=server.port, database=settings.database
        ) as client:
            write(Tables(client))

    nowhere = {"STREAMGAUGE__CLICKHOUSE__PORT": "1"}
    result = streamgauge("report", "--text", **nowhere)

    assert result.returncode == 0, result.stderr
    assert "least clean was kraken X book" in result.stdout
    assert "starting it on what is in var/clickhouse" in result.stderr


def test_command_without_anything_says_what_to_do(streamgauge: Command) -> None:
    result = streamgauge("report", STREAMGAUGE__CLICKHOUSE__PORT="1")
    wrong = streamgauge("report", "yesterday")

    assert (result.returncode, wrong.returncode) == (1, 2)
    assert "streamgauge run" in result.stderr
    assert "not a day like 2026-11-23" in wrong.stderr
