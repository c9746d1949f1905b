"""SQL that depends on more than its text: files of the server, settings that change psql's lexer.

It is searched for in strings and function bodies too, as text, since they are often SQL themselves.
That does not find what a program composes piece by piece, but it finds what people write.
"""

import re
from collections.abc import Callable, Iterable
from functools import partial

from pgstrata.kinds.sql.comments import blanked, comments
from pgstrata.kinds.sql.reader import BEHIND, MARGIN, WINDOW, Text, windows
from pgstrata.kinds.sql.suspects import (
    USE_COPY,
    Forbidden,
    Phase,
    Suspect,
    Token,
    copy_of,
    follow,
    unsafe_encoding,
)
from pgstrata.kinds.sql.unread import Span, Whole, spans

__all__ = [
    "UNKNOWN",
    "Forbidden",
    "Whole",
    "copy_of",
    "find",
    "find_in_statements",
    "unsafe_encoding",
]

_ENOUGH = 1000
"""The most findings that are reported."""
_BEGINNINGS = {
    b"copy": Phase.COPY,
    b"wrapper": Phase.WRAPPER,
    b"standard_conforming_strings": Phase.STRINGS,
    b"client_encoding": Phase.ENCODING,
    b"names": Phase.ENCODING_VALUE,
}
_FUNCTIONS = (
    b"pg_read_file",
    b"pg_read_binary_file",
    b"pg_ls_dir",
    b"pg_stat_file",
    b"lo_import",
)
_WORDS = (*_BEGINNINGS, *_FUNCTIONS)
# Each alternative starts with a literal, which lets Python skip other text fast.
_BEGINNING = re.compile(b"|".join(word + rb"(?<!\w" + word + rb")\b" for word in _WORDS))
_BEGINNING_OR_PARENTHESIS = re.compile(_BEGINNING.pattern + rb"|\)")

_TOKEN = re.compile(
    rb"""(?P<space>   [ \t\f\v]+)
       | (?P<newline> [\r\n]+)
       | (?P<word>    \w+)
       | (?P<dotted>  [.$%:\x80-\xff]+)
       | (?P<join>    \|\||,)
       | (?P<quote>   \\?')
       | (?P<mark>    --|/\*|\*/|.)""",
    re.VERBOSE | re.DOTALL,
)
_TARGET = re.compile(
    rb"(?P<program>program\b)"
    rb"|(?P<file>[eu]?&?\\?'|\$\w{0,1000}\$|\$\w{1000}|%[\w.$]|:[\w'\"])"
)


def find(sql: Text, start: int = 0, end: int | None = None) -> tuple[Forbidden, ...]:
    """What is forbidden in the SQL, or in a part of it, in no particular order.

    If there is very much, only the beginning.
    """
    return _find(sql, start, end, comments)


UNKNOWN = Whole(starts=False, ends=False, returns_data=False)
"""SQL of which nothing is known."""


def find_in_statements(sql: Text, start: int, end: int, whole: Whole) -> tuple[Forbidden, ...]:
    """The same for statements, without what nothing in them reads."""
    return _find(sql, start, end, partial(spans, promising=_promising, whole=whole))


def _find(
    sql: Text, start: int, end: int | None, unread: Callable[[Text, int, int], Iterable[Span]]
) -> tuple[Forbidden, ...]:
    end = len(sql) if end is None else end
    if end - start <= WINDOW and not _promising(sql[start:end].lower()):
        return ()
    if not _search(windows(sql, start, end), start):
        return ()
    # Only now, since finding what is not read takes longer.
    return tuple(_search(blanked(sql, start, end, unread(sql, start, end)), start))


def _promising(sql: bytes) -> bool:
    return any(word in sql for word in _WORDS)


def _search(pieces: Iterable[bytes], start: int) -> list[Forbidden]:
    search = _Search(start)
    for piece in pieces:
        search.feed(piece.lower())
    search.finish()
    return search.found


