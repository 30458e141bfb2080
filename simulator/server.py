"""The simulator as a whole: one port per venue, one control port, one task that drives the markets.

Everything runs on one event loop. `Simulator` is the public entry for programs and tests; the
command line is in `simulator.__main__`.
"""

import asyncio
import time
from types import TracebackType
from typing import Self

from aiohttp import WSCloseCode, web

from simulator.control import Control
from simulator.injector import KINDS, Injector, possible_kinds
from simulator.prices import FairPrices
from simulator.settings import Settings, SettingsError
from simulator.truth import Truth
from simulator.venue import Venue
from simulator.venues.binance import Binance
from simulator.venues.deribit import Deribit
from simulator.venues.kraken import Kraken

TICK_S = 0.004  # shortest sleep between two rounds of market events
WORK_S = 0.02  # longest work on market events before sockets are served
TEND_S = 0.05  # how often protocols look at the clock
FLUSH_S = 0.1  # how often deliveries are written to the truth
LAG_S_MAX = 1.0  # a backlog older than this is left out: the markets' time stops for that long
REOPEN_S = 10.0  # how long to try to get a refused venue's port back
CLOSE_S = 3.0  # time for clean goodbyes when stopping
SOCKET_PATHS = {"deribit": "/ws/api/v2", "binance": "/ws", "kraken": "/v2"}
REST_PATHS = {"deribit": "/api/v2", "binance": "/api/v3", "kraken": "/0"}


