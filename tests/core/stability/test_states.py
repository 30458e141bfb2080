import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.stability.states import Situation, StateMachine, StreamState

S = 1_000_000_000
WELL = Situation(
    is_connected=True,
    is_connecting=False,
    is_following=True,
    is_silent=False,
    is_blind=False,
    resyncs=0,
)
CLOSED = msgspec.structs.replace(WELL, is_connected=False, is_following=False)
OPENING = msgspec.structs.replace(CLOSED, is_connecting=True)
WAITING = msgspec.structs.replace(WELL, is_following=False)


def _after(machine: StateMachine, seconds: int, situation: Situation, score: float) -> StreamState:
    for _ in range(seconds):
        machine.advance(situation, score, S)
    return machine.state


def _stable() -> StateMachine:
    machine = StateMachine()
    assert _after(machine, 1, WELL, 100.0) is StreamState.STABLE
    return machine


def test_stream_passes_through_connecting_and_syncing_to_stable() -> None:
    machine = StateMachine()
    found = [machine.advance(situation, 100.0, S) for situation in (CLOSED, OPENING, WAITING, WELL)]

    assert found == [
        StreamState.DOWN,
        StreamState.CONNECTING,
        StreamState.SYNCING,
        StreamState.STABLE,
    ]


def test_score_below_80_degrades_after_one_second_and_90_for_30_s_heals() -> None:
    machine = _stable()

    assert _after(machine, 1, WELL, 79.9) is StreamState.DEGRADED
    assert _after(machine, 29, WELL, 95.0) is StreamState.DEGRADED
    assert _after(machine, 1, WELL, 95.0) is StreamState.STABLE


def test_score_between_the_two_thresholds_heals_nothing() -> None:
    machine = _stable()
    _after(machine, 1, WELL, 70.0)

    assert _after(machine, 600, WELL, 85.0) is StreamState.DEGRADED


def test_score_below_50_is_unstable_after_three_seconds_and_60_for_30_s_heals_a_step() -> None:
    machine = _stable()
    _after(machine, 1, WELL, 40.0)

    assert _after(machine, 2, WELL, 40.0) is StreamState.DEGRADED
    assert _after(machine, 1, WELL, 40.0) is StreamState.UNSTABLE
    assert _after(machine, 30, WELL, 60.0) is StreamState.DEGRADED


def test_score_that_swings_around_a_threshold_does_not_swing_the_state() -> None:
    machine = _stable()
    _after(machine, 1, WELL, 79.0)
    found = {machine.advance(WELL, 79.0 if n % 2 else 91.0, S) for n in range(600)}

    assert found == {StreamState.DEGRADED}


def test_third_resync_in_five_minutes_is_unstable() -> None:
    machine = _stable()
    _after(machine, 1, WELL, 79.0)
    resynced = msgspec.structs.replace(WELL, resyncs=1)
    for _ in range(2):
        machine.advance(resynced, 79.0, S)
        assert _after(machine, 60, WELL, 79.0) is StreamState.DEGRADED

    assert machine.advance(resynced, 79.0, S) is StreamState.UNSTABLE


def test_book_that_is_not_live_is_syncing_at_once_and_down_after_30_s() -> None:
    machine = _stable()

    assert _after(machine, 1, WAITING, 100.0) is StreamState.SYNCING
    assert _after(machine, 29, WAITING, 100.0) is StreamState.SYNCING
    assert _after(machine, 1, WAITING, 100.0) is StreamState.DOWN
    assert _after(machine, 300, WAITING, 100.0) is StreamState.DOWN
    assert _after(machine, 1, WELL, 100.0) is StreamState.STABLE


def test_book_of_which_nothing_was_said_has_five_minutes_to_begin_and_then_30_s_to_join() -> None:
    unbegun = msgspec.structs.replace(WAITING, is_unbegun=True)

    assert _after(StateMachine(), 300, unbegun, 100.0) is StreamState.SYNCING
    assert _after(StateMachine(), 301, unbegun, 100.0) is StreamState.DOWN
    machine = StateMachine()
    assert _after(machine, 200, unbegun, 100.0) is StreamState.SYNCING
    assert _after(machine, 29, WAITING, 100.0) is StreamState.SYNCING
    assert _after(machine, 2, WAITING, 100.0) is StreamState.DOWN


def test_attempt_to_connect_is_given_up_after_10_s() -> None:
    machine = StateMachine()

    assert _after(machine, 10, OPENING, 100.0) is StreamState.CONNECTING
    assert _after(machine, 1, OPENING, 100.0) is StreamState.DOWN
    assert _after(machine, 100, OPENING, 100.0) is StreamState.DOWN


@pytest.mark.parametrize("state", list(StreamState))
def test_closed_socket_is_down_from_every_state(state: StreamState) -> None:
    machine = StateMachine(state=state)

    assert machine.advance(CLOSED, 100.0, S) is StreamState.DOWN


def test_silence_beyond_every_rhythm_is_down() -> None:
    silent = msgspec.structs.replace(WELL, is_silent=True)

    assert _after(_stable(), 1, silent, 0.0) is StreamState.DOWN


@pytest.mark.parametrize("state", list(StreamState))
def test_state_stands_still_while_we_are_blind(state: StreamState) -> None:
    machine = StateMachine(state=state)
    for situation in (WELL, CLOSED, OPENING, WAITING):
        blind = msgspec.structs.replace(situation, is_blind=True)

        assert _after(machine, 60, blind, 0.0) is state


SITUATIONS = st.builds(
    Situation, st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans(),
    st.integers(0, 4), st.booleans(),
)  # fmt: skip


@given(
    windows=st.lists(st.tuples(SITUATIONS, st.floats(0, 100), st.integers(0, 10 * S))),
    cut=st.integers(0, 100),
)
def test_machine_goes_on_from_what_was_written_down(
    windows: list[tuple[Situation, float, int]], cut: int
) -> None:
    one, other = StateMachine(), StateMachine()
    for number, (situation, score, passed) in enumerate(windows):
        if number == cut:
            other = msgspec.msgpack.decode(msgspec.msgpack.encode(one), type=StateMachine)
        one.advance(situation, score, passed)
        if number >= cut:
            assert other.advance(situation, score, passed) is one.state

    assert len(one.resynced) <= 3
