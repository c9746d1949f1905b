r"""The columns of a query's result as its text tells them, which is what ``\gset`` sets.

A column has a name if that is written out, and is plain if its value is sure to be a number, true,
false or a harmless literal. That covers what people write; of anything else nothing is known.
"""

import re
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from pgstrata.kinds.psql.script import is_inert
from pgstrata.kinds.sql.lexer import GAPS, Kind, Lexer, Token

_MOST_TOKENS = 10_000
_LONGEST_NAME = 63
"""PostgreSQL cuts off the rest."""
_LONGEST_LITERAL = 1000
_IDENTIFIER = re.compile(rb"[a-z_][a-z0-9_$]*")
_OPERATOR = re.compile(rb"[-+*/<>=~!@#%^&|`?]+")
_UNREADABLE = frozenset((Kind.UNCLOSED, Kind.BROKEN, Kind.STRAY, Kind.STUCK, Kind.LONG_TAG))

_SET_OPERATIONS = frozenset((b"union", b"intersect", b"except"))
_LIST_ENDS = _SET_OPERATIONS | frozenset(
    b"from into where group having window order limit offset fetch for".split()
)
_CHANGES = frozenset((b"insert", b"update", b"delete", b"merge"))
_COMPARISONS = frozenset((b"=", b"<", b">", b"<=", b">=", b"<>", b"!="))
_ARITHMETIC = frozenset((b"+", b"-", b"*", b"/", b"%"))
_PREDICATES = frozenset(b"and or not is isnull notnull in between like ilike".split())
_PLAIN_TYPES = frozenset(
    b"smallint integer int bigint int2 int4 int8 oid numeric decimal real float float4 float8"
    b" boolean bool".split()
)
_PLAIN_FUNCTIONS = frozenset(
    b"count length char_length octet_length position extract exists random nextval currval setval"
    b" lastval array_length cardinality row_number rank pg_backend_pid txid_current".split()
)
_RENAMED = frozenset((b"cast", b"trim", b"extract"))
"""Calls whose column is called otherwise."""

_TRUTH = {b"true": b"bool", b"false": b"bool"}
"""The name of a column that has one of them."""
_WRITTEN = frozenset(("word", "name", "string", "number"))


class Column(NamedTuple):
    """A column whose name is known."""

    name: str
    plain: bool
    """Whether any value it can have is harmless where it is interpolated without quotes."""


class _Piece(NamedTuple):
    """A token outside of parentheses, or all that is in a pair of them."""

    kind: str
    """word, name (in double quotes), string, number, operator, group, variable or mark."""
    text: bytes = b""
    """What is in the quotes, for names and strings."""
    inner: tuple[bytes, ...] = ()
    """The last two tokens in a group, if they are words."""
    end: int = 0


_Pieces = Sequence[_Piece]


def columns(lexer: Lexer, start: int, end: int) -> tuple[Column, ...] | None:
    """The columns of the query between two positions; None if they are unknown."""
    pieces = _pieces(lexer, start, end)
    first = None if pieces is None else _list_start(pieces)
    if pieces is None or first is None:
        return None
    last = next((at for at in range(first, len(pieces)) if _ends_list(pieces, at)), len(pieces))
    rest = pieces[last:]
    # The other queries of a UNION may change a literal's type, and with that its text.
    alone = not any(piece.kind == "variable" or _is(piece, _SET_OPERATIONS) for piece in rest)
    found = [_column(item, alone=alone) for item in _items(pieces[first:last])]
    known = tuple(column for column in found if column is not None)
    return known if len(known) == len(found) else None


