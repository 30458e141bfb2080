"""Settings of the simulator: every limit, rate and protocol constant an operator may change.

Read once, frozen, checked when made. Nothing here reads the environment or a file.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

VENUES = ("deribit", "binance", "kraken")


class SettingsError(ValueError):
    """A setting is wrong: the text names the key and says what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueSettings:
    """What every venue has.

    `rate` counts book events per second over all symbols of the venue; an event is one frame on
    an unaggregated channel. Channels of 100 ms send at most ten frames per second and symbol, and
    events are spread so that up to that rate one event is one frame.
    """

    symbols: int = 5  # instruments listed, the first ones of the venue's catalogue
    rate: float = 100.0  # book events per second, all symbols together
    connections_max: int = 1024  # open sockets; the next handshake gets HTTP 429
    attempts_max: int = 100_000  # handshakes per client address within attempts_window_s
    attempts_window_s: float = 300.0
    outbox_bytes_max: int = 64 << 20  # unsent bytes of one socket before it is aborted as too slow


@dataclass(frozen=True, slots=True, kw_only=True)
class DeribitSettings(VenueSettings):
    """Deribit's limits; the defaults are those of its documentation."""

    connections_max: int = 32
    heartbeat_s_min: float = 10.0  # smallest interval that public/set_heartbeat accepts
    credits_max: float = 50_000.0
    credits_per_s: float = 10_000.0
    credits_per_request: float = 500.0
    subscribe_credits_max: float = 30_000.0
    subscribe_credits_per_s: float = 10_000.0
    subscribe_credits_per_request: float = 3_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BinanceSettings(VenueSettings):
    """Binance's limits; the defaults are those of its documentation."""

    attempts_max: int = 300
    ping_interval_s: float = 20.0
    pong_timeout_s: float = 60.0
    lifetime_s: float = 86_400.0  # age at which a socket is closed
    messages_per_s_max: int = 5  # incoming frames, pings and pongs included
    streams_max: int = 1024  # streams per socket
    weight_per_minute_max: int = 6000  # REST weight per client address and minute


@dataclass(frozen=True, slots=True, kw_only=True)
class KrakenSettings(VenueSettings):
    """Kraken's limits; the attempts are from memory of its operators, not documented."""

    attempts_max: int = 150
    attempts_window_s: float = 600.0
    heartbeat_s: float = 1.0  # silence after which a subscribed socket gets a heartbeat
    idle_s: float = 60.0  # a socket without subscriptions is closed after this silence


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketSettings:
    """How prices and orders move."""

    levels: int = 200  # price levels a side that the order flow aims at
    touched_min: int = 6  # levels changed by one event, least and most
    touched_max: int = 20
    trade_share: float = 0.2  # share of events in which an aggressor trades
    volatility: float = 1e-4  # standard deviation of the price over one second, as a share of it
    skew: float = 0.0  # Zipf exponent of activity over symbols; 0: all alike
    burst_factor: float = 1.0  # rate multiplier inside a burst
    burst_period_s: float = 30.0  # from the start of one burst to the next
    burst_length_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of one simulator."""

    seed: int = 1
    folder: Path = Path("var/simulator")  # truth and ledger; a second start continues it
    host: str = "127.0.0.1"
    ports: Mapping[str, int] = field(default_factory=dict)  # venue or "control" -> port; 0: any
    deribit: DeribitSettings | None = field(default_factory=DeribitSettings)  # None: not served
    binance: BinanceSettings | None = field(default_factory=BinanceSettings)
    kraken: KrakenSettings | None = field(default_factory=KrakenSettings)
    market: MarketSettings = field(default_factory=MarketSettings)
    faults_per_minute: float = 0.0  # random faults; 0: only those asked for
    fault_kinds: tuple[str, ...] = ()  # kinds of the random schedule; empty: all
    segment_bytes: int = 8 << 20  # a truth file grows to this and then starts anew with a keyframe
    segments_max: int = 256  # truth files kept per symbol; the oldest are deleted

    def __post_init__(self) -> None:
        """Raise SettingsError unless every value is in its range."""
        check(self)

    def venues(self) -> dict[str, VenueSettings]:
        """Return the settings of the venues that are served, by name."""
        named = {name: getattr(self, name) for name in VENUES}
        return {name: settings for name, settings in named.items() if settings is not None}


def check(settings: Settings) -> None:
    """Raise SettingsError for the first value out of range."""
    if settings.host != "127.0.0.1":
        raise SettingsError(f"host must be 127.0.0.1, got {settings.host!r}")
    served = settings.venues()
    if not served:
        raise SettingsError(f"at least one venue of {', '.join(VENUES)} must be served")
    for name, port in settings.ports.items():
        if name not in (*VENUES, "control"):
            raise SettingsError(f"ports.{name}: unknown name, allowed {', '.join(VENUES)}, control")
        if not 0 <= port <= 65_535:
            raise SettingsError(f"ports.{name} must be between 0 and 65535, got {port}")
    for name, venue in served.items():
        check_positive(name, venue)
    market = settings.market
    check_positive("market", market, may_be_zero=("trade_share", "volatility", "skew"))
    if market.touched_min > market.touched_max:
        raise SettingsError(
            f"market.touched_min must not exceed touched_max = {market.touched_max},"
            f" got {market.touched_min}"
        )
    if market.trade_share > 1:
        raise SettingsError(f"market.trade_share must be at most 1, got {market.trade_share}")
    if market.volatility > 0.01:
        raise SettingsError(f"market.volatility must be at most 0.01, got {market.volatility}")
    if market.burst_length_s > market.burst_period_s:
        raise SettingsError("market.burst_length_s must not exceed burst_period_s")
    if not 0 <= settings.faults_per_minute <= 6000:
        raise SettingsError(
            f"faults_per_minute must be between 0 and 6000, got {settings.faults_per_minute}"
        )
    if settings.segment_bytes < 1 << 16 or settings.segments_max < 2:
        raise SettingsError("segment_bytes must be at least 65536 and segments_max at least 2")


def check_positive(
    name: str, section: VenueSettings | MarketSettings, may_be_zero: tuple[str, ...] = ()
) -> None:
    """Raise SettingsError unless every number of a section is positive and finite."""
    for entry in fields(section):
        value = getattr(section, entry.name)
        if value == 0 and entry.name in may_be_zero:
            continue
        if not 0 < value < float("inf"):
            raise SettingsError(f"{name}.{entry.name} must be positive and finite, got {value}")
