"""`streamgauge simulate`: exchanges whose truth is known, or recorded frames played like one.

Only the command line: options in, addresses and counters out. A person sees a table that counts, a
program sees one JSON line when all is ready.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from infra.cli.failures import Failure, WrongSettings
from simulator import options
from simulator.running import run, run_tape
from simulator.server import Simulator
from simulator.settings import VENUES, MarketSettings, SettingsError
from simulator.tape import TapeServer

_REFRESH_S = 1.0
_MARKET = MarketSettings()


@click.command(name="simulate")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("var/simulator"),
    show_default=True,
    help="Truth and ledger; a second start continues them.",
)
@click.option(
    "--port-base",
    type=click.IntRange(0, 65_532),
    default=0,
    help="First of four ports: deribit, binance, kraken, control; 0 takes free ones.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of markets and faults.")
@click.option("--venues", default=",".join(VENUES), show_default=True, help="Which to serve.")
@click.option(
    "--symbols",
    multiple=True,
    help=f"N for every venue, or VENUE=N; repeatable.  [default: {options.SYMBOLS}]",
)
@click.option(
    "--rate",
    multiple=True,
    help=f"Book events/s in total, or VENUE=R; repeatable.  [default: {options.RATE:g}]",
)
@click.option("--levels", default=_MARKET.levels, show_default=True, help="Price levels a side.")
@click.option("--touched", default="6-20", show_default=True, help="Levels that one event changes.")
@click.option(
    "--trade-share",
    default=_MARKET.trade_share,
    show_default=True,
    help="Share of events that trade.",
)
@click.option(
    "--volatility",
    default=_MARKET.volatility,
    show_default=True,
    help="Standard deviation of the price over a second, as a share of it.",
)
@click.option(
    "--burst-factor", default=_MARKET.burst_factor, show_default=True, help="Rate in a burst."
)
@click.option("--burst-period", default=_MARKET.burst_period_s, show_default=True, help="Seconds.")
@click.option("--faults-per-minute", default=0.0, show_default=True, help="Random faults.")
@click.option(
    "--fault-kinds", default="", help="Of the random faults, comma-separated; otherwise all."
)
@click.option(
    "--tape",
    "tapes",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="Play this frames-tsv file instead; repeatable.",
)
@click.option("--speed", default=1.0, show_default=True, help="Of tapes; 0 is without pauses.")
def command(
    folder: Path,
    port_base: int,
    seed: int,
    venues: str,
    symbols: tuple[str, ...],
    rate: tuple[str, ...],
    levels: int,
    touched: str,
    trade_share: float,
    volatility: float,
    burst_factor: float,
    burst_period: float,
    faults_per_minute: float,
    fault_kinds: str,
    tapes: tuple[Path, ...],
    speed: float,
) -> None:
    """Run simulated exchanges until Ctrl-C.

    Deribit, Binance spot and Kraken speak their protocols over WebSockets and REST. The control
    port tells what is true (/truth/trades, /truth/books, /truth/ledger, /truth/status) and takes
    faults (POST /inject): GET / lists its paths, docs/simulator.md explains them.
    """
    try:
        if tapes:
            run_tape(TapeServer(list(tapes), speed=speed, port=port_base), show_tapes)
            return
        market = MarketSettings(
            levels=levels,
            trade_share=trade_share,
            volatility=volatility,
            burst_factor=burst_factor,
            burst_period_s=burst_period,
        )
        settings = options.settings_of(
            folder=folder,
            port_base=port_base,
            seed=seed,
            venues=venues,
            symbols=symbols,
            rate=rate,
            market=market,
            touched=touched,
            faults_per_minute=faults_per_minute,
            fault_kinds=fault_kinds,
        )
        run(settings, watch if sys.stdout.isatty() else show)
    except SettingsError as error:
        raise WrongSettings(str(error)) from error
    except OSError as error:
        raise Failure(f"cannot listen: {error.strerror or error}") from error


def show(simulator: Simulator) -> None:
    """Print all addresses as one JSON line."""
    click.echo(json.dumps(simulator.describe()))


def show_tapes(server: TapeServer) -> None:
    """Print where the tapes are played, as one JSON line."""
    click.echo(json.dumps(server.describe()))


async def watch(simulator: Simulator) -> None:
    """Show addresses and counters until cancelled."""
    console = Console()
    seen: dict[str, int] = {}
    since = time.monotonic()
    with Live(console=console, auto_refresh=False) as live:
        while True:
            now = time.monotonic()
            live.update(table(simulator, seen, max(now - since, 1e-3)), refresh=True)
            since = now
            await asyncio.sleep(_REFRESH_S)


def table(simulator: Simulator, seen: dict[str, int], elapsed_s: float) -> Table:
    """Return the counters of all venues; `seen` remembers frames for the rate per second."""
    shown = Table(title=f"simulated exchanges, seed {simulator.settings.seed}", title_style="bold")
    for heading in ("venue", "WebSocket", "symbols", "sockets", "frames/s", "trades"):
        left = heading in ("venue", "WebSocket")
        shown.add_column(heading, justify="left" if left else "right", overflow="fold")
    for name, venue in simulator.venues.items():
        sent = sum(venue.sent.values())
        rate = (sent - seen.get(name, sent)) / elapsed_s
        seen[name] = sent
        shown.add_row(
            f"[bold]{name}[/bold]",
            str(simulator.addresses[name]["websocket_url"]),
            str(len(venue.markets)),
            str(len(venue.connections)),
            f"{rate:,.0f}",
            f"{venue.counts['trades']:,}",
        )
    shown.caption = f"truth and faults: {simulator.control_url}   Ctrl-C ends"
    return shown
