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
    HEAL = 1
    RENEW = 2
    PING = 3
    LEAVE = 4


class Waiting(msgspec.Struct, frozen=True):
    """A message that waits; `about` is the symbol that it asks for, `id` that of a ping."""

    text: str
    purpose: Purpose
    about: str = ""
    id: int = 0


class Outbox:
    """First come, first served, at the venue's pace; renewals wait until nothing else does.

    A renewal that has begun is finished first: a book that was given up must be asked for again.
    """

    def __init__(self, pacing: Pacing) -> None:
        self._bucket = TokenBucket(pacing.messages_per_s, pacing.messages_burst)
        self._waiting: deque[Waiting] = deque()
        self._patient: deque[Waiting] = deque()
        self._is_begun = False
        """Whether the first of those is the rest of a renewal."""

    def put(self, waiting: Waiting) -> None:
        """Let a message wait for its turn."""
        patient = waiting.purpose is Purpose.RENEW
        (self._patient if patient else self._waiting).append(waiting)

    def put_all(self, texts: Iterable[str], purpose: Purpose) -> None:
        """Let messages wait for their turn, in order."""
        for text in texts:
            self.put(Waiting(text, purpose))

    def pass_by(self, now: int) -> None:
        """Count a message that is sent at once; those that wait, wait the longer."""
        self._bucket.take_anyway(now)

    def take(self, now: int) -> Iterator[Waiting]:
        """Take out what may be sent now."""
        while (self._waiting or self._patient) and self._bucket.take(now):
            yield self._next()

    def holds(self, purpose: Purpose) -> bool:
        """Say whether a message for this purpose still waits."""
        return any(waiting.purpose is purpose for waiting in self._waiting)

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._patient.clear()
        self._is_begun = False

    def ready_at(self, now: int) -> int:
        """Return when the next message may be sent, ns; NEVER when none waits."""
        return self._bucket.ready_at(now) if self._waiting or self._patient else NEVER

    def _next(self) -> Waiting:
        if self._waiting and not self._is_begun:
            return self._waiting.popleft()
        taken = self._patient.popleft()
        self._is_begun = bool(self._patient) and self._patient[0].about == taken.about
        return taken
