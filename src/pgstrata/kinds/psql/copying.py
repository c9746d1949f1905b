r"""The argument of ``\copy``, parsed as psql does."""

import re
from typing import Literal, NamedTuple

_SPACE = re.compile(rb"[ \t\n\r]*")
_TABLE_TOKEN = re.compile(rb'(?:"[^"]*")+|[.,()]|[^ \t\n\r.,()"]+')
_QUERY_TOKEN = re.compile(rb"(?:'[^']*')+" rb'|(?:"[^"]*")+|[.,()]|[^ \t\n\r.,()"\']+')
_TARGET_TOKEN = re.compile(rb"(?:'[^']*')+|[^ \t\n\r;']+")

Target = Literal["stdin", "stdout", "pstdin", "pstdout", "program", "file"]
_STREAMS: dict[bytes, Target] = {
    b"stdin": "stdin",
    b"stdout": "stdout",
    b"pstdin": "pstdin",
    b"pstdout": "pstdout",
    b"program": "program",
}


class SlashCopy(NamedTuple):
    r"""What a ``\copy`` reads or writes."""

    direction: Literal["from", "to"]
    target: Target
    start: int
    """Where the target's token starts."""
    end: int
    path: bytes
    """The file's path, for the target ``file``."""


def slash_copy(text: bytes) -> SlashCopy | None:
    """Parse the rest of the line after the command; None if psql may parse it differently."""
    tokens = _Tokens(text)
    word = tokens.next(_TABLE_TOKEN)
    if word == b"binary":
        word = tokens.next(_TABLE_TOKEN)
    word = tokens.skip_query() if word == b"(" else tokens.skip_table()
    if word not in (b"from", b"to"):
        return None
    direction: Literal["from", "to"] = "from" if word == b"from" else "to"
    raw = tokens.next_raw(_TARGET_TOKEN)
    if not raw or not tokens.at_boundary():
        return None
    target = _STREAMS.get(raw.lower(), "file")
    path = raw[1:-1].replace(b"''", b"'") if raw.startswith(b"'") else raw
    return SlashCopy(direction, target, tokens.position - len(raw), tokens.position, path)


class _Tokens:
    """Reads tokens in turn; they are empty at the end and where nothing matches."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.position = 0

    def next_raw(self, token: re.Pattern[bytes]) -> bytes:
        space = _SPACE.match(self._text, self.position)
        assert space is not None
        found = token.match(self._text, space.end())
        if found is None:
            return b""
        self.position = found.end()
        return found[0]

    def next(self, token: re.Pattern[bytes]) -> bytes:
        return self.next_raw(token).lower()

    def at_boundary(self) -> bool:
        """Whether white space, a semicolon or the end follows."""
        following = self._text[self.position : self.position + 1]
        return following in (b"", b" ", b"\t", b"\r", b"\n", b";")

    def skip_query(self) -> bytes:
        """Skip a query whose parenthesis is open, and read the token after it."""
        depth = 1
        while depth and (word := self.next(_QUERY_TOKEN)):
            depth += {b"(": 1, b")": -1}.get(word, 0)
        return b"" if depth else self.next(_QUERY_TOKEN)

    def skip_table(self) -> bytes:
        """Skip the rest of ``[schema.]table [(columns)]``, and read the token after it."""
        word = self.next(_TABLE_TOKEN)
        while word == b".":
            self.next(_TABLE_TOKEN)
            word = self.next(_TABLE_TOKEN)
        if word == b"(":
            while word and word != b")":
                word = self.next(_TABLE_TOKEN)
            word = self.next(_TABLE_TOKEN)
        return word
