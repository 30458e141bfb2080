"""What has happened to one book, counted over its whole life; windows report differences of it."""


class SyncCounters:
    """What has happened to one book; counts only grow."""

    __slots__ = (
        "audits_bad",
        "audits_ok",
        "checksums_bad",
        "checksums_ok",
        "crossed",
        "duplicates",
        "gaps",
        "missing",
        "out_of_order",
        "resyncs",
        "snapshots",
    )

    def __init__(self) -> None:
        self.snapshots = 0
        self.resyncs = 0
        self.gaps = 0
        self.missing = 0
        self.duplicates = 0
        self.out_of_order = 0
        self.crossed = 0
        self.checksums_ok = 0
        self.checksums_bad = 0
        self.audits_ok = 0
        self.audits_bad = 0

    def copy(self) -> "SyncCounters":
        """Return the counts as they stand now."""
        same = SyncCounters()
        for name in self.__slots__:
            setattr(same, name, getattr(self, name))
        return same
