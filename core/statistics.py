"""Per-second statistics of one stream, O(1) per frame, from the log alone.

Fed with facts and monotonic ns; closes a window when told. What it reports depends on nothing
older than the window, except the last frame's time and transit: so a reader who starts in the
middle of a log soon agrees with one who saw it all.
"""

from typing import Final

from core.events import BookState, StreamSecond
from core.frames import TickStatus
from core.sync import SyncCounters

LATENCIES_MAX: Final = 4096
"""Latencies kept exactly per stream and window; beyond that every second one, then fourth, ..."""

_NO_COUNTERS: Final = SyncCounters()
_NO_STATUS: Final = TickStatus(connected=False)


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
        self._last_mono: int | None = None
        self._last_transit: int | None = None
        self._latencies: list[int] = []
        self._stride = 1
        self._skipped = 0
        self._differences = 0
        self._difference_sum = 0
        self._state = BookState.EMPTY
        self._state_mono = 0
        self._state_ns = [0, 0, 0, 0]
        self._before = SyncCounters()

    @property
    def has_frames(self) -> bool:
        """Say whether a frame was ever counted."""
        return self._last_mono is not None

    def frame(self, size: int, ts_mono: int) -> None:
        """Count a frame of `size` bytes."""
        self.frames += 1
        self.bytes += size
        self._last_mono = ts_mono

    def latency(self, transit: int) -> None:
        """Take one frame's `ts_recv - ts_event`, ns."""
        last = self._last_transit
        if last is not None:
            self._differences += 1
            self._difference_sum += transit - last if transit > last else last - transit
        self._last_transit = transit
        if self._stride > 1:
            self._skipped += 1
            if self._skipped < self._stride:
                return
            self._skipped = 0
        self._latencies.append(transit)
        if len(self._latencies) >= LATENCIES_MAX:
            self._latencies = self._latencies[::2]
            self._stride *= 2

    def state(self, state: BookState, ts_mono: int) -> None:
        """Note the book's state (of the connection: LIVE while the socket is open)."""
        if state is not self._state:
            self._state_ns[self._state] += ts_mono - self._state_mono
            self._state_mono = ts_mono
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
        self._state_ns[self._state] += ts_mono - self._state_mono
        self._state_mono = ts_mono
        now = counters or _NO_COUNTERS
        before = self._before
        samples = sorted(self._latencies)
        count = len(samples)
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
            latency_count=count,
            latency_min_ns=samples[0] if count else None,
            latency_p50_ns=_quantile(samples, 50),
            latency_p90_ns=_quantile(samples, 90),
            latency_p99_ns=_quantile(samples, 99),
            latency_max_ns=samples[-1] if count else None,
            jitter_ns=self._difference_sum // self._differences if self._differences else None,
            heartbeat_rtt_ns=self.heartbeat_rtt_ns,
            gaps=self.gaps + now.gaps - before.gaps,
            missing=self.missing + now.missing - before.missing,
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
        )
        self._clear(now)
        return second

    def _clear(self, counters: SyncCounters) -> None:
        self.frames = self.bytes = 0
        self.duplicates = self.out_of_order = self.gaps = self.missing = self.decode_errors = 0
        self.heartbeat_rtt_ns = None
        self._latencies = []
        self._stride = 1
        self._skipped = self._differences = self._difference_sum = 0
        self._state_ns = [0, 0, 0, 0]
        if counters is not _NO_COUNTERS:
            self._before = counters.copy()


def _quantile(samples: list[int], percent: int) -> int | None:
    """Return the nearest-rank quantile of sorted samples."""
    if not samples:
        return None
    return samples[max(-(-len(samples) * percent // 100) - 1, 0)]
