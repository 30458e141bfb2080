"""How long a socket was not read because its frames had nowhere to go."""


class PauseClock:
    """Adds up pauses; times are monotonic ns."""

    def __init__(self) -> None:
        self._since: int | None = None
        self._ns = 0

    @property
    def is_running(self) -> bool:
        """Say whether a pause is on."""
        return self._since is not None

    def start(self, mono: int) -> None:
        """A pause begins."""
        self._since = mono

    def stop(self, mono: int) -> None:
        """The pause ends."""
        if self._since is not None:
            self._ns += mono - self._since
            self._since = None

    def take(self, mono: int) -> int:
        """Return the paused time since it was last taken, ns."""
        if self._since is not None:
            self._ns += mono - self._since
            self._since = mono
        taken, self._ns = self._ns, 0
        return taken