class Simulator:
    """Venues with a known truth, behind ports of this machine.

    `addresses` holds, once started, per venue `websocket_url` and `rest_url` as the settings of an
    exchange want them, `rest_api` with the path that other clients want, `port` and `symbols`.
    """

    def __init__(self, settings: Settings) -> None:
        """Check what can be checked before anything opens; raises SettingsError."""
        unknown = [kind for kind in settings.fault_kinds if kind not in KINDS]
        if unknown:
            raise SettingsError(f"fault_kinds: {unknown[0]!r} is not one of {', '.join(KINDS)}")
        if settings.fault_kinds and not settings.faults_per_minute:
            raise SettingsError("fault_kinds says which: it needs faults_per_minute above 0")
        if settings.fault_kinds and not possible_kinds(settings.fault_kinds, settings.venues()):
            raise SettingsError("fault_kinds: corrupt_checksum needs the venue kraken")
        self.settings = settings
        self.venues: dict[str, Venue] = {}
        self.addresses: dict[str, dict[str, object]] = {}
        self.control_url = ""
        self._runners: dict[str, web.AppRunner] = {}
        self._sites: dict[str, web.TCPSite] = {}
        self._ports: dict[str, int] = {}
        self._listening = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._truth: Truth | None = None
        self.injector: Injector | None = None

    async def start(self) -> None:
        """Open the truth, the markets and the ports.

        Raises SettingsError or OSError, with everything closed again.
        """
        try:
            await self._open()
        except BaseException:
            await self.stop()
            raise

    async def _open(self) -> None:
        settings = self.settings
        self._truth = Truth(settings)
        prices = FairPrices(settings.seed, settings.market.volatility)
        made = {"deribit": Deribit, "binance": Binance, "kraken": Kraken}
        for name, own in settings.venues().items():
            self.venues[name] = made[name](settings, own, self._truth, prices)
        self.injector = Injector(
            self.venues,
            seed=settings.seed,
            file=settings.folder / "ledger.jsonl",
            listen=self._listen,
        )
        self.control = Control(self.venues, self.injector, self._truth, settings.seed)
        for name, venue in self.venues.items():
            port = await self._serve(name, venue.app)
            self.addresses[name] = {
                "websocket_url": f"ws://{settings.host}:{port}{SOCKET_PATHS[name]}",
                "rest_url": f"http://{settings.host}:{port}",
                "rest_api": f"http://{settings.host}:{port}{REST_PATHS[name]}",
                "port": port,
                "symbols": list(venue.markets),
            }
        port = await self._serve("control", self.control.app)
        self.control_url = f"http://{settings.host}:{port}"
        self._tasks.append(asyncio.create_task(self._drive(), name="drive the markets"))
        if settings.faults_per_minute:
            schedule = self.injector.follow_schedule(
                settings.faults_per_minute, settings.fault_kinds
            )
            self._tasks.append(asyncio.create_task(schedule, name="inject faults"))

    def describe(self) -> dict[str, object]:
        """Return the addresses and the seed, for the line that says that all is ready."""
        return {
            "ready": True,
            "seed": self.settings.seed,
            "folder": str(self.settings.folder),
            "venues": self.addresses,
            "control": self.control_url,
        }

    async def failed(self) -> None:
        """Wait until something that must not end has ended, and raise what ended it."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def stop(self) -> None:
        """Stop the markets, say goodbye to every socket, close the ports and the truth."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self.injector is not None:
            await self.injector.close()
        await self._say_goodbye()
        for runner in self._runners.values():
            await runner.cleanup()
        self._runners.clear()
        if self._truth is not None:
            self._truth.close()
            self._truth = None

    async def _say_goodbye(self) -> None:
        goodbyes: list[asyncio.Task[None]] = []
        for venue in self.venues.values():
            for connection in venue.connections.values():
                venue.announce(connection)
                farewell = connection.close(WSCloseCode.GOING_AWAY, "going away")
                goodbyes.append(asyncio.create_task(farewell))
        if goodbyes:
            await asyncio.wait(goodbyes, timeout=CLOSE_S)

    async def __aenter__(self) -> Self:
        """Start."""
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        await self.stop()

    # Ports

    async def _serve(self, name: str, app: web.Application) -> int:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        self._runners[name] = runner
        self._ports[name] = self.settings.ports.get(name, 0)
        await self._listen(name, True)
        addresses = runner.addresses
        self._ports[name] = int(addresses[0][1])
        return self._ports[name]

    async def _listen(self, name: str, wanted: bool) -> None:
        """Open or close the listening socket of a venue; its sockets stay as they are."""
        async with self._listening:
            site = self._sites.pop(name, None)
            if site is not None:
                await site.stop()
            if wanted:
                self._sites[name] = await self._open_site(name)

    async def _open_site(self, name: str) -> web.TCPSite:
        runner, port = self._runners[name], self._ports[name]
        again = name in self.addresses  # the port was ours: a client may hold it for a moment
        deadline = asyncio.get_running_loop().time() + (REOPEN_S if again else 0.0)
        while True:
            site = web.TCPSite(runner, self.settings.host, port, reuse_address=True)
            try:
                await site.start()
            except OSError:
                await site.stop()
                if asyncio.get_running_loop().time() >= deadline:
                    raise
                await asyncio.sleep(TEND_S)
            else:
                return site

    # The driving task

    async def _drive(self) -> None:
        assert self._truth is not None, "driven only while open"
        loop = asyncio.get_running_loop()
        venues = list(self.venues.values())
        origin = loop.time()
        tend_due = flush_due = origin
        while True:
            now = loop.time()
            deadline = time.monotonic() + WORK_S
            for venue in venues:
                venue.run(now - origin, deadline)
            if now >= tend_due:
                tend_due = now + TEND_S
                for venue in venues:
                    for connection in list(venue.connections.values()):
                        if not connection.halted:
                            venue.tend(connection, now)
            if now >= flush_due:
                flush_due = now + FLUSH_S
                self._truth.flush()
            due = min(venue.next_due for venue in venues)
            behind = loop.time() - origin - due
            if behind > LAG_S_MAX:
                origin += behind
                self.control.skipped_s += behind
            await asyncio.sleep(0 if behind > WORK_S else min(max(-behind, TICK_S), TEND_S))
