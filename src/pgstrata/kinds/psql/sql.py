"""SQL as psql's lexer sees it: where strings, comments and words end, never what they mean.

Scripts are bytes, as psql reads them: a byte above 127 can be part of a word, as in every encoding
psql reads safely. The patterns are possessive, so no text makes them go back.
"""

import re
from typing import Literal, NamedTuple


def _compiled(*alternatives: str, repeat: str = "") -> re.Pattern[bytes]:
    """The alternatives, tried in their order, as one pattern for bytes."""
    return re.compile(f"(?:{'|'.join(alternatives)}){repeat}".encode("ascii"), re.DOTALL)


_WORD = r"[A-Za-z_\x80-\xff][\w$\x80-\xff]*+"
_MORE = r"[\w$\x80-\xff]*+"
_END = r"(?![\w$\x80-\xff])"
_TAG = r"\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*+)?\$"
_LINE_COMMENT = r"--[^\r\n]*+"
_COMMENT = r"/\*(?:[^*/]++|\*(?!/)|/(?!\*))*+\*/"
_ESCAPE_STRING = r"[eE]'(?:[^'\\]++|''|\\.)*+'"
_VARIABLE = r":[\w\x80-\xff]++"

GAP = rf"(?:[ \t\n\r\f\v]++|{_LINE_COMMENT}|{_COMMENT})"
"""White space or a comment."""

# After an escape string's end: one more line (of those that only \r ends) and a quote go on with
# it, where the same with \n starts a string without escapes, since psql reads line by line.
_CONTINUED = r"[ \t\f\v]*+(?:--[^\r\n]*+)?\r(?:[ \t\f\v\r]++|--[^\r\n]*+\r)*+'"

_SPACED = rf"(?:{GAP}|{_VARIABLE})++"
_ROUTINE = rf"{_SPACED}(?:(?i:or){_SPACED}(?i:replace){_SPACED})?(?i:function|procedure){_END}"

PLAIN = _compiled(
    r"[^-\w\x80-\xff/'\"$:;\\]++",
    rf"[abdg-zABDG-Z_\x80-\xff]{_MORE}",
    rf"[cC](?!(?i:opy){_END}|(?i:reate){_ROUTINE}){_MORE}",
    rf"[eE](?!'){_MORE}",
    rf"[fF](?!(?i:rom){GAP}++(?i:stdin){_END}){_MORE}",
    r"'[^']*+'",
    r'"[^"]*+"',
    rf"{_ESCAPE_STRING}(?!{_CONTINUED})",
    _LINE_COMMENT,
    _COMMENT,
    r"-(?!-)",
    r"/(?!\*)",
    rf";(?!{GAP}*+(?:[\\:]|(?i:copy){_END}))",
    r"::",
    r":(?![\w\x80-\xff])",
    # Releases of psql differ on where a number ends that letters are stuck to.
    r"\$?[0-9][0-9.]*+(?![A-Za-z_\x80-\xff])",
    r"\$?[0-9][\w.\x80-\xff]*+(?![$'\"&])",
    rf"\$(?![0-9])(?!{_TAG[2:]})",
    repeat="*+",
)
"""A run of SQL in which nothing happens that psql itself would act on.

What stops it: a backslash, an interpolated variable, a dollar quote, COPY, FROM STDIN, CREATE
FUNCTION, the end of a statement before one of the first or COPY, a comment within a comment, what
is never closed, what releases of psql read differently.
"""

GAPS = _compiled(GAP, repeat="*+")
VOID = _compiled(GAP, _VARIABLE, repeat="*+")
"""SQL that may come to nothing: a variable can be empty."""

DOLLAR_QUOTE = _compiled(_TAG)
INTERPOLATION = _compiled(rf":(?P<name>{_VARIABLE[1:]})")
_COMMENT_EDGE = _compiled(r"/\*", r"\*/")

