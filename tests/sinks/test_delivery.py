from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from sinks.delivery import summary


def test_summary_of_a_server_that_is_away_is_the_cause() -> None:
    text = (
        "Error HTTPConnectionPool(host='h', port=1): Max retries exceeded with url: /?query_id=1 "
        "(Caused by NewConnectionError('...: [Errno 111] Connection refused'))"
    )

    assert summary(OperationalError(text)) == "ClickHouse does not answer: Connection refused"


def test_summary_of_what_is_missing_says_what_makes_it() -> None:
    error = DatabaseError("Code: 81. Database x does not exist", code=81)

    assert "`streamgauge migrate`" in summary(error)
    assert "migrate" not in summary(DatabaseError("Code: 241. Memory limit", code=241))
