"""ClickHouse's HTTP protocol in front of the engine, for one process on the loopback.

Bodies are received whole and results are made whole, on disk above a size, before either goes on:
a status is therefore always true, and a summary complete. A bounded number of threads run
statements; what finds no place among the waiting is refused, to be tried again.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from aiohttp import BodyPartReader, hdrs, web

from infra.local.clickhouse.answer import add_headers, compress, content_type, error_status
from infra.local.clickhouse.body import PIECE_BYTES, BodyError, Spool, new_spool, receive
from infra.local.clickhouse.engine import QUERY_BYTES_MAX, Engine, Job, Outcome
from infra.local.clickhouse.request import (
    FORM_FIELD_BYTES_MAX,
    LOOPBACK_NAMES,
    Account,
    Refused,
    make_job,
    refuse_other_sites,
)
from infra.local.clickhouse.sessions import EngineError

log = logging.getLogger(__name__)

URI_BYTES_MAX = 1 << 20
HEADER_BYTES_MAX = 64 << 10
FORM_FIELDS_MAX = 1000
STOP_SECONDS = 20.0
CANCEL_SECONDS = 0.5
TOO_MANY_SIMULTANEOUS_QUERIES = 202
NOT_IMPLEMENTED = 48


@dataclass(frozen=True)
class Limits:
    """What one process takes on: bytes of a body after decompression, statements at once."""

    body_bytes_max: int = 1 << 30
    threads: int = 8
    waiting_max: int = 64


class Server:
    """Requests in, responses out."""

    def __init__(
        self,
        engine: Engine,
        scratch: Path,
        account: Account,
        limits: Limits,
        names: Collection[str] = LOOPBACK_NAMES,
    ) -> None:
        """Take what requests need; `names` are the hosts they may be addressed to."""
        self._engine = engine
        self._scratch = scratch
        self._account = account
        self._limits = limits
        self._names = names
        self._threads = ThreadPoolExecutor(limits.threads, thread_name_prefix="statement")
        self._running = 0

    def application(self) -> web.Application:
        """The routes of a ClickHouse server."""
        application = web.Application()
        application.add_routes(
            [
                web.get("/ping", self._ping),
                web.get("/", self._get),
                web.post("/", self._post),
            ]
        )
        return application

    async def listen(self, host: str, port: int) -> web.AppRunner:
        """Start to serve; the returned runner's cleanup stops, letting requests finish."""
        runner = web.AppRunner(
            self.application(),
            access_log=None,
            # Encodings are ours to undo, frame by frame.
            auto_decompress=False,
            max_line_size=URI_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            handler_cancellation=True,
            shutdown_timeout=STOP_SECONDS,
        )
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        return runner

    def close(self) -> None:
        """Wait for the last statement, then close the engine."""
        self._threads.shutdown(wait=True)
        self._engine.close()

    async def _ping(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text="Ok.\n")

    async def _get(self, request: web.Request) -> web.StreamResponse:
        if not request.query_string:
            return await self._ping(request)
        return await self._serve(request, is_get=True)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, is_get=False)

    async def _serve(self, request: web.Request, *, is_get: bool) -> web.StreamResponse:
        parameters: dict[str, str] = dict(request.query)
        try:
            refuse_other_sites(request.headers, self._names)
            self._account.admit(request.headers, parameters)
            with new_spool(self._scratch) as data, new_spool(self._scratch) as result:
                parameters |= await self._receive(request, parameters, data)
                job = make_job(parameters, request.headers, _head(data), is_get)
                data.seek(job.insert.data_at if job.insert else 0)
                outcome = await self._run(job, data, result)
                return await self._answer(request, job, outcome, parameters, result)
        except Refused as error:
            return self._failure(error.status, error.code, str(error), parameters)
        except BodyError as error:
            return self._failure(error_status(error.code), error.code, str(error), parameters)
        except EngineError as error:
            return self._failure(error_status(error.code), error.code, str(error), parameters)

    async def _receive(
        self, request: web.Request, parameters: Mapping[str, str], data: Spool
    ) -> dict[str, str]:
        """Fill the spool with the query parameter and the body; returns the fields of a form."""
        fields = {}
        pieces: AsyncIterator[bytes] = request.content.iter_any()
        encoding = request.headers.get(hdrs.CONTENT_ENCODING, "").lower()
        if request.content_type == "multipart/form-data":
            fields = await _form_fields(request)
            pieces, encoding = _no_pieces(), ""
        query = {**parameters, **fields}.get("query")
        if query is not None:
            # A statement in the URL stands before the body, as on its own line.
            data.write(query.encode() + b"\n")
        await receive(pieces, encoding, data, self._limits.body_bytes_max)
        return fields

    async def _run(self, job: Job, data: Spool, result: Spool) -> Outcome:
        if self._running >= self._limits.threads + self._limits.waiting_max:
            raise Refused(
                503,
                TOO_MANY_SIMULTANEOUS_QUERIES,
                f"Too many simultaneous queries. Maximum: {self._running} "
                f"(TOO_MANY_SIMULTANEOUS_QUERIES)",
            )
        self._running += 1
        statement = self._threads.submit(self._engine.run, job, data, result)
        finished = asyncio.wrap_future(statement)
        try:
            return await asyncio.shield(finished)
        except asyncio.CancelledError:
            # The client went away. An insert that is whole goes on; a query that runs is stopped,
            # and the spools stay open until its thread has done with them.
            while not statement.cancel() and not statement.done():
                if job.insert is None:
                    await asyncio.to_thread(self._engine.cancel, job.query_id)
                await asyncio.wait([finished], timeout=CANCEL_SECONDS)
            raise
        finally:
            self._running -= 1

    async def _answer(
        self,
        request: web.Request,
        job: Job,
        outcome: Outcome,
        parameters: Mapping[str, str],
        result: Spool,
    ) -> web.StreamResponse:
        response = web.StreamResponse()
        add_headers(response.headers, self._engine, job.query_id)
        response.headers["X-ClickHouse-Summary"] = summary(outcome)
        if outcome.result_format is not None:
            response.headers["X-ClickHouse-Format"] = outcome.result_format
        response.headers[hdrs.CONTENT_TYPE] = content_type(outcome.result_format)
        accepted = request.headers.get(hdrs.ACCEPT_ENCODING, "")
        if parameters.get("enable_http_compression", "1") != "1":
            accepted = ""
        size = result.tell()
        result.seek(0)
        encoding, pieces = compress(iter(lambda: result.read(PIECE_BYTES), b""), accepted, size)
        if encoding:
            response.headers[hdrs.CONTENT_ENCODING] = encoding
        else:
            response.content_length = size
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        await response.write_eof()
        return response

    def _failure(
        self, status: int, code: int, message: str, parameters: Mapping[str, str]
    ) -> web.Response:
        text = f"Code: {code}. DB::Exception: {message} (version {self._engine.version} (chDB))\n"
        response = web.Response(status=status, text=text)
        add_headers(response.headers, self._engine, parameters.get("query_id", ""))
        response.headers["X-ClickHouse-Exception-Code"] = str(code)
        log.info("refused or failed: %r", text[:200])
        return response