def _pieces(lexer: Lexer, start: int, end: int) -> list[_Piece] | None:
    """The query in pieces; None if it is not understood."""
    pieces: list[_Piece] = []
    inner: list[bytes] = []
    depth, position = 0, start
    for _ in range(_MOST_TOKENS):
        token = lexer.token(position)
        if token is None or token.start >= end:
            return pieces if depth == 0 else None
        position = token.end
        if token.kind in _UNREADABLE or token.text in (b"\\", b";"):
            return None
        if token.text in (b"(", b"["):
            inner = [] if depth == 0 else inner
            depth += 1
        elif token.text in (b")", b"]"):
            depth -= 1
            if depth == 0:
                pieces.append(_Piece("group", token.text, tuple(inner[-2:]), token.end))
        elif token.kind not in GAPS and depth:
            inner.append(token.text if depth == 1 and token.kind is Kind.WORD else b"")
        elif token.kind not in GAPS:
            _add(pieces, lexer, token)
    return None


def _add(pieces: list[_Piece], lexer: Lexer, token: Token) -> None:
    """Add a token, or lengthen the number or operator that it continues."""
    text, before = token.text, pieces[-1] if pieces else None
    touches = before is not None and before.end == token.start
    if before is not None and touches:
        if before.kind == "number" and (text.isalnum() or text == b"."):
            pieces[-1] = before._replace(text=before.text + text, end=token.end)
            return
        if before.kind == "operator" and _OPERATOR.fullmatch(text):
            pieces[-1] = before._replace(text=before.text + text, end=token.end)
            return
    match token.kind:
        case Kind.WORD:
            kind = "word" if _IDENTIFIER.fullmatch(text) else "mark"
        case Kind.NAME | Kind.STRING:
            kind, text = _quoted(lexer, token)
        case Kind.VARIABLE:
            kind = "variable"
        case _ if text.isdigit():
            kind = "number"
        case _:
            kind = "operator" if _OPERATOR.fullmatch(text) else "mark"
    if touches and before is not None and {before.kind, kind} <= _WRITTEN and kind != "number":
        kind = "mark"  # as in 'it''s' and U&"x"
    pieces.append(_Piece(kind, text, end=token.end))


def _quoted(lexer: Lexer, token: Token) -> tuple[str, bytes]:
    mark, text = (b'"', lexer.text(token)) if token.kind is Kind.NAME else (b"'", lexer.text(token))
    inside = text[1:-1]
    if not text.startswith(mark) or len(inside) > _LONGEST_LITERAL:
        return "mark", b""
    return ("name" if mark == b'"' else "string"), inside


def _is(piece: _Piece, words: Container[bytes]) -> bool:
    return piece.kind == "word" and piece.text in words


def _list_start(pieces: _Pieces) -> int | None:
    """Where the list of columns starts."""
    starts = _CHANGES | {b"select"}
    first = 0
    if pieces and _is(pieces[0], (b"with",)):
        first = next((at for at, piece in enumerate(pieces) if _is(piece, starts)), 0)
    if first >= len(pieces) or not _is(pieces[first], starts):
        return None
    if pieces[first].text in _CHANGES:
        found = [at for at, piece in enumerate(pieces) if _is(piece, (b"returning",))]
        return found[-1] + 1 if found else None
    first += 1
    if first < len(pieces) and _is(pieces[first], (b"all", b"distinct")):
        first += 1
        if first < len(pieces) and _is(pieces[first], (b"on",)):
            first += 2
    return first


def _ends_list(pieces: _Pieces, at: int) -> bool:
    return _is(pieces[at], _LIST_ENDS) and not _names(pieces[at - 1])


def _names(piece: _Piece) -> bool:
    """Whether a name follows, even if it is a word that means something elsewhere."""
    return piece.text == b"." or _is(piece, (b"as",))


def _items(pieces: _Pieces) -> Iterator[_Pieces]:
    start = 0
    for at, piece in enumerate(pieces):
        if piece.text == b"," and piece.kind == "mark":
            yield pieces[start:at]
            start = at + 1
    yield pieces[start:]


