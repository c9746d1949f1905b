r"""Everything that one step reads: its script with its includes, and the data files they copy.

The digest is that of the expanded content: an include counts as the content of its file, a data
file as its own digest, so names and directories of files do not matter. It is a tree: every
script's digest is over the digests of its parts in order.
"""

import hashlib
import os
import pwd
import shlex
from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import PurePath, PurePosixPath
from typing import BinaryIO, NamedTuple

from pgstrata.domain.identity import Content, digest, list_digest
from pgstrata.errors import InvalidArgumentError
from pgstrata.kinds.formats import BEGINNING, DIRECTORY, TAR, Format, recognise
from pgstrata.kinds.psql.scanner import scan
from pgstrata.kinds.psql.script import (
    OWN_VARIABLES,
    Binding,
    ChangeDirectory,
    DataFile,
    Include,
    Interpolation,
    Key,
    Problem,
    Reference,
    Script,
    Text,
)
from pgstrata.kinds.sources.base import Seen, Sources, changed, in_place, missing
from pgstrata.kinds.sources.memo import Memo
from pgstrata.kinds.sql import reader
from pgstrata.kinds.unpacking import check_whole, named, unpacked

MAX_DEPTH = 100
MAX_INCLUDES = 10_000
MAX_PARTS = 1_000_000
"""How many parts all scripts of a step may have; one that is included twice counts twice."""
_MOST_PROBLEMS = 1000
"""The most problems that are reported."""
_LONGEST_PATH = 1000  # psql truncates paths to its buffers of 1024 bytes


class TextDigest(NamedTuple):
    """A part of a script that refers to nothing, by the digest of its content."""

    sha256: str


class Scanned(NamedTuple):
    """A scanned script, with digests in place of its text."""

    parts: tuple[TextDigest | Reference, ...]
    problems: tuple[Problem, ...]
    bindings: tuple[Binding, ...]
    interpolations: tuple[Interpolation, ...]
    format: Format | None
    packed: Format | None = None
    """What the script was unpacked from."""


class Located(NamedTuple):
    """A problem and the script it is in."""

    script: str
    problem: Problem


class Expansion(NamedTuple):
    """A step's source with everything it reads."""

    digest: str
    files: tuple[Seen, ...]
    """Every file that was read, or looked for and not found."""
    problems: tuple[Located, ...]


class Dump(NamedTuple):
    """What pg_restore restores: a file, or a directory of files."""

    digest: str
    """Of its content; names of files count within a directory."""
    files: tuple[Seen, ...]
    """Its files, and for a directory that itself."""


def abridge(script: Script, text: reader.Text) -> Scanned:
    """The script with its text replaced by digests."""
    return Scanned(
        parts=tuple(
            _digest_text(part, text) if isinstance(part, Text) else part for part in script.segments
        ),
        problems=script.problems,
        bindings=script.bindings,
        interpolations=script.interpolations,
        format=script.format,
    )


def _digest_text(part: Text, text: reader.Text) -> TextDigest:
    sha256 = hashlib.sha256()
    for piece in reader.windows(text, part.start, part.end):
        sha256.update(piece)
    return TextDigest(sha256.hexdigest())


def _scan_file(file: BinaryIO, *, goes_on: bool = False) -> Scanned:
    beginning = os.pread(file.fileno(), BEGINNING, 0)
    packed = recognise(beginning)
    if packed is TAR:
        check_whole(file)
    if packed is None or packed.packing is None:
        return _scan_text(file, goes_on=goes_on)
    with unpacked(file, packed.packing) as plain:
        return _scan_text(plain, goes_on=goes_on)._replace(packed=packed)


def _scan_text(file: BinaryIO, *, goes_on: bool) -> Scanned:
    text = reader.FileText(file.fileno())
    return abridge(scan(text, goes_on=goes_on), text)


