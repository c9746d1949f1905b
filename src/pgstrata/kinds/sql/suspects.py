"""Suspects: what may turn out to be forbidden, as it is read token by token. Pure."""

import re
from collections.abc import Iterator
from enum import IntEnum, auto
from typing import NamedTuple

USE_COPY = r"read client files with \copy ... from 'file'"
_LONGEST_COLUMNS = 10_000
_LONGEST_JOINED = 400
_LONGEST_ENCODING = 63
"""PostgreSQL has no encoding with a longer name."""
_UNSAFE_ENCODING = re.compile(
    r"sjis|shiftjis(?:2004)?|mskanji|(?:win|windows)(?:932|936|949|950)|big5|gbk|uhc|gb18030|johab"
)


class Forbidden(NamedTuple):
    """Something forbidden, and where in the SQL it is."""

    start: int
    what: str
    remedy: str


class Token(NamedTuple):
    """A piece of SQL as text, in lower case. Here quotes are marks like any other."""

    group: str
    """space, newline, word, dotted (signs that are part of names), join, quote, mark or end."""
    text: bytes
    start: int
    target: str | None
    """``program`` if that word is here, ``file`` if COPY's file could start here."""


class Phase(IntEnum):
    """How far a suspect has been read."""

    COPY = auto()
    TABLE = auto()
    """Before a part of the table's name."""
    NAME = auto()
    """Directly after a part of the table's name: what touches it belongs to it."""
    NAMED = auto()
    """After it and a gap."""
    QUOTED = auto()
    """In a name in double quotes."""
    CUT = auto()
    """After a quote that may end a string to which something is joined: ``'copy ' || t``."""
    JOINING = auto()
    """Before what is joined."""
    JOINED = auto()
    """In what is joined."""
    JOINT = auto()
    """After what may join the next string."""
    COLUMNS = auto()
    """In the parentheses after the table's name."""
    LISTED = auto()
    """After these parentheses."""
    TARGET = auto()
    """After FROM or TO."""
    QUERY = auto()
    """After a parenthesis that may end the query of a COPY."""
    WRAPPER = auto()
    QUOTED_WRAPPER = auto()
    STRINGS = auto()
    """Directly after standard_conforming_strings."""
    STRINGS_SET = auto()
    """Before what sets it."""
    STRINGS_VALUE = auto()
    STRINGS_QUOTED = auto()
    """Directly after the quote of its value."""
    ENCODING = auto()
    """Directly after client_encoding."""
    ENCODING_SET = auto()
    ENCODING_VALUE = auto()
    ENCODING_NAME = auto()
    """In the name of an encoding."""


_COMMENTED = frozenset(
    (
        *(Phase.COPY, Phase.TABLE, Phase.NAME, Phase.NAMED, Phase.CUT, Phase.JOINT, Phase.LISTED),
        *(Phase.TARGET, Phase.QUERY, Phase.WRAPPER),
    )
)
"""Where white space and comments may follow."""
_SPACED = frozenset(
    (Phase.STRINGS_SET, Phase.STRINGS_VALUE, Phase.ENCODING_SET, Phase.ENCODING_VALUE)
)
"""Where white space may follow."""
_PART_OF_NAME = ("word", "dotted")
_QUOTES = (b"'", b'"')


class Suspect(NamedTuple):
    """Something that may turn out to be forbidden."""

    phase: Phase
    start: int
    comment: bytes = b""
    """The opening of the comment it is in, if any."""
    opened: int = 0
    """Where its columns, or what is joined, start."""
    name: bytes = b""
    """Of an encoding, as far as it was read."""
    several: bool = False
    """Whether it represents others that started later."""


def unsafe_encoding(name: str) -> bool:
    """Whether a character of this encoding may have a second byte that looks like a quote."""
    if len(name) > _LONGEST_ENCODING:
        return False
    return _UNSAFE_ENCODING.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower())) is not None


def copy_of(start: int, *, program: bool) -> Forbidden:
    """COPY between a table and a program, or a file, on the server."""
    what = "COPY runs a program" if program else "COPY reads or writes a file of the server"
    return Forbidden(start, what, USE_COPY)


def follow(suspect: Suspect, token: Token) -> Iterator[Suspect | Forbidden]:
    """What a suspect becomes at the next token: nothing, if that shows it to be harmless."""
    phase, text = suspect.phase, token.text
    gap = token.group in ("space", "newline")
    if suspect.comment:
        yield from _in_comment(suspect, token)
    elif phase in _COMMENTED and (gap or text in (b"--", b"/*")):
        following = Phase.NAMED if phase is Phase.NAME else phase
        yield suspect._replace(phase=following, comment=b"" if gap else text)
    elif phase in _SPACED and gap:
        yield suspect
    else:
        yield from _FOLLOW.get(phase, _follow_copy)(suspect, token)


def _in_comment(suspect: Suspect, token: Token) -> Iterator[Suspect]:
    if suspect.comment == b"--":
        ended = token.group == "newline"
    elif token.text == b"/*":
        return
    else:
        ended = token.text == b"*/"
    yield suspect._replace(comment=b"") if ended else suspect