def _column(item: _Pieces, *, alone: bool) -> Column | None:
    if any(piece.kind == "variable" or _is_all(item, at) for at, piece in enumerate(item)):
        return None
    label, expression = _label(item)
    if label is None or len(label) > _LONGEST_NAME:
        return None
    try:
        return Column(label.decode("ascii"), _is_plain(expression, alone=alone))
    except UnicodeDecodeError:
        return None


def _is_all(item: _Pieces, at: int) -> bool:
    """Whether there is a ``*`` that stands for any number of columns."""
    return item[at].text == b"*" and (at == 0 or item[at - 1].text == b".")


def _label(item: _Pieces) -> tuple[bytes | None, _Pieces]:
    """The name of a column, and what its value is."""
    *before, last = item or [_Piece("mark")]
    if last.kind in ("word", "name") and before and not _is(last, (b"isnull", b"notnull")):
        if _is(before[-1], (b"as",)) and not (len(before) > 1 and before[-2].text == b"."):
            return last.text, before[:-1]
        if before[-1].kind in ("group", "number") or _is_reference(before) or _is_number(before):
            return last.text, before
    cast = next((at for at, piece in enumerate(item) if piece.text == b"::"), len(item))
    if not _are_casts(item[cast:]):
        return None, item
    if _is_reference(item[:cast]):
        return _TRUTH.get(item[cast - 1].text, item[cast - 1].text), item
    if cast > 1 and item[cast - 1].kind == "group" and _is_reference(item[: cast - 1]):
        name = item[cast - 2].text
        return (None if name in _RENAMED else name), item
    return None, item


def _are_casts(pieces: _Pieces) -> bool:
    """Whether this is any number of casts to types whose names are single words."""
    while len(pieces) > 1 and pieces[0].text == b"::" and pieces[1].kind == "word":
        modified = len(pieces) > 2 and pieces[2].kind == "group"
        pieces = pieces[3 if modified else 2 :]
    return not pieces


def _is_reference(pieces: _Pieces) -> bool:
    """Whether this is a name, perhaps with those of its table and schema."""
    return len(pieces) % 2 == 1 and all(
        piece.text == b"." if at % 2 else piece.kind in ("word", "name")
        for at, piece in enumerate(pieces)
    )


def _is_plain(expression: _Pieces, *, alone: bool) -> bool:
    if any(_is(piece, (b"case",)) for piece in expression):
        return False
    if [piece.kind for piece in expression] == ["string"]:
        return alone and is_inert(expression[0].text.decode("utf-8", "replace"))
    operators = {piece.text for piece in expression if piece.kind == "operator"}
    words = {
        piece.text
        for at, piece in enumerate(expression)
        if piece.kind == "word" and not (at and expression[at - 1].text == b".")
    }
    if operators & _COMPARISONS or words & _PREDICATES:
        return True
    if not operators <= _ARITHMETIC:
        return False
    return all(map(_is_number, _operands(expression)))


def _operands(expression: _Pieces) -> Iterator[_Pieces]:
    start = 0
    for at, piece in enumerate(expression):
        if piece.kind == "operator":
            if at:  # not a sign
                yield expression[start:at]
            start = at + 1
    yield expression[start:]


def _is_number(operand: _Pieces) -> bool:
    """Whether this is a number, true or false."""
    *before, last = operand or [_Piece("mark")]
    if before and last.text == b")" and _is(before[-1], _PLAIN_TYPES):
        *before, last = before
    if before and _is(last, _PLAIN_TYPES):
        return before[-1].text == b"::"
    if before and operand[1].text == b")":
        function, arguments, *rest = operand
        if _is(function, (b"cast",)):
            return arguments.inner[:1] == (b"as",) and arguments.inner[-1] in _PLAIN_TYPES
        return _is(function, _PLAIN_FUNCTIONS) and all(
            _is(piece, (b"filter", b"over")) for piece in rest[::2]
        )
    return not before and (last.kind == "number" or _is(last, _TRUTH))
