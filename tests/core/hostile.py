"""What no venue should send: frames to feed to decoders, made from frames that are right."""

import re
from collections.abc import Iterator
from random import Random
from typing import Final

TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null')
"""A text (of a key too), number or word of JSON."""
NUMBERS: Final = (
    *(b"0", b"-0", b"-0.0", b"-1", b"1.5", b"1e5", b"1E+5", b"1e999", b"-1e999", b"1e-999"),
    *(b"NaN", b"Infinity", b"-Infinity", b"0x10", b"01", b"1.", b".5", b"+1", b"1_000"),
    *(b"9223372036854775807", b"9223372036854775808", b"18446744073709551616"),
    *(b"4611686018427387904", b"9" * 400, b"9" * 5000, b"0." + b"0" * 400 + b"1"),
)
TEXTS: Final = (
    *(b'""', b'"x"', b'" 1"', b'"1 "', b'"-1"', b'"NaN"', b'"Infinity"', b'"1e999"', b'"1e-999"'),
    *(b'"1_0"', b'"."', b'"1."', b'".5"', b'"1.2.3"', b'"0x1"', b'"1e5"', b'"1e"', b'"\\n1"'),
    *('"\u0661"'.encode(), '"\u00b2"'.encode(), '"1\u0662"'.encode(), '"\uff11"'.encode()),
    *(b'"\\u0000"', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud83d\\ude00"', b'"\xff"'),
    *(b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"' + b"9" * 400 + b'"', b'"' + b"A" * 10_000 + b'"'),
    *(b'"2023-02-30T00:00:00Z"', b'"0001-01-01T00:00:00Z"', b'"2023-11-14T22:13:20"'),
    *(b'"9999-12-31T23:59:59+00:00"', b'"1700000000.000001"', b'"99999999999999999999"'),
)
OTHERS: Final = (b"null", b"true", b"false", b"[]", b"{}", b"[[[]]]", b'{"a":{}}', b"[null]")
VALUES: Final = NUMBERS + TEXTS + OTHERS
DEEP: Final = 20_000


def nothing_like_a_frame() -> Iterator[bytes]:
    """Yield payloads that owe nothing to any venue."""
    yield from (b"", b" ", b"\n", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}", b"null", b"true", b"0")
    yield from (b"[]", b"{}", b'""', b"[[]]", b"[{}]", b'{"":""}', b"[1,2,3,4]", b"'", b'"', b"{")
    yield from (b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP)
    yield b'{"a":' * DEEP + b"1" + b"}" * DEEP
    yield b'{"data":' + b"[" * DEEP + b"]" * DEEP + b"}"
    random = Random(7)
    for size in (1, 2, 3, 10, 100, 1000, 10_000):
        yield random.randbytes(size)
        yield bytes(random.choices(b'{}[]",:0123456789.eE-truefalsn \\u', k=size))


def changed_values(payload: bytes, tokens_max: int = 40) -> Iterator[bytes]:
    """Yield the frame with one key or value replaced by each of many others."""
    found = list(TOKEN.finditer(payload))
    half = tokens_max // 2
    for token in found if len(found) <= tokens_max else found[:half] + found[-half:]:
        for value in VALUES:
            yield payload[: token.start()] + value + payload[token.end() :]


def doubled_keys(payload: bytes) -> Iterator[bytes]:
    """Yield the frame with a key that comes twice, the second time with another value."""
    for token in list(TOKEN.finditer(payload))[:60]:
        if payload[token.end() : token.end() + 1] == b":":
            for value in (b"null", b'"x"', b"1", b"[]"):
                pair = token.group() + b":" + value
                yield payload[: token.start()] + pair + b"," + payload[token.start() :]


def truncated(payload: bytes) -> Iterator[bytes]:
    """Yield every part of a frame, from its beginning and from its end."""
    for place in range(1, len(payload)):
        yield payload[:place]
        yield payload[place:]


def buried(payload: bytes) -> Iterator[bytes]:
    """Yield the frame with things around it or deep within it."""
    yield payload + payload
    yield payload + b"\x00"
    yield payload + b","
    yield b"\xef\xbb\xbf" + payload
    yield b"[" + payload + b"]"
    yield b'{"data":' + payload + b"}"
    if payload.startswith(b"{"):
        yield payload[:-1] + b',"deep":' + b"[" * DEEP + b"]" * DEEP + b"}"
        yield payload[:-1] + b',"deep":' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b"}"


def mutated(payload: bytes) -> Iterator[bytes]:
    """Yield everything that is made from one frame."""
    yield from changed_values(payload)
    yield from doubled_keys(payload)
    yield from buried(payload)