def summary(outcome: Outcome) -> str:
    """Counts as the header X-ClickHouse-Summary has them."""
    counts = {
        "read_rows": outcome.read_rows,
        "read_bytes": outcome.read_bytes,
        "written_rows": outcome.written_rows,
        "written_bytes": outcome.written_bytes,
        "total_rows_to_read": outcome.read_rows,
        "result_rows": outcome.written_rows or outcome.result_rows,
        "result_bytes": outcome.written_bytes,
        "elapsed_ns": outcome.elapsed_ns,
    }
    return json.dumps({name: str(count) for name, count in counts.items()}, separators=(",", ":"))


def _head(data: Spool) -> bytes:
    """The beginning of the data, long enough to hold any statement and show when it is too long."""
    head = data.read(QUERY_BYTES_MAX + 1)
    data.seek(0)
    return head


async def _form_fields(request: web.Request) -> dict[str, str]:
    fields: dict[str, str] = {}
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None:
            raise Refused(400, NOT_IMPLEMENTED, "a form holds plain fields only")
        if part.filename is not None:
            raise Refused(
                501, NOT_IMPLEMENTED, "external tables are not implemented here (NOT_IMPLEMENTED)"
            )
        value = bytearray()
        while piece := await part.read_chunk():
            value += piece
            if len(value) > FORM_FIELD_BYTES_MAX + 1 or len(fields) >= FORM_FIELDS_MAX:
                raise Refused(400, NOT_IMPLEMENTED, "a form or a field of it is too large")
        fields[part.name] = value.decode(errors="surrogateescape")
    return fields


async def _no_pieces() -> AsyncIterator[bytes]:
    return
    yield
