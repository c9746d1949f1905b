r"""Finds what a psql script refers to, by reading it the way psql does.

psql reads line by line: SQL up to a backslash, then a command with its arguments, then SQL again.
It sends a statement at its semicolon, and if that was COPY ... FROM STDIN the next lines are data.
Where releases of psql differ, or where only the server could tell, the script has a problem; a
script psql or the server would fail on may be read otherwise, since a failed step makes no state.
"""

import re

from pgstrata.kinds.psql import forbidden, sql
from pgstrata.kinds.psql.commands import Command, judge, read_command, takes_data
from pgstrata.kinds.psql.findings import Findings
from pgstrata.kinds.psql.script import Script

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_DATA_END = re.compile(rb"^\\\.\r?(?:\n|\Z)", re.MULTILINE)
_REST_OF_LINE = re.compile(rb"(?:\\gx?)?[ \t\r\f\v]*+(?:--[^\r\n]*+\r?)?(?:\n|\Z)")
_ALONE = "put COPY ... FROM STDIN on lines of its own, before its data"

_WHEREABOUTS = re.compile(rb":(?:['\"]|\{\?)?(?P<name>HOST|PORT)\b")
"""Variables that psql itself sets to what is another value each time a step is run."""


def scan(text: bytes) -> Script:
    """What the script refers to. Never fails, whatever the text; takes time in its proportion."""
    return _Scan(text).run()


def scan_command(text: bytes) -> Script:
    """The same for the text of ``-c``: one backslash command, or SQL that is sent as it is."""
    findings = Findings(text)
    if b"\0" in text:
        findings.problem(0, "there is a NUL byte in it", "remove it")
    elif text.startswith(b"\\"):
        judge(read_command(text, 0, len(text)), findings)
        _forbid_whereabouts(findings)
    else:
        _forbid(findings, 0, len(text))
    return findings.script()


def _forbid(findings: Findings, start: int, end: int) -> None:
    for found in forbidden.find(findings.text[start:end]):
        findings.problem(start + found.start, found.what, found.remedy)


def _forbid_whereabouts(findings: Findings) -> None:
    # Even in a comment, though there it does no harm: nobody writes these by accident.
    for found in _WHEREABOUTS.finditer(findings.text):
        findings.problem(
            found.start(),
            f"the variable {found['name'].decode()} says where this one server runs",
            "write nothing into a state that only its first server knows",
        )


