"""What the detectors are to reach, by class of fault. The numbers are goals and are not moved.

Delays are from the first effect that anybody could have seen to the alert, in seconds.
"""

from typing import Final

import msgspec


class Goal(msgspec.Struct, frozen=True):
    """`median_s` and `p99_s` of the delay, None for none; `excess_s` of latency when it is found.

    `is_ours`: a fault of our own pipeline, which no alert may blame on the venue.
    """

    median_s: float | None = None
    p99_s: float | None = None
    excess_s: float | None = None
    is_ours: bool = False


HARD: Final = Goal(2.0, 5.0)
SINGLE: Final = Goal(0.5, 2.0)
OWN: Final = Goal(7.0, is_ours=True)

GOALS: Final = {
    # A single symbol below five messages a second has no goal: its own rhythm decides.
    "F1 symbol": Goal(),
    "F1": HARD,
    "F2": HARD,
    "F3": HARD,
    "F4": SINGLE,
    "F5": SINGLE,
    "F6": SINGLE,
    "F7 step": Goal(5.0),
    "F7 ramp": Goal(excess_s=0.12),
    "F8": Goal(7.0),
    "F9": SINGLE,
    "F10": OWN,
    "F11": HARD,
    "F12 frozen price": Goal(60.0),
    "F12 offset": Goal(),
    "F13": Goal(),
    "F14": Goal(),
    "F15": OWN,
}
"""By class and variant, or by class where all variants share it."""
DIAGNOSIS_LEAST: Final = 0.95
ALERTS_PER_FAULT: Final = 1.0


def goal_of(fault: str, variant: str) -> Goal:
    """Return the goal of a class and variant."""
    return GOALS.get(f"{fault} {variant}") or GOALS[fault]
