"""One HTTP request as ClickHouse understands it: who asks, from where, and for what.

Parameters that belong to the transport are taken out here and never reach the engine; the rest
are settings. Requests that a web page could send across sites are refused, because the page of any
site, open in a browser on this machine, can reach a server on the loopback.
"""

import base64
import binascii
import hmac
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from infra.local.clickhouse.engine import QUERY_BYTES_MAX, Job
from infra.local.clickhouse.sessions import Session
from infra.local.clickhouse.statement import find_insert, reaches_out, takes_input

LOOPBACK_NAMES = frozenset(("127.0.0.1", "localhost", "::1"))
OWN_SITE = frozenset(("same-origin", "none"))
FORM_FIELD_BYTES_MAX = 128 << 10

ACCESS_DENIED = 497
AUTHENTICATION_FAILED = 516
BAD_ARGUMENTS = 36
NOT_IMPLEMENTED = 48
QUERY_TOO_LARGE = 62

TRANSPORT_PARAMETERS = frozenset(
    {
        *("query", "query_id", "database", "default_format", "client_protocol_version"),
        *("session_id", "session_timeout", "session_check", "close_session"),
        *("user", "password", "quota_key", "role", "readonly"),
        *("buffer_size", "wait_end_of_query", "stacktrace", "compress", "decompress"),
    }
)


class Refused(Exception):  # noqa: N818  (what happened to the request, not what went wrong here)
    """A request that is answered without asking the engine."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Account:
    """The one user; without a password anybody on this machine is let in by the name."""

    user: str = "default"
    password: str = ""

    def admit(self, headers: Mapping[str, str], parameters: Mapping[str, str]) -> None:
        """Check the name and password that came with a request.

        Raises:
            Refused: they are missing or wrong.
        """
        user, password = _credentials(headers, parameters)
        # Both are compared in full, so that the time taken tells nothing.
        known = hmac.compare_digest(user.encode(), self.user.encode())
        right = hmac.compare_digest(password.encode(), self.password.encode())
        if not (known and right):
            raise Refused(
                403,
                AUTHENTICATION_FAILED,
                f"{user[:100]}: Authentication failed: password is incorrect, or there is no user "
                f"with such name. (AUTHENTICATION_FAILED)",
            )


def _credentials(headers: Mapping[str, str], parameters: Mapping[str, str]) -> tuple[str, str]:
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            text = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise Refused(
                403, AUTHENTICATION_FAILED, "Invalid Basic authorization (AUTHENTICATION_FAILED)"
            ) from error
        user, _, password = text.partition(":")
        return user, password
    if scheme:
        raise Refused(
            403, AUTHENTICATION_FAILED, f"'{scheme[:20]}' is not supported (AUTHENTICATION_FAILED)"
        )
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        user = headers.get("X-ClickHouse-User", "default")
        return user, headers.get("X-ClickHouse-Key", "")
    return parameters.get("user", "default"), parameters.get("password", "")


def refuse_other_sites(headers: Mapping[str, str], names: Collection[str] = LOOPBACK_NAMES) -> None:
    """Refuse what a page of another site, or under a name that points here, may have sent.

    names: hosts that a request may be addressed to.

    Raises:
        Refused: the Host is foreign, or the browser names another site.
    """
    host = headers.get("Host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if name not in names:
        raise Refused(
            403, ACCESS_DENIED, f"Host '{host[:100]}' is not among {', '.join(sorted(names))}"
        )
    origin = headers.get("Origin")
    if origin is not None and origin != f"http://{host}":
        raise Refused(403, ACCESS_DENIED, f"requests from the site '{origin[:100]}' are refused")
    site = headers.get("Sec-Fetch-Site", "none")
    if site not in OWN_SITE:
        raise Refused(403, ACCESS_DENIED, f"'{site[:20]}' requests are refused")


def make_job(
    parameters: Mapping[str, str], headers: Mapping[str, str], head: bytes, is_get: bool
) -> Job:
    """The job of a request: its parameters, and the beginning of its statement and data.

    Raises:
        Refused: a parameter is wrong, or the statement is what no server would run.
    """
    _refuse_unsupported(parameters)
    statement, insert = head, find_insert(head)
    if insert is not None:
        statement = insert.head
    if len(statement) > QUERY_BYTES_MAX:
        raise Refused(
            400, QUERY_TOO_LARGE, f"Max query size exceeded: {QUERY_BYTES_MAX} bytes (SYNTAX_ERROR)"
        )
    reached = reaches_out(statement)
    if reached is not None:
        raise Refused(
            403,
            ACCESS_DENIED,
            f"'{reached}' is refused: it reaches beyond the database (ACCESS_DENIED)",
        )
    if insert is None and takes_input(statement):
        # The engine would run it without the rows, and report success.
        raise Refused(
            501,
            NOT_IMPLEMENTED,
            "INSERT ... SELECT FROM input(...) is not implemented here: insert into a table and "
            "select from it (NOT_IMPLEMENTED)",
        )
    named = {name: value for name, value in parameters.items() if name.startswith("param_")}
    settings = {
        name: value
        for name, value in parameters.items()
        if name not in TRANSPORT_PARAMETERS and name not in named
    }
    database = parameters.get("database") or headers.get("X-ClickHouse-Database", "")
    wanted_format = parameters.get("default_format") or headers.get("X-ClickHouse-Format")
    return Job(
        query_id=parameters.get("query_id") or str(uuid.uuid4()),
        statement=statement,
        insert=insert,
        database=database,
        default_format=wanted_format or "TabSeparated",
        settings=settings,
        parameters={name.removeprefix("param_"): value for name, value in named.items()},
        session=_session(parameters),
        read_only=is_get or parameters.get("readonly", "0") != "0",
    )


def _refuse_unsupported(parameters: Mapping[str, str]) -> None:
    for name in ("compress", "decompress"):
        if parameters.get(name, "0") != "0":
            raise Refused(
                501,
                NOT_IMPLEMENTED,
                f"'{name}' (ClickHouse's own framing) is not implemented here: use "
                f"Content-Encoding and Accept-Encoding (NOT_IMPLEMENTED)",
            )


def _session(parameters: Mapping[str, str]) -> Session | None:
    name = parameters.get("session_id")
    if not name:
        return None
    session = Session(
        name,
        must_exist=parameters.get("session_check", "0") == "1",
        close=parameters.get("close_session", "0") == "1",
    )
    seconds = parameters.get("session_timeout")
    if seconds is None:
        return session
    if not seconds.isascii() or not seconds.isdigit():
        raise Refused(400, BAD_ARGUMENTS, f"Invalid session timeout: '{seconds[:40]}'")
    return replace(session, seconds=int(seconds[:9]))
