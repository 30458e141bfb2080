"""Waiting for something that runs in a container."""

import time
from collections.abc import Callable
from typing import TypeVar

WAIT_SECONDS = 120.0
POLL_SECONDS = 0.5

T = TypeVar("T")


def wait_until(what: str, look: Callable[[], T]) -> T:
    """Return what `look` finds, once it is true.

    Raises:
        TimeoutError: it was not in WAIT_SECONDS.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come in {WAIT_SECONDS} s")
        time.sleep(POLL_SECONDS)
    return found
