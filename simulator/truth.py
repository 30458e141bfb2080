"""The truth on disk: every state of every book, every trade, every delivery, appended before it
is sent.

A market has a folder of segments. A segment is a run of records of 64-bit integers in the
machine's order, each starting with its length in words and its kind; it opens with a header and a
keyframe (the whole book), so any segment can be read alone. One `write` per event: what a killed
simulator has sent is on disk. Reading is in `simulator.truth_reader`.
"""

import fcntl
import os
from array import array
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from simulator.market import Market
from simulator.settings import Settings, SettingsError

HEADER, KEYFRAME, CHANGE, TRADE, DELIVERED = range(5)
VERSION = 1
WORD = 8  # bytes
HEADER_WORDS = 9
TRADE_WORDS = 9


def folder_of(root: Path, venue: str, symbol: str) -> Path:
    """Return the folder of a market's segments."""
    return root / venue / quote(symbol, safe="")


class Truth:
    """Writes the truth of all markets of one simulator; holds the folder's lock while open."""

    def __init__(self, settings: Settings) -> None:
        """Take the folder; SettingsError when another simulator has it."""
        self.root = settings.folder / "truth"
        self._settings = settings
        self._segments: dict[tuple[str, str], Segments] = {}
        self._dirty: set[Market] = set()
        self.root.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(settings.folder / "lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise SettingsError(
                f"folder {settings.folder} is in use by another simulator: choose another one"
            ) from None

    def open(self, market: Market) -> None:
        """Start a segment with the market as it stands."""
        venue = market.instrument.venue
        self._segments[venue, market.symbol] = Segments(
            folder_of(self.root, venue, market.symbol),
            market,
            bytes_max=self._settings.segment_bytes,
            count_max=self._settings.segments_max,
        )

    def append(self, market: Market) -> None:
        """Record the market's last event, before any frame of it is sent."""
        self._segments[market.instrument.venue, market.symbol].append_event()

    def deliver(self, market: Market, sequences: Iterable[int]) -> None:
        """Count one more socket to which these trades were handed."""
        delivered = market.delivered
        for sequence in sequences:
            delivered[sequence] = delivered.get(sequence, 0) + 1
        self._dirty.add(market)

    def flush(self) -> None:
        """Record the deliveries counted since the last call."""
        for market in self._dirty:
            segments = self._segments[market.instrument.venue, market.symbol]
            segments.append_delivered(market.delivered)
            market.delivered = {}
        self._dirty.clear()

    def close(self) -> None:
        """Record what is pending and release the folder."""
        self.flush()
        for segments in self._segments.values():
            segments.close()
        os.close(self._lock)


class NoTruth(Truth):
    """Keeps nothing: for a rehearsal whose faults are judged, and not its books and trades."""

    def __init__(self, settings: Settings) -> None:
        """Take no folder."""
        self.root = settings.folder / "truth"

    def open(self, market: Market) -> None:
        """Start nothing."""

    def append(self, market: Market) -> None:
        """Record nothing."""

    def deliver(self, market: Market, sequences: Iterable[int]) -> None:
        """Count nothing."""

    def flush(self) -> None:
        """Record nothing."""

    def close(self) -> None:
        """Release nothing."""


class Segments:
    """The segments of one market, the last of them open for appending."""

    def __init__(self, folder: Path, market: Market, *, bytes_max: int, count_max: int) -> None:
        """Open a new segment behind those that are there."""
        self._folder = folder
        self._market = market
        self._bytes_max = bytes_max
        self._count_max = count_max
        self._bytes = 0
        self._file = -1
        folder.mkdir(parents=True, exist_ok=True)
        self._count = len(list(folder.glob("*.truth")))
        self._start()

    def append_event(self) -> None:
        """Write the last event: its changed levels and its trades."""
        market = self._market
        changes = market.changes
        words = [4 + 2 * len(changes), CHANGE, market.sequence, market.ts_event]
        words += [key for key, _, _ in changes]
        words += [after for _, _, after in changes]
        for trade in market.trades:
            words += (
                TRADE_WORDS,
                TRADE,
                trade.sequence,
                trade.ts_event,
                trade.tag,
                trade.price,
                trade.size,
                trade.buy,
                trade.tick_direction,
            )
        self._write(words)
        if self._bytes > self._bytes_max:
            self._start()

    def append_delivered(self, delivered: dict[int, int]) -> None:
        """Write how often trades were handed out since the last such record."""
        head = [4 + 2 * len(delivered), DELIVERED, 0, 0]
        self._write([*head, *delivered, *delivered.values()])

    def close(self) -> None:
        """Close the open segment."""
        os.close(self._file)

    def _start(self) -> None:
        market = self._market
        instrument = market.instrument
        path = self._folder / f"{market.sequence:020d}.truth"
        previous = self._file
        self._file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o644)
        if previous >= 0:
            os.close(previous)
        self._bytes = 0
        words = [
            HEADER_WORDS,
            HEADER,
            VERSION,
            instrument.tick,
            instrument.price_decimals,
            instrument.lot,
            instrument.size_decimals,
            market.trade_sequence,
            market.tag,
        ]
        sizes = market.engine.sizes
        words += (4 + 2 * len(sizes), KEYFRAME, market.sequence, market.ts_event)
        self._write([*words, *sizes, *sizes.values()])
        self._count += 1
        if self._count > self._count_max:
            for old in sorted(self._folder.glob("*.truth"))[: self._count - self._count_max]:
                old.unlink()
                self._count -= 1

    def _write(self, words: list[int]) -> None:
        data = array("q", words)
        length = len(words) * WORD
        written = os.write(self._file, data)
        if written != length:
            raise OSError(f"wrote {written} of {length} bytes of the truth in {self._folder}")
        self._bytes += length
