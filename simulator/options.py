"""Settings from the options of a command line, shared by `python -m simulator` and `streamgauge`.

Texts in, frozen settings out; a wrong one is a SettingsError that names the option.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from simulator.settings import (
    VENUES,
    BinanceSettings,
    DeribitSettings,
    KrakenSettings,
    MarketSettings,
    Settings,
    SettingsError,
)

SYMBOLS = 10  # per venue
RATE = 300.0  # book events per second over all venues


def ports(base: int) -> dict[str, int]:
    """Return consecutive ports from `base`: deribit, binance, kraken, control; base 0 means any."""
    if not base:
        return {}
    return {name: base + place for place, name in enumerate((*VENUES, "control"))}


def per_venue(option: str, values: Sequence[str], served: Sequence[str]) -> dict[str, float]:
    """Return numbers by venue from texts like `20` (key "") and `binance=200`."""
    found: dict[str, float] = {}
    for text in values:
        name, _, number = text.rpartition("=")
        if name and name not in served:
            raise SettingsError(f"{option} {text}: {name!r} is not one of {', '.join(served)}")
        try:
            found[name] = float(number)
        except ValueError:
            raise SettingsError(f"{option} {text}: expected a number or VENUE=NUMBER") from None
    return found


def span(option: str, text: str) -> tuple[int, int]:
    """Return two whole numbers from a text like `6-20`."""
    least, _, most = text.partition("-")
    try:
        return int(least), int(most or least)
    except ValueError:
        raise SettingsError(f"{option} {text}: expected LEAST-MOST, such as 6-20") from None


def names(text: str) -> tuple[str, ...]:
    """Return the parts of a comma-separated text."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def settings_of(
    *,
    folder: Path,
    port_base: int = 0,
    seed: int = 1,
    venues: str = ",".join(VENUES),
    symbols: Sequence[str] = (),
    rate: Sequence[str] = (),
    market: MarketSettings | None = None,
    touched: str = "6-20",
    faults_per_minute: float = 0.0,
    fault_kinds: str = "",
) -> Settings:
    """Return the settings that the options ask for.

    A rate without a venue is the total, shared evenly by the venues that have none of their own.
    """
    served = names(venues)
    for name in served:
        if name not in VENUES:
            raise SettingsError(f"--venues: {name!r} is not one of {', '.join(VENUES)}")
    counts = per_venue("--symbols", symbols, served)
    rates = per_venue("--rate", rate, served)
    sharing = [name for name in served if name not in rates]
    share = rates.get("", RATE) / max(1, len(sharing))

    def of(name: str) -> dict[str, float]:
        count = counts.get(name, counts.get("", SYMBOLS))
        if count != int(count):
            raise SettingsError(f"--symbols must be whole numbers, got {count}")
        return {"symbols": int(count), "rate": rates.get(name, share)}

    least, most = span("--touched", touched)
    return Settings(
        seed=seed,
        folder=folder,
        ports=ports(port_base),
        deribit=DeribitSettings(**of("deribit")) if "deribit" in served else None,  # type: ignore[arg-type]
        binance=BinanceSettings(**of("binance")) if "binance" in served else None,  # type: ignore[arg-type]
        kraken=KrakenSettings(**of("kraken")) if "kraken" in served else None,  # type: ignore[arg-type]
        market=replace(market or MarketSettings(), touched_min=least, touched_max=most),
        faults_per_minute=faults_per_minute,
        fault_kinds=names(fault_kinds),
    )
