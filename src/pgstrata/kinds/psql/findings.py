"""What a scan of a script has found so far."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pgstrata.kinds.psql.script import (
    Binding,
    ChangeDirectory,
    DataFile,
    Include,
    Interpolation,
    Key,
    Problem,
    Reference,
    Script,
    Segment,
    Text,
)
from pgstrata.kinds.sql import reader

MOST = 100_000
"""How many references, and how many variables, a script may have."""
_MOST_PROBLEMS = 1000
"""The most problems that are reported."""
_LONGEST_NAME = 1000
_SPLIT = "split the script"


@dataclass
class Findings:
    """Collects a script's parts in order. Positions are in bytes from its start.

    Until the end, ``line`` fields contain positions in place of line numbers.
    """

    text: reader.Text
    goes_on: bool = False
    """Whether psql goes on after errors."""
    conditional: int = 0
    r"""How many ``\\if`` are open."""
    left: bool = False
    r"""Whether psql may have left the script by ``\\q``."""
    _references: list[Reference] = field(default_factory=list)
    _problems: list[Problem] = field(default_factory=list)
    _bindings: list[Binding] = field(default_factory=list)
    _interpolations: dict[str, Interpolation] = field(default_factory=dict)
    _restricted: tuple[int, int, bytes] | None = None
    _keys: dict[bytes, int] = field(default_factory=dict)

    @property
    def optional(self) -> bool:
        """Whether psql may never reach the current position."""
        return self.left or self.conditional > 0

    @property
    def empty(self) -> bool:
        """Whether nothing was found."""
        found = (self._references, self._problems, self._bindings, self._interpolations)
        return not any(found)

    def problem(self, position: int, what: str, remedy: str) -> None:
        if len(self._problems) < _MOST_PROBLEMS:
            self._problems.append(Problem(position, what, remedy))

    def bind(self, name: str, position: int, *, prefix: bool = False) -> None:
        if len(self._bindings) == MOST:
            self.problem(position, f"more than {MOST} variables are set", _SPLIT)
        elif self._has_plain_length(name, position):
            self._bindings.append(Binding(name, position, prefix))

    def interpolate(self, name: str, position: int) -> None:
        if name in self._interpolations:
            return
        if len(self._interpolations) == MOST:
            self.problem(position, f"more than {MOST} variables are used", _SPLIT)
        elif self._has_plain_length(name, position):
            self._interpolations[name] = Interpolation(name, position)

    def _has_plain_length(self, name: str, position: int) -> bool:
        if len(name) <= _LONGEST_NAME:
            return True
        what = f"the variable {name[:40]}… has a name of more than {_LONGEST_NAME} characters"
        self.problem(position, what, "shorten the name")
        return False

    def include(self, start: int, end: int, path: bytes, *, relative: bool) -> None:
        self._refer(Include(start, end, self._path(start, path), start, relative, self.optional))

    def data_file(self, start: int, end: int, path: bytes) -> None:
        self._refer(DataFile(start, end, self._path(start, path), start, self.optional))

    def change_directory(self, start: int, end: int, path: bytes) -> None:
        self._refer(ChangeDirectory(start, end, self._path(start, path), start))

    def restrict(self, start: int, end: int, key: bytes) -> None:
        self._restricted = (start, end, key)

    def unrestrict(self, start: int, end: int, key: bytes) -> None:
        if self._restricted is not None and self._restricted[2] == key:
            number = self._keys.setdefault(key, len(self._keys))
            for one in (self._restricted[:2], (start, end)):
                self._refer(Key(*one, number, one[0]))
        self._restricted = None

    def _path(self, position: int, path: bytes) -> str:
        """The path as text, or a substitute; anything wrong with it is recorded as a problem."""
        if path.startswith(b"~") and path != b"~" and not path.startswith(b"~/"):
            self.problem(position, "the path starts at a user's home", "write the path in full")
        try:
            return path.decode()
        except UnicodeDecodeError:
            self.problem(position, "the path is not UTF-8", "rename the file")
            return path.decode("utf-8", "replace")

    def _refer(self, reference: Reference) -> None:
        if len(self._references) == MOST:
            self.problem(reference.start, f"it refers to more than {MOST} files", _SPLIT)
        else:
            self._references.append(reference)

    def script(self) -> Script:
        """Everything found, with the text in between."""
        interpolations = self._interpolations.values()
        found = (*self._references, *self._problems, *self._bindings, *interpolations)
        line = _lines(self.text, (one.line for one in found))
        return Script(
            segments=tuple(
                part if isinstance(part, Text) else part._replace(line=line[part.line])
                for part in self._segments()
            ),
            problems=tuple(sorted({one._replace(line=line[one.line]) for one in self._problems})),
            bindings=tuple(one._replace(line=line[one.line]) for one in self._bindings),
            interpolations=tuple(one._replace(line=line[one.line]) for one in interpolations),
        )

    def _segments(self) -> Iterable[Segment]:
        position = 0
        # A key is known to be one only later.
        for reference in sorted(self._references, key=lambda one: one.start):
            if reference.start > position:
                yield Text(position, reference.start)
            yield reference
            position = reference.end
        if position < len(self.text):
            yield Text(position, len(self.text))


def _lines(text: reader.Text, positions: Iterable[int]) -> dict[int, int]:
    """The number of each position's line, from 1."""
    lines = {}
    line, counted = 1, 0
    for position in sorted(set(positions)):
        line += sum(piece.count(b"\n") for piece in reader.windows(text, counted, position))
        lines[position] = line
        counted = position
    return lines
