"""The statements that psql's lexer itself has to do with: COPY and CREATE FUNCTION."""

from typing import Literal, NamedTuple

from pgstrata.kinds.sql.lexer import GAPS, Kind, Lexer

Target = Literal["stdin", "file", "program", "other"]

_UNREADABLE = frozenset(
    (Kind.NESTED, Kind.DOLLAR, Kind.STRAY, Kind.BROKEN, Kind.UNCLOSED, Kind.LONG_TAG)
)
"""What makes a COPY statement one that is not understood."""


class CopyStatement(NamedTuple):
    """A COPY statement, as far as psql's lexer can tell."""

    target: Target | None
    """Where the data come from or go to. Other: it needs no care. None: it cannot be told."""
    end: int
    """Where its last token ends: at a semicolon, a backslash, or the text's end; or at what makes
    it unreadable."""
    variables: tuple[tuple[str, int], ...]
    """Variables interpolated in it, and where."""


def copy_statement(lexer: Lexer, start: int) -> CopyStatement:
    """Read the COPY statement at ``start``."""
    depth, direction, target = 0, b"", b""
    variables = []
    position = start
    while (token := lexer.token(position)) is not None:
        if token.kind in _UNREADABLE:
            return CopyStatement(None, token.end, ())
        text = token.text
        if (text == b";" and depth == 0) or text == b"\\":
            break
        position = token.end
        if token.kind in GAPS:
            continue
        if token.kind is Kind.VARIABLE:
            variables.append((lexer.variable(token), token.start))
        depth += {b"(": 1, b")": -1}.get(text, 0)
        if direction and not target:
            target = text if token.kind is Kind.WORD else b"'"
        elif depth == 0 and not direction and text in (b"from", b"to"):
            direction = text
    return CopyStatement(_copy_target(direction, target), position, tuple(variables))


def _copy_target(direction: bytes, target: bytes) -> Target:
    if not direction or target == b"stdout":
        return "other"
    if target == b"stdin":
        # The server takes COPY ... TO STDIN for TO STDOUT.
        return "stdin" if direction == b"from" else "other"
    return "program" if target == b"program" else "file"


def makes_routine(lexer: Lexer, position: int) -> bool:
    """Whether it is a function or a procedure that the CREATE creates that ends at ``position``."""
    text, position = _after_space(lexer, position)
    if text == b"or":
        text, position = _after_space(lexer, position)
        if text != b"replace":
            return False
        text, position = _after_space(lexer, position)
    return text in (b"function", b"procedure")


def _after_space(lexer: Lexer, position: int) -> tuple[bytes, int]:
    """The word behind some space, comments and variables, and where it ends."""
    start = position
    while (token := lexer.token(position)) is not None:
        if token.kind not in GAPS and token.kind is not Kind.VARIABLE:
            return (token.text if position > start else b""), token.end
        position = token.end
    return b"", position


def routine_end(lexer: Lexer, start: int) -> int | None:
    """Where the CREATE FUNCTION at ``start`` ends, at its semicolon; None when it cannot be told.

    In these statements alone, psql takes no semicolon between a BEGIN and its END for their end.
    """
    parentheses, blocks, position = 0, 0, start
    while (token := lexer.token(position)) is not None:
        text = token.text
        if token.kind in _UNREADABLE and token.kind is not Kind.DOLLAR:
            return None
        if token.kind is Kind.VARIABLE or text == b"\\":
            return None
        if parentheses == 0:
            if text == b";" and blocks == 0:
                break
            opens = text == b"begin" or (text == b"case" and blocks > 0)
            blocks = max(0, blocks + opens - (text == b"end"))
        parentheses = max(0, parentheses + (text == b"(") - (text == b")"))
        position = token.end
    return position
