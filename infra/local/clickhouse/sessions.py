"""Named sessions: a handle of the engine kept for the requests that name it, one at a time.

Idle sessions end after their time; a bounded number is open. What a handle is, the engine knows.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

SESSIONS_MAX = 256
SESSION_SECONDS = 60
SESSION_SECONDS_MAX = 3600

SESSION_NOT_FOUND = 372
SESSION_IS_LOCKED = 373
INVALID_SESSION_TIMEOUT = 374
TOO_MANY_SESSIONS = 202


class EngineError(Exception):
    """The engine refused or failed; the code and text are ClickHouse's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Session:
    """The named session that a request belongs to."""

    name: str
    seconds: int = SESSION_SECONDS
    must_exist: bool = False
    close: bool = False


@dataclass
class _OpenSession:
    handle: Any
    seconds: int
    expires: float = 0.0
    busy: bool = False


class Sessions:
    """The open sessions."""

    def __init__(self, open_handle: Callable[[], Any]) -> None:
        self._open_handle = open_handle
        self._open: dict[str, _OpenSession] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def take(self, wanted: Session) -> Iterator[Any]:
        """The handle of a session, opened when new, for this request alone.

        Raises:
            EngineError: it is in use, must exist and does not, or there are too many.
        """
        with self._lock:
            session = self._find(wanted)
            session.busy = True
        try:
            yield session.handle
        finally:
            with self._lock:
                session.busy = False
                session.expires = time.monotonic() + session.seconds
                if wanted.close:
                    self._open.pop(wanted.name).handle.close()

    def close(self) -> None:
        """End all sessions."""
        with self._lock:
            for session in self._open.values():
                session.handle.close()
            self._open.clear()

    def _find(self, wanted: Session) -> _OpenSession:
        if not 0 < wanted.seconds <= SESSION_SECONDS_MAX:
            raise EngineError(
                INVALID_SESSION_TIMEOUT,
                f"Session timeout '{wanted.seconds}' must be 1 to {SESSION_SECONDS_MAX} seconds",
            )
        self._end_idle()
        session = self._open.get(wanted.name)
        if session is None:
            session = self._begin(wanted)
        elif session.busy:
            raise EngineError(
                SESSION_IS_LOCKED, f"Session {wanted.name} is locked by a concurrent client"
            )
        session.seconds = wanted.seconds
        return session

    def _end_idle(self) -> None:
        now = time.monotonic()
        for name, session in list(self._open.items()):
            if not session.busy and session.expires < now:
                self._open.pop(name).handle.close()

    def _begin(self, wanted: Session) -> _OpenSession:
        if wanted.must_exist:
            raise EngineError(SESSION_NOT_FOUND, f"Session {wanted.name} not found")
        if len(self._open) >= SESSIONS_MAX:
            raise EngineError(TOO_MANY_SESSIONS, f"Too many sessions, {SESSIONS_MAX} are open")
        session = self._open[wanted.name] = _OpenSession(self._open_handle(), wanted.seconds)
        return session
