"""SQL as psql's lexer sees it: where strings, comments and words end, never what they mean.

Scripts are bytes, as psql reads them: a byte above 127 can be part of a word, as in every encoding
that psql reads safely. Every pattern here matches a run of bytes of one class, or a few bytes;
anything longer, or nested, is a state of the lexer.
"""

import re
from collections.abc import Iterator
from enum import IntEnum, auto
from typing import NamedTuple

from pgstrata.kinds.sql.reader import MARGIN, WINDOW, Reader

_LONGEST_TAG = 1000
_LONGEST_WORD = 64
"""How many bytes of a word a token contains: more than any keyword has."""


class Kind(IntEnum):
    """The kind of a token."""

    SPACE = auto()
    COMMENT = auto()
    WORD = auto()
    STRING = auto()
    DOLLAR = auto()
    """A dollar quote, closed or not."""
    NAME = auto()
    """A name in double quotes."""
    VARIABLE = auto()
    """A psql variable that is interpolated unquoted: ``:name``."""
    PARAMETER = auto()
    """``$1`` and so on."""
    MARK = auto()
    """Anything else, a byte at a time."""
    UNCLOSED = auto()
    """A string, a name or a comment that is not closed before the end."""
    BROKEN = auto()
    """An escape string that is never closed, or continues after a carriage return."""
    STRAY = auto()
    """A dollar sign that opens no quote."""
    STUCK = auto()
    """A number directly followed by letters and a quote. Releases of psql differ on it."""
    LONG_TAG = auto()
    """The start of a dollar quote with an unreasonably long tag."""


GAPS = frozenset((Kind.SPACE, Kind.COMMENT))


class Token(NamedTuple):
    """A token: from ``start`` up to ``end``."""

    kind: Kind
    start: int
    end: int
    text: bytes = b""
    """In lower case, for words, variables, marks, and the opening of something that is not closed;
    only the beginning, if it is long."""


# The start of a token, or all of it if it is short. No alternative starts like a later one.
_NEXT = re.compile(
    rb"""(?P<space>  [ \t\n\r\f\v]+)
       | (?P<line>   --)
       | (?P<block>  /\*)
       | (?P<escape> [eE]')
       | (?P<word>   [A-Za-z_\x80-\xff][\w$\x80-\xff]*)
       | (?P<string> ')
       | (?P<name>   ")
       | (?P<parameter> \$[0-9]{1,100}(?![\w$\x80-\xff]))
       | (?P<dollar> \$)
       | (?P<variable> :[\w\x80-\xff]+)
       | (?P<mark>   ::|.)""",
    re.VERBOSE | re.DOTALL,
)
# Where skimming stops. Each alternative starts with a literal byte, without a group or a class,
# which lets Python skip all other bytes ten times as fast.
_SKIM = re.compile(
    "|".join(
        (
            *("'[^']*'", "'", '"[^"]*"', '"', r"\$", "&", "--", r"/\*", ";", r"\\"),
            *("::", r":[\w\x80-\xff]+"),
            *(
                rf"{first}(?<![\w\x80-\xff]{first})(?i:{word[1:]})(?![\w$\x80-\xff])"
                for word in ("copy", "create", "from")
                for first in (word[0], word[0].upper())
            ),
        )
    ).encode("ascii")
)
_SPACE = re.compile(rb"[ \t\n\r\f\v]*")
_WORD = re.compile(rb"[\w$\x80-\xff]*")
_VARIABLE = re.compile(rb"[\w\x80-\xff]*")
_LINE = re.compile(rb"[^\r\n]*")
_RUNS = {"space": _SPACE, "word": _WORD, "variable": _VARIABLE}

_ESCAPED = re.compile(rb"['\\]")
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
_BLANK = re.compile(rb"[ \t\f\v]*")
_BLANK_LINES = re.compile(rb"[ \t\f\v\r]*")

_TAG = re.compile(rb"\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]{0,%d})?\$" % (_LONGEST_TAG - 1))
_LONG_TAG = re.compile(rb"\$[A-Za-z_\x80-\xff][\w\x80-\xff]{%d}" % _LONGEST_TAG)