_TOKEN = _compiled(
    rf"(?P<gap>{GAP}++)",
    rf"(?P<parameter>\$[0-9]++{_END})",
    rf"(?P<broken>/\*|\$|{_ESCAPE_STRING}(?={_CONTINUED}))",
    rf"(?P<string>{_ESCAPE_STRING}|'[^']*+')",
    rf'(?P<word>"[^"]*+"|{_WORD})',
    rf"(?P<variable>{_VARIABLE})",
    r"(?P<open>['\"])",
    r"(?P<other>::|.)",
)
_COMMENT_OR_QUOTED = _compiled(
    rf"(?P<comment>{_LINE_COMMENT}|{_COMMENT})",
    _ESCAPE_STRING,
    r"'[^']*+'",
    r'"[^"]*+"',
    rf"(?P<tag>{_TAG}).*?(?P=tag)",
    _WORD,
)


def comment_end(text: bytes, start: int) -> int:
    """Where the comment that starts at ``start``, with the comments in it, ends."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, start):
        depth += 1 if edge[0] == b"/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)


def without_comments(sql: bytes) -> bytes:
    """The SQL with every comment outside of quotes made blank, line for line."""
    return _COMMENT_OR_QUOTED.sub(_blank_comment, sql)


def _blank_comment(found: re.Match[bytes]) -> bytes:
    return re.sub(rb"[^\n]", b" ", found[0]) if found["comment"] else found[0]


def routine_end(text: bytes, start: int) -> int | None:
    """Where the CREATE FUNCTION at ``start`` ends, at its semicolon; None when it cannot be told.

    In these statements alone, psql takes no semicolon between a BEGIN and its END for their end.
    """
    parentheses, blocks, position = 0, 0, start
    while (token := _TOKEN.match(text, position)) is not None:
        word = token[0].lower()
        if word == b"$" and (quote := DOLLAR_QUOTE.match(text, position)) is not None:
            position = closing(text, quote)
            continue
        if token.lastgroup in ("broken", "open", "variable") or word == b"\\":
            return None
        if parentheses == 0:
            if word == b";" and blocks == 0:
                break
            opens = word == b"begin" or (word == b"case" and blocks > 0)
            blocks = max(0, blocks + opens - (word == b"end"))
        parentheses = max(0, parentheses + (word == b"(") - (word == b")"))
        position = token.end()
    return position


def closing(text: bytes, quote: re.Match[bytes]) -> int:
    """Where the dollar quote ends that starts with ``quote``."""
    end = text.find(quote[0], quote.end())
    return len(text) if end < 0 else end + len(quote[0])


class CopyStatement(NamedTuple):
    """A COPY statement, as far as psql's lexer can tell."""

    target: Literal["stdin", "file", "program", "other"]
    """Where the data come from or go to; ``other`` for what needs no care."""
    end: int
    """Where its last token ends: at a semicolon, a backslash, or the text's end."""
    variables: tuple[tuple[str, int], ...]
    """Variables interpolated in it, and where."""


def copy_statement(text: bytes, start: int) -> CopyStatement | None:
    """Read the COPY statement at ``start``; None when it cannot be told what it is."""
    depth, direction, target = 0, b"", b""
    variables = []
    position = start
    while (token := _TOKEN.match(text, position)) is not None:
        if token.lastgroup in ("broken", "open"):
            return None
        word = token[0].lower()
        if (word == b";" and depth == 0) or word == b"\\":
            break
        position = token.end()
        if token.lastgroup == "gap":
            continue
        if token.lastgroup == "variable":
            variables.append((token[0][1:].decode("utf-8", "replace"), token.start()))
        depth += {b"(": 1, b")": -1}.get(word, 0)
        if direction and not target:
            target = b"'" if token.lastgroup == "string" else word
        elif depth == 0 and not direction and word in (b"from", b"to"):
            direction = word
    return CopyStatement(_copy_target(direction, target), position, tuple(variables))


def _copy_target(direction: bytes, target: bytes) -> Literal["stdin", "file", "program", "other"]:
    if not direction or target == b"stdout":
        return "other"
    if target == b"stdin":
        # The server takes COPY ... TO STDIN for TO STDOUT.
        return "stdin" if direction == b"from" else "other"
    return "program" if target == b"program" else "file"
