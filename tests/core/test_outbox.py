from core.outbox import Outbox, Purpose, Waiting
from core.pacing import NEVER
from core.protocol import Pacing

S = 1_000_000_000
SLOW = Pacing(messages_per_s=1.0, messages_burst=1, requests_per_s=1.0, requests_burst=1)
FAST = Pacing(messages_per_s=1.0, messages_burst=100, requests_per_s=1.0, requests_burst=1)


def taken(outbox: Outbox, now: int) -> list[str]:
    return [waiting.text for waiting in outbox.take(now)]


def test_outbox_keeps_the_pace_and_the_order() -> None:
    outbox = Outbox(SLOW)
    outbox.put_all(["a", "b", "c"], Purpose.SUBSCRIBE)

    assert taken(outbox, 0) == ["a"]
    assert outbox.ready_at(0) == S
    assert [taken(outbox, now) for now in (S - 1, S, 2 * S)] == [[], ["b"], ["c"]]
    assert outbox.ready_at(2 * S) == NEVER


def test_outbox_renewals_wait_until_nothing_else_does() -> None:
    outbox = Outbox(FAST)
    outbox.put(Waiting("renew", Purpose.RENEW, about="A"))
    outbox.put(Waiting("ping", Purpose.PING, id=1))
    outbox.put(Waiting("heal", Purpose.HEAL, about="B"))

    assert taken(outbox, 0) == ["ping", "heal", "renew"]


def test_outbox_renewal_that_has_begun_is_finished_before_healing() -> None:
    outbox = Outbox(SLOW)
    for symbol in ("A", "B"):
        outbox.put(Waiting(f"leave {symbol}", Purpose.RENEW, about=symbol))
        outbox.put(Waiting(f"join {symbol}", Purpose.RENEW, about=symbol))
    assert taken(outbox, 0) == ["leave A"]
    outbox.put(Waiting("heal C", Purpose.HEAL, about="C"))

    order = [text for now in range(1, 5) for text in taken(outbox, now * S)]
    assert order == ["join A", "heal C", "leave B", "join B"]


def test_outbox_message_that_passes_by_lets_others_wait_longer() -> None:
    outbox = Outbox(SLOW)
    outbox.put(Waiting("a", Purpose.SUBSCRIBE))
    outbox.pass_by(0)

    assert taken(outbox, 0) == []
    assert outbox.ready_at(0) == S


def test_outbox_cleared_holds_nothing() -> None:
    outbox = Outbox(SLOW)
    outbox.put(Waiting("leave", Purpose.RENEW, about="A"))
    outbox.put(Waiting("join", Purpose.RENEW, about="A"))
    outbox.put(Waiting("ping", Purpose.PING, id=1))
    assert outbox.holds(Purpose.PING)
    assert taken(outbox, 0) == ["ping"]
    assert taken(outbox, S) == ["leave"]
    outbox.clear()
    assert not outbox.holds(Purpose.PING)
    assert outbox.ready_at(S) == NEVER
    outbox.put(Waiting("leave", Purpose.RENEW, about="A"))
    outbox.put(Waiting("ping", Purpose.PING, id=2))

    assert taken(outbox, 2 * S) == ["ping"]
