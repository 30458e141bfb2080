"""Frames changed as a venue with a bug would: crossed prices, negative sizes, renamed fields.

Beside the faults that the simulator injects on demand; each keeps the JSON valid.
"""

import json
import re
from typing import Any, ClassVar

from simulator.faults import FrameFault
from simulator.wire import Frame, message


class CrossBook(FrameFault):
    """A bid far above the best ask comes with a change."""

    def wants(self, frame: Frame) -> bool:
        """Want changes of books, no snapshots."""
        return super().wants(frame) and _is_change(frame)

    def change(self, frame: Frame) -> list[Frame]:
        """Add a bid at twice the price."""
        assert frame.market is not None
        body = json.loads(frame.text)
        texts = frame.market.instrument
        price = 2 * frame.market.middle * texts.tick / 10**texts.price_decimals
        if self.entry.venue == "deribit":
            body["params"]["data"]["bids"].append(["new", round(price, texts.price_decimals), 10.0])
        else:
            _binance(body)["b"].append([f"{price:.8f}", "1.00000000"])
        return [_rewritten(frame, body)]


class NegativeSize(FrameFault):
    """The first size of a change is below zero."""

    _place: ClassVar[re.Pattern[str]] = re.compile(
        r'(?<=\[")\d+\.\d+","(?=\d)|(?<="qty":)(?=\d)|"(?:new|change)",\d+(?:\.\d+)?,(?=\d)'
    )

    def wants(self, frame: Frame) -> bool:
        """Want changes of books that have a level."""
        return super().wants(frame) and _is_change(frame) and bool(self._place.search(frame.text))

    def change(self, frame: Frame) -> list[Frame]:
        """Put a minus before the size."""
        text = self._place.sub(lambda found: found.group() + "-", frame.text, count=1)
        return [frame._replace(wire=message(text.encode()))]


class RenameField(FrameFault):
    """The field that holds a book's bids has another name."""

    _place: ClassVar[re.Pattern[str]] = re.compile(r'"bids"(?=:)|"b"(?=:\[)')

    def wants(self, frame: Frame) -> bool:
        """Want changes of books."""
        return super().wants(frame) and _is_change(frame)

    def change(self, frame: Frame) -> list[Frame]:
        """Rename it."""
        text = self._place.sub('"buys"', frame.text, count=1)
        return [frame._replace(wire=message(text.encode()))]


def _is_change(frame: Frame) -> bool:
    return frame.channel == "book" and '"snapshot"' not in frame.text


def _binance(body: dict[str, Any]) -> dict[str, Any]:
    """Return the event of a frame, be it wrapped with its stream's name or not."""
    event: dict[str, Any] = body.get("data", body)
    return event


def _rewritten(frame: Frame, body: object) -> Frame:
    return frame._replace(wire=message(json.dumps(body, separators=(",", ":")).encode()))
