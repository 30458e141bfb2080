"""The catalogues of instruments: names, tick sizes, size steps and price ranges as the venues
have them.

Fixed by venue and position, so the same symbol has the same steps in every run. Prices are starting
points only; nothing here changes while a simulator runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, product
from math import floor, log10

from simulator.settings import SettingsError

# Price in USD of one coin when the market opens.
COINS = {
    "BTC": 85_600.0, "ETH": 3_050.0, "SOL": 142.3, "XRP": 2.31, "DOGE": 0.1834, "ADA": 0.62,
    "LTC": 96.4, "LINK": 14.7, "AVAX": 24.1, "DOT": 4.9, "BCH": 512.0, "TRX": 0.29, "UNI": 7.9,
    "NEAR": 2.9, "ATOM": 6.1, "XLM": 0.31, "ALGO": 0.21, "FIL": 4.4, "AAVE": 214.0, "ICP": 8.7,
    "ETC": 22.8, "HBAR": 0.19, "INJ": 17.2, "OP": 1.4, "ARB": 0.52, "SUI": 3.1, "APT": 7.3,
    "GRT": 0.13, "SAND": 0.35, "MANA": 0.33, "CRV": 0.61, "LDO": 1.2, "SNX": 1.1, "COMP": 51.0,
    "YFI": 6_200.0, "ZEC": 48.0, "DASH": 27.5, "EOS": 0.64, "XTZ": 0.82, "KSM": 21.0,
}  # fmt: skip
# Value in USD of one unit of the other side of a pair.
QUOTES = {
    "USD": 1.0, "USDT": 1.0, "USDC": 1.0, "FDUSD": 1.0, "DAI": 1.0, "PYUSD": 1.0, "EUR": 1.16,
    "GBP": 1.33, "CHF": 1.22, "AUD": 0.66, "CAD": 0.72, "JPY": 0.0065, "TRY": 0.024, "BRL": 0.18,
    "MXN": 0.054, "PLN": 0.27, "ZAR": 0.057, "BTC": 85_600.0, "ETH": 3_050.0,
}  # fmt: skip
BINANCE_QUOTES = (
    "USDT", "USDC", "FDUSD", "EUR", "BTC", "ETH", "TRY", "BRL", "GBP", "AUD", "JPY", "MXN", "PLN",
    "ZAR",
)  # fmt: skip
KRAKEN_QUOTES = (
    "USD", "EUR", "USDT", "GBP", "AUD", "CAD", "CHF", "JPY", "USDC", "DAI", "PYUSD", "BTC", "ETH",
)  # fmt: skip
ORDER_USD = 5_000.0  # value of a typical order


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One instrument; prices and sizes inside the simulator count ticks and lots.

    A price of `n` ticks is `n * tick / 10**price_decimals`, a size of `n` lots is
    `n * lot / 10**size_decimals`.
    """

    venue: str
    symbol: str
    base: str
    quote: str
    settle: str
    kind: str  # spot, perpetual, future or option
    tick: int
    price_decimals: int
    lot: int
    size_decimals: int
    start: int  # opening price in ticks
    order_lots: int  # mean size of an order
    levels_max: int  # price levels a side that a market of this kind carries
    expiry_ms: int = 0
    strike: int = 0
    option: str = ""  # call or put


def catalogue(venue: str, count: int) -> tuple[Instrument, ...]:
    """Return the first `count` instruments of a venue; SettingsError when it has fewer."""
    listing = {"deribit": deribit, "binance": binance, "kraken": kraken}[venue]
    found = tuple(islice(listing(), count))
    if len(found) < count:
        raise SettingsError(f"{venue}.symbols must be at most {len(found)}, got {count}")
    return found


def deribit() -> Iterator[Instrument]:
    """Yield perpetuals, dated futures, linear perpetuals, then options."""
    inverse = {"BTC": (5, 1, 10), "ETH": (5, 2, 1)}  # tick, price decimals, contract in USD
    for coin, (tick, decimals, lot) in inverse.items():
        yield contract(f"{coin}-PERPETUAL", coin, "USD", coin, (tick, decimals), (lot, 0))
    for coin, name in product(inverse, EXPIRIES):
        tick, decimals, lot = inverse[coin]
        yield contract(
            f"{coin}-{name}", coin, "USD", coin, (tick, decimals), (lot, 0), expiry=EXPIRIES[name]
        )
    for coin, price in COINS.items():
        decimals = min(5, max(0, 4 - floor(log10(price))))
        size = (1, 3) if price > 1000 else (1, 1) if price > 20 else (1, 0)
        yield contract(f"{coin}_USDC-PERPETUAL", coin, "USDC", "USDC", (1, decimals), size)
    strikes = {"BTC": (60_000, 2_000), "ETH": (2_000, 100)}
    for name, step, coin, kind in product(EXPIRIES, range(41), inverse, ("call", "put")):
        first, distance = strikes[coin]
        yield option(coin, name, first + step * distance, kind)


