"""The statements that psql's lexer treats specially: COPY and CREATE FUNCTION."""

from typing import Literal, NamedTuple

from pgstrata.kinds.sql.lexer import GAPS, Kind, Lexer

Target = Literal["stdin", "file", "program", "other"]

_UNREADABLE = frozenset((Kind.DOLLAR, Kind.STRAY, Kind.BROKEN, Kind.UNCLOSED, Kind.LONG_TAG))
"""Tokens that make a COPY statement unreadable."""


class CopyStatement(NamedTuple):
    """A COPY statement, as far as psql's lexer knows it."""

    target: Target | None
    """Where the data comes from or goes to. Other: harmless. None: unknown."""
    end: int
    """Where its last token ends: at a semicolon, a backslash, the text's end, or an unreadable
    token."""
    variables: tuple[tuple[str, int], ...]
    """Variables interpolated in it, with their positions."""


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
        # The server treats COPY ... TO STDIN like TO STDOUT.
        return "stdin" if direction == b"from" else "other"
    return "program" if target == b"program" else "file"


def makes_routine(lexer: Lexer, position: int) -> bool:
    """Whether the CREATE that ends at ``position`` creates a function or a procedure."""
    text, position = _after_space(lexer, position)
    if text == b"or":
        text, position = _after_space(lexer, position)
        if text != b"replace":
            return False
        text, position = _after_space(lexer, position)
    return text in (b"function", b"procedure")


def _after_space(lexer: Lexer, position: int) -> tuple[bytes, int]:
    """The word after some space, comments and variables, and where it ends."""
    start = position
    while (token := lexer.token(position)) is not None:
        if token.kind not in GAPS and token.kind is not Kind.VARIABLE:
            return (token.text if position > start else b""), token.end
        position = token.end
    return b"", position


def routine_end(lexer: Lexer, start: int) -> int | None:
    """Where the CREATE FUNCTION at ``start`` ends, at its semicolon; None if that is unknown.

    Only in these statements, psql does not end the statement at a semicolon between BEGIN and END.
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
