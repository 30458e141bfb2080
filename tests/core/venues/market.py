"""Venues that quote one price, each with a basis and noise of its own: mids, second by second."""

from collections.abc import Callable, Iterable
from random import Random

from core.stability.alerts import Alert
from core.venues.arrivals import Arrival, Mark
from core.venues.comparison import ClosedSecond, Comparison
from core.venues.mids import Mid

S = 1_000_000_000
START = 1_800_000_000
BASES_BPS = {"binance": 0.0, "deribit": 12.0, "kraken": -8.0}
VOLATILITY_BPS = 0.89
"""A second; half of the value in a year."""
NOISE_BPS = 0.7
KNOWN_S = 960
"""After so many seconds every venue is judged."""

Told = tuple[Arrival, Mark]
Change = Callable[[str, float], float]
"""Exchange and price in, price out."""


class Market:
    """Seeded; `told` is all that was ever said, in order of the seconds."""

    def __init__(
        self, seed: int = 1, bases: dict[str, float] | None = None, *, is_shared: bool = True
    ) -> None:
        self.random = Random(seed)
        self.bases = BASES_BPS if bases is None else bases
        self.fair = dict.fromkeys(self.bases, 60_000.0)
        self.is_shared = is_shared
        self.volatility_bps = VOLATILITY_BPS
        self.second = START
        self.told: list[Told] = []
        self.comparison = Comparison("BTC/USD")
        self.closed: list[ClosedSecond] = []
        self.last: dict[str, tuple[int, int]] = {}
        self.ts_book: dict[str, int] = {}
        self.frozen: set[str] = set()
        self.silent: set[str] = set()
        self.gone: set[str] = set()
        """Of these not even the time comes."""
        self.change: Change = lambda exchange, price: price

    def live(self, seconds: int) -> list[Alert]:
        """Let time pass, and return the alerts of it."""
        before = len(self.closed)
        for _ in range(seconds):
            self.step()
        return [alert for each in self.closed[before:] for _, alert in each.alerts]

    def step(self) -> None:
        self.second += 1
        move = self.random.gauss(0, self.volatility_bps)
        for exchange, basis in self.bases.items():
            own = move if self.is_shared else self.random.gauss(0, self.volatility_bps)
            self.fair[exchange] *= 1 + own / 1e4
            noise = self.random.gauss(0, NOISE_BPS)
            if exchange in self.gone:
                continue
            price = self.change(exchange, self.fair[exchange] * (1 + (basis + noise) / 1e4))
            if exchange in self.silent:
                top, ts_book = self.last[exchange], self.ts_book[exchange]
            else:
                ts_book = self.second * S - 200_000_000
                half = round(price * 100)
                top = self.last[exchange] if exchange in self.frozen else (half - 5, half + 5)
            self.last[exchange] = top
            self.ts_book[exchange] = ts_book
            self.say(exchange, top, ts_book)

    def say(self, exchange: str, top: tuple[int, int] | None, ts_book: int) -> None:
        told = mid(exchange, self.second, top, ts_book)
        self.told.append(told)
        self.closed += self.comparison.feed(*told)


def mid(
    exchange: str, second: int, top: tuple[int, int] | None, ts_book: int, line: str = "A"
) -> Told:
    """Return what one venue says of a second, in cents; the frame is the second's."""
    bid, ask = top or (None, None)
    said = Mid(second, 0, "BTC/USD", "BTC", second, 2, bid, ask, ts_book)
    return Arrival(exchange, f"{exchange}-0", line, START, said), (START, second)


def fed(told: Iterable[Told]) -> list[ClosedSecond]:
    """Return what a comparison that begins anew makes of it."""
    comparison = Comparison("BTC/USD")
    return [second for each in told for second in comparison.feed(*each)]
