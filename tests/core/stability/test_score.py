from math import isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.stability.score import SCALES, Component, score
from core.stability.states import DEGRADED_BELOW

BADNESS = st.floats(min_value=0.0, max_value=20.0)
KNOWN = st.dictionaries(st.sampled_from(Component), BADNESS, min_size=1)
ROUNDING = 1e-9


def _good() -> dict[Component, float]:
    return {component: SCALES[component].good for component in Component}


def test_score_of_a_stream_with_nothing_wrong_is_100() -> None:
    found = score(_good())

    assert found.value == 100.0
    assert found.binding is None
    assert set(found.desirabilities.values()) == {1.0}


def test_score_of_nothing_known_is_100_and_explains_nothing() -> None:
    found = score({})

    assert (found.value, found.binding, found.desirabilities) == (100.0, None, {})


def test_weights_sum_to_less_than_one() -> None:
    """What is left is for the comparison of venues."""
    assert isclose(sum(scale.weight for scale in SCALES.values()), 0.95)


@given(known=KNOWN)
def test_score_is_bounded_and_full_only_when_all_is_good(known: dict[Component, float]) -> None:
    found = score(known)

    assert 0.0 <= found.value <= 100.0
    assert (found.value == 100.0) == (min(found.desirabilities.values()) == 1.0)


@given(known=KNOWN, component=st.sampled_from(Component), worse=BADNESS)
def test_worsening_one_input_never_raises_the_score(
    known: dict[Component, float], component: Component, worse: float
) -> None:
    known.setdefault(component, 0.0)
    before = score(known).value
    known[component] += worse

    assert score(known).value <= before + ROUNDING


@pytest.mark.parametrize("component", Component)
def test_any_one_fully_bad_component_forces_the_score_out_of_stable(component: Component) -> None:
    found = score(_good() | {component: SCALES[component].bad})

    assert found.value <= 65.0 < DEGRADED_BELOW
    assert found.binding is component
    assert found.badness == SCALES[component].bad


@pytest.mark.parametrize("component", [Component.LIVENESS, Component.INTEGRITY])
def test_full_silence_and_lost_messages_force_the_score_to_0(component: Component) -> None:
    assert score(_good() | {component: SCALES[component].bad}).value == 0.0


@given(known=KNOWN, cap=st.floats(min_value=0.0, max_value=1.0))
def test_cap_bounds_the_score_and_then_nothing_else_binds(
    known: dict[Component, float], cap: float
) -> None:
    free, capped = score(known), score(known, cap=cap)

    assert isclose(capped.value, min(free.value, 100.0 * cap), abs_tol=ROUNDING)
    if 100.0 * cap < free.value - ROUNDING:
        assert capped.binding is None


@pytest.mark.parametrize("component", Component)
def test_desirability_falls_from_one_at_good_to_zero_at_bad(component: Component) -> None:
    scale = SCALES[component]
    between = [scale.good + (scale.bad - scale.good) * step / 50 for step in range(51)]
    found = [scale.desirability(badness) for badness in between]

    assert found[0] == 1.0
    assert found[-1] == 0.0
    assert found == sorted(found, reverse=True)