class _Scan:
    """One pass over one script."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._findings = Findings(text)
        self._position = 0
        self._sql_start = 0
        """Where the SQL starts that was not yet searched for what is forbidden."""
        self._statement = 0
        """Where the statement's first token is, if a statement starts here."""
        self._nested_comment = False
        self._in_doubt = False
        """Whether psql may not take a semicolon for the end of a statement."""
        self._has_data = False
        """Whether there was a COPY ... FROM STDIN with its data."""
        self._line = (0, -1)
        """The line that was looked at last; found once, as one line may hold many commands."""

    def run(self) -> Script:
        text = self._text
        if b"\0" in text:
            self._findings.problem(text.index(b"\0"), "there is a NUL byte in it", "remove it")
            return self._findings.script()
        self._skip_byte_order_mark()
        self._start_statement()
        while (stop := self._run_of_sql()) < len(text):
            self._stop_at(stop, text[stop : stop + 1].lower())
        self._end_sql(len(text))
        if self._nested_comment and b"stdin" in text.lower():
            self._problem(
                0, "there are comments within comments beside COPY ... FROM STDIN", _ALONE
            )
        _forbid_whereabouts(self._findings)
        return self._findings.script()

    def _skip_byte_order_mark(self) -> None:
        if self._text.startswith(_BYTE_ORDER_MARK):
            self._position = len(_BYTE_ORDER_MARK)
            if re.match(rb"\$|\w?&?'", self._text[self._position : self._position + 3]):
                self._problem(0, "a quote follows the byte order mark", "remove the mark")

    def _run_of_sql(self) -> int:
        run = sql.PLAIN.match(self._text, self._position)
        assert run is not None
        self._position = run.end()
        return self._position

    def _stop_at(self, stop: int, character: bytes) -> None:
        match character:
            case b"\\":
                self._backslash(stop)
            case b"$":
                self._dollar_quote(stop)
            case b":":
                self._interpolation(stop)
            case b"/":
                self._nested_comment = True
                self._position = sql.comment_end(self._text, stop)
            case b";":
                self._position = stop + 1
                self._start_statement()
            case b"c" if self._text[stop : stop + 4].lower() == b"copy":
                self._copy(stop)
            case b"c":
                self._routine(stop)
            case b"f":
                self._problem(stop, "FROM STDIN is not part of a plain COPY statement", _ALONE)
                self._position = stop + len(b"from")
            case b"'" | b'"' | b"e":
                self._quote(stop, character)
            case _:
                self._number(stop)

    def _quote(self, stop: int, character: bytes) -> None:
        """A quote that cannot be skipped as a whole: to psql all the rest is quoted, or nearly."""
        if character == b"e":
            self._problem(
                stop, "the string may go on behind a carriage return", "end lines with \\n alone"
            )
        self._position = len(self._text)

    def _number(self, stop: int) -> None:
        self._problem(stop, "letters stuck to a number stand before a quote", "put a space between")
        self._position = stop + 1

    def _dollar_quote(self, stop: int) -> None:
        delimiter = sql.DOLLAR_QUOTE.match(self._text, stop)
        if delimiter is None:
            self._number(stop)
            return
        self._position = sql.closing(self._text, delimiter)

    def _interpolation(self, stop: int) -> None:
        variable = sql.INTERPOLATION.match(self._text, stop)
        assert variable is not None
        self._findings.interpolate(variable["name"].decode("utf-8", "replace"), stop)
        self._position = variable.end()

    def _start_statement(self) -> None:
        gap = sql.GAPS.match(self._text, self._position)
        assert gap is not None
        self._statement = gap.end()

    def _backslash(self, stop: int) -> None:
        if self._text.startswith((b"\\;", b"\\:"), stop):
            self._position = stop + 2
            return
        void = sql.VOID.fullmatch(self._text, self._sql_start, stop) is not None
        self._end_sql(stop)
        command = read_command(self._text, stop, self._line_end(stop))
        judge(command, self._findings)
        if void and command.repeats and self._has_data:
            what = f"\\{command.name} may repeat a COPY ... FROM STDIN"
            self._problem(stop, what, "write the statement before it once more")
        self._continue_after(command)

    def _continue_after(self, command: Command) -> None:
        starts_statement = command.sends or self._statement == command.start
        self._position = self._sql_start = command.after
        if takes_data(command, self._findings):
            self._data(command.start, command.after)
        if starts_statement:
            self._start_statement()

    def _routine(self, stop: int) -> None:
        end = None if self._in_doubt else sql.routine_end(self._text, stop)
        self._in_doubt = end is None
        self._position = stop + len(b"create") if end is None else end

    def _copy(self, stop: int) -> None:
        self._position = stop + len(b"copy")
        if stop != self._statement:
            return
        copy = sql.copy_statement(self._text, stop)
        if copy is None:
            self._problem(stop, "the COPY statement is not understood", _ALONE)
            return
        for name, position in copy.variables:
            self._findings.interpolate(name, position)
        if copy.target in ("file", "program"):
            found = forbidden.copy_of(stop, program=copy.target == "program")
            self._problem(stop, found.what, found.remedy)
        self._position = copy.end
        if copy.target == "stdin" and copy.end < len(self._text):
            self._copy_data(stop, copy.end)

    def _copy_data(self, start: int, end: int) -> None:
        semicolon = self._text.startswith(b";", end)
        self._position = end + semicolon
        rest = _REST_OF_LINE.match(self._text, self._position)
        if rest is None or semicolon == self._text.startswith(b"\\", self._position):
            self._problem(start, "something follows COPY ... FROM STDIN on its line", _ALONE)
            return
        self._end_sql(self._position)
        self._data(start, self._position)
        self._start_statement()

    def _data(self, start: int, end: int) -> None:
        """Pass by the data that follow the line in which ``end`` is."""
        if self._findings.conditional:
            self._problem(start, r"COPY ... FROM STDIN is inside \if", r"put it before any \if")
        if self._in_doubt:
            self._problem(
                start, "a CREATE FUNCTION before COPY ... FROM STDIN is not understood", _ALONE
            )
        self._has_data = True
        done = _DATA_END.search(self._text, min(self._line_end(end) + 1, len(self._text)))
        self._position = self._sql_start = len(self._text) if done is None else done.end()

    def _line_end(self, position: int) -> int:
        start, end = self._line
        if not start <= position <= end:
            end = self._text.find(b"\n", position)
            end = len(self._text) if end < 0 else end
            self._line = (position, end)
        return end

    def _end_sql(self, end: int) -> None:
        _forbid(self._findings, self._sql_start, end)
        self._sql_start = end

    def _problem(self, position: int, what: str, remedy: str) -> None:
        self._findings.problem(position, what, remedy)
