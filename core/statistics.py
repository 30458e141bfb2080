"""Per-second statistics of one stream, O(1) per frame, from the log alone.

Fed with facts and monotonic ns; closes a window when told. What it reports depends on nothing
older than the window, except the last frame's time and transit: a reader who starts in the middle
of a log has these from a checkpoint, and then agrees with one who saw it all.
"""

from collections.abc import Sequence
from operator import sub
from typing import Final

from core.counters import SyncCounters
from core.events import BookState, StreamSecond
from core.frames import TickStatus
from core.memory import StreamMemory

LATENCIES_MAX: Final = 4096
"""Latencies kept exactly per stream and window; beyond that every second one, then fourth, ..."""
INTERVALS_MAX: Final = 256
"""Times between heartbeats kept per window: who sends more of them is flooding us."""
COUNT_MAX: Final = (1 << 62) - 1
"""Largest count or time that is reported: what jumps at random must not overflow a column."""

_NO_COUNTERS: Final = SyncCounters()
_NO_STATUS: Final = TickStatus(connected=False)


class LatencyWindow:
    """Transit times (`ts_recv - ts_event`, ns, signed) of one window."""

    def __init__(self) -> None:
        self.count = 0
        self.least: int | None = None
        self.most: int | None = None
        self._samples: list[int] = []
        self._stride = 1
        self.fresh: list[int] = []
        """Where frames leave their transit times; `fold` before there are LATENCIES_MAX."""
        self.last: int | None = None
        """The last transit time that was folded, of this window or one before."""
        self._differences = 0
        self._difference_sum = 0

    def fold(self) -> None:
        """Move `fresh` transit times into the sums and samples."""
        fresh = self.fresh
        if not fresh:
            return
        self.fresh = []
        before = fresh[:1] if self.last is None else [self.last]
        differences = map(abs, map(sub, fresh, before + fresh))
        self._difference_sum += sum(differences)
        self._differences += len(fresh) - (self.last is None)
        self.last = fresh[-1]
        least, most = min(fresh), max(fresh)
        self.least = least if self.least is None else min(self.least, least)
        self.most = most if self.most is None else max(self.most, most)
        self._samples += fresh[-self.count % self._stride :: self._stride]
        self.count += len(fresh)
        while len(self._samples) > LATENCIES_MAX:
            self._samples = self._samples[::2]
            self._stride *= 2

    def close(self) -> tuple[Sequence[int], int | None]:
        """Return what was kept, sorted, and the jitter: mean |D| of RFC 3550 6.4.1."""
        self.fold()
        jitter = self._difference_sum // self._differences if self._differences else None
        return sorted(self._samples), jitter

    def next(self) -> "LatencyWindow":
        """Return the window that follows this one, which is closed."""
        window = LatencyWindow()
        window.last = self.last
        return window


class HeartbeatWindow:
    """Times between the venue's heartbeats, ns, that ended in one window."""

    def __init__(self, last: int | None = None) -> None:
        self.count = 0
        self.last = last
        """Monotonic ns of the last one, of this window or one before."""
        self._intervals: list[int] = []

    def add(self, ts_mono: int) -> None:
        """Take one; how long after the last is kept of the first INTERVALS_MAX of a window."""
        if self.last is not None and len(self._intervals) < INTERVALS_MAX:
            self._intervals.append(min(max(ts_mono - self.last, 0), COUNT_MAX))
        self.count += 1
        self.last = ts_mono

    def close(self) -> Sequence[int]:
        """Return the times between two of them, sorted."""
        return sorted(self._intervals)


