"""The ClickHouse engine inside this process: statements in, bytes and counts out.

Every request has a handle of its own, so nothing that it sets outlives it; a named session keeps
its handle, and only what was set inside the session stays. The engine's own errors become
`EngineError`. It knows nothing of HTTP.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chdb

from infra.local.clickhouse.body import PIECE_BYTES, Spool
from infra.local.clickhouse.sessions import EngineError, Session, Sessions
from infra.local.clickhouse.statement import (
    Insert,
    first_word,
    has_word,
    output_format,
    tokens,
)

QUERY_BYTES_MAX = 256 << 10
RESULT_BYTES_MAX = 4 << 30
# A result that is made as a whole is in memory, as text several times larger than its columns.
WHOLE_RESULT_BYTES_MAX = 64 << 20

# Results of these formats may be made block by block; others have a head or a tail.
STREAMED_FORMATS = frozenset(
    {
        *("Native", "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV", "RowBinary"),
        *("JSONEachRow", "JSONLines", "NDJSON", "JSONCompactEachRow", "LineAsString"),
    }
)
READONLY = 164
RESULT_TOO_LARGE = 396
SYNTAX_ERROR = 62
UNKNOWN_EXCEPTION = 1002

_ERROR = re.compile(r"Code: (\d+)\. DB::Exception: (.*)", re.DOTALL)
_VERSION_TAIL = re.compile(r" \(version [\d.]+\)\.?$")
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")


@dataclass(frozen=True)
class Job:
    """One statement and how to run it."""

    query_id: str
    statement: bytes
    insert: Insert | None = None
    database: str = ""
    default_format: str = "TabSeparated"
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    session: Session | None = None
    read_only: bool = False


@dataclass
class Outcome:
    """Counts of one finished statement; the format is None where there is no result."""

    result_format: str | None = None
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0


class Engine:
    """The engine on one folder. Methods block and may be called from many threads."""

    def __init__(self, folder: Path, memory_mb: int) -> None:
        """Open a folder, created when missing.

        Raises:
            EngineError: it is open in another process, or is no ClickHouse folder.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._path = os.fspath(folder)
        self._base_settings = {
            # What a server has, unlike the engine's program for one's own files.
            "implicit_select": "0",
            "allow_introspection_functions": "0",
            "max_memory_usage": str(memory_mb << 20),
        }
        options = f"max_server_memory_usage={memory_mb << 20}&mark_cache_size={64 << 20}"
        with _translated():
            self._root = _connect(f"{self._path}?{options}")
        self._sessions = Sessions(self._open_session)
        names = "version(), timezone(), hostName()"
        row = _query(self._root, f"SELECT {names}", "TabSeparated").bytes().decode()
        self.version, self.timezone, self.host_name = row.rstrip("\n").split("\t")

    def close(self) -> None:
        """Close every handle, and with the last the engine."""
        self._sessions.close()
        self._root.close()

    def run(self, job: Job, data: Spool, result: Spool) -> Outcome:
        """Run a statement, reading an insert's rows from data and writing what it returns.

        Raises:
            EngineError: with ClickHouse's code.
        """
        started = time.monotonic_ns()
        with _translated(), self._handle(job) as handle:
            if job.insert is not None:
                outcome = _insert(handle, job, job.insert, data)
            else:
                outcome = _select(handle, job, result)
        outcome.elapsed_ns = time.monotonic_ns() - started
        return outcome

    def cancel(self, query_id: str) -> None:
        """Stop the query with this id, if it still runs."""
        condition = f"Settings['log_comment'] = {quote(_comment(query_id))}"
        with contextlib.suppress(EngineError), _translated():
            handle = _connect(self._path)
            try:
                _query(handle, f"KILL QUERY WHERE {condition} ASYNC", "Null")
            finally:
                handle.close()

    @contextlib.contextmanager
    def _handle(self, job: Job) -> Iterator[Any]:
        settings = {"log_comment": _comment(job.query_id), **job.settings}
        if job.insert is None and not _may_stream(job):
            settings.setdefault("max_result_bytes", str(WHOLE_RESULT_BYTES_MAX))
        if job.session is not None:
            with self._sessions.take(job.session) as handle, _borrowed(handle, job, settings):
                yield handle
            return
        handle = _connect(self._path)
        try:
            _set(handle, {**self._base_settings, **settings})
            if job.database:
                _query(handle, f"USE {quote(job.database, '`')}")
            yield handle
        finally:
            handle.close()

    def _open_session(self) -> Any:
        handle = _connect(self._path)
        _set(handle, self._base_settings)
        return handle


@contextlib.contextmanager
def _borrowed(handle: Any, job: Job, settings: Mapping[str, str]) -> Iterator[None]:
    """What the request brings is undone after it; what its statement sets stays."""
    names = ", ".join(quote(name) for name in settings)
    rows = _query(
        handle,
        "SELECT name, value, changed, currentDatabase() AS database FROM system.settings"
        f" WHERE name IN ({names})",
        "JSONEachRow",
    ).bytes()
    before = [json.loads(row) for row in rows.splitlines()]
    try:
        _set(handle, settings)
        if job.database:
            _query(handle, f"USE {quote(job.database, '`')}")
        yield
    finally:
        for setting in before:
            value = quote(setting["value"]) if setting["changed"] else "DEFAULT"
            _query(handle, f"SET {setting['name']} = {value}")
        if job.database and before and first_word(job.statement) != "USE":
            _query(handle, f"USE {quote(before[0]['database'], '`')}")


