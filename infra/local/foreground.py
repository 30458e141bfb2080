"""One local server in the foreground, until a signal or its own end.

The server runs in a session of its own, so the terminal's Ctrl-C reaches only this process, which
then stops the server in order.
"""

import signal
from collections.abc import Callable

from infra.local.process import LocalServer, ServerError

WATCH_SECONDS = 1.0


class _EndError(Exception):
    """SIGINT or SIGTERM arrived."""


def serve(server: LocalServer, announce: Callable[[], None]) -> None:
    """Start a server, announce it, and stop it on SIGINT or SIGTERM; for the main thread only.

    Raises:
        ServerError: it did not start, or ended by itself.
    """

    def end(*_: object) -> None:
        raise _EndError

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with server:
            announce()
            while (code := server.wait(WATCH_SECONDS)) is None:
                pass
        raise ServerError(
            f"{server.name} ended by itself with exit code {code}; the end of "
            f"{server.log_path}:\n{server.log_tail()}"
        )
    except _EndError:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
