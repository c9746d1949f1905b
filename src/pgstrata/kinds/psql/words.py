r"""The arguments of psql's backslash commands: where they end, and what they say.

A command's arguments end with the line, or at a backslash outside of quotes. psql replaces
variables and runs backquoted text in them; neither can be known, so both are only noticed here.
"""

import re
from typing import NamedTuple

_SPACE = rb"[ \t\n\r\f\v]"
SPACES = re.compile(_SPACE + rb"*+")
NAME = re.compile(rb"[^ \t\n\r\f\v\\]*+")

_QUOTED = rb"'(?:[^'\\]++|''|\\.)*+'"
_PIECE = re.compile(
    rb"(?P<plain>[^ \t\n\r\f\v\\'\"`:]++)"
    rb"|(?P<quoted>" + _QUOTED + rb")"
    rb'|(?P<double>"[^"]*+")'
    rb"|(?P<shell>`[^`]*+`?)"
    rb"|(?P<variable>:(?:[\w\x80-\xff]++|'[\w\x80-\xff]++'|\"[\w\x80-\xff]++\"|\{\?[\w\x80-\xff]++\}))"
    rb"|(?P<colon>:)"
    rb"|(?P<open>['\"])",
    re.DOTALL,
)
_ESCAPE = re.compile(rb"''|\\([0-7]{1,3}|x[0-9A-Fa-f]{1,2}|.)", re.DOTALL)
_CONTROL = {b"n": b"\n", b"t": b"\t", b"b": b"\b", b"r": b"\r", b"f": b"\f"}


class Word(NamedTuple):
    """One argument."""

    start: int
    end: int
    value: bytes
    """What psql makes of it, apart from variables and backquotes."""
    plain_tail: int
    """How many bytes at its end are outside of any quotes."""
    variable: bool = False
    """Whether a variable is interpolated in it."""
    shell: bool = False
    """Whether text in backquotes, a shell command, is part of it."""
    unfinished: bool = False
    """Whether a quote in it is never closed; psql takes this and all that follows for nothing."""

    @property
    def known(self) -> bool:
        return not (self.variable or self.shell or self.unfinished)

    def without_semicolons(self) -> "Word":
        """The word as commands read it that let a statement's semicolon follow."""
        tail = self.value[len(self.value) - self.plain_tail :]
        return self._replace(value=self.value[: len(self.value) - _semicolons(tail)])


def _semicolons(tail: bytes) -> int:
    return len(tail) - len(tail.rstrip(b";"))


def read_word(text: bytes, start: int, end: int) -> Word | None:
    """The next argument between ``start`` and ``end``; None when there is no more."""
    position = SPACES.match(text, start, end).end()  # type: ignore[union-attr]
    word = Word(position, position, b"", 0)
    pieces = []
    while (piece := _PIECE.match(text, word.end, end)) is not None:
        word = _longer(word, piece)
        pieces.append(_value(piece))
        if word.unfinished:
            break
    return word._replace(value=b"".join(pieces)) if pieces else None


def _longer(word: Word, piece: re.Match[bytes]) -> Word:
    group = piece.lastgroup
    plain = group in ("plain", "colon")
    if group == "open" or (group == "shell" and not piece[0][1:].endswith(b"`")):
        return word._replace(end=piece.endpos, plain_tail=0, unfinished=True)
    return word._replace(
        end=piece.end(),
        plain_tail=word.plain_tail + len(piece[0]) if plain else 0,
        variable=word.variable or group == "variable",
        shell=word.shell or group == "shell",
    )


def _value(piece: re.Match[bytes]) -> bytes:
    if piece.lastgroup == "quoted":
        return _ESCAPE.sub(_unescape, piece[0][1:-1])
    # Double quotes stay: psql takes them for part of a file's name.
    return piece[0]


def _unescape(found: re.Match[bytes]) -> bytes:
    escaped = found[1]
    if escaped is None:
        return b"'"
    if escaped[:1] in b"01234567":
        return bytes([int(escaped, 8) & 0xFF])
    if escaped[:1] == b"x" and len(escaped) > 1:
        return bytes([int(escaped[1:], 16)])
    return _CONTROL.get(escaped, escaped)
