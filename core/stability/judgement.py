"""What is concluded of one stream in one window."""

import msgspec

from core.stability.score import Component
from core.stability.states import StreamState


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """A state and a score, with what explains them; the fields are the last ones of a second.

    The components are desirabilities, 0 bad to 1 good, None while there is nothing to judge by.
    `score_binding` is the one that keeps the score down, with its `score_badness` and the
    `score_threshold` from which it counts, both in `score_unit`; None where nothing does, or where
    the state alone does.
    """

    state: StreamState
    is_blind: bool
    """Our own pipeline did not see all that came: the state stands still."""
    score: float
    """0 to 100."""
    score_version: int
    score_binding: Component | None
    score_badness: float | None
    score_threshold: float | None
    score_unit: str
    score_liveness: float | None
    score_integrity: float | None
    score_latency: float | None
    score_book: float | None
    score_continuity: float | None
    score_order: float | None
    score_jitter: float | None
