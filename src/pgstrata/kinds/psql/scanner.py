r"""Finds what a psql script refers to, by reading it the way psql does.

psql reads line by line: SQL up to a backslash, then a command with its arguments, then SQL again.
It sends a statement at its semicolon, and if that was COPY ... FROM STDIN the next lines are data.
Where releases of psql differ, or only the server could tell, the script has a problem. A script on
which psql or the server would fail may be read differently, since a failed step makes no state.
"""

import re

from pgstrata.kinds.formats import BEGINNING, recognise
from pgstrata.kinds.psql.commands import (
    MATTERING,
    Command,
    bind_results,
    judge,
    matters,
    read_command,
    takes_data,
)
from pgstrata.kinds.psql.findings import Findings
from pgstrata.kinds.psql.results import columns
from pgstrata.kinds.psql.script import Script
from pgstrata.kinds.psql.statements import copy_statement, makes_routine, routine_end
from pgstrata.kinds.sql import forbidden
from pgstrata.kinds.sql.lexer import GAPS, Kind, Lexer, Token
from pgstrata.kinds.sql.reader import Reader, Text

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DATA_END = re.compile(rb"(?<=\n)\\\.\r?(?:\n|\Z)")
_MATTERS = re.compile(
    rb"\\(?:" + b"|".join(re.escape(name.encode()) for name in MATTERING) + rb")(?![\w])"
)
_BLANK = re.compile(rb"[ \t\r\f\v]*")
_LINE = re.compile(rb"[^\r\n]*")
_ALONE = "put COPY ... FROM STDIN on lines of its own, before its data"

_SPACE_BETWEEN = "put a space between"

_QUOTE_AT_ONCE = re.compile(rb"\$|\w?&?'")
_SERVER_ADDRESS = re.compile(rb":(?:['\"]|\{\?)?(?P<name>HOST|PORT)\b")
"""Variables that psql itself sets to another value each time a step is run."""


def scan(text: Text, *, goes_on: bool = False) -> Script:
    """What the script refers to. Never fails, whatever the text, and takes linear time.

    ``goes_on``: psql goes on after errors. Then it skips the rest of a line, even an open quote,
    and reads the data of a COPY that failed as script. So everything that would matter if it were
    read is a problem wherever it is: in data, in literals, in comments.
    """
    return _Scan(text, goes_on=goes_on).run()


def scan_command(text: Text) -> Script:
    """The same for the text of ``-c``: one backslash command, or SQL that is sent as it is."""
    findings, reader = Findings(text), Reader(text)
    if reader.after(b"\0", 0):
        findings.problem(0, "there is a NUL byte in it", "remove it")
    elif reader.at(0, b"\\"):
        judge(read_command(reader, 0, len(text)), findings)
        _forbid_server_address(findings, reader)
    else:
        whole = forbidden.Whole(starts=True, ends=True, returns_data=True)
        _forbid(findings, 0, len(text), whole)
    return findings.script()


def _forbid(findings: Findings, start: int, end: int, whole: forbidden.Whole) -> None:
    for found in forbidden.find_in_statements(findings.text, start, end, whole):
        findings.problem(found.start, found.what, found.remedy)


def _forbid_server_address(findings: Findings, reader: Reader) -> None:
    # Even in a comment, where it would do no harm: it is not written by accident.
    position = reader.start
    while (found := reader.find(_SERVER_ADDRESS, position)) is not None:
        findings.problem(
            reader.base + found.start(),
            f"the variable {found['name'].decode()} has the address of this one server",
            "do not store it: every clone of the state runs elsewhere",
        )
        position = reader.base + found.end()


