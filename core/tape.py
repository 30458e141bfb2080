"""Recorded sessions: `frames-tsv v1` text to frames, and frames to the batches of a replay.

The format: UTF-8 text, usually gzip-compressed; header lines `# key: value`; then records of four
columns separated by one TAB: receive time in ns (0 for unknown), kind C, S, R or H, where, payload.
Nothing here opens files.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from core.frames import (
    CHAIN_START,
    Address,
    Frame,
    FrameBatch,
    FrameKind,
    chained,
)

KINDS: Final = {
    "C": FrameKind.OPEN,
    "S": FrameKind.SENT,
    "R": FrameKind.RECEIVED,
    "H": FrameKind.RESPONSE,
}
_TIME_DIGITS: Final = 19
"""Longest receive time: the digits of 2**63 - 1."""
_TIME_MAX: Final = (1 << 63) - 1


class TapeError(ValueError):
    """A line is not of the format; the text names its number."""


class Tape(msgspec.Struct, frozen=True):
    """A recording: its header and its records as frames."""

    header: dict[str, str]
    frames: list[Frame]


class TapeReader:
    """Reads a recording line by line, so that a long one needs little memory.

    `header` is complete from the start, `header_lines` says where each key stands; iterating
    gives the frames. `line` is the number of the last line that was read, from 1.

    Raises:
        TapeError: while iterating, where a record is malformed.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self.header: dict[str, str] = {}
        self.header_lines: dict[str, int] = {}
        self.line = 0
        self._lines = iter(lines)
        self._first = self._read_header()

    def __iter__(self) -> Iterator[Frame]:
        text, self._first = self._first, ""
        if text:
            yield self._record(text)
        for line in self._lines:
            self.line += 1
            text = line.rstrip("\r\n")
            if text:
                yield self._record(text)

    def _read_header(self) -> str:
        """Read up to the first record and return its text, empty where there is none."""
        for line in self._lines:
            self.line += 1
            text = line.rstrip("\r\n")
            if text and not text.startswith("#"):
                return text
            key, colon, value = text[1:].partition(":")
            if colon:
                self.header[key.strip()] = value.strip()
                self.header_lines[key.strip()] = self.line
        return ""

    def _record(self, text: str) -> Frame:
        columns = text.split("\t", 3)
        if len(columns) != 4:
            raise self._malformed(f"expected 4 columns, found {len(columns)}")
        received, kind, where, payload = columns
        if not (received.isdecimal() and received.isascii() and len(received) <= _TIME_DIGITS):
            raise self._malformed(f"expected a time in ns, found {received[:40]!r}")
        time = int(received)
        if time > _TIME_MAX:
            raise self._malformed(f"expected a time in ns, found {received[:40]!r}")
        if kind not in KINDS:
            raise self._malformed(f"expected kind C, S, R or H, found {kind[:40]!r}")
        return Frame(KINDS[kind], time, time, where, payload.encode())

    def _malformed(self, reason: str) -> TapeError:
        return TapeError(f"line {self.line}: {reason}")


def read_tape(lines: Iterable[str]) -> Tape:
    """Return the whole recording in decompressed `lines`.

    Raises:
        TapeError: a record is malformed.
    """
    reader = TapeReader(lines)
    return Tape(reader.header, list(reader))


def batches(frames: Iterable[Frame], exchange: str, size: int = 50) -> Iterator[FrameBatch]:
    """Cut a recording's frames into batches of `size` frames of one epoch."""
    address = Address(exchange, "tape", "A", 1)
    chain = CHAIN_START
    number = 0
    remaining = iter(frames)
    while cut := list(islice(remaining, size)):
        before, chain = chain, chained(chain, cut)
        yield FrameBatch(address, number, before, chain, cut)
        number += len(cut)
