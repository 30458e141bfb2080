"""What a second says of one venue among others: a row."""

import msgspec


class VenueSecond(msgspec.Struct, frozen=True, kw_only=True):
    """One venue's price of one instrument as a second began, against the consensus.

    `number` is that second, s since the epoch, and `index` the place in it; `ts` is the same time
    in ns. Figures are floats: exact prices are in `books`. `mid_shard`, `mid_line`, `mid_epoch` and
    `mid_number` are the origin of the mid.
    """

    number: int
    index: int
    symbol: str
    instrument: str
    ts: int
    mid: float | None
    """None where the book was not LIVE."""
    is_fresh: bool
    """The book had changed in the last seconds, so that it counts."""
    venues: int
    """Exchanges whose price counts in this second."""
    consensus: float | None
    """The price that they agree on; None where they are fewer than three."""
    basis_bps: float | None
    """How far the venue usually is from the consensus."""
    divergence_bps: float | None
    """How far it is now from where it usually is."""
    usual_bps: float | None
    """The divergence that is usual for it: one robust standard deviation."""
    divergence_sigmas: float | None
    """The divergence in multiples of what is usual."""
    unchanged_s: int | None
    """For how long its price has not changed."""
    moved_bps: float | None
    """How far the consensus has moved meanwhile."""
    is_judged: bool
    """Enough is known of the venue to call it divergent or frozen."""
    mid_shard: str
    mid_line: str
    mid_epoch: int
    mid_number: int
