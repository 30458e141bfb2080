"""Venues without sockets: subscribers that keep the frames they are sent."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from simulator.connection import Connection
from simulator.settings import Settings
from simulator.truth import Truth
from simulator.wire import Frame


class Subscriber:
    """Stands where a connection stands and keeps its frames."""

    combined = False

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def send(self, frame: Frame) -> None:
        self.frames.append(frame)

    def take(self) -> list[Frame]:
        """Return the frames since the last call."""
        taken, self.frames = self.frames, []
        return taken

    @property
    def connection(self) -> Connection:
        """Itself, as what a channel takes it for."""
        return cast("Connection", self)


@pytest.fixture
def subscriber() -> Subscriber:
    return Subscriber()


OpenTruth = Callable[[Settings], tuple[Settings, Truth]]


@pytest.fixture
def open_truth(tmp_path: Path) -> Iterator[OpenTruth]:
    """Open the truth in a folder of the test; it is closed at the end."""
    opened: list[Truth] = []

    def open_one(settings: Settings) -> tuple[Settings, Truth]:
        placed = replace(settings, folder=tmp_path)
        opened.append(Truth(placed))
        return placed, opened[-1]

    yield open_one
    for truth in opened:
        truth.close()