class StreamStatistics:
    """One stream: (channel, symbol), or the connection itself."""

    def __init__(self, channel: str, symbol: str) -> None:
        self.channel = channel
        self.symbol = symbol
        self.frames = 0
        self.bytes = 0
        self.duplicates = 0
        self.out_of_order = 0
        self.gaps = 0
        self.missing = 0
        self.decode_errors = 0
        self.heartbeat_rtt_ns: int | None = None
        self._last_number = -1
        self._last_mono: int | None = None
        self._gap_max_ns = -1
        self.heartbeats = HeartbeatWindow()
        self._latencies = LatencyWindow()
        self._state = BookState.EMPTY
        self._state_mono = 0
        self._state_ns = [0, 0, 0, 0]
        self._before = SyncCounters()

    @property
    def has_frames(self) -> bool:
        """Say whether a frame was ever counted."""
        return self._last_mono is not None

    def count(self, size: int, ts_mono: int) -> None:
        """Count a frame of `size` bytes."""
        last = self._last_mono
        if last is not None and ts_mono - last > self._gap_max_ns:
            self._gap_max_ns = ts_mono - last
        self.frames += 1
        self.bytes += size
        self._last_mono = ts_mono

    def frame(self, number: int, size: int, ts_mono: int, transit: int | None) -> None:
        """Count frame `number` once, with `size` bytes and its transit time where it has one."""
        if number == self._last_number:
            return
        self._last_number = number
        last = self._last_mono
        if last is not None and ts_mono - last > self._gap_max_ns:
            self._gap_max_ns = ts_mono - last
        self._last_mono = ts_mono
        self.frames += 1
        self.bytes += size
        if transit is not None:
            fresh = self._latencies.fresh
            fresh.append(transit)
            if len(fresh) >= LATENCIES_MAX:
                self._latencies.fold()

    def state(self, state: BookState, ts_mono: int) -> None:
        """Note the book's state (of the connection: LIVE while the socket is open)."""
        if state is not self._state:
            self._pass_time(ts_mono)
            self._state = state

    def start(self, ts_mono: int) -> None:
        """Begin the first window."""
        self._state_mono = ts_mono

    def close(
        self,
        *,
        number: int,
        index: int,
        ts: int,
        ts_mono: int,
        window_ns: int,
        counters: SyncCounters | None,
        status: TickStatus = _NO_STATUS,
    ) -> StreamSecond:
        """Return the window that ends at `ts_mono` and begin the next.

        `counters` are the book's, None for streams that are not books.
        """
        self._pass_time(ts_mono)
        now = counters or _NO_COUNTERS
        before = self._before
        latencies = self._latencies
        samples, jitter = latencies.close()
        intervals = self.heartbeats.close()
        second = StreamSecond(
            number=number,
            index=index,
            channel=self.channel,
            symbol=self.symbol,
            ts=ts,
            window_ns=window_ns,
            frames=self.frames,
            bytes=self.bytes,
            age_ns=None if self._last_mono is None else ts_mono - self._last_mono,
            latency_count=latencies.count,
            latency_min_ns=latencies.least,
            latency_p50_ns=quantile(samples, 50),
            latency_p90_ns=quantile(samples, 90),
            latency_p99_ns=quantile(samples, 99),
            latency_max_ns=latencies.most,
            jitter_ns=jitter,
            heartbeat_rtt_ns=self.heartbeat_rtt_ns,
            gaps=self.gaps + now.gaps - before.gaps,
            missing=min(self.missing + now.missing - before.missing, COUNT_MAX),
            duplicates=self.duplicates + now.duplicates - before.duplicates,
            out_of_order=self.out_of_order + now.out_of_order - before.out_of_order,
            checksums_ok=now.checksums_ok - before.checksums_ok,
            checksums_bad=now.checksums_bad - before.checksums_bad,
            audits_ok=now.audits_ok - before.audits_ok,
            audits_bad=now.audits_bad - before.audits_bad,
            decode_errors=self.decode_errors,
            resyncs=now.resyncs - before.resyncs,
            book_state=self._state if self.channel != "trades" else None,
            empty_ns=self._state_ns[0],
            syncing_ns=self._state_ns[1],
            live_ns=self._state_ns[2],
            stale_ns=self._state_ns[3],
            queue_frames=status.queue_frames,
            queue_age_ns=status.queue_age_ns,
            paused_ns=status.paused_ns,
            gap_max_ns=None if self._gap_max_ns < 0 else min(self._gap_max_ns, COUNT_MAX),
            heartbeats=self.heartbeats.count,
            heartbeat_interval_p50_ns=quantile(intervals, 50),
            heartbeat_interval_max_ns=quantile(intervals, 100),
        )
        self._clear(now)
        return second

    def remember(self) -> StreamMemory:
        """Return what windows to come depend on; to be asked when one was just closed."""
        return StreamMemory(
            last_mono=self._last_mono,
            last_transit=self._latencies.last,
            last_heartbeat=self.heartbeats.last,
        )

    def recall(self, memory: StreamMemory) -> None:
        """Go on from what was remembered when the same window was closed."""
        self._last_mono = memory.last_mono
        self._latencies.last = memory.last_transit
        self.heartbeats.last = memory.last_heartbeat

    def _pass_time(self, ts_mono: int) -> None:
        """Add the time since the last call to the state; clocks that jump may not overflow it."""
        passed = self._state_ns[self._state] + max(ts_mono - self._state_mono, 0)
        self._state_ns[self._state] = min(passed, COUNT_MAX)
        self._state_mono = ts_mono

    def _clear(self, counters: SyncCounters) -> None:
        self.frames = self.bytes = 0
        self.duplicates = self.out_of_order = self.gaps = self.missing = self.decode_errors = 0
        self.heartbeat_rtt_ns = None
        self._gap_max_ns = -1
        self._latencies = self._latencies.next()
        self.heartbeats = HeartbeatWindow(self.heartbeats.last)
        self._state_ns = [0, 0, 0, 0]
        if counters is not _NO_COUNTERS:
            self._before = counters.copy()


def quantile(samples: Sequence[int], percent: int) -> int | None:
    """Return the nearest-rank quantile of sorted samples, None where there are none."""
    if not samples:
        return None
    return samples[max(-(-len(samples) * percent // 100) - 1, 0)]
