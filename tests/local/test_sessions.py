"""Named sessions: one request at a time, bounded, gone when idle."""

import pytest

from infra.local.clickhouse.sessions import SESSIONS_MAX, EngineError, Session, Sessions


class Handle:
    """Counts its ends."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(Handle)


def test_take_gives_the_same_handle_again(sessions: Sessions) -> None:
    with sessions.take(Session("a")) as first, sessions.take(Session("b")) as other:
        assert first is not other
    with sessions.take(Session("a", must_exist=True)) as second:
        assert second is first


@pytest.mark.parametrize(
    ("session", "code"),
    [
        (Session("used"), 373),
        (Session("new", must_exist=True), 372),
        (Session("new", seconds=0), 374),
        (Session("new", seconds=3601), 374),
    ],
)
def test_take_of_what_cannot_be_had_is_an_error(
    sessions: Sessions, session: Session, code: int
) -> None:
    with (
        sessions.take(Session("used")),
        pytest.raises(EngineError) as raised,
        sessions.take(session),
    ):
        pass

    assert raised.value.code == code


def test_take_above_the_limit_is_refused_until_one_closes(sessions: Sessions) -> None:
    for number in range(SESSIONS_MAX):
        with sessions.take(Session(str(number))):
            pass

    with pytest.raises(EngineError, match="Too many sessions"), sessions.take(Session("more")):
        pass
    with sessions.take(Session("0", close=True)) as handle:
        pass
    with sessions.take(Session("more")):
        pass
    assert handle.closed == 1


def test_idle_session_ends_with_its_time(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("infra.local.clickhouse.sessions.time.monotonic", lambda: now)
    with sessions.take(Session("a", seconds=10)) as handle:
        now = 100.0
    now = 109.0
    with sessions.take(Session("b")):
        assert handle.closed == 0
    now = 111.0
    with sessions.take(Session("b")):
        assert handle.closed == 1
    with pytest.raises(EngineError), sessions.take(Session("a", must_exist=True)):
        pass


def test_close_ends_all(sessions: Sessions) -> None:
    with sessions.take(Session("a")) as handle:
        pass

    sessions.close()

    assert handle.closed == 1
