"""Fields that come and go: each is told once, and only when what is usual is known."""

import msgspec
import pytest

from core.shapes import FIELDS_MAX, LEARNED, Change, Fields, Shapes

USUAL = b'{"e":"trade","data":[{"p":"1","q":"2"},{"p":"1"}]}'


def learned() -> Shapes:
    shapes = Shapes()
    for _ in range(LEARNED):
        assert shapes.look("TradePrint", USUAL) is None
    return shapes


def test_usual_fields_are_nothing_to_tell() -> None:
    shapes = learned()

    assert shapes.look("TradePrint", b'{"data":[{"q":"3","p":"9"}],"e":"trade"}') is None


def test_new_field_is_told_once_wherever_it_stands() -> None:
    """Concept 29."""
    shapes = learned()
    changed = b'{"e":"trade","data":[{"p":"1","q":"2"},{"p":"1","m":{"x":1}}]}'

    assert shapes.look("TradePrint", changed) == Change(["data.m", "data.m.x"], [])
    assert shapes.look("TradePrint", changed) is None
    assert shapes.look("TradePrint", USUAL) is None


def test_field_that_is_gone_is_told_once() -> None:
    shapes = learned()
    changed = b'{"e":"trade","data":[{"p":"1"}]}'

    assert shapes.look("TradePrint", changed) == Change([], ["data.q"])
    assert shapes.look("TradePrint", changed) is None
    assert shapes.look("TradePrint", USUAL) is None


def test_field_that_comes_now_and_then_is_usual() -> None:
    shapes = Shapes()
    for number in range(2 * LEARNED):
        payload = b'{"a":1,"b":2}' if number % 7 == 0 else b'{"a":1}'
        assert shapes.look("Delta", payload) is None


def test_kind_that_is_rare_is_learned_and_nothing_is_told() -> None:
    shapes = Shapes()
    for number in range(LEARNED - 1):
        assert shapes.look("Answer", b'{"x%d":1}' % (number % 9)) is None


def test_kinds_are_known_apart() -> None:
    shapes = learned()

    assert shapes.look("Delta", b'{"u":1}') is None
    assert set(shapes.by_kind) == {"TradePrint", "Delta"}


def test_message_whose_names_are_data_is_left_alone() -> None:
    shapes = Shapes()
    for number in range(3 * FIELDS_MAX + LEARNED):
        assert shapes.look("Answer", b'{"n%d":1}' % number) is None

    fields = shapes.by_kind["Answer"]
    assert len(fields.always) + len(fields.sometimes) <= FIELDS_MAX


@pytest.mark.parametrize(
    "payload", [b"", b"[1,2", b'{"a":1e999}', b'{"a":"\xff"}', b"[" * 10_000, b'"' + b"x" * 70_000]
)
def test_what_cannot_be_looked_at_is_left_alone(payload: bytes) -> None:
    assert learned().look("TradePrint", payload) is None


def test_what_is_remembered_can_be_written_and_read() -> None:
    shapes = learned()
    text = msgspec.msgpack.encode(shapes.by_kind)

    other = Shapes()
    other.by_kind = msgspec.msgpack.decode(text, type=dict[str, Fields])
    assert other.look("TradePrint", b'{"e":1}') == shapes.look("TradePrint", b'{"e":1}')