class _Scan:
    """One pass over one script."""

    def __init__(self, text: Text, *, goes_on: bool) -> None:
        self._end = len(text)
        self._goes_on = goes_on
        self._commands: set[int] = set()
        """Where backslash commands start, if psql goes on after errors."""
        self._findings = Findings(text, goes_on=goes_on)
        self._marked = text[: len(_BYTE_ORDER_MARK)] == _BYTE_ORDER_MARK
        self._position = len(_BYTE_ORDER_MARK) if self._marked else 0
        self._reader = Reader(text, self._position)
        self._lexer = Lexer(self._reader)
        self._sql_start = 0
        """Where the SQL starts that was not searched for forbidden parts yet."""
        self._sql_starts = True
        """Whether a statement starts there."""
        self._statement = 0
        """The position of the statement's first token, if a statement starts here."""
        self._unreadable = 0
        """How far a failed attempt to read a COPY statement got."""
        self._in_doubt = False
        """Whether a semicolon may not end the statement for psql."""
        self._has_data = False
        """Whether there was a COPY ... FROM STDIN with its data."""
        self._returns_data = self._reader.after(rb"\gexec", self._position) is None
        """Whether psql never executes what a query returns."""
        self._line = (0, -1)
        """The line used last; found only once, as one line may have many commands."""

    def run(self) -> Script:
        if found := recognise(self._reader.text[:BEGINNING]):
            return Script((), format=found)
        if (nul := self._reader.after(b"\0", self._position)) is not None:
            self._problem(nul - 1, "there is a NUL byte in it", "remove it")
            return self._findings.script()
        if self._marked and self._reader.match(_QUOTE_AT_ONCE, self._position):
            self._problem(0, "a quote follows the byte order mark", "remove the mark")
        self._start_statement()
        while (token := self._lexer.skim(self._position)) is not None:
            self._take(token)
        self._end_sql(self._end)
        _forbid_server_address(self._findings, self._reader)
        if self._goes_on:
            self._forbid_hidden_commands()
        return self._findings.script()

    def _forbid_hidden_commands(self) -> None:
        position = self._reader.start
        while (found := self._reader.find(_MATTERS, position)) is not None:
            start = self._reader.base + found.start()
            position = start + 1
            if start not in self._commands:
                command = read_command(self._reader, start, self._line_end(start))
                if matters(command):
                    self._problem(
                        start,
                        f"\\{command.name} may be read as a command if something fails before it",
                        "write it otherwise, or let no error pass (without --on-error=continue)",
                    )

    def _take(self, token: Token) -> None:
        self._position = token.end
        match token.kind, token.text:
            case Kind.COMMENT, _:
                pass
            case Kind.MARK, b";":
                self._start_statement()
            case Kind.MARK, _:
                self._backslash(token.start)
            case Kind.VARIABLE, _:
                self._interpolate(token)
            case Kind.WORD, b"copy":
                self._copy(token.start)
            case Kind.WORD, b"create":
                self._create(token)
            case Kind.WORD, _:
                self._from(token)
            case Kind.STUCK, _:
                self._problem(
                    token.start, "a quote directly follows a number and letters", _SPACE_BETWEEN
                )
            case Kind.LONG_TAG, _:
                self._problem(token.start, "the tag of a dollar quote is too long", "shorten it")
            case Kind.BROKEN, _:
                self._problem(
                    token.start,
                    "the string may continue after a carriage return",
                    "end lines with \\n alone",
                )
                # For psql nearly all the rest is quoted.
                self._position = self._end

    def _interpolate(self, token: Token) -> None:
        self._findings.interpolate(self._lexer.variable(token), token.start)

    def _start_statement(self) -> None:
        self._position = self._lexer.gap(self._position)
        self._statement = self._position

    def _from(self, token: Token) -> None:
        self._position = self._lexer.gap(token.end)
        word = self._lexer.token(self._position)
        if word is not None and word.text == b"stdin" and word.start > token.end:
            self._problem(token.start, "FROM STDIN is not part of a plain COPY statement", _ALONE)

    def _backslash(self, start: int) -> None:
        if self._reader.at(start, b"\\;") or self._reader.at(start, b"\\:"):
            self._position = start + 2
            return
        if self._goes_on:
            self._commands.add(start)
        command = read_command(self._reader, start, self._line_end(start))
        judge(command, self._findings)
        if command.name == "gset":
            # Without a query of its own it repeats one that may be anywhere before.
            bind_results(command, columns(self._lexer, self._statement, start), self._findings)
        if command.repeats and self._has_data and self._is_void(start):
            what = f"\\{command.name} may repeat a COPY ... FROM STDIN"
            self._problem(start, what, "write the statement again before it")
        self._end_sql(start, ends=command.sends)
        self._continue_after(command)

    def _is_void(self, end: int) -> bool:
        """Whether there is nothing up to here except variables, which can be empty."""
        position = self._sql_start
        while position < end:
            token = self._lexer.token(position)
            if token is None or (token.kind not in GAPS and token.kind is not Kind.VARIABLE):
                return False
            position = token.end
        return True

    def _continue_after(self, command: Command) -> None:
        starts_statement = command.sends or self._statement == command.start
        self._position = self._sql_start = command.after
        self._sql_starts = starts_statement
        if takes_data(command):
            self._data(command.start, command.after)
        if starts_statement:
            self._start_statement()

    def _create(self, token: Token) -> None:
        if not makes_routine(self._lexer, token.end):
            return
        end = None if self._in_doubt else routine_end(self._lexer, token.start)
        self._in_doubt = end is None
        self._position = token.end if end is None else end

    def _copy(self, start: int) -> None:
        if start != self._statement:
            return
        copy = copy_statement(self._lexer, start) if start >= self._unreadable else None
        if copy is None or copy.target is None:
            self._unreadable = self._unreadable if copy is None else copy.end
            self._problem(start, "the COPY statement is not understood", _ALONE)
            return
        for name, position in copy.variables:
            self._findings.interpolate(name, position)
        if copy.target in ("file", "program"):
            found = forbidden.copy_of(start, program=copy.target == "program")
            self._problem(start, found.what, found.remedy)
        self._position = copy.end
        if copy.target == "stdin" and copy.end < self._end:
            self._copy_data(start, copy.end)

    def _copy_data(self, start: int, end: int) -> None:
        semicolon = self._reader.at(end, b";")
        self._position = end + semicolon
        if semicolon == self._reader.at(self._position, b"\\") or not self._ends_line():
            self._problem(start, "something follows COPY ... FROM STDIN on its line", _ALONE)
            return
        self._end_sql(self._position)
        self._sql_starts = True
        self._data(start, self._position)
        self._start_statement()

    def _ends_line(self) -> bool:
        r"""Whether only ``\g`` and a comment follow on the line."""
        reader, position = self._reader, self._position
        for command in (rb"\gx", rb"\g"):
            if reader.at(position, command):
                position += len(command)
                break
        position = reader.run(_BLANK, position)
        if reader.at(position, b"--"):
            position = reader.run(_LINE, position)
            position += reader.at(position, b"\r")
        return position == self._end or reader.at(position, b"\n")

    def _data(self, start: int, end: int) -> None:
        """Skip the data after the line of ``end``."""
        if self._findings.conditional:
            self._problem(start, r"COPY ... FROM STDIN is inside \if", r"put it before any \if")
        if self._in_doubt:
            self._problem(
                start, "a CREATE FUNCTION before COPY ... FROM STDIN is not understood", _ALONE
            )
        self._has_data = True
        data = min(self._line_end(end) + 1, self._end)
        done = self._reader.find(_DATA_END, data)
        after = self._end if done is None else self._reader.base + done.end()
        if self._goes_on:
            _forbid(self._findings, data, after, forbidden.UNKNOWN)
        self._position = self._sql_start = after

    def _line_end(self, position: int) -> int:
        start, end = self._line
        if not start <= position <= end:
            after = self._reader.after(b"\n", position)
            end = self._end if after is None else after - 1
            self._line = (position, end)
        return end

    def _end_sql(self, end: int, *, ends: bool = True) -> None:
        """Search the SQL up to here; ``ends``: with the end of a statement."""
        whole = forbidden.Whole(starts=self._sql_starts, ends=ends, returns_data=self._returns_data)
        if self._goes_on:
            whole = forbidden.UNKNOWN
        _forbid(self._findings, self._sql_start, end, whole)
        self._sql_start = end

    def _problem(self, position: int, what: str, remedy: str) -> None:
        self._findings.problem(position, what, remedy)
