"""Recorded sessions: `frames-tsv v1` text to frames, and the books a replay of it gives.

The format: gzip-compressed UTF-8; header lines `# key: value`; then records of four columns
separated by one TAB: receive time in ns (0 for unknown), kind C, S, R or H, where, payload.
Nothing here opens files.
"""

from collections.abc import Iterable, Iterator
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


class TapeError(ValueError):
    """A line is not of the format; the text names its number."""


class Tape(msgspec.Struct, frozen=True):
    """A recording: its header and its records as frames."""

    header: dict[str, str]
    frames: list[Frame]


def read_tape(lines: Iterable[str]) -> Tape:
    """Return the recording in decompressed `lines`.

    Raises:
        TapeError: a record is malformed.
    """
    header: dict[str, str] = {}
    frames: list[Frame] = []
    in_header = True
    for row, line in enumerate(lines, start=1):
        text = line.rstrip("\r\n")
        if in_header and text.startswith("#"):
            key, _, value = text[1:].partition(":")
            header[key.strip()] = value.strip()
            continue
        in_header = False
        if text:
            frames.append(_record(text, row))
    return Tape(header, frames)


def batches(tape: Tape, exchange: str, size: int = 50) -> Iterator[FrameBatch]:
    """Cut a recording into batches of `size` frames of one epoch."""
    address = Address(exchange, "tape", "A", 1)
    chain = CHAIN_START
    for start in range(0, len(tape.frames), size):
        frames = tape.frames[start : start + size]
        before, chain = chain, chained(chain, frames)
        yield FrameBatch(address, start, before, chain, frames)


def _record(text: str, row: int) -> Frame:
    columns = text.split("\t", 3)
    if len(columns) != 4:
        raise TapeError(f"line {row}: expected 4 columns, found {len(columns)}")
    received, kind, where, payload = columns
    if not (received.isdecimal() and len(received) < 20):
        raise TapeError(f"line {row}: expected ns, found {received[:40]!r}")
    if kind not in KINDS:
        raise TapeError(f"line {row}: expected kind C, S, R or H, found {kind[:40]!r}")
    time = int(received)
    return Frame(KINDS[kind], time, time, where, payload.encode())
