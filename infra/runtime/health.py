"""Health of one process over HTTP: `/live`, `/ready` and `/metrics`, which has the checks, too.

A failed live check asks for a restart; a failed ready check asks for patience. Checks look at
what the process already knows: they connect to nothing and take no time.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec
from aiohttp import web
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from infra.runtime.metrics import CONTENT_TYPE, Metrics
from infra.runtime.settings import SettingsError

_CLOSE_TIMEOUT_S: Final = 2.0


class Verdict(msgspec.Struct, frozen=True):
    """What a check found; `detail` says it for people, in a few words."""

    ok: bool
    detail: str = ""


Check = Callable[[], Verdict]


class Health:
    """Named checks of one process."""

    def __init__(self, process: str) -> None:
        self.process = process
        self._live: dict[str, Check] = {}
        self._ready: dict[str, Check] = {}

    def add_live(self, name: str, check: Check) -> None:
        """Add a check whose failure means that only a restart helps."""
        self._live[name] = check

    def add_ready(self, name: str, check: Check) -> None:
        """Add a check whose failure means that no work is done now."""
        self._ready[name] = check

    def pages(self) -> dict[str, dict[str, Verdict]]:
        """Run every check once; by the page that shows it first."""
        return {"live": _verdicts(self._live), "ready": _verdicts(self._ready)}

    def live(self) -> dict[str, Verdict]:
        """Run the live checks."""
        return _verdicts(self._live)

    def ready(self) -> dict[str, Verdict]:
        """Run all checks: what should be restarted is not ready either."""
        return _verdicts(self._live | self._ready)


class HealthServer:
    """Serves a process' health. `port` is 0 for a free one; after `start` it is the real one."""

    def __init__(self, health: Health, metrics: Metrics, *, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.health = health
        metrics.registry.register(_CheckCollector(health))
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            SettingsError: the address cannot be listened on.
        """
        app = web.Application()
        app.router.add_get("/live", self._serve_live)
        app.router.add_get("/ready", self._serve_ready)
        app.router.add_get("/metrics", self._serve_metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=_CLOSE_TIMEOUT_S)
        await runner.setup()
        site = web.TCPSite(runner, self.host, self.port)
        try:
            await site.start()
        except OSError as error:
            await runner.cleanup()
            raise SettingsError(
                "runtime.health_port",
                f"cannot listen on {self.url}: {error.strerror or error}",
                allowed="a free port; 0 takes any; -1 serves no health",
            ) from error
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _serve_live(self, request: web.Request) -> web.Response:
        return self._response(self.health.live())

    async def _serve_ready(self, request: web.Request) -> web.Response:
        return self._response(self.health.ready())

    async def _serve_metrics(self, request: web.Request) -> web.Response:
        body = self._metrics.exposition()
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    def _response(self, verdicts: Mapping[str, Verdict]) -> web.Response:
        ok = all(verdict.ok for verdict in verdicts.values())
        answer = {"process": self.health.process, "ok": ok, "checks": verdicts}
        return web.Response(
            body=msgspec.json.encode(answer),
            status=200 if ok else 503,
            content_type="application/json",
            headers={"Cache-Control": "no-store"},
        )


def _verdicts(checks: Mapping[str, Check]) -> dict[str, Verdict]:
    return {name: check() for name, check in checks.items()}


class _CheckCollector(Collector):
    """The checks as metrics, for rules that alert on them."""

    def __init__(self, health: Health) -> None:
        self._health = health

    def collect(self) -> Iterable[Metric]:
        states = GaugeMetricFamily(
            "md_check_state",
            "1 while a check passes, 0 while it fails; page says what its failure means.",
            labels=["page", "check"],
        )
        for page, verdicts in self._health.pages().items():
            for name, verdict in verdicts.items():
                states.add_metric([page, name], float(verdict.ok))
        yield states