class Inputs:
    """Reads the files that steps refer to, and remembers scanned scripts."""

    def __init__(self, memo_size: int) -> None:
        self.scripts: Mapping[bool, Memo[Scanned]] = {
            goes_on: Memo(partial(_scan_file, goes_on=goes_on), memo_size)
            for goes_on in (False, True)
        }
        """By whether psql goes on after errors, which decides how a script may be read."""

    def read(
        self, sources: Sources, path: PurePath, *, goes_on: bool = False
    ) -> tuple[Seen, Scanned | None]:
        """Like ``Memo.read``, also for a compressed script."""
        with named(path):
            return self.scripts[goes_on].read(sources, path)

    def dump(self, sources: Sources, path: PurePath, *, goes_on: bool = False) -> Dump | None:
        """The dump at a path; None if there is something else, or nothing. ``goes_on`` as below.

        Raises ``InvalidArgumentError`` if it cannot be read, and for any other directory.
        """
        listing = sources.list(path)
        if listing is None:
            seen, scanned = self.read(sources, path, goes_on=goes_on)
            found = scanned and scanned.format
            if scanned is None or scanned.packed or not (found and found.is_dump):
                return None
            assert seen.input.digest is not None
            return Dump(digest(["file", seen.input.digest]), (seen,))
        if "toc.dat" not in listing.names:
            raise InvalidArgumentError(
                f"{path} is a directory, and none that pg_dump wrote: it has no toc.dat",
                remedy="name a script, or a dump",
            )
        files = (sources.look(path / name) for name in listing.names)
        named = {PurePath(seen.input.name).name: seen for seen in files}
        content = [[name, seen.input.digest] for name, seen in named.items()]
        return Dump(digest(["directory", content]), (listing.seen, *named.values()))

    def expand_file(
        self,
        sources: Sources,
        path: PurePath,
        work_dir: PurePath,
        bindings: Iterable[Binding] = (),
        *,
        goes_on: bool = False,
    ) -> Expansion:
        """Expand a script. ``bindings``: the variables that have risky values from the start.
        ``goes_on``: whether psql goes on after errors.

        Raises ``InvalidArgumentError`` if a file is missing or cannot be read, or a script includes
        itself.
        """
        expanding = _Expanding(self, sources, str(work_dir), [(b, "-v") for b in bindings], goes_on)
        return expanding.result(expanding.root(str(path)))

    def expand(
        self,
        sources: Sources,
        script: Scanned,
        name: str,
        work_dir: PurePath,
        bindings: Iterable[Binding] = (),
        *,
        goes_on: bool = False,
    ) -> Expansion:
        """Expand a script that is not a file; ``name`` is shown for it. Raises the same."""
        expanding = _Expanding(self, sources, str(work_dir), [(b, "-v") for b in bindings], goes_on)
        return expanding.result(expanding.script(script, _Origin(name, "", False)))


class _Origin(NamedTuple):
    """Where psql finds a script."""

    name: str
    """For people."""
    path: str
    """As psql knows it: relative to its directory when it opened the script."""
    optional: bool


