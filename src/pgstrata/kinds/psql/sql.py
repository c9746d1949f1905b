"""SQL as psql's lexer sees it: where strings, comments and words end, never what they mean.

Bytes, as psql reads them: a byte above 127 can be part of a word, as in every encoding psql reads
scripts in safely. All patterns are possessive, so no text makes them go back.
"""

import re
from typing import Literal, NamedTuple

_WORD_START = rb"[A-Za-z_\x80-\xff]"
_WORD_REST = rb"[\w$\x80-\xff]*+"
_SPACE = rb"[ \t\n\r\f\v]"
_LINE_COMMENT = rb"--[^\r\n]*+"
_COMMENT = rb"/\*(?:[^*/]++|\*(?!/)|/(?!\*))*+\*/"
GAP = rb"(?:" + _SPACE + rb"++|" + _LINE_COMMENT + rb"|" + _COMMENT + rb")"
_ESCAPE_STRING = rb"[eE]'(?:[^'\\]++|''|\\.)*+'"
_END = rb"(?![\w$\x80-\xff])"

# After an escape string's end: one more line (of those that only \r ends) and a quote go on with
# it, where the same with \n starts a string without escapes, since psql reads line by line.
_CONTINUED = rb"[ \t\f\v]*+(?:--[^\r\n]*+)?\r(?:[ \t\f\v\r]++|--[^\r\n]*+\r)*+'"

PLAIN = re.compile(
    rb"(?:"
    rb"[^-\w\x80-\xff/'\"$:;\\]++"
    rb"|[abdg-zABDG-Z_\x80-\xff]"
    + _WORD_REST
    + rb"|[cC](?![oO][pP][yY]"
    + _END
    + rb")"
    + _WORD_REST
    + rb"|[eE](?!')"
    + _WORD_REST
    + rb"|[fF](?![rR][oO][mM]"
    + GAP
    + rb"++[sS][tT][dD][iI][nN]"
    + _END
    + rb")"
    + _WORD_REST
    + rb"|'[^']*+'"
    rb'|"[^"]*+"'
    rb"|" + _ESCAPE_STRING + rb"(?!" + _CONTINUED + rb")"
    rb"|" + _LINE_COMMENT + rb"|" + _COMMENT + rb"|-(?!-)|/(?!\*)"
    rb"|;(?!" + GAP + rb"*+[cC][oO][pP][yY]" + _END + rb")"
    rb"|::|:(?![\w\x80-\xff])"
    # Releases of psql differ on where a number ends that letters are stuck to.
    rb"|\$?[0-9][0-9.]*+(?![A-Za-z_\x80-\xff])"
    rb"|\$?[0-9][\w.\x80-\xff]*+(?![$'\"&])"
    rb"|\$(?![0-9])(?!(?:" + _WORD_START + rb"[\w\x80-\xff]*+)?\$)"
    rb")*+",
    re.DOTALL,
)
"""A run of SQL in which nothing happens that psql itself would act on.

What stops it: a backslash, an interpolated variable, a dollar quote, a statement that starts with
COPY, FROM STDIN, a comment within a comment, what is never closed, what releases read differently.
"""

GAPS = re.compile(GAP + rb"*+", re.DOTALL)
"""White space and comments."""

DOLLAR_QUOTE = re.compile(rb"\$(?:" + _WORD_START + rb"[\w\x80-\xff]*+)?\$")
INTERPOLATION = re.compile(rb":([\w\x80-\xff]++)")
_COMMENT_EDGE = re.compile(rb"/\*|\*/")

_TOKEN = re.compile(
    rb"(?P<gap>" + GAP + rb"++)"
    rb"|(?P<broken>/\*|\$|" + _ESCAPE_STRING + rb"(?=" + _CONTINUED + rb"))"
    rb"|(?P<string>" + _ESCAPE_STRING + rb"|'[^']*+')"
    rb'|(?P<word>"[^"]*+"|' + _WORD_START + _WORD_REST + rb")"
    rb"|(?P<variable>:[\w\x80-\xff]++)"
    rb"|(?P<open>['\"])"
    rb"|(?P<other>::|.)",
    re.DOTALL,
)
_COMMENT_OR_STRING = re.compile(
    rb"(?P<comment>" + _LINE_COMMENT + rb"|" + _COMMENT + rb")"
    rb"|" + _ESCAPE_STRING + rb"|'[^']*+'"
    rb'|"[^"]*+"'
    rb"|(?P<tag>\$(?:" + _WORD_START + rb"[\w\x80-\xff]*+)?\$).*?(?P=tag)"
    rb"|" + _WORD_START + _WORD_REST,
    re.DOTALL,
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
    return _COMMENT_OR_STRING.sub(_blank_comment, sql)


def _blank_comment(found: re.Match[bytes]) -> bytes:
    return re.sub(rb"[^\n]", b" ", found[0]) if found["comment"] else found[0]


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