def _follow_copy(suspect: Suspect, token: Token) -> Iterator[Suspect | Forbidden]:
    text, start = token.text, token.start
    to = suspect._replace
    match suspect.phase:
        case Phase.COPY | Phase.TABLE | Phase.NAME if token.group in _PART_OF_NAME:
            yield to(phase=Phase.NAME)
            if suspect.phase is Phase.COPY and text == b"binary":
                yield to(phase=Phase.TABLE)
        case Phase.COPY | Phase.TABLE | Phase.NAME if text == b'"':
            yield to(phase=Phase.QUOTED)
        case Phase.COPY | Phase.TABLE | Phase.NAME if token.group == "quote":
            yield to(phase=Phase.CUT)
        case Phase.NAME | Phase.NAMED if text == b"(":
            yield to(phase=Phase.COLUMNS, opened=start + 1)
        case Phase.NAMED if token.group == "dotted" and text.startswith(b"."):
            yield to(phase=Phase.TABLE if text == b"." else Phase.NAME)
        case Phase.NAMED | Phase.LISTED if text in (b"from", b"to"):
            yield to(phase=Phase.TARGET)
        case Phase.QUERY if text == b"to":
            yield to(phase=Phase.TARGET)
        case Phase.QUOTED:
            yield to(phase=Phase.NAME) if text == b'"' else suspect
        case Phase.COLUMNS if start - suspect.opened <= _LONGEST_COLUMNS:
            yield to(phase=Phase.LISTED, opened=0) if text == b")" else suspect
        case Phase.CUT if token.group == "join":
            yield to(phase=Phase.JOINING, opened=start + len(text))
        case Phase.JOINING if text != b";":
            yield to(phase=Phase.JOINED)
        case Phase.JOINED if start - suspect.opened <= _LONGEST_JOINED and text != b";":
            yield suspect
            if token.group == "join":
                yield to(phase=Phase.JOINT)
        case Phase.JOINT if token.group == "quote":
            yield to(phase=Phase.NAME, opened=0)
        case Phase.JOINT if text == b"|":
            yield suspect
        case Phase.TARGET if token.target is not None:
            yield copy_of(suspect.start, program=token.target == "program")


def _follow_wrapper(suspect: Suspect, token: Token) -> Iterator[Suspect | Forbidden]:
    if token.text == b"file_fdw":
        yield Forbidden(suspect.start, "file_fdw reads a file of the server", USE_COPY)
    elif token.text == b'"' and suspect.phase is Phase.WRAPPER:
        yield suspect._replace(phase=Phase.QUOTED_WRAPPER)


def _follow_strings(suspect: Suspect, token: Token) -> Iterator[Suspect | Forbidden]:
    text = token.text
    match suspect.phase:
        case Phase.STRINGS if text in _QUOTES or token.group in ("space", "newline"):
            yield suspect._replace(phase=Phase.STRINGS_SET)
        case Phase.STRINGS | Phase.STRINGS_SET if text in (b"=", b"to", b","):
            yield suspect._replace(phase=Phase.STRINGS_VALUE)
        case Phase.STRINGS_VALUE if text in _QUOTES:
            yield suspect._replace(phase=Phase.STRINGS_QUOTED)
        case Phase.STRINGS_VALUE | Phase.STRINGS_QUOTED if text in (b"on", b"true", b"default"):
            pass
        case _:
            what = "standard_conforming_strings may be set to something other than on"
            remedy = "write E'...' where backslashes are escapes"
            yield Forbidden(suspect.start, what, remedy)


def _follow_encoding(suspect: Suspect, token: Token) -> Iterator[Suspect | Forbidden]:
    text = token.text
    to = suspect._replace
    part = token.group == "word" or text == b"-"
    match suspect.phase:
        case Phase.ENCODING if text in _QUOTES or token.group in ("space", "newline"):
            yield to(phase=Phase.ENCODING_SET)
        case Phase.ENCODING | Phase.ENCODING_SET if text in (b"=", b"to", b","):
            yield to(phase=Phase.ENCODING_VALUE)
        case Phase.ENCODING_SET | Phase.ENCODING_VALUE if text in _QUOTES:
            yield to(phase=Phase.ENCODING_NAME)
        case Phase.ENCODING_NAME if not part and unsafe_encoding(suspect.name.decode()):
            name = suspect.name.decode()
            what = f"client encoding {name} can hide quotes in characters"
            yield Forbidden(suspect.start, what, "convert the script to UTF-8")
        case _ if part or text == b"--":
            if len(suspect.name) <= _LONGEST_ENCODING:
                yield to(phase=Phase.ENCODING_NAME, name=suspect.name + text)


_FOLLOW = {
    Phase.WRAPPER: _follow_wrapper,
    Phase.QUOTED_WRAPPER: _follow_wrapper,
    **dict.fromkeys(
        (Phase.STRINGS, Phase.STRINGS_SET, Phase.STRINGS_VALUE, Phase.STRINGS_QUOTED),
        _follow_strings,
    ),
    **dict.fromkeys(
        (Phase.ENCODING, Phase.ENCODING_SET, Phase.ENCODING_VALUE, Phase.ENCODING_NAME),
        _follow_encoding,
    ),
}
