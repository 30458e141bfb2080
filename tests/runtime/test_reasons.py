import pytest

from infra.runtime.reasons import cause

POOL = (
    "Error HTTPConnectionPool(host='h', port=1): Max retries exceeded with url: /?q=1 "
    "(Caused by {}) executing HTTP request attempt 1 (http://h:1)"
)
REFUSED = POOL.format(
    "NewConnectionError(\"HTTPConnection(host='h', port=1): Failed to establish a new connection: "
    '[Errno 111] Connection refused")'
)
UNNAMED = POOL.format(
    "NameResolutionError(\"HTTPConnection(host='h', port=1): Failed to resolve 'h' "
    '([Errno -2] Name or service not known)")'
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (REFUSED, "Connection refused"),
        (UNNAMED, "Name or service not known"),
        ("HTTPConnectionPool(host='h', port=1): Read timed out. (read timeout=5)", "timed out"),
        ("Code: 81. DB::Exception\nmore", "Code: 81. DB::Exception"),
        ("x" * 999, "x" * 200),
        ("", ""),
    ],
)
def test_cause_is_in_the_systems_own_words(text: str, words: str) -> None:
    assert cause(text) == words
