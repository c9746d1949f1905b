"""What failed in a step that went on: gathered from what psql or pg_restore says."""

import re
from collections.abc import Iterator

from pgstrata.runtime.base import Failed

MOST = 100
"""How many failures are told one by one."""
_LONGEST = 500

_ERROR = re.compile(
    r"(?:psql:(?P<where>.*?:[0-9]+): )?(?P<psql>(?:ERROR|FATAL|PANIC|error|fatal): .*)"
    r"|psql:(?P<old>.*?:[0-9]+: (?:invalid command |\\).*)"
    r"|pg_restore: (?:error: |\[archiver[^]]*\] (?!Error (?:while|from) ))(?P<restore>.*)",
    re.DOTALL,
)
_STATEMENT = re.compile(
    r"(?:psql:.*?:[0-9]+: )?STATEMENT: +(?P<psql>.*)|\s*Command was: (?P<restore>.*)", re.DOTALL
)


_OF_THE_MACHINE = re.compile(
    r"No space left on device|Disk quota exceeded|wrote only \d+ of \d+ bytes|\bout of memory\b"
    r"|Cannot allocate memory|Input/output error|too many clients already"
    r"|remaining connection slots|ERROR: +(?:53\w{3}|58030)\b"
)
"""Errors that another time or another machine need not have, by message and SQLSTATE."""


class Failures:
    """Gathers failures, line by line."""

    def __init__(self) -> None:
        self.count = 0
        self.of_the_machine: str | None = None
        """The first that says nothing about the step, whose state another time would be another."""
        self._found: list[str] = []
        self._open = False
        """Whether the last one's statement is still to come."""

    def take(self, line: str) -> None:
        """Take a line of the tool's standard error."""
        if (error := _ERROR.match(line)) is not None:
            self.count += 1
            if self.of_the_machine is None and _OF_THE_MACHINE.search(line):
                self.of_the_machine = line
            self._open = self.count <= MOST
            if self._open:
                where = f"{error['where']}: " if error["where"] else ""
                what = error["psql"] or error["old"] or error["restore"]
                self._found.append((where + " ".join(what.split()))[:_LONGEST])
        elif self._open and (statement := _STATEMENT.match(line)) is not None:
            text = " ".join((statement["psql"] or statement["restore"]).split())
            self._found[-1] = f"{self._found[-1]} ({text})"[: 2 * _LONGEST]
            self._open = False

    def lines(self) -> Iterator[Failed]:
        """Yield one line for each failure, and one for those that are too many."""
        yield from map(Failed, self._found)
        if self.count > len(self._found):
            yield Failed(f"… and {self.count - len(self._found)} more")
