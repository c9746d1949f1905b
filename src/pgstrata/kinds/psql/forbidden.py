"""SQL whose result hangs on more than the SQL: files the server reads, a lexer psql is switched to.

It is looked for in strings and function bodies too, as text, since they are often SQL themselves.
What a program composes piece by piece cannot be found so; what people write can.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from pgstrata.kinds.psql.sql import GAP as SQL_GAP
from pgstrata.kinds.psql.sql import without_comments

_GAP = SQL_GAP.encode("ascii")
_USE_COPY = r"read client files with \copy ... from 'file'"
_TARGET = rb"(?:(?P<program>program\b)|[eu]?&?\\?'|\$\w*\$|%[\w.$]|:[\w'\"])"
_JOINED = rb"\\?'" + _GAP + rb"*+(?:\|\||,)[^;]{1,400}?(?:\|\||,)" + _GAP + rb"*+\\?'"
_NAME = rb"(?:[\w$.%:\x80-\xff]++|\"[^\"]*+\"|" + _JOINED + rb")"
_COPY_TABLE = re.compile(
    rb"\bcopy\b"
    + _GAP
    + rb"*+(?:binary\b"
    + _GAP
    + rb"*+)?"
    + _NAME
    + rb"++(?:"
    + _GAP
    + rb"*+\."
    + _GAP
    + rb"*+"
    + _NAME
    + rb"++)*+"
    + _GAP
    + rb"*+"
    rb"(?:\([^)]{0,10000}+\)" + _GAP + rb"*+)?+"
    rb"\b(?:from|to)\b" + _GAP + rb"*+" + _TARGET,
    re.DOTALL,
)
_COPY_QUERY = re.compile(rb"\bcopy\b" + _GAP + rb"*+\(", re.DOTALL)
_QUERY_TARGET = re.compile(rb"\)" + _GAP + rb"*+to\b" + _GAP + rb"*+" + _TARGET, re.DOTALL)

_FUNCTIONS = (
    b"pg_read_file",
    b"pg_read_binary_file",
    b"pg_ls_dir",
    b"pg_stat_file",
    b"lo_import",
)
_FUNCTION = re.compile(rb"\b(?:" + rb"|".join(_FUNCTIONS) + rb")\b")
_FILE_WRAPPER = re.compile(rb"\bwrapper\b" + _GAP + rb"*+\"?file_fdw\b", re.DOTALL)

_STRINGS = re.compile(
    rb"(?<!show )\bstandard_conforming_strings\b"
    rb"(?!['\"]?\s*(?:=|\bto\b|,)\s*['\"]?(?:on|true|default)\b)"
)
_ENCODING = re.compile(rb"\b(?:client_encoding\b['\"]?\s*(?:=|\bto\b|,)?|names\b)\s*['\"]?([\w-]+)")
_UNSAFE_ENCODING = re.compile(
    r"sjis|shiftjis(?:2004)?|mskanji|(?:win|windows)(?:932|936|949|950)|big5|gbk|uhc|gb18030|johab"
)


class Forbidden(NamedTuple):
    """Something forbidden, and where in the SQL it is."""

    start: int
    what: str
    remedy: str


def unsafe_encoding(name: str) -> bool:
    """Whether a character of this encoding may have a second byte that looks like a quote."""
    return _UNSAFE_ENCODING.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower())) is not None


def find(sql: bytes) -> tuple[Forbidden, ...]:
    """What is forbidden in the SQL, in no order."""
    lower = sql.lower()
    if not any(_find(lower)):
        return ()
    # Only now, since it takes longer: comments may say what they like.
    return tuple(_find(without_comments(lower)))


def _find(lower: bytes) -> Iterator[Forbidden]:
    if b"copy" in lower:
        yield from _copies(lower)
    if any(name in lower for name in _FUNCTIONS):
        for found in _FUNCTION.finditer(lower):
            name = found[0].decode()
            yield Forbidden(found.start(), f"{name} reads a file of the server", _USE_COPY)
    if b"file_fdw" in lower:
        for found in _FILE_WRAPPER.finditer(lower):
            yield Forbidden(found.start(), "file_fdw reads a file of the server", _USE_COPY)
    if b"standard_conforming_strings" in lower:
        for found in _STRINGS.finditer(lower):
            what = "standard_conforming_strings may be set to something else than on"
            yield Forbidden(found.start(), what, "write E'...' where a backslash shall escape")
    if b"client_encoding" in lower or b"names" in lower:
        yield from _encodings(lower)


def _copies(lower: bytes) -> Iterator[Forbidden]:
    for found in _COPY_TABLE.finditer(lower):
        yield copy_of(found.start(), program=bool(found["program"]))
    query = _COPY_QUERY.search(lower)
    for found in _QUERY_TARGET.finditer(lower, query.end()) if query else ():
        yield copy_of(found.start(), program=bool(found["program"]))


def copy_of(start: int, *, program: bool) -> Forbidden:
    """COPY between a table and a program, or a file, of the server's."""
    what = "COPY runs a program" if program else "COPY reads or writes a file of the server"
    return Forbidden(start, what, _USE_COPY)


def _encodings(lower: bytes) -> Iterator[Forbidden]:
    for found in _ENCODING.finditer(lower):
        name = found[1].decode()
        if unsafe_encoding(name):
            what = f"client encoding {name} can hide quotes in characters"
            yield Forbidden(found.start(), what, "convert the script to UTF-8")
