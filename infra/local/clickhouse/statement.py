"""What a statement is, as far as the transport must know; everything else is the engine's.

The HTTP body of an insert holds the statement and then its data, so somebody must find where one
ends. The engine also offers, as a program on its own machine, ways to files and commands which a
server must not offer to whoever can reach its port.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TOKEN = re.compile(
    rb"""
    (?P<space>  [\s\x80-\xff]+ | --[^\n]* | \#[\ !][^\n]* )
  | (?P<comment> /\* )
  | (?P<string> '(?:[^'\\]|\\.|'')*' | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
  | (?P<quoted> `(?:[^`\\]|\\.|``)*` | "(?:[^"\\]|\\.|"")*" )
  | (?P<word>   [A-Za-z0-9_]+ )
  | (?P<mark>   . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
_CURLY_QUOTES = re.compile(rb"\xe2\x80[\x98\x99\x9c\x9d]")
_BEFORE_DATA = re.compile(rb"[ \t\f]*\r?\n?")
_OPENING = {b"(": 1, b"[": 1, b"{": 1, b")": -1, b"]": -1, b"}": -1}
_NAME_FOLLOWS = frozenset({b"INTO", b"TABLE", b"FUNCTION", b"."})

# Table functions, functions and engines that reach files, commands or this process itself; url
# is among them because it takes file: addresses.
_BEYOND_THE_DATABASE = frozenset(
    b"FILE FILECLUSTER FILESYSTEM EXECUTABLE EXECUTABLEPOOL URL URLCLUSTER SQLITE PYTHON EVAL "
    b"DELTALAKELOCAL ICEBERGLOCAL ICEBERGLOCALCLUSTER PAIMONLOCAL".split()
)


@dataclass(frozen=True)
class Insert:
    """An insert whose data follows in the body."""

    head: bytes
    data_format: str
    data_at: int


@dataclass(frozen=True)
class Token:
    """A word (upper case, quotes removed if quoted), string or mark; depth counts brackets."""

    kind: str
    text: bytes
    depth: int
    start: int
    end: int


def tokens(statement: bytes) -> Iterator[Token]:
    """Tokens of a statement without spaces and comments."""
    at, depth = 0, 0
    while at < len(statement):
        match = _TOKEN.match(statement, at)
        assert match is not None
        kind, at = match.lastgroup or "", match.end()
        if kind == "comment":
            at = _end_of_comment(statement, at)
        elif kind != "space":
            text = match.group()
            depth += _OPENING.get(text, 0)
            if kind in ("word", "quoted"):
                text = text.strip(b'`"').upper()
            yield Token(kind, text, depth, match.start(), match.end())


def _end_of_comment(statement: bytes, at: int) -> int:
    """Position after a comment's end; comments nest."""
    open_comments = 1
    for edge in _COMMENT_EDGE.finditer(statement, at):
        open_comments += 1 if edge.group() == b"/*" else -1
        if open_comments == 0:
            return edge.end()
    return len(statement)


def first_word(statement: bytes) -> str:
    """First word in upper case, without opening brackets; empty if there is none."""
    for token in tokens(statement):
        if token.text != b"(":
            return token.text.decode() if token.kind == "word" else ""
    return ""


def find_insert(statement: bytes) -> Insert | None:
    """The insert at the beginning of a body, None if it is no insert with data behind it."""
    before = b""
    for number, token in enumerate(tokens(statement)):
        if number == 0 and token.text != b"INSERT":
            return None
        # A table may be called format, values or select.
        is_keyword = token.kind == "word" and token.depth == 0 and before not in _NAME_FOLLOWS
        if is_keyword and token.text in (b"SELECT", b"WITH"):
            return None
        if is_keyword and token.text == b"VALUES":
            return _insert(statement, token.start, b"Values", token.end)
        if is_keyword and token.text == b"FORMAT":
            name = next(tokens(statement[token.end :]), None)
            if name is None or name.kind != "word":
                return None
            start, end = token.end + name.start, token.end + name.end
            return _insert(statement, token.start, statement[start:end], end)
        before = token.text
    return None


def _insert(statement: bytes, head_end: int, data_format: bytes, data_at: int) -> Insert:
    spaces = _BEFORE_DATA.match(statement, data_at)
    return Insert(statement[:head_end], data_format.decode(), spaces.end() if spaces else data_at)


def has_word(statement: bytes, word: bytes) -> bool:
    """Whether a statement has a word, in upper case, outside of strings and comments."""
    return any(token.kind == "word" and token.text == word for token in tokens(statement))


def takes_input(statement: bytes) -> bool:
    """Whether an insert selects from rows in the body, by the table function input."""
    words = (token.text for token in tokens(statement))
    return next(words, b"") == b"INSERT" and has_word(statement, b"INPUT")


def output_format(statement: bytes) -> str | None:
    """The format that a statement names for its result, None if it leaves the choice."""
    outer = [token for token in tokens(statement) if token.depth == 0]
    for at in range(len(outer) - 2, -1, -1):
        keyword, name, rest = outer[at], outer[at + 1], outer[at + 2 :]
        if keyword.text != b"FORMAT" or keyword.kind != "word" or name.kind != "word":
            continue
        if not rest or rest[0].text in (b";", b"SETTINGS"):
            return statement[name.start : name.end].decode()
    return None


def reaches_out(statement: bytes) -> str | None:
    """What in a statement reaches beyond the database, None if nothing does."""
    plain = _CURLY_QUOTES.sub(b'"', statement)
    before = b""
    for token in tokens(plain):
        if (before, token.text) in ((b"INTO", b"OUTFILE"), (b"FROM", b"INFILE")):
            return f"{before.decode()} {token.text.decode()}"
        if token.text == b"(" and before in _BEYOND_THE_DATABASE:
            return before.decode().lower()
        before = token.text if token.kind in ("word", "quoted") else b""
    return None
