"""Messages that wait to be sent on one socket, as fast as the venue takes them."""

from collections import deque
from collections.abc import Iterable, Iterator
from enum import Enum

import msgspec

from core.pacing import NEVER, TokenBucket
from core.protocol import Pacing


class Purpose(Enum):
    """What a message is for."""

    SUBSCRIBE = 0
    ASK = 1
    PING = 2
    LEAVE = 3


class Waiting(msgspec.Struct, frozen=True):
    """A message that waits; `about` is the symbol that it asks for, `id` that of a ping."""

    text: str
    purpose: Purpose
    about: str = ""
    id: int = 0


class Outbox:
    """First come, first served, at the venue's pace."""

    def __init__(self, pacing: Pacing) -> None:
        self._bucket = TokenBucket(pacing.messages_per_s, pacing.messages_burst)
        self._waiting: deque[Waiting] = deque()

    def put(self, waiting: Waiting) -> None:
        """Let a message wait for its turn."""
        self._waiting.append(waiting)

    def put_all(self, texts: Iterable[str], purpose: Purpose) -> None:
        """Let messages wait for their turn, in order."""
        self._waiting.extend(Waiting(text, purpose) for text in texts)

    def pass_by(self, now: int) -> None:
        """Count a message that is sent at once; those that wait, wait the longer."""
        self._bucket.take_anyway(now)

    def take(self, now: int) -> Iterator[Waiting]:
        """Take out what may be sent now."""
        while self._waiting and self._bucket.take(now):
            yield self._waiting.popleft()

    def holds(self, purpose: Purpose) -> bool:
        """Say whether a message for this purpose still waits."""
        return any(waiting.purpose is purpose for waiting in self._waiting)

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()

    def ready_at(self, now: int) -> int:
        """Return when the next message may be sent, ns; NEVER when none waits."""
        return self._bucket.ready_at(now) if self._waiting else NEVER
