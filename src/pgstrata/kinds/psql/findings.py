"""What a scan has found so far."""

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from pgstrata.kinds.psql.script import (
    Binding,
    ChangeDirectory,
    DataFile,
    Include,
    Interpolation,
    Problem,
    Script,
    Segment,
    Text,
)


@dataclass
class Findings:
    """Gathers a script's parts in their order. Positions are counted in bytes from its start."""

    text: bytes
    conditional: int = 0
    r"""How many ``\\if`` are open."""
    left: bool = False
    r"""Whether psql may have left the script by ``\\q``."""
    _taken: int = 0
    _segments: list[Segment] = field(default_factory=list)
    _problems: list[Problem] = field(default_factory=list)
    _bindings: list[Binding] = field(default_factory=list)
    _interpolations: dict[str, Interpolation] = field(default_factory=dict)

    @property
    def optional(self) -> bool:
        """Whether psql may never come to the present place."""
        return self.left or self.conditional > 0

    @cached_property
    def _line_ends(self) -> list[int]:
        return list(accumulate(len(line) + 1 for line in self.text.split(b"\n")))

    def line(self, position: int) -> int:
        """The number of the line, from 1."""
        return bisect_left(self._line_ends, position + 1) + 1

    def problem(self, position: int, what: str, remedy: str) -> None:
        self._problems.append(Problem(self.line(position), what, remedy))

    def bind(self, name: str, position: int, *, prefix: bool = False) -> None:
        self._bindings.append(Binding(name, self.line(position), prefix))

    def interpolate(self, name: str, position: int) -> None:
        if name not in self._interpolations:
            self._interpolations[name] = Interpolation(name, self.line(position))

    def include(self, start: int, end: int, path: bytes, *, relative: bool) -> None:
        name = self._path(start, path)
        line = self.line(start)
        self._refer(start, end, Include(self.text[start:end], name, line, relative, self.optional))

    def data_file(self, start: int, end: int, path: bytes) -> None:
        name = self._path(start, path)
        self._refer(
            start, end, DataFile(self.text[start:end], name, self.line(start), self.optional)
        )

    def change_directory(self, start: int, end: int, path: bytes) -> None:
        name = self._path(start, path)
        self._refer(start, end, ChangeDirectory(self.text[start:end], name, self.line(start)))

    def _path(self, position: int, path: bytes) -> str:
        """The path as text; what is wrong with it is a problem, and a stand-in the answer."""
        if path.startswith(b"~") and path != b"~" and not path.startswith(b"~/"):
            self.problem(position, "the path starts at a user's home", "write the path in full")
        try:
            return path.decode()
        except UnicodeDecodeError:
            self.problem(position, "the path is not UTF-8", "rename the file")
            return path.decode("utf-8", "replace")

    def _refer(self, start: int, end: int, reference: Include | DataFile | ChangeDirectory) -> None:
        self._take_text(start)
        self._segments.append(reference)
        self._taken = end

    def _take_text(self, end: int) -> None:
        if end > self._taken:
            self._segments.append(Text(self.text[self._taken : end]))
            self._taken = end

    def script(self) -> Script:
        """All that was found, with the rest of the text."""
        self._take_text(len(self.text))
        return Script(
            segments=tuple(self._segments),
            problems=tuple(sorted(set(self._problems))),
            bindings=tuple(self._bindings),
            interpolations=tuple(self._interpolations.values()),
        )
