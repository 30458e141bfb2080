"""Deribit's request credits: pools that refill with time."""

from simulator.settings import DeribitSettings


class Credits:
    """A pool that refills with time."""

    def __init__(self, pool: float, per_s: float, now: float) -> None:
        """Start full."""
        self._pool = pool
        self._per_s = per_s
        self._left = pool
        self._at = now

    def take(self, cost: float, now: float) -> bool:
        """Spend credits; False when there are too few."""
        self._left = min(self._pool, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < cost:
            return False
        self._left -= cost
        return True


class Budget:
    """The two credit pools of one client: subscriptions, and everything else."""

    def __init__(self, own: DeribitSettings, now: float) -> None:
        """Start with full pools."""
        self._own = own
        self._requests = Credits(own.credits_max, own.credits_per_s, now)
        self._subscribes = Credits(own.subscribe_credits_max, own.subscribe_credits_per_s, now)

    def take(self, method: str, now: float) -> bool:
        """Pay for one call at `now`, s; False when the client has to wait."""
        if method.rpartition("/")[2] in ("subscribe", "unsubscribe", "unsubscribe_all"):
            return self._subscribes.take(self._own.subscribe_credits_per_request, now)
        return self._requests.take(self._own.credits_per_request, now)
