"""Whether a socket lives: when to probe it, and when to give it up.

It is probed after half of its normal silence, and given up when the probe has had the other half
to be answered. Time alone is no proof: a process that was stopped or busy for longer than that
finds what the venue sent meanwhile still unread.
"""

from typing import Final

PATIENCE: Final = 6
"""A socket that answers pings may bring no message for so many times the normal silence."""


class Liveness:
    """One open socket; `silence` is its longest normal silence, and all times are monotonic ns."""

    __slots__ = ("_probed", "_silence", "_silent_at", "heard", "told")

    def __init__(self, silence: int) -> None:
        self.heard = 0
        """When there was any sign of life."""
        self.told = 0
        """When a message came: pings and pongs come from sockets that carry nothing, too."""
        self._silence = silence
        self._probed = -1
        self._silent_at = 0

    @property
    def deadline(self) -> int:
        """When `probe` or `lost` has something to say."""
        if self._probed == self.heard:
            return self._silent_at
        return min(self.heard + self._silence // 2, self._untold_at)

    def probe(self, now: int) -> bool:
        """Say whether to probe the socket now: it has been silent, and was not probed since."""
        silent, half = now - self.heard, self._silence // 2
        if self._probed == self.heard or silent < half:
            return False
        self._probed = self.heard
        self._silent_at = max(self.heard + self._silence, now + half)
        if silent < self._silence:
            self._silent_at = min(self._silent_at, self._untold_at)
        return True

    def lost(self, now: int) -> str:
        """Return why the socket is to be given up, an empty text if it is not."""
        if now < (self._silent_at if self._probed == self.heard else self._untold_at):
            return ""
        silent, untold = now - self.heard, now - self.told
        if untold > silent:
            return f"no message for {untold / 1e9:.1f} s, though it answers pings"
        return f"silent for {silent / 1e9:.1f} s"

    @property
    def _untold_at(self) -> int:
        return self.told + self._silence * PATIENCE
