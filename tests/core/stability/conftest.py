"""A connection whose detectors know what is usual."""

from copy import deepcopy

import pytest

from core.stability.alerts import Phase
from core.stability.states import StreamState
from tests.core.stability.wire import LEARNED_S, Wire

OPEN, RESOLVE = Phase.OPEN, Phase.RESOLVE


@pytest.fixture(scope="package")
def learned() -> Wire:
    """A connection on which everything has been well for long enough."""
    made = Wire()
    assert made.live(LEARNED_S) == []
    assert set(made.states.values()) == {StreamState.STABLE}
    return made


@pytest.fixture
def wire(learned: Wire) -> Wire:
    """Return a copy of it."""
    return deepcopy(learned)
