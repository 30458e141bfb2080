"""Dead letters: records that a consumer could not use, kept with their reason.

A letter says where its record stands, in which log, and why it was given up, so that nothing is
skipped silently and the record can be found again. Nothing here decides what is unusable.
"""

from typing import Final

import msgspec

REASON_CHARACTERS: Final = 500
"""Longest reason that is kept, in characters."""


class DeadLetter(msgspec.Struct, frozen=True, gc=False):
    """A record that a consumer could not use: where it stands, who gave it up and why.

    `ts` is the record's Kafka timestamp in ns; `reason` at most 500 characters. `log_id` is the
    identity of the log in which the record stands, empty where the consumer does not know it.
    """

    topic: str
    partition: int
    offset: int
    consumer: str
    reason: str
    ts: int
    key: bytes | None
    value: bytes | None
    log_id: str = ""

    def __len__(self) -> int:
        return 1

    @property
    def stream(self) -> tuple[str, str, str] | None:
        """Log, consumer and partition of the record: one consumer gives them up in order.

        None without a log's identity: offsets may then start again, so order proves nothing.
        """
        return (
            (self.log_id, self.consumer, f"{self.topic}/{self.partition}") if self.log_id else None
        )

    @property
    def mark(self) -> tuple[int, int]:
        """Grows from letter to letter of one stream."""
        return 0, self.offset