@dataclass
class _Expanding:
    """One expansion; follows psql through the scripts, from directory to directory."""

    inputs: Inputs
    sources: Sources
    directory: str
    bound: list[tuple[Binding, str]]
    goes_on: bool
    used: list[tuple[Interpolation, str]] = field(default_factory=list)
    problems: list[Located] = field(default_factory=list)
    files: dict[PurePath, Seen] = field(default_factory=dict)
    chain: list[tuple[Hashable, str]] = field(default_factory=list)
    at_root: bool = False
    """Whether the next script is the file that psql was given."""
    includes: int = 0
    parts: int = 0

    def result(self, content: str) -> Expansion:
        self._add_problems(_risky(self.bound, self.used))
        return Expansion(content, tuple(self.files.values()), tuple(self.problems))

    def root(self, path: str) -> str:
        self.at_root = True
        content = self._include(_Origin(path, path, False))
        assert content is not None
        return content

    def script(self, scanned: Scanned, origin: _Origin) -> str:
        """The digest of one script with all its includes."""
        at_root, self.at_root = self.at_root, False
        _check_form(scanned, origin, at_root=at_root)
        self.parts += len(scanned.parts) + len(scanned.bindings) + len(scanned.interpolations)
        if self.parts > MAX_PARTS:
            raise InvalidArgumentError(
                f"{origin.name} is one script too many",
                remedy="include less, or fewer times: all scripts together refer to files and "
                f"variables at most {MAX_PARTS} times",
            )
        self._add_problems(Located(origin.name, problem) for problem in scanned.problems)
        self.bound += ((binding, origin.name) for binding in scanned.bindings)
        self.used += ((use, origin.name) for use in scanned.interpolations)
        return list_digest("script", (self._part(part, origin) for part in scanned.parts))

    def _add_problems(self, problems: Iterable[Located]) -> None:
        self.problems += islice(problems, _MOST_PROBLEMS - len(self.problems))

    def _part(self, part: TextDigest | Reference, origin: _Origin) -> Content:
        match part:
            case TextDigest(sha256):
                return ["text", sha256]
            case Include():
                return self._included(part, origin)
            case DataFile():
                return self._data(part, origin)
            case ChangeDirectory():
                return self._change_directory(part, origin)
            case Key(number=number):
                return ["key", number]

    def _included(self, part: Include, origin: _Origin) -> Content:
        path = _tilde(part.path)
        start = os.path.dirname(origin.path) if part.relative and origin.path else ""  # noqa: PTH120
        optional = origin.optional or part.optional
        with _located(origin.name, part.line):
            self._check_within(path, start)
            if start and not path.startswith("/"):
                path = str(PurePosixPath(start) / path)
            content = self._include(_Origin(path, path, optional))
        return ["missing"] if content is None else ["include", content]

    def _include(self, origin: _Origin) -> str | None:
        """The digest of an included script; None if it is missing and optional."""
        path = origin.path
        self.includes += 1
        if self.includes > MAX_INCLUDES or len(self.chain) >= MAX_DEPTH:
            raise InvalidArgumentError(
                f"{path} is one include too many",
                remedy=f"include at most {MAX_INCLUDES} files, {MAX_DEPTH} deep",
            )
        full = self._resolve(path)
        try:
            seen, scanned = self.inputs.read(self.sources, full, goes_on=self.goes_on)
        except InvalidArgumentError:
            contents = self.sources.is_directory(full) and self.sources.look(full / "toc.dat")
            if contents and contents.input.digest is not None:
                raise no_script(path, DIRECTORY) from None
            raise
        self._record(full, seen, optional=origin.optional)
        if scanned is None:
            return None
        with self._entered(seen.stamp, path):
            return self.script(scanned, origin)

    @contextmanager
    def _entered(self, stamp: Hashable, path: str) -> Iterator[None]:
        if any(stamp == known for known, _name in self.chain):
            names = " > ".join([*(name for _known, name in self.chain), path])
            raise InvalidArgumentError(
                f"{path} includes itself: {names}", remedy="remove the circular include"
            )
        self.chain.append((stamp, path))
        yield
        self.chain.pop()

    def _data(self, part: DataFile, origin: _Origin) -> Content:
        with _located(origin.name, part.line):
            path = _tilde(part.path)
            self._check_within(path)
            full = self._resolve(path)
            seen = self.sources.look(full)
            self._record(full, seen, optional=origin.optional or part.optional)
        return ["missing"] if seen.input.digest is None else ["data", seen.input.digest]

    def _change_directory(self, part: ChangeDirectory, origin: _Origin) -> Content:
        if origin.optional:
            problem = Problem(part.line, r"\cd may or may not be executed", r"put it before \if")
            self._add_problems([Located(origin.name, problem)])
        path = _tilde(part.path)
        with _located(origin.name, part.line):
            self._check_within(path)
        self.directory = str(PurePosixPath(self.directory) / path)
        return ["directory"]

    def _check_within(self, path: str, start: str = "") -> None:
        """Refuse a path that psql would look for outside its tree."""
        if in_place(self.sources):
            return
        if path.startswith("/"):
            raise InvalidArgumentError(
                f"{path} is an absolute path, and the sources may be on another machine",
                remedy="write it relative to the working directory, or with \\ir to the script",
            )
        below = str(PurePosixPath(self.directory, start, path)).lstrip("/")
        if os.path.normpath(below).split("/")[0] == "..":
            raise InvalidArgumentError(
                f"{path} leads out of the sources", remedy="include only files within them"
            )

    def _resolve(self, path: str) -> PurePath:
        """Where psql finds a path: unlike the system, it removes ``name/..`` textually."""
        plain = PurePosixPath(self.directory, os.path.normpath(path))
        if len(os.fsencode(plain)) > _LONGEST_PATH:
            raise InvalidArgumentError(f"{plain} is too long for psql", remedy="shorten the path")
        unlike = PurePosixPath(self.directory, path)
        if ".." in path and self.sources.real(plain) != self.sources.real(unlike):
            raise InvalidArgumentError(
                f"{path} goes through a symbolic link and back up again",
                remedy="write the path without `..`",
            )
        return plain

    def _record(self, path: PurePath, seen: Seen, *, optional: bool) -> None:
        if seen.input.digest is None and not optional:
            raise missing(self.sources, path)
        if self.files.setdefault(path, seen) != seen:
            raise changed(seen.input)