def _insert(handle: Any, job: Job, insert: Insert, data: Spool) -> Outcome:
    if job.read_only:
        raise _read_only_error()
    for name, value in job.parameters.items():
        _query(handle, f"SET param_{_setting_name(name)} = {quote(value)}")
    # The engine writes the format behind the statement, which may end in a comment.
    stream = handle.send_insert(insert.head + b"\n", insert.data_format)
    try:
        while piece := data.read(PIECE_BYTES):
            handle.insert_append(stream, piece)
    except BaseException:
        with contextlib.suppress(RuntimeError, UnicodeDecodeError):
            handle.insert_cancel(stream)
        raise
    done = handle.insert_done(stream)
    rows, size = done.rows_written(), done.bytes_written()
    return Outcome(read_rows=rows, read_bytes=size, written_rows=rows, written_bytes=size)


def _select(handle: Any, job: Job, result: Spool) -> Outcome:
    described = handle.classify_query(job.statement)
    if next(tokens(job.statement), None) is None:
        raise EngineError(SYNTAX_ERROR, "Syntax error: Empty query. (SYNTAX_ERROR)")
    if described["statement_count"] > 1:
        raise EngineError(SYNTAX_ERROR, "Syntax error (Multi-statements are not allowed)")
    returns_rows = described["query_class"].name == "READ_ONLY"
    if job.read_only and not returns_rows and first_word(job.statement) not in ("SET", "USE"):
        raise _read_only_error()
    write = _limited(result)
    if returns_rows and _may_stream(job):
        outcome = _stream(handle, job, write)
    else:
        done = _query(handle, job.statement, job.default_format, job.parameters)
        write(done.bytes())
        outcome = _counts(done)
    if returns_rows or result.tell():
        outcome.result_format = _result_format(job)
    return outcome


def _result_format(job: Job) -> str:
    return output_format(job.statement) or job.default_format


def _may_stream(job: Job) -> bool:
    """Whether the blocks of a result, one after another, are the whole result."""
    # Totals and extremes stand behind the blocks, and a stream ends before them.
    whole = has_word(job.statement, b"TOTALS") or "extremes" in job.settings
    is_select = first_word(job.statement) in ("SELECT", "WITH")
    return is_select and not whole and _result_format(job) in STREAMED_FORMATS


def _stream(handle: Any, job: Job, write: Callable[[bytes], object]) -> Outcome:
    """Block by block, so that a large result is never in memory as a whole."""
    total = Outcome()
    stream = handle.send_query(job.statement, job.default_format, params=dict(job.parameters))
    try:
        while (block := handle.streaming_fetch_result(stream)) is not None:
            counts = _counts(block)
            total.result_rows += counts.result_rows
            total.read_rows += counts.read_rows
            total.read_bytes += counts.read_bytes
            if not counts.result_rows:
                break
            write(block.bytes())
    except EngineError:
        handle.streaming_cancel_query(stream)
        raise
    return total


def _counts(done: Any) -> Outcome:
    return Outcome(
        read_rows=done.storage_rows_read(),
        read_bytes=done.storage_bytes_read(),
        written_rows=done.rows_written(),
        written_bytes=done.bytes_written(),
        result_rows=done.rows_read(),
    )


def _limited(result: Spool) -> Callable[[bytes], object]:
    def write(piece: bytes) -> None:
        if result.tell() + len(piece) > RESULT_BYTES_MAX:
            raise EngineError(
                RESULT_TOO_LARGE, f"Limit for result exceeded, max bytes: {RESULT_BYTES_MAX}"
            )
        result.write(piece)

    return write


def _connect(path: str) -> Any:
    """A handle of the engine: the raw one, which its Python wrapper has no inserts by pieces in."""
    return chdb._chdb.connect(path)  # type: ignore[attr-defined]  # its stub leaves it out


def _query(
    handle: Any,
    text: str | bytes,
    result_format: str = "Null",
    parameters: Mapping[str, str] | None = None,
) -> Any:
    return handle.query(text, result_format, params=dict(parameters or {}))


def _set(handle: Any, settings: Mapping[str, str]) -> None:
    pairs = (f"{_setting_name(name)} = {quote(value)}" for name, value in settings.items())
    _query(handle, f"SET {', '.join(pairs)}")


def _setting_name(name: str) -> str:
    if not _SETTING_NAME.fullmatch(name):
        raise EngineError(115, f"Unknown setting '{name[:100]}'. (UNKNOWN_SETTING)")
    return name


def _comment(query_id: str) -> str:
    """The mark by which a running query is found again."""
    return f"query_id={query_id}"


def _read_only_error() -> EngineError:
    return EngineError(
        READONLY,
        "Cannot execute query in readonly mode. For queries over HTTP, method GET implies "
        "readonly. You should use method POST for modifying queries. (READONLY)",
    )


def quote(text: str, mark: str = "'") -> str:
    """A string literal, or with a backtick an identifier."""
    escaped = text.replace("\\", "\\\\").replace(mark, f"\\{mark}")
    return f"{mark}{escaped}{mark}"


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """The engine's errors, which are RuntimeErrors with ClickHouse's text, as EngineErrors."""
    try:
        yield
    except RuntimeError as error:
        raise _engine_error(str(error)) from error
    except UnicodeDecodeError as error:
        # A message that quotes bytes of the statement which are not UTF-8.
        raise _engine_error(error.object.decode(errors="replace")) from error


def _engine_error(text: str) -> EngineError:
    match = _ERROR.search(text)
    if match is None:
        return EngineError(UNKNOWN_EXCEPTION, text)
    return EngineError(int(match.group(1)), _VERSION_TAIL.sub("", match.group(2).strip()))
