"""Receipts: what came of telling a receiver of an incident; they outlive the notifier."""

from enum import IntEnum

import msgspec

from core.stability.alerts import Phase


class Outcome(IntEnum):
    """What came of it; the numbers are part of the Avro contract and never change."""

    DELIVERED = 1
    """The receiver has taken it."""
    REFUSED = 2
    """The receiver would not take it: there is a dead letter with the reason."""
    SUPPRESSED = 3
    """It was over before a silence, a maintenance window or damping was."""


class Receipt(msgspec.Struct, frozen=True):
    """The last thing that came of one incident at one receiver.

    `partition` is that of the alert, `ts` when it was written, ns. `alert` is the opening as it
    stands on its topic while that is delivered and the incident open, else empty: so it can be
    told again when the topic has forgotten it.
    """

    receiver: str
    alert_id: str
    phase: Phase
    outcome: Outcome
    partition: int
    ts: int
    alert: bytes

    @property
    def key(self) -> bytes:
        """Key of the record: a later receipt of the same incident replaces an earlier one."""
        return receipt_key(self.receiver, self.alert_id)


def receipt_key(receiver: str, alert_id: str) -> bytes:
    """Return the key of a receiver's receipt of an incident."""
    return f"{receiver} {alert_id}".encode()
