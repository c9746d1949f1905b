"""Where tokens end, in the corners in which SQL's lexers are told apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgstrata.kinds.sql.comments import without_comments
from pgstrata.kinds.sql.lexer import Kind, Lexer
from pgstrata.kinds.sql.reader import WINDOW, Reader
from tests.psql_scripts import scripts


def _tokens(text: bytes) -> list[tuple[Kind, bytes]]:
    lexer = Lexer(Reader(text))
    found, position = [], 0
    while (token := lexer.token(position)) is not None:
        found.append((token.kind, text[token.start : token.end]))
        position = token.end
    return found


@pytest.mark.parametrize(
    ("text", "first"),
    [
        (b"/* /* */ */ x", (Kind.COMMENT, b"/* /* */ */")),
        (b"/*/ */ x", (Kind.COMMENT, b"/*/ */")),
        (b"/**/ x", (Kind.COMMENT, b"/**/")),
        (b"/***/ x", (Kind.COMMENT, b"/***/")),
        (b"/* /* */ x", (Kind.UNCLOSED, b"/* /* */ x")),
        (b"-- x\ry", (Kind.COMMENT, b"-- x")),
        (b"$$'$$ x", (Kind.DOLLAR, b"$$'$$")),
        (b"$a$ $$ $b$ $a$ x", (Kind.DOLLAR, b"$a$ $$ $b$ $a$")),
        (b"$a$ $aa$ ", (Kind.DOLLAR, b"$a$ $aa$ ")),
        (b"$a b$", (Kind.STRAY, b"$")),
        (b"$1 x", (Kind.PARAMETER, b"$1")),
        (b"$1a", (Kind.STRAY, b"$")),
        (b"'it''s' x", (Kind.STRING, b"'it'")),
        (b"'\\' x", (Kind.STRING, b"'\\'")),
        (b"e'\\'' x", (Kind.STRING, b"e'\\''")),
        (b"E'a''b' x", (Kind.STRING, b"E'a''b'")),
        (b"e'\\\\' x", (Kind.STRING, b"e'\\\\'")),
        (b"e'a'\nx'", (Kind.STRING, b"e'a'")),
        (b"e'a' -- x\r -- y\r '", (Kind.BROKEN, b"e'a'")),
        (b"e'a' -- x\r -- y\n '", (Kind.STRING, b"e'a'")),
        (b"e'\\", (Kind.BROKEN, b"e'\\")),
        (b"e'x", (Kind.BROKEN, b"e'x")),
        (b"'x", (Kind.UNCLOSED, b"'x")),
        (b'"a b" x', (Kind.NAME, b'"a b"')),
        (b"a$b$c x", (Kind.WORD, b"a$b$c")),
        (b"\xc3\xa9t\xc3\xa9 x", (Kind.WORD, b"\xc3\xa9t\xc3\xa9")),
        (b":\xc3\xa9 x", (Kind.VARIABLE, b":\xc3\xa9")),
        (b"::x", (Kind.MARK, b"::")),
        (b":'x'", (Kind.MARK, b":")),
        (b"$" + b"a" * 1001 + b"$", (Kind.LONG_TAG, b"$")),
    ],
)
def test_a_token_ends_where_psql_ends_it(text: bytes, first: tuple[Kind, bytes]) -> None:
    assert _tokens(text)[0] == first


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((b"x" * WINDOW * 2, Kind.WORD), (b" " * WINDOW * 2, Kind.SPACE)),
        *((b"--" + b"x" * WINDOW * 2, Kind.COMMENT), (b":" + b"x" * WINDOW * 2, Kind.VARIABLE)),
        *(
            (b"'" + b"x" * WINDOW * 2 + b"'", Kind.STRING),
            (b"e'" + b"\\'" * WINDOW + b"'", Kind.STRING),
        ),
        (b"$a$" + b"$b$" * WINDOW + b"$a$", Kind.DOLLAR),
        (b"/*" * WINDOW + b"*/" * WINDOW, Kind.COMMENT),
    ],
)
def test_a_token_may_be_longer_than_any_window(text: bytes, kind: Kind) -> None:
    assert _tokens(text + b"\n")[0] == (kind, text if kind is not Kind.SPACE else text + b"\n")


@given(seed=st.integers(0, 2**32))
def test_tokens_are_all_of_the_text(seed: int) -> None:
    [text] = scripts(seed, 1)
    assert b"".join(token for _kind, token in _tokens(text)) == text


@pytest.mark.parametrize(
    ("text", "blank"),
    [
        (b"a -- b\nc", b"a     \nc"),
        (b"a /* b\n */ c", b"a     \n    c"),
        (b"a /* /* b */ */ c", b"a               c"),
        (b"'--' -- x", b"'--'     "),
        (b"$$ -- x $$ -- y", b"$$ -- x $$     "),
        (b"e'\\' -- x' -- y", b"e'\\' -- x'     "),
        (b'"/*" /* x */', b'"/*"        '),
        (b"a$b$ -- x", b"a$b$     "),
        (b"1$b$ -- x", b"1$b$ -- x"),
        (b"'unclosed -- x", b"'unclosed -- x"),
        (b"/* unclosed", b"/* unclosed"),
    ],
)
def test_comments_are_made_blank_outside_of_quotes(text: bytes, blank: bytes) -> None:
    assert without_comments(text) == blank