def no_script(name: str, found: Format, packed: Format | None = None) -> InvalidArgumentError:
    """The error for a file that is something else than a script, also if it was ``packed``."""
    if packed is not None:
        return InvalidArgumentError(
            f"{name} is {found.what}",
            remedy=f"unpack it first: {packed.converter} {shlex.quote(name)} > FILE",
        )
    if found.is_dump:
        return InvalidArgumentError(
            f"{name} is {found.what}, not a script",
            remedy=f"restore it in a step of its own: prepare:psql -- -f {shlex.quote(name)}",
        )
    return InvalidArgumentError(
        f"{name} is {found.what}, not a script",
        remedy=f"{found.converter} {shlex.quote(name)} | pgstrata prepare:psql -- -f -",
    )


def _check_form(scanned: Scanned, origin: _Origin, *, at_root: bool) -> None:
    """Raise ``InvalidArgumentError`` for what psql cannot be made to read in this place."""
    packed = scanned.packed
    if scanned.format is not None:
        what = scanned.format.what + (f", {packed.what}" if packed else "")
        raise no_script(origin.name, scanned.format._replace(what=what), packed)
    if packed is None:
        return
    if not at_root:
        # psql itself opens what is included.
        raise no_script(origin.name, packed)
    for part in scanned.parts:
        if isinstance(part, Include) and part.relative:
            raise InvalidArgumentError(
                f"{origin.name}:{part.line}: \\ir starts at the script's own directory, and "
                "what is unpacked has none",
                remedy=r"unpack the script, or write \i with a path from the working directory",
            )


class _LocatedError(InvalidArgumentError):
    """An error that already has the position of the reference."""


@contextmanager
def _located(script: str, line: int) -> Iterator[None]:
    """Add the position of the reference to errors; only the innermost one is added."""
    try:
        yield
    except _LocatedError:
        raise
    except InvalidArgumentError as error:
        raise _LocatedError(f"{script}:{line}: {error.message}", remedy=error.remedy) from error


def _tilde(path: str) -> str:
    if path != "~" and not path.startswith("~/"):
        return path
    return home() + path[1:]


def home() -> str:
    """The directory that psql uses for ``~``, which does not depend on the environment."""
    return pwd.getpwuid(os.geteuid()).pw_dir


def _risky(
    bound: Iterable[tuple[Binding, str]], used: Iterable[tuple[Interpolation, str]]
) -> Iterator[Located]:
    names: dict[str, tuple[int, Binding, str]] = {}
    prefixes: dict[str, tuple[int, Binding, str]] = {}
    for order, (binding, binder) in enumerate(bound):
        (prefixes if binding.prefix else names).setdefault(binding.name, (order, binding, binder))
    lengths = sorted({len(prefix) for prefix in prefixes})
    for use, script in used:
        fitting = lengths[: bisect_right(lengths, len(use.name))]
        covering = [names.get(use.name)]
        if use.name not in OWN_VARIABLES:
            covering += (prefixes.get(use.name[:length]) for length in fitting)
        first = min((found for found in covering if found is not None), default=None)
        if first is not None:
            _order, binding, binder = first
            yield Located(script, _explain(use, binding, binder))


def _explain(use: Interpolation, binding: Binding, binder: str) -> Problem:
    position = f"{binder}:{binding.line}" if binding.line else binder
    what = f":{use.name} may hold more than a plain value ({position})"
    return Problem(use.line, what, f"write :'{use.name}' or :\"{use.name}\"")
