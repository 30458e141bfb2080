"""Texts and bytes of the wire: frames made once for all their subscribers, numbers as each venue
prints them, times.

Nothing here knows a venue's messages, sockets or faults.
"""

import time
from typing import NamedTuple

from simulator.instruments import Instrument
from simulator.market import Market

TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
CACHE_MAX = 2048  # texts remembered per table; a full table starts anew


class Frame(NamedTuple):
    """One WebSocket message to be sent, with what the injector and the truth need to know about it.

    `channel` is the kind of data (book, trades, ticker) or "" for a message that is not market
    data; `sequence` is the book's number, or that of the last trade.
    """

    wire: bytes
    channel: str = ""
    market: Market | None = None
    sequence: int = 0
    trades: tuple[int, ...] = ()  # sequences of the trades that count as delivered with this frame

    @property
    def text(self) -> str:
        """Return the payload."""
        length = self.wire[1]
        return self.wire[2 if length < 126 else 4 if length == 126 else 10 :].decode()


def message(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return an unmasked WebSocket frame, as servers send it (RFC 6455, section 5.2)."""
    length = len(payload)
    if length < 126:
        return bytes((opcode, length)) + payload
    if length < 65_536:
        return bytes((opcode, 126)) + length.to_bytes(2, "big") + payload
    return bytes((opcode, 127)) + length.to_bytes(8, "big") + payload


def control(text: str) -> Frame:
    """Return a frame that is not market data: an ack, an error, a heartbeat."""
    return Frame(message(text.encode()))


class FixedTexts(dict[int, str]):
    """Counts of ticks or lots, of either sign, as text with a fixed number of decimals."""

    def __init__(self, unit: int, decimals: int, printed: int) -> None:
        """`unit / 10**decimals` is one step; `printed` decimals are shown."""
        super().__init__()
        self._unit = unit * 10 ** (printed - decimals)
        self._scale = 10**printed
        self._format = "%d.%0" + str(printed) + "d" if printed else "%d"
        self._printed = printed

    def __missing__(self, steps: int) -> str:
        """Return and remember the text."""
        units = abs(steps) * self._unit
        if self._printed:
            text = str(self._format % divmod(units, self._scale))
        else:
            text = str(units)
        if len(self) >= CACHE_MAX:
            self.clear()
        self[steps] = text
        return text


class FloatTexts(dict[int, str]):
    """Counts of ticks or lots, of either sign, as the shortest text of a float, always with a point
    or an exponent: 63324.5, 372280.0, 5e-05."""

    def __init__(self, unit: int, decimals: int) -> None:
        """`unit / 10**decimals` is one step."""
        super().__init__()
        self._unit = unit
        self._scale = 10**decimals

    def __missing__(self, steps: int) -> str:
        """Return and remember the text."""
        text = repr(abs(steps) * self._unit / self._scale)
        if len(self) >= CACHE_MAX:
            self.clear()
        self[steps] = text
        return text


def float_texts(instrument: Instrument) -> tuple[FloatTexts, FloatTexts]:
    """Return the texts of prices and sizes as JSON floats."""
    return (
        FloatTexts(instrument.tick, instrument.price_decimals),
        FloatTexts(instrument.lot, instrument.size_decimals),
    )


def fixed_texts(
    instrument: Instrument, price_decimals: int, size_decimals: int
) -> tuple[FixedTexts, FixedTexts]:
    """Return the texts of prices and sizes with fixed numbers of decimals."""
    return (
        FixedTexts(instrument.tick, instrument.price_decimals, price_decimals),
        FixedTexts(instrument.lot, instrument.size_decimals, size_decimals),
    )


_second = (-1, "")


def rfc3339(ts_us: int) -> str:
    """Return microseconds since 1970 as `2026-10-06T08:04:56.153890Z`."""
    global _second  # the text of the running second: most calls of a run share it
    seconds, micros = divmod(ts_us, 1_000_000)
    if _second[0] != seconds:
        _second = (seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)))
    return f"{_second[1]}.{micros:06d}Z"
