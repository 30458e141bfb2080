"""Deribit's channels: what subscribers of books, trades and tickers get, and when.

The chains of change ids are per channel and shared by its members. Nothing here knows of requests.
"""

from simulator.connection import Connection
from simulator.market import Change, Market, Trade
from simulator.venue import MarketChannel, Venue
from simulator.venues import deribit_data as data
from simulator.wire import Frame


class BookChannel(MarketChannel):
    """Incremental book: a snapshot first, then changes chained by `prev_change_id`.

    On an aggregated channel a newcomer gets its snapshot at the next boundary, where the shared
    chain stands at a known id.
    """

    kind = "book"

    def __init__(
        self, venue: Venue, market: Market, name: str, texts: data.Texts, interval: float
    ) -> None:
        """`interval` in seconds; 0 sends every event."""
        super().__init__(venue, market, name)
        self._texts = texts
        self._interval = interval
        self._previous = market.sequence
        self._pending: dict[int, int] = {}  # key -> size before the interval
        self._ready: dict[Connection, None] = {}  # members that have their snapshot
        self._scheduled = False

    def join(self, connection: Connection) -> None:
        """Send the snapshot now (raw) or at the next boundary."""
        super().join(connection)
        if self._interval:
            self._schedule()
        else:
            self._snapshot([connection])

    def leave(self, connection: Connection) -> None:
        """Forget the member."""
        super().leave(connection)
        self._ready.pop(connection, None)

    def event(self) -> None:
        """Send the changes, or keep them for the boundary."""
        if not self._interval:
            self._send(self.market.changes)
            return
        for key, before, _ in self.market.changes:
            self._pending.setdefault(key, before)
        self._schedule()

    def flush(self) -> None:
        """Send the interval's changes, then the snapshots that newcomers wait for."""
        self._scheduled = False
        if self.market.sequence != self._previous:
            sizes = self.market.engine.sizes
            changes = [
                (key, before, after)
                for key, before in self._pending.items()
                if (after := sizes.get(key, 0)) != before
            ]
            self._pending.clear()
            self._send(changes)
        self._snapshot([member for member in self.members if member not in self._ready])

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.venue.schedule_boundary(self, self._interval)

    def _send(self, changes: list[Change]) -> None:
        previous, self._previous = self._previous, self.market.sequence
        if self._ready:
            change = data.book_change(self.market, self._texts, changes, previous)
            self.broadcast(self.frame(data.notification(self.name, change)), self._ready)

    def _snapshot(self, members: list[Connection]) -> None:
        if members:
            text = data.book_snapshot(self.market, self._texts)
            self.broadcast(self.frame(data.notification(self.name, text)), members)
            self._ready.update(dict.fromkeys(members))


class TradesChannel(MarketChannel):
    """Trades, at once or per interval, as one array."""

    kind = "trades"
    counts_deliveries = True

    def __init__(
        self, venue: Venue, market: Market, name: str, texts: data.Texts, interval: float
    ) -> None:
        """`interval` in seconds; 0 sends every event."""
        super().__init__(venue, market, name)
        self._texts = texts
        self._interval = interval
        self._pending: list[Trade] = []

    def event(self) -> None:
        """Send the trades, or keep them for the boundary."""
        made = self.market.trades
        if not made:
            return
        if self._interval and not self._pending:
            self.venue.schedule_boundary(self, self._interval)
        self._pending += made
        if not self._interval:
            self.flush()

    def flush(self) -> None:
        """Send what the interval brought."""
        trades = ",".join(data.trade(self.market, self._texts, made) for made in self._pending)
        frame = self.frame(data.notification(self.name, f"[{trades}]"), self._pending)
        self._pending = []
        self.broadcast(frame)


class TickerChannel(MarketChannel):
    """The ticker after changes of the book."""

    kind = "ticker"

    def __init__(
        self, venue: Venue, market: Market, name: str, texts: data.Texts, interval: float
    ) -> None:
        """`interval` in seconds; 0 sends every event."""
        super().__init__(venue, market, name)
        self._texts = texts
        self._interval = interval
        self._scheduled = False

    def join(self, connection: Connection) -> None:
        """Send the ticker as it stands."""
        super().join(connection)
        self.broadcast(self._ticker(), [connection])

    def event(self) -> None:
        """Send the ticker, or schedule it."""
        if not self._interval:
            self.broadcast(self._ticker())
        elif not self._scheduled:
            self._scheduled = True
            self.venue.schedule_boundary(self, self._interval)

    def flush(self) -> None:
        """Send the ticker at the boundary."""
        self._scheduled = False
        self.broadcast(self._ticker())

    def _ticker(self) -> Frame:
        fields = data.ticker_fields(self.market, self._texts)
        return self.frame(data.notification(self.name, f"{{{fields}}}"))
