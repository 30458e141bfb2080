"""What `streamgauge doctor` looks at. A check ends in findings, whatever it meets.

Each looks from outside, as a stage would, and changes nothing.
"""

from enum import Enum

import msgspec


class Status(Enum):
    """How a check ended; only FAILED keeps the pipeline from working."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class Finding(msgspec.Struct, frozen=True):
    """What a check found, and what to do where it is not OK."""

    check: str
    status: Status
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(check, Status.OK, found)


def warning(check: str, found: str, advice: str) -> Finding:
    """Return a finding that deserves a look."""
    return Finding(check, Status.WARNING, found, advice)


def failed(check: str, found: str, advice: str) -> Finding:
    """Return a finding that keeps the pipeline, or a part of it, from working."""
    return Finding(check, Status.FAILED, found, advice)
