r"""Parts of SQL that nothing reads, although they look as if something did.

These are the names in statements that are only about functions, such as GRANT; comments in the
bodies of functions; and literals in INSERT and SELECT outside of any call, which are data, unless
psql executes what a query returns (``\gexec``).
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from pgstrata.kinds.sql.lexer import GAPS, Kind, Lexer, Token
from pgstrata.kinds.sql.reader import Reader, Text

_LONGEST = 1 << 20
"""In a statement of more bytes, everything counts as read."""
_LONGEST_QUOTED = 100
_BROKEN = frozenset((Kind.UNCLOSED, Kind.BROKEN, Kind.STRAY, Kind.STUCK, Kind.LONG_TAG))
_LITERALS = frozenset((Kind.STRING, Kind.DOLLAR))
_ROUTINES = frozenset((b"function", b"procedure", b"routine"))
_ONLY_NAMES = (
    *([b"grant"], [b"revoke"], [b"comment", b"on"], [b"security", b"label"]),
    *([b"drop", b"function"], [b"drop", b"procedure"], [b"drop", b"routine"]),
)
_NO_CALLS = frozenset(
    b"values in and or not where select from on as any all some exists union intersect except when"
    b" then else case returning using by having between like ilike distinct with".split()
)
"""Words that a parenthesis may follow although they call nothing."""
_TRUSTED_LANGUAGES = frozenset((b"sql", b"plpgsql"))

Span = tuple[int, int]


class Whole(NamedTuple):
    """What is known of SQL that is a part of a script."""

    starts: bool
    """Whether its first statement is whole at the start, and not continued from elsewhere."""
    ends: bool
    """Whether its last statement is whole at the end."""
    returns_data: bool
    """Whether nothing executes what a query returns."""


def spans(
    text: Text, start: int, end: int, promising: Callable[[bytes], bool], whole: Whole
) -> Iterator[Span]:
    """Where comments and such parts are in some SQL, in order; they may overlap.

    Only whole statements that are ``promising``, in lower case, are looked at closely.
    """
    lexer = Lexer(Reader(text, start, end))
    comments: list[Span] = []
    position, closely = start, whole.starts
    while position < end:
        token = lexer.skim(position)
        position = end if token is None else token.end
        if token is not None and token.kind is Kind.COMMENT:
            comments.append((token.start, token.end))
        ended = token is None or token.text == b";"
        if not ended and position - start <= _LONGEST:
            continue
        closely &= position - start <= _LONGEST and (token is not None or whole.ends)
        if closely and promising(text[start:position].lower()):
            last = position if token is None else token.start
            comments += _unread(text, start, last, data=whole.returns_data)
        yield from sorted(comments)
        comments.clear()
        if ended:
            start, closely = position, True


def _unread(text: Text, start: int, end: int, *, data: bool) -> Iterator[Span]:
    tokens = _tokens(text, start, end)
    words = [token.text if token.kind is Kind.WORD else b"" for token in tokens]
    if any(words[: len(head)] == head for head in _ONLY_NAMES):
        yield start, end
    elif words[:1] == [b"alter"] and _ROUTINES & {*words[1:2]}:
        # Under another name, a function would not be noticed.
        if b"rename" not in words:
            yield from _name(tokens[2:])
    elif words[:1] == [b"do"] or (words[:1] == [b"create"] and _ROUTINES & {*words[1:4]}):
        if _languages(text, tokens) <= _TRUSTED_LANGUAGES:
            yield from _comments_in_bodies(text, tokens)
    elif data and words[:1] in ([b"insert"], [b"select"]) and not _changes_settings(text, tokens):
        yield from _data(tokens, words)


def _tokens(text: Text, start: int, end: int) -> list[Token]:
    """A statement's tokens without its gaps; none if it is hard to read."""
    lexer = Lexer(Reader(text, start, end))
    tokens = []
    while (token := lexer.token(start)) is not None:
        if token.kind in _BROKEN or token.text == b"\\":
            return []
        start = token.end
        if token.kind not in GAPS:
            tokens.append(token)
    return tokens


def _quoted(text: Text, token: Token) -> bytes:
    """What is in the quotes of a short name or literal, in lower case."""
    short = token.kind in (Kind.NAME, Kind.STRING) and token.end - token.start <= _LONGEST_QUOTED
    return text[token.start + 1 : token.end - 1].lower() if short else b""


def _name(tokens: Sequence[Token]) -> Iterator[Span]:
    """The name that starts here, with its schema."""
    for at, token in enumerate(tokens):
        if token.text != b"." if at % 2 else token.kind not in (Kind.WORD, Kind.NAME):
            return
        yield token.start, token.end


def _languages(text: Text, tokens: Sequence[Token]) -> set[bytes]:
    return {
        after.text or _quoted(text, after)
        for token, after in pairwise(tokens)
        if token.text == b"language"
    }


def _comments_in_bodies(text: Text, tokens: Sequence[Token]) -> Iterator[Span]:
    for token in tokens:
        if token.kind is Kind.DOLLAR:
            tag = text[token.start : min(token.end, token.start + 100)].split(b"$", 2)[1]
            margin = len(tag) + 2
            body = Lexer(Reader(text, token.start + margin, token.end - margin))
            yield from ((comment.start, comment.end) for comment in body.comments())


def _changes_settings(text: Text, tokens: Sequence[Token]) -> bool:
    """Whether it may change a setting by way of a catalogue, such as pg_settings."""
    names = [
        _quoted(text, token) if token.kind is Kind.NAME else token.text
        for token in tokens
        if token.kind in (Kind.NAME, Kind.WORD)
    ]
    return any(name.startswith(b"pg_") or name == b"update" for name in names)


def _data(tokens: Sequence[Token], words: Sequence[bytes]) -> Iterator[Span]:
    """Literals that no call has as an argument."""
    parentheses: list[bool] = []
    calls = 0
    for at, token in enumerate(tokens):
        if token.text == b"(":
            follows = at > 0 and tokens[at - 1].kind in (Kind.WORD, Kind.NAME, Kind.VARIABLE)
            parentheses.append(follows and words[at - 1] not in _NO_CALLS)
            calls += parentheses[-1]
        elif token.text == b")" and parentheses:
            calls -= parentheses.pop()
        elif token.kind in _LITERALS and not calls:
            yield token.start, token.end
