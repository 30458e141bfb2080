"""ClickHouse over HTTP as a terminal needs it: the answer as it comes, in a format of choice.

It loads nothing that is slow to load. Stages and scripts use clickhouse-connect instead.
"""

import http.client
import urllib.parse
from collections.abc import Mapping
from typing import Final, Self

from infra.cli.failures import clickhouse_away, clickhouse_refuses
from infra.runtime.connections import clickhouse_trust
from infra.runtime.settings import ClickHouseSettings

_ERROR_BYTES_MAX: Final = 4_096


class Sql:
    """One connection; use it as a context. Its database need not exist before a query needs it."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        self._settings = settings
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection:
            self._connection.close()

    def open(
        self,
        statement: str,
        *,
        form: str,
        parameters: Mapping[str, str] | None = None,
        database: str | None = None,
    ) -> http.client.HTTPResponse:
        """Send a statement and return its answer, to be read in pieces.

        `form` is a ClickHouse format and holds where the statement names none; `parameters` fill
        `{name:Type}` in the statement; `database` is that of the settings unless given.

        Raises:
            Failure: ClickHouse does not answer, or answers with an error.
        """
        settings = self._settings
        query = {"default_format": form}
        query["database"] = settings.database if database is None else database
        query |= {f"param_{name}": value for name, value in (parameters or {}).items()}
        headers = {"X-ClickHouse-User": settings.user, "Content-Type": "text/plain; charset=utf-8"}
        if settings.password:
            headers["X-ClickHouse-Key"] = settings.password.reveal()
        try:
            self._connection = self._connect()
            path = f"/?{urllib.parse.urlencode(query)}"
            self._connection.request("POST", path, body=statement.encode(), headers=headers)
            answer = self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise clickhouse_away(str(error) or type(error).__name__) from error
        if answer.status != 200:
            text = answer.read(_ERROR_BYTES_MAX).decode(errors="replace").strip()
            raise clickhouse_refuses(text or f"HTTP status {answer.status}")
        return answer

    def text(self, statement: str, *, database: str | None = None) -> str:
        """Return the whole answer as tab-separated text without names.

        Raises:
            Failure: ClickHouse does not answer, or answers with an error.
        """
        body = self.open(statement, form="TabSeparated", database=database).read()
        return body.decode(errors="replace").rstrip("\n")

    def _connect(self) -> http.client.HTTPConnection:
        settings = self._settings
        connection: http.client.HTTPConnection
        if settings.secure:
            connection = http.client.HTTPSConnection(
                settings.host,
                settings.port,
                timeout=settings.connect_timeout_s,
                context=clickhouse_trust(settings),
            )
        else:
            connection = http.client.HTTPConnection(
                settings.host, settings.port, timeout=settings.connect_timeout_s
            )
        connection.connect()
        connection.sock.settimeout(settings.query_timeout_s)
        return connection