class _Search:
    """Reads SQL once, a token at a time, keeping everything that may turn out to be forbidden.

    Of suspects in the same phase only one is kept, so that there are never many.
    """

    def __init__(self, start: int) -> None:
        self.found: list[Forbidden] = []
        self._buffer = b""
        self._base = start
        """The position of the buffer in the SQL."""
        self._at = 0
        """The position in the buffer to continue from."""
        self._suspects: list[Suspect] = []
        self._query = False
        """Whether there was a COPY followed by a parenthesis."""
        self._promising = False
        """Whether any of the words is in the buffer."""

    def feed(self, piece: bytes) -> None:
        """Continue with a piece, except for its last ``MARGIN`` bytes."""
        if len(self.found) >= _ENOUGH:
            return
        kept = max(0, self._at - BEHIND)
        self._buffer = self._buffer[kept:] + piece
        self._base += kept
        self._at -= kept
        self._promising = _promising(self._buffer)
        self._read(len(self._buffer) - MARGIN)

    def finish(self) -> None:
        """Read the rest."""
        self._read(len(self._buffer))
        end = Token("end", b"", self._base + self._at, None)
        for suspect in self._suspects:
            self.found += (one for one in follow(suspect, end) if isinstance(one, Forbidden))

    def _read(self, stop: int) -> None:
        while self._at < stop and len(self.found) < _ENOUGH:
            if not self._suspects and not self._skip(stop):
                return
            self._step(self._token())

    def _skip(self, stop: int) -> bool:
        """Skip what starts nothing; whether something starts before ``stop``."""
        if not self._query and not self._promising:
            self._at = stop
            return False
        beginning = _BEGINNING_OR_PARENTHESIS if self._query else _BEGINNING
        found = beginning.search(self._buffer, self._at)
        self._at = stop if found is None else min(stop, found.start())
        return self._at < stop

    def _token(self) -> Token:
        found = _TOKEN.match(self._buffer, self._at)
        assert found is not None
        assert found.lastgroup is not None
        target = _TARGET.match(self._buffer, self._at)
        return Token(
            found.lastgroup,
            found[0],
            self._base + self._at,
            None if target is None else target.lastgroup,
        )

    def _step(self, token: Token) -> None:
        suspects, self._suspects = self._suspects, []
        for suspect in suspects:
            self._query |= suspect.phase is Phase.COPY and token.text == b"("
            for following in follow(suspect, token):
                if isinstance(following, Forbidden):
                    self.found.append(following)
                else:
                    self._keep(following)
        if token.group == "quote":
            self._leave_joined(suspects)
        self._begin(token)
        self._at += len(token.text)

    def _leave_joined(self, before: Iterable[Suspect]) -> None:
        """Drop what was joined at the first quote that can end it."""
        ended = {one.start for one in before if one.phase is Phase.JOINT and not one.comment}
        self._suspects = [
            one
            for one in self._suspects
            if one.phase is not Phase.JOINED or one.several or one.start not in ended
        ]

    def _keep(self, suspect: Suspect) -> None:
        for index, kept in enumerate(self._suspects):
            if (kept.phase, kept.comment) == (suspect.phase, suspect.comment):
                if kept.start != suspect.start:
                    # It may get as long as the one that was opened last.
                    opened = max(kept.opened, suspect.opened)
                    self._suspects[index] = kept._replace(opened=opened, several=True)
                return
        self._suspects.append(suspect)

    def _begin(self, token: Token) -> None:
        """Add the suspect that starts with this token, if any."""
        if token.text == b")" and self._query:
            self._keep(Suspect(Phase.QUERY, token.start))
        # The last piece of a very long word that comes in pieces is not a word.
        if token.text not in _WORDS or not _BEGINNING.match(self._buffer, self._at):
            return
        if token.text in _FUNCTIONS:
            what = f"{token.text.decode()} reads a file of the server"
            self.found.append(Forbidden(token.start, what, USE_COPY))
        elif token.text != b"standard_conforming_strings" or not self._shown():
            self._keep(Suspect(_BEGINNINGS[token.text], token.start))

    def _shown(self) -> bool:
        return self._buffer[max(0, self._at - len(b"show ")) : self._at] == b"show "
