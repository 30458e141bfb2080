"""`python -m simulator`: run the venues until SIGTERM or Ctrl-C.

Prints one JSON line with all addresses when ready. Reads options only, no file and no environment.
"""

import argparse
import json
import sys
from pathlib import Path

from simulator import options
from simulator.running import run, run_tape
from simulator.server import Simulator
from simulator.settings import VENUES, MarketSettings, Settings, SettingsError
from simulator.tape import TapeServer


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    market = MarketSettings()
    made = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    add = made.add_argument
    add("--port-base", type=int, default=0, help="first of four ports; 0: any free ones")
    add("--folder", type=Path, default=Path("var/simulator"), help="truth and ledger")
    add("--seed", type=int, default=1)
    add("--venues", default=",".join(VENUES), help="comma-separated")
    add("--symbols", action="append", default=[], help="N per venue, or VENUE=N (repeatable)")
    add("--rate", action="append", default=[], help="book events/s in total, or VENUE=R")
    add("--levels", type=int, default=market.levels, help="price levels a side")
    add("--touched", default="6-20", help="levels changed per event, least-most")
    add("--trade-share", type=float, default=market.trade_share)
    add("--volatility", type=float, default=market.volatility)
    add("--burst-factor", type=float, default=market.burst_factor)
    add("--burst-period", type=float, default=market.burst_period_s, help="seconds")
    add("--faults-per-minute", type=float, default=0.0)
    add("--fault-kinds", default="", help="comma-separated; all when empty")
    add("--tape", action="append", default=[], type=Path, help="play this file instead")
    add("--speed", type=float, default=1.0, help="of tapes; 0: without pauses")
    return made


def settings_from(given: argparse.Namespace) -> Settings:
    """Return the settings of a command line; SettingsError when one is wrong."""
    return options.settings_of(
        folder=given.folder,
        port_base=given.port_base,
        seed=given.seed,
        venues=given.venues,
        symbols=given.symbols,
        rate=given.rate,
        touched=given.touched,
        faults_per_minute=given.faults_per_minute,
        fault_kinds=given.fault_kinds,
        market=MarketSettings(
            levels=given.levels,
            trade_share=given.trade_share,
            volatility=given.volatility,
            burst_factor=given.burst_factor,
            burst_period_s=given.burst_period,
        ),
    )


def announce(server: Simulator | TapeServer) -> None:
    """Print the line that says where everything is."""
    sys.stdout.write(json.dumps(server.describe()) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Run; the exit code is 0 after a signal, 2 for a wrong setting, 1 when a port is taken."""
    given = parser().parse_args()
    try:
        if given.tape:
            run_tape(TapeServer(given.tape, speed=given.speed, port=given.port_base), announce)
        else:
            run(settings_from(given), announce)
    except SettingsError as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
