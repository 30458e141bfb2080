"""REST requests to one exchange, in their turn: paced, bounded in time and size.

All lines of an exchange share one pacer, because exchanges count requests by address. When the
exchange asks to wait, nobody asks until then. The answer is returned as bytes, unchanged.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

import aiohttp

from producers.metrics import ProducerMetrics
from producers.pacer import Pacer
from producers.websocket import retry_after_s

_NS_PER_S: Final = 1_000_000_000
_BUSY_STATUSES: Final = frozenset({418, 429, 503})
_BUSY_S: Final = 10.0
"""Wait when the exchange is busy and does not say for how long, s."""
_BANNED_S: Final = 120.0
"""Wait when the exchange has banned the address (418) and does not say for how long, s."""
_RETRY_AFTER_S_MAX: Final = 3600.0
_BAN_S_MAX: Final = 3 * 86_400.0
"""Binance bans for up to three days, longer each time that a banned address asks, s."""


class RestError(Exception):
    """A request failed; `not_before` is when the exchange may be asked again, monotonic ns."""

    def __init__(self, reason: str, not_before: int = 0) -> None:
        super().__init__(reason)
        self.not_before = not_before


class RestClient:
    """Gets pages of one exchange; use it as an asynchronous context."""

    def __init__(
        self,
        exchange: str,
        pacer: Pacer,
        *,
        timeout_s: float,
        bytes_max: int,
        metrics: ProducerMetrics,
    ) -> None:
        self._exchange = exchange
        self._pacer = pacer
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._bytes_max = bytes_max
        self._metrics = metrics
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=self._timeout,
            headers={"User-Agent": "streamgauge"},
            # A cookie would tie unrelated requests together.
            cookie_jar=aiohttp.DummyCookieJar(),
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

    async def get(self, url: str, started: Callable[[], None], *, urgent: bool = True) -> bytes:
        """Return the body of a page; `started` is called when the request's turn has come.

        What is not `urgent` waits until nothing else does.

        Raises:
            RestError: it could not be had.
        """
        waited = await self._pacer.turn(urgent=urgent)
        self._metrics.rest_wait.labels(self._exchange).inc(waited / _NS_PER_S)
        started()
        try:
            body = await self._get(url)
        except RestError as error:
            self._count("busy" if error.not_before else "failed")
            raise
        self._count("ok")
        return body

    async def _get(self, url: str) -> bytes:
        assert self._session is not None
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                body = await self._body(response)
        except TimeoutError as error:
            raise RestError(f"no answer in {self._timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise RestError(f"{type(error).__name__}: {error}"[:200]) from error
        if response.status == 200:
            return body
        text = body[:120].decode(errors="replace")
        reason = f"HTTP {response.status} {response.reason}: {text}"
        raise RestError(reason, self._retry_at(response))

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(1 << 16):
            body += chunk
            if len(body) > self._bytes_max:
                raise RestError(f"a body of more than {self._bytes_max} bytes")
        return bytes(body)

    def _retry_at(self, response: aiohttp.ClientResponse) -> int:
        """Return when the exchange may be asked again, and let nobody ask before."""
        if response.status not in _BUSY_STATUSES:
            return 0
        is_banned = response.status == 418
        usual = _BANNED_S if is_banned else _BUSY_S
        most = _BAN_S_MAX if is_banned else _RETRY_AFTER_S_MAX
        wait = retry_after_s(response.headers.get("Retry-After", ""), most) or usual
        return self._pacer.block(wait)

    def _count(self, outcome: str) -> None:
        self._metrics.rest_requests.labels(self._exchange, outcome).inc()