# Last Fridays, 08:00 UTC, in milliseconds.
EXPIRIES = {
    "26MAR27": 1_806_048_000_000,
    "25JUN27": 1_813_910_400_000,
    "24SEP27": 1_821_772_800_000,
    "31DEC27": 1_830_240_000_000,
}
PERPETUAL_MS = 32_503_708_800_000  # the expiry that Deribit gives to perpetuals


def contract(
    symbol: str,
    coin: str,
    quote: str,
    settle: str,
    tick: tuple[int, int],
    lot: tuple[int, int],
    expiry: int = 0,
) -> Instrument:
    """Return a perpetual, or a future when it expires."""
    price = COINS[coin] * (1.01 if expiry else 1.0)
    per_lot = lot[0] / 10 ** lot[1] * (1.0 if settle != quote else price)
    return Instrument(
        venue="deribit",
        symbol=symbol,
        base=coin,
        quote=quote,
        settle=settle,
        kind="future" if expiry else "perpetual",
        tick=tick[0],
        price_decimals=tick[1],
        lot=lot[0],
        size_decimals=lot[1],
        start=round(price * 10 ** tick[1] / tick[0]),
        order_lots=max(1, round(ORDER_USD / per_lot)),
        levels_max=1000,
        expiry_ms=expiry or PERPETUAL_MS,
    )


def option(coin: str, expiry: str, strike: int, kind: str) -> Instrument:
    """Return an option, priced in the coin with a tick of 0.0001."""
    spot = COINS[coin]
    intrinsic = max(0.0, (spot - strike if kind == "call" else strike - spot) / spot)
    value = intrinsic + 0.08 / (1 + 12 * abs(spot - strike) / spot)
    return Instrument(
        venue="deribit",
        symbol=f"{coin}-{expiry}-{strike}-{kind[0].upper()}",
        base=coin,
        quote=coin,
        settle=coin,
        kind="option",
        tick=1,
        price_decimals=4,
        lot=1,
        size_decimals=1 if coin == "BTC" else 0,
        start=max(40, round(value * 10_000)),
        order_lots=30,
        levels_max=15,
        expiry_ms=EXPIRIES[expiry],
        strike=strike,
        option=kind,
    )


def binance() -> Iterator[Instrument]:
    """Yield spot symbols against USDT, then against other quotes."""
    for quote, (coin, price) in product(BINANCE_QUOTES, COINS.items()):
        if coin != quote and not (quote == "ETH" and coin == "BTC"):
            worth = price / QUOTES[quote]
            decimals = min(8, max(2, 4 - floor(log10(worth))))
            if worth * 10**decimals >= 100:
                lots = min(5, max(0, floor(log10(price)) + 1))
                yield spot("binance", f"{coin}{quote}", coin, quote, worth, decimals, lots)


def kraken() -> Iterator[Instrument]:
    """Yield spot pairs against USD, then against others, in the names of API v2."""
    for quote, (coin, price) in product(KRAKEN_QUOTES, COINS.items()):
        if coin != quote and not (quote == "ETH" and coin == "BTC"):
            worth = price / QUOTES[quote]
            decimals = min(10, max(1, 5 - floor(log10(worth))))
            yield spot("kraken", f"{coin}/{quote}", coin, quote, worth, decimals, 8)


def spot(
    venue: str, symbol: str, coin: str, quote: str, worth: float, decimals: int, lots: int
) -> Instrument:
    """Return a spot instrument whose tick and lot are one unit of their last decimal."""
    return Instrument(
        venue=venue,
        symbol=symbol,
        base=coin,
        quote=quote,
        settle=quote,
        kind="spot",
        tick=1,
        price_decimals=decimals,
        lot=1,
        size_decimals=lots,
        start=round(worth * 10**decimals),
        order_lots=max(1, round(ORDER_USD / COINS[coin] * 10**lots)),
        levels_max=5000,
    )