# What may come directly before a quote, apart from dollar signs.
_STUCK_BYTES = bytes(byte for byte in range(256) if re.match(rb"[\w.\x80-\xff]", bytes([byte])))
_STUCK = frozenset(_STUCK_BYTES)
_PIECE = re.compile(
    rb"""(?P<number> [0-9][0-9.]*) (?P<letters> [A-Za-z_\x80-\xff][\w.\x80-\xff]*)?
       | (?P<word>   [A-Za-z_\x80-\xff][\w\x80-\xff]*)
       | \.""",
    re.VERBOSE,
)


class Lexer:
    """Finds tokens: each one in turn, or only some."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def token(self, position: int) -> Token | None:
        """The token that starts at a position; None at the end."""
        reader = self._reader
        found = reader.match(_NEXT, position)
        if found is None:
            return None
        end = position + len(found[0])
        match group := found.lastgroup:
            case "space" | "word" | "variable":
                if found.end() == len(reader.window):
                    end = reader.run(_RUNS[group], end)
                return Token(Kind[group.upper()], position, end, found[0][:_LONGEST_WORD].lower())
            case "parameter" | "mark":
                return Token(Kind[group.upper()], position, end, found[0])
            case "line":
                return Token(Kind.COMMENT, position, reader.run(_LINE, end))
            case "block":
                return self._comment(position)
            case "escape":
                return self._escape_string(position)
            case "dollar":
                return self._dollar(position)
            case _:
                return self._quoted(position, found[0])

    def gap(self, position: int) -> int:
        """Where white space and comments end."""
        while (token := self.token(position)) is not None and token.kind in GAPS:
            position = token.end
        return position

    def skim(self, position: int) -> Token | None:
        """The next token of interest to a reader that skips most of the SQL.

        That is a comment, a variable, a semicolon, a backslash, the words COPY, CREATE and FROM,
        and what makes SQL hard to read: STUCK, BROKEN, UNCLOSED, LONG_TAG. A token must start at
        ``position``.
        """
        reader = self._reader
        while (found := reader.find(_SKIM, position)) is not None:
            start, end = reader.base + found.start(), reader.base + found.end()
            text = found[0]
            match text[:1]:
                case b"'" | b'"' if len(text) > 1 and _stands_alone(found, position - reader.base):
                    position = end
                case b"'" | b'"' | b"$" | b"&":
                    token = self._at_quote(position, start, end, found)
                    if token.kind not in _PASSED:
                        return token
                    position = token.end
                case b"-":
                    return Token(Kind.COMMENT, start, reader.run(_LINE, end))
                case b"/":
                    return self._comment(start)
                case b":" if text == b"::":
                    position = end
                case b":":
                    if found.end() == len(reader.window):
                        end = reader.run(_VARIABLE, end)
                    return Token(Kind.VARIABLE, start, end, text[:_LONGEST_WORD])
                case b";" | b"\\":
                    return Token(Kind.MARK, start, end, text)
                case _:
                    return Token(Kind.WORD, start, end, text.lower())
        return None

    def variable(self, token: Token) -> str:
        """The name in a VARIABLE token; only its beginning, if it is very long."""
        reader = self._reader
        name = reader.read(token.start + 1, min(token.end, token.start + MARGIN))
        return name.decode("utf-8", "replace")

    def text(self, token: Token) -> bytes:
        """All of a token; only its beginning, if it is very long."""
        return self._reader.read(token.start, min(token.end, token.start + MARGIN))

    def comments(self) -> Iterator[Token]:
        """The comments of all the text, outside of quotes."""
        position = self._reader.start
        while (token := self.skim(position)) is not None:
            if token.kind is Kind.COMMENT:
                yield token
            position = token.end

    def _at_quote(self, position: int, start: int, end: int, found: re.Match[bytes]) -> Token:
        """The token that a quote, a dollar sign or an ampersand is part of.

        The letters before it may change what it is: ``e'``, ``a$b$``.
        """
        mark = found[0][:1]
        if start > position and found.string[found.start() - 1] in _STUCK:
            if (run := self._run_before(position, start)) is None:
                return Token(Kind.STUCK, start, start)
            run_start, piece = run
            if piece["letters"]:
                digits = run_start + piece.end("number")
                return Token(Kind.STUCK, run_start + piece.start(), digits)
            if piece["word"] and mark == b"$":
                return Token(Kind.WORD, start, self._reader.run(_WORD, start))
            if mark == b"'" and piece["word"] in (b"e", b"E"):
                return self._escape_string(start - 1)
        if mark == b"&":
            return Token(Kind.MARK, start, end)
        if mark == b"$":
            return self._dollar(start)
        if found[0] == mark:
            return self._quoted(start, mark)
        return Token(Kind.STRING, start, end)

    def _run_before(self, start: int, end: int) -> tuple[int, re.Match[bytes]] | None:
        """The run of letters, digits and dots that ends at ``end``: its start, and its last piece.

        None for a run of unreasonable length.
        """
        reader = self._reader
        start = max(start, end - WINDOW)
        if start >= reader.base:
            text = reader.window[start - reader.base : end - reader.base]
        else:
            text = reader.text[start:end]
        run = text[len(text.rstrip(_STUCK_BYTES)) :]
        if len(run) == WINDOW:
            return None
        *_, piece = _PIECE.finditer(run)
        return end - len(run), piece

    def _quoted(self, start: int, mark: bytes) -> Token:
        kind = Kind.STRING if mark == b"'" else Kind.NAME
        end = self._reader.after(mark, start + 1)
        if end is None:
            return Token(Kind.UNCLOSED, start, self._reader.end, mark)
        return Token(kind, start, end)

    def _escape_string(self, start: int) -> Token:
        reader = self._reader
        position = start + 2
        while (found := reader.find(_ESCAPED, position)) is not None:
            position = reader.base + found.end() + 1
            if found[0] == b"'" and not reader.at(position - 1, b"'"):
                position -= 1
                broken = self._continues(position)
                return Token(Kind.BROKEN if broken else Kind.STRING, start, position)
            if position > reader.end:
                break
        return Token(Kind.BROKEN, start, reader.end)

    def _continues(self, position: int) -> bool:
        r"""Whether an escape string continues here, after a line that ends with only \r.

        After \n the same starts a string without escapes, since psql reads line by line.
        """
        reader = self._reader
        position = reader.run(_BLANK, position)
        if reader.at(position, b"--"):
            position = reader.run(_LINE, position)
        if not reader.at(position, b"\r"):
            return False
        while True:
            position = reader.run(_BLANK_LINES, position)
            if not reader.at(position, b"--"):
                return reader.at(position, b"'")
            position = reader.run(_LINE, position)
            if not reader.at(position, b"\r"):
                return False

    def _dollar(self, start: int) -> Token:
        reader = self._reader
        tag = reader.match(_TAG, start)
        if tag is None:
            long = reader.match(_LONG_TAG, start) is not None
            return Token(Kind.LONG_TAG if long else Kind.STRAY, start, start + 1)
        end = reader.after(tag[0], start + len(tag[0]))
        return Token(Kind.DOLLAR, start, end or reader.end)

    def _comment(self, start: int) -> Token:
        reader = self._reader
        depth, position = 1, start + 2
        while depth:
            edge = reader.find(_COMMENT_EDGE, position)
            if edge is None:
                return Token(Kind.UNCLOSED, start, reader.end, b"/*")
            depth += 1 if edge[0] == b"/*" else -1
            position = reader.base + edge.end()
        return Token(Kind.COMMENT, start, position)


def _stands_alone(quoted: re.Match[bytes], start: int) -> bool:
    """Whether nothing before a string or a name changes it: a quick check that settles most.

    Nothing before ``start`` belongs to it.
    """
    text, at = quoted.string, quoted.start()
    if at == start or text[at - 1] not in _STUCK:
        return True
    return text[at - 1] not in b"eE" and (at - 1 == start or text[at - 2] not in _STUCK)


_PASSED = frozenset((Kind.STRING, Kind.NAME, Kind.DOLLAR, Kind.WORD, Kind.MARK, Kind.STRAY))
