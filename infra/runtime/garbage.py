"""When Python looks for garbage in cycles, in processes whose objects are many, small and acyclic.

Frames, messages and facts are freed the moment that nobody holds them. The search for cycles goes
over all of them all the same, every 700 new ones by default, and finds next to nothing.
"""

import gc
from typing import Final

_THRESHOLDS: Final = (50_000, 20, 100)
"""Objects more than were freed before the youngest are looked at, and how often the older are."""


def collect_seldom() -> None:
    """Look for cycles a seventieth as often; for the start of a process."""
    gc.set_threshold(*_THRESHOLDS)


def keep_present() -> None:
    """Never look again at what is there now: modules, clients, settings. For after the start."""
    gc.collect()
    gc.freeze()
