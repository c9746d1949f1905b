r"""The arguments of psql's backslash commands: where they end, and their values.

A command's arguments end with the line, or at a backslash outside of quotes. psql replaces
variables and runs backquoted text in them; neither can be known, so both are only detected here.
"""

import re
from typing import NamedTuple

SPACES = re.compile(rb"[ \t\n\r\f\v]*")
NAME = re.compile(rb"[^ \t\n\r\f\v\\]*")

_PIECE = re.compile(
    rb"""(?P<plain>    [^ \t\n\r\f\v\\'"`:]+)
       | (?P<quote>    ')
       | (?P<double>   "[^"]*")
       | (?P<shell>    `[^`]*`?)
       | (?P<variable> :(?:[\w\x80-\xff]+|'[\w\x80-\xff]+'|"[\w\x80-\xff]+"|\{\?[\w\x80-\xff]+\}))
       | (?P<colon>    :)
       | (?P<open>     ")""",
    re.VERBOSE,
)
_UNESCAPED = re.compile(rb"[^'\\]*")
_ESCAPE = re.compile(rb"''|\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|.)", re.DOTALL)
_CONTROL = {b"n": b"\n", b"t": b"\t", b"b": b"\b", b"r": b"\r", b"f": b"\f"}


class Word(NamedTuple):
    """One argument."""

    start: int
    end: int
    value: bytes
    """Its value to psql, apart from variables and backquotes."""
    plain_tail: int
    """How many bytes at its end are outside of any quotes."""
    variable: bool = False
    """Whether a variable is interpolated in it."""
    shell: bool = False
    """Whether text in backquotes, a shell command, is part of it."""
    unfinished: bool = False
    """Whether a quote in it is never closed; psql then ignores this word and all that follow."""

    @property
    def known(self) -> bool:
        return not (self.variable or self.shell or self.unfinished)

    def without_semicolons(self) -> "Word":
        """The word for commands that a statement's semicolon may follow."""
        tail = self.value[len(self.value) - self.plain_tail :]
        return self._replace(value=self.value[: len(self.value) - _semicolons(tail)])


def _semicolons(tail: bytes) -> int:
    return len(tail) - len(tail.rstrip(b";"))


def read_word(text: bytes, start: int, end: int) -> Word | None:
    """The next argument between ``start`` and ``end``; None if there are no more."""
    space = SPACES.match(text, start, end)
    assert space is not None
    word = Word(space.end(), space.end(), b"", 0)
    pieces = []
    while not word.unfinished and (piece := _PIECE.match(text, word.end, end)) is not None:
        word, value = _longer(word, piece)
        pieces.append(value)
    return word._replace(value=b"".join(pieces)) if pieces else None


def _longer(word: Word, piece: re.Match[bytes]) -> tuple[Word, bytes]:
    """The word with one more piece, and the piece's value."""
    match piece.lastgroup:
        case "plain" | "colon":
            tail = word.plain_tail + len(piece[0])
            return word._replace(end=piece.end(), plain_tail=tail), piece[0]
        case "quote":
            end = _closed(piece.string, piece.end(), piece.endpos)
            if end is not None:
                value = _ESCAPE.sub(_unescape, piece.string[piece.end() : end - 1])
                return word._replace(end=end, plain_tail=0), value
        # Double quotes stay: for psql they are part of a file's name.
        case "double":
            return word._replace(end=piece.end(), plain_tail=0), piece[0]
        case "variable":
            return word._replace(end=piece.end(), plain_tail=0, variable=True), piece[0]
        case "shell" if piece[0][1:].endswith(b"`"):
            return word._replace(end=piece.end(), plain_tail=0, shell=True), piece[0]  # noqa: S604
    return word._replace(end=piece.endpos, plain_tail=0, unfinished=True), piece[0]


def _closed(text: bytes, position: int, end: int) -> int | None:
    """Where the single-quoted text that starts here ends; None if it is not closed."""
    while position < end:
        plain = _UNESCAPED.match(text, position, end)
        assert plain is not None
        position = plain.end()
        pair = text[position : min(position + 2, end)]
        if pair.startswith(b"'") and pair != b"''":
            return position + 1
        position += 2
    return None


def _unescape(found: re.Match[bytes]) -> bytes:
    escaped = found[1]
    if escaped is None:
        return b"'"
    if escaped[:1] in b"01234567":
        return bytes([int(escaped, 8) & 0xFF])
    if escaped[:1] == b"x" and len(escaped) > 1:
        return bytes([int(escaped[1:], 16)])
    return _CONTROL.get(escaped, escaped)
