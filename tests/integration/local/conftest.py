"""Local servers of their own for the tests of the local servers."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlencode

import pytest
import urllib3

from infra.local.clickhouse.process import ClickHouseServer

REQUEST_SECONDS = 30.0


@dataclass
class Answer:
    """One HTTP answer of the server."""

    status: int
    headers: urllib3.HTTPHeaderDict
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> int:
        """ClickHouse's error code, 0 without one."""
        return int(self.headers.get("X-ClickHouse-Exception-Code", "0"))

    @property
    def summary(self) -> dict[str, int]:
        counts = json.loads(self.headers["X-ClickHouse-Summary"])
        return {name: int(count) for name, count in counts.items()}


@dataclass
class Http:
    """Plain requests, so that every header and parameter is the test's own."""

    url: str
    pool: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(timeout=REQUEST_SECONDS, retries=False)
    )

    def post(
        self,
        body: bytes | str = b"",
        headers: dict[str, str] | None = None,
        /,
        **parameters: str,
    ) -> Answer:
        return self._send("POST", body, headers, parameters)

    def get(self, headers: dict[str, str] | None = None, /, **parameters: str) -> Answer:
        return self._send("GET", None, headers, parameters)

    def rows(self, query: str, **parameters: str) -> list[list[str]]:
        """Rows of a query that must succeed, values as text."""
        answer = self.post(query, **parameters)
        assert answer.status == 200, answer.text
        return [line.split("\t") for line in answer.text.splitlines()]

    def _send(
        self,
        method: str,
        body: bytes | str | None,
        headers: dict[str, str] | None,
        parameters: dict[str, str],
    ) -> Answer:
        url = f"{self.url}/?{urlencode(parameters)}" if parameters else self.url
        response = self.pool.request(
            method, url, body=body, headers=headers, decode_content=False, preload_content=True
        )
        return Answer(response.status, response.headers, response.data)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """A local ClickHouse, whatever the other integration tests run on."""
    with ClickHouseServer(tmp_path_factory.mktemp("local")) as started:
        yield started


@pytest.fixture
def http(server: ClickHouseServer) -> Http:
    return Http(server.url)


@pytest.fixture
def table(http: Http) -> Iterator[str]:
    """A table with the columns a and b."""
    name = f"t_{uuid.uuid4().hex}"
    http.rows(f"CREATE TABLE {name} (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
    yield name
    http.rows(f"DROP TABLE {name}")


def wait_until(happened: Callable[[], bool], seconds: float = 20.0) -> None:
    """Ask again and again until it happened; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
