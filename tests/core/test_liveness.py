import pytest

from tests.core.driver import S, opened
from tests.core.toy_venues import VENUES


@pytest.mark.parametrize("name", VENUES)
@pytest.mark.parametrize("silences", [1, 2, 10])
def test_session_that_was_busy_probes_before_it_gives_a_socket_up(name: str, silences: int) -> None:
    """What came meanwhile may still be unread: our own delay says nothing about the venue."""
    driver = opened(name)
    driver.answer = lambda frame: False
    silence = int(driver.exchange.capabilities.silence_s * S)
    driver.change("AAA")
    asked = len(driver.pings) + len(driver.sent)
    driver.now += silences * silence
    driver.do(driver.session.advance(driver.now))
    assert driver.closed is None
    driver.pass_time(silence // 2 - 1)
    assert driver.closed is None
    assert len(driver.pings) + len(driver.sent) > asked
    driver.pass_time(1)

    assert driver.closed is not None
    assert driver.closed.abort
