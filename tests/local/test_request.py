"""Who and what is let in, and what reaches the engine of a request."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.clickhouse.engine import QUERY_BYTES_MAX
from infra.local.clickhouse.request import Account, Refused, make_job, refuse_other_sites


def basic(user: str, password: str) -> dict[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


@pytest.mark.parametrize("host", ["127.0.0.1:8123", "localhost", "LOCALHOST:1", "[::1]:8123"])
def test_refuse_other_sites_lets_the_loopback_in(host: str) -> None:
    refuse_other_sites({"Host": host})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": ""},
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8123"},
        {"Host": "[::1"},
        {"Host": "localhost:1", "Origin": "http://evil.example"},
        {"Host": "localhost:1", "Origin": "http://localhost:2"},
        {"Host": "localhost:1", "Origin": "null"},
        {"Host": "localhost:1", "Sec-Fetch-Site": "cross-site"},
        {"Host": "localhost:1", "Sec-Fetch-Site": "same-site"},
    ],
)
def test_refuse_other_sites_refuses_foreign_hosts_and_origins(headers: dict[str, str]) -> None:
    with pytest.raises(Refused) as raised:
        refuse_other_sites(headers)

    assert (raised.value.status, raised.value.code) == (403, 497)


def test_refuse_other_sites_lets_a_page_of_its_own_in() -> None:
    refuse_other_sites(
        {"Host": "localhost:1", "Origin": "http://localhost:1", "Sec-Fetch-Site": "same-origin"}
    )


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        (basic("default", "pä:ss"), {}),
        ({"X-ClickHouse-User": "default", "X-ClickHouse-Key": "pä:ss"}, {}),
        ({"X-ClickHouse-Key": "pä:ss"}, {}),
        ({}, {"user": "default", "password": "pä:ss"}),
        ({}, {"password": "pä:ss"}),
    ],
)
def test_account_admits_the_right_password_by_every_way(
    headers: dict[str, str], parameters: dict[str, str]
) -> None:
    Account(password="pä:ss").admit(headers, parameters)


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        ({}, {}),
        (basic("default", "wrong"), {"password": "right"}),
        (basic("other", "right"), {}),
        ({"Authorization": "Basic !!!"}, {}),
        ({"Authorization": "Bearer right"}, {}),
        ({"X-ClickHouse-User": "default"}, {"password": "right"}),
    ],
)
def test_account_refuses_everything_else(
    headers: dict[str, str], parameters: dict[str, str]
) -> None:
    with pytest.raises(Refused) as raised:
        Account(password="right").admit(headers, parameters)

    assert (raised.value.status, raised.value.code) == (403, 516)


@given(st.text(), st.text())
def test_account_of_any_text_answers_without_another_error(user: str, password: str) -> None:
    admitted = True
    try:
        Account(password="right").admit({}, {"user": user, "password": password})
    except Refused:
        admitted = False

    assert admitted == ((user, password) == ("default", "right"))


def test_account_without_password_admits_an_anonymous_client() -> None:
    Account().admit({}, {})


def test_make_job_keeps_transport_parameters_from_the_engine() -> None:
    parameters = {
        "query": "SELECT 1",
        "query_id": "q",
        "database": "db",
        "session_id": "s",
        "client_protocol_version": "54405",
        "wait_end_of_query": "1",
        "buffer_size": "1",
        "user": "default",
        "password": "",
        "param_name": "value",
        "max_threads": "1",
    }

    job = make_job(parameters, {}, b"SELECT 1", is_get=False)

    assert job.settings == {"max_threads": "1"}
    assert job.parameters == {"name": "value"}
    assert (job.query_id, job.database) == ("q", "db")
    assert job.session is not None
    assert job.session.name == "s"


def test_make_job_of_an_insert_splits_statement_and_data() -> None:
    job = make_job({}, {}, b"INSERT INTO t FORMAT TSV\n1", is_get=False)

    assert job.statement == b"INSERT INTO t "
    assert job.insert is not None
    assert job.insert.data_at == 25


@pytest.mark.parametrize("parameters", [{"readonly": "1"}, {"readonly": "2"}])
def test_make_job_with_readonly_is_read_only(parameters: dict[str, str]) -> None:
    job = make_job(parameters, {}, b"SELECT 1", is_get=False)

    assert job.read_only
    assert job.settings == {}


@pytest.mark.parametrize(
    ("parameters", "statement", "status"),
    [
        ({"compress": "1"}, b"SELECT 1", 501),
        ({"decompress": "1"}, b"INSERT INTO t FORMAT TSV\n", 501),
        ({"session_id": "s", "session_timeout": "-1"}, b"SELECT 1", 400),
        ({"session_id": "s", "session_timeout": "x"}, b"SELECT 1", 400),
        ({}, b"SELECT " + b"1" * QUERY_BYTES_MAX, 400),
        ({}, b"SELECT * FROM file('x')", 403),
        ({}, b"INSERT INTO FUNCTION file('x') FORMAT TSV\n1", 403),
    ],
)
def test_make_job_of_what_no_server_runs_is_refused(
    parameters: dict[str, str], statement: bytes, status: int
) -> None:
    with pytest.raises(Refused) as raised:
        make_job(parameters, {}, statement, is_get=False)

    assert status == raised.value.status


@given(st.binary(max_size=300), st.dictionaries(st.text(), st.text()))
def test_make_job_of_anything_is_a_job_or_a_refusal(
    head: bytes, parameters: dict[str, str]
) -> None:
    refused = None
    try:
        make_job(parameters, {}, head, is_get=False)
    except Refused as error:
        refused = error

    assert refused is None or 400 <= refused.status < 600
