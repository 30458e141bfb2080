"""Posting one request to a receiver, and what came of it in words that hold no secret."""

import os
import re
from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec

from core.notify.pace import Verdict, verdict
from infra.runtime.reasons import cause
from sinks.notify.formats import Request
from sinks.notify.options import Receiver

_BODY_BYTES_MAX: Final = 2048
_REASON_CHARACTERS: Final = 300
_SPACE: Final = re.compile(r"\s+")


class Answer(msgspec.Struct, frozen=True):
    """What came of a request; `retry_after_s` is what the receiver asks for, 0 for nothing."""

    verdict: Verdict
    reason: str
    retry_after_s: float = 0.0


class Post:
    """A session of HTTP for all receivers; use it as an asynchronous context."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        # The proxy of the environment, as every tool takes it; this machine is always direct.
        self._session = aiohttp.ClientSession(
            trust_env=True,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "streamgauge"},
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def send(self, receiver: Receiver, request: Request) -> Answer:
        """Post a request and return what came of it; no failure of the receiver's is raised."""
        assert self._session is not None, "used outside of its context"
        headers = dict(request.headers)
        if receiver.token:
            headers["Authorization"] = f"Bearer {receiver.token.reveal()}"
        try:
            async with self._session.post(
                receiver.address.reveal(),
                data=request.body,
                headers=headers,
                # A redirected POST would become a GET somewhere else.
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=receiver.timeout_s),
            ) as response:
                body = await response.content.read(_BODY_BYTES_MAX)
                found = verdict(response.status)
                text = _SPACE.sub(" ", body.decode(errors="replace")).strip()
                reason = f"HTTP {response.status}{f': {text}' if text else ''}"
                wait = _seconds(response.headers.get("Retry-After"))
        except TimeoutError:
            return Answer(
                Verdict.AWAY, f"no answer from {receiver.host} in {receiver.timeout_s:g} s"
            )
        except (aiohttp.ClientError, OSError) as error:
            reason = f"{receiver.host} cannot be reached: {_why(error)}"
            return Answer(Verdict.AWAY, _masked(reason, receiver))
        return Answer(found, _masked(reason, receiver)[:_REASON_CHARACTERS], wait)


def _why(error: Exception) -> str:
    """Return the system's words; what the client says besides may hold an address whole."""
    if isinstance(error, aiohttp.ClientConnectorError):
        inner = error.os_error
        # asyncio writes addresses of its own into the text of a failed connection.
        return os.strerror(inner.errno) if inner.errno else cause(str(inner))
    if isinstance(error, aiohttp.ClientSSLError | OSError):
        return cause(str(error))
    return type(error).__name__


def _masked(text: str, receiver: Receiver) -> str:
    """Return `text` without what a receiver may have repeated of its secrets."""
    for secret in (receiver.address, receiver.routing_key, receiver.token):
        if secret:
            text = text.replace(secret.reveal(), "***")
    return text


def _seconds(header: str | None) -> float:
    # The form with a date is left alone: our own wait is at least as polite.
    return float(header) if header and header.isascii() and header.isdigit() else 0.0
