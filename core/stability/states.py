"""The state of a stream: what it may be used for, and how long it must be well to be called well.

             socket opens               followed, its book LIVE
    DOWN ------------------> CONNECTING -> SYNCING ----------> STABLE <-> DEGRADED <-> UNSTABLE
      ^______________________|____________|_______________________|___________|____________|
         socket closed, silence that no rhythm explains, no progress

    STABLE   -> DEGRADED   score below 80 for 1 s
    DEGRADED -> UNSTABLE   score below 50 for 3 s, or the third resync in 5 minutes
    UNSTABLE -> DEGRADED   score 60 or more for 30 s
    DEGRADED -> STABLE     score 90 or more for 30 s
    any      -> SYNCING    the book is not LIVE, or was not for a part of the window
    CONNECTING, SYNCING -> DOWN   after 10 s and 30 s without getting further; what the venue says
                                  nothing of has five minutes to begin

The two thresholds of each border and the times keep a score that swings around one of them from
swinging the state. While our own pipeline is blind nothing is concluded: the state stands still.
Hysteresis as in ITU-T G.826, where unavailability is entered and left after a run of seconds.
"""

from enum import IntEnum
from typing import Final

import msgspec

_S: Final = 1_000_000_000
DEGRADED_BELOW: Final = 80.0
DEGRADED_AFTER_NS: Final = 1 * _S
UNSTABLE_BELOW: Final = 50.0
UNSTABLE_AFTER_NS: Final = 3 * _S
BETTER_FROM: Final = 60.0
STABLE_FROM: Final = 90.0
BETTER_AFTER_NS: Final = 30 * _S
RESYNCS: Final = 3
RESYNCS_NS: Final = 300 * _S
CONNECTING_NS: Final = 10 * _S
SYNCING_NS: Final = 30 * _S
BEGIN_NS: Final = 300 * _S
"""For a book that begins with its first change: a quiet symbol has none for a while."""


class StreamState(IntEnum):
    """What a stream may be used for; the numbers are part of the Avro contract, never changed."""

    DOWN = 0
    """Nothing comes: no socket, or a silence that its rhythm does not explain."""
    CONNECTING = 1
    """A socket is being opened."""
    SYNCING = 2
    """The socket is open; the stream has not begun, or its book is being made anew."""
    STABLE = 3
    """Nothing is known against it."""
    DEGRADED = 4
    """Usable with care: the components of the score say what is wrong."""
    UNSTABLE = 5
    """Not to be relied on."""


class Situation(msgspec.Struct, frozen=True):
    """What a window showed of a stream, beside its score.

    `is_following`: it has begun, and its book, if it is one, was LIVE throughout. `resyncs` were
    completed in the window. `is_silent`: longer than any rhythm of its own explains. `is_blind`:
    our own pipeline did not see all that came. `is_unbegun`: it waits for the venue's first word.
    """

    is_connected: bool
    is_connecting: bool
    is_following: bool
    is_silent: bool
    is_blind: bool
    resyncs: int
    is_unbegun: bool = False


class StateMachine(msgspec.Struct, array_like=True):
    """One stream's state; `advance` is told of every window in turn."""

    state: StreamState = StreamState.DOWN
    held_ns: int = 0
    """How long the state has held."""
    low_ns: int = 0
    """How long the score has been low enough for the next worse state."""
    high_ns: int = 0
    """How long it has been high enough for the next better one."""
    waiting: StreamState = StreamState.DOWN
    """The step that is waited in (CONNECTING or SYNCING), also when it was given up; else DOWN."""
    resynced: list[int] = []
    """Ages of the last resyncs, ns, the oldest first."""
    unbegun_ns: int = 0
    """For how much of `held_ns` nothing has come that could have got it further."""

    def advance(self, situation: Situation, score: float, passed_ns: int) -> StreamState:
        """Take a window of `passed_ns` and return the state at its end."""
        self.held_ns += passed_ns
        if situation.is_unbegun:
            self.unbegun_ns += passed_ns
        self._age_resyncs(situation.resyncs, passed_ns)
        if not situation.is_blind:
            following = self._next(situation, score, passed_ns)
            if following is not self.state:
                self.state = following
                self.held_ns = self.low_ns = self.high_ns = self.unbegun_ns = 0
        return self.state

    def _next(self, situation: Situation, score: float, passed_ns: int) -> StreamState:
        if not situation.is_connected:
            return self._unconnected(situation)
        if situation.is_silent:
            return StreamState.DOWN
        if not situation.is_following:
            return self._patient(StreamState.SYNCING, SYNCING_NS)
        self.waiting = StreamState.DOWN
        if self.state <= StreamState.SYNCING:
            return StreamState.STABLE if score >= DEGRADED_BELOW else StreamState.DEGRADED
        return self._graded(score, passed_ns)

    def _unconnected(self, situation: Situation) -> StreamState:
        if situation.is_connecting:
            return self._patient(StreamState.CONNECTING, CONNECTING_NS)
        self.waiting = StreamState.DOWN
        return StreamState.DOWN

    def _patient(self, state: StreamState, limit_ns: int) -> StreamState:
        """Return `state`, and DOWN once it has been waited in for `limit_ns`."""
        if self.waiting is not state:
            self.waiting = state
            return state
        is_stuck = self.held_ns - self.unbegun_ns >= limit_ns or self.unbegun_ns >= BEGIN_NS
        is_late = self.state is state and is_stuck
        return StreamState.DOWN if is_late or self.state is StreamState.DOWN else state

    def _graded(self, score: float, passed_ns: int) -> StreamState:
        state = self.state
        below = DEGRADED_BELOW if state is StreamState.STABLE else UNSTABLE_BELOW
        above = BETTER_FROM if state is StreamState.UNSTABLE else STABLE_FROM
        self.low_ns = self.low_ns + passed_ns if score < below else 0
        self.high_ns = self.high_ns + passed_ns if score >= above else 0
        if state is StreamState.STABLE:
            return StreamState.DEGRADED if self.low_ns >= DEGRADED_AFTER_NS else state
        if state is StreamState.DEGRADED:
            if self.low_ns >= UNSTABLE_AFTER_NS or len(self.resynced) >= RESYNCS:
                return StreamState.UNSTABLE
            return StreamState.STABLE if self.high_ns >= BETTER_AFTER_NS else state
        is_calm = len(self.resynced) < RESYNCS
        return StreamState.DEGRADED if self.high_ns >= BETTER_AFTER_NS and is_calm else state

    def _age_resyncs(self, resyncs: int, passed_ns: int) -> None:
        aged = [age + passed_ns for age in self.resynced] + [0] * min(resyncs, RESYNCS)
        self.resynced = [age for age in aged if age < RESYNCS_NS][-RESYNCS:]
