"""Sources in a revision of a git repository on this machine: read as git stores them, no check-out.

A path of the work tree stands for the file that the revision has there, so the same content has the
same digest as from the files, unless git would convert it when it checks it out. Symbolic links are
followed inside the revision.
"""

import asyncio
import os
import re
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path, PurePath
from shutil import copyfileobj
from typing import IO, BinaryIO, NamedTuple, TypeVar

from msgspec.structs import replace

from pgstrata.domain.identity import digest
from pgstrata.domain.plan import Input
from pgstrata.domain.request import PrepareRequest
from pgstrata.errors import InvalidArgumentError, ProgramError
from pgstrata.kinds.sources.base import Listing, LocalSources, Seen, Sources, changed, local_path
from pgstrata.kinds.sources.local import LocalTree, sha256
from pgstrata.system import subprocesses
from pgstrata.system.scratch import NOBODYS, Scratch

T = TypeVar("T")

_ENV: Mapping[str, str] = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    # Objects that a partial clone lacks are not fetched: the repository says by which program.
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
}
_LINK, _SUBMODULE, _TREE, _PROGRAM = "120000", "160000", "040000", "100755"
_MOST_LINKS = 40
_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1024
_LINE = re.compile(r"(\d+) (\w+) ([0-9a-f]+)\t(.*)", re.DOTALL)
_COMMIT = re.compile("[0-9a-f]{40,}")
_UNSAFE = frozenset(("", ".", "..", ".git"))
_HEADER = re.compile(rb"[0-9a-f]+ \w+ (\d+)\n")


class _Entry(NamedTuple):
    mode: str
    sha: str


class _Known(NamedTuple):
    digest: str
    size: int
    pointer: bool
    """Whether git-lfs has put it in place of a file."""


class GitTree:
    """The files of one commit, at the paths that they have in the repository's work tree."""

    local_root: Path | None = None

    def __init__(self, work_dir: Path, revision: str, scratch: Scratch = NOBODYS) -> None:
        """Find the commit. Raises ``InvalidArgumentError`` if there is none, or no repository."""
        self._work_dir = work_dir
        self._scratch = scratch
        self.revision = revision
        self.top = self._find_top()
        self.commit = self._find_commit()
        listed = self._git("ls-tree", "-r", "-t", "-z", "--full-tree", self.commit)
        self._entries = {"": _Entry(_TREE, "")}
        self._names: dict[str, list[str]] = {}
        for line in os.fsdecode(listed).split("\0")[:-1]:
            match = _LINE.fullmatch(line)
            assert match is not None
            mode, _, sha, name = match.groups()
            if not _UNSAFE.isdisjoint(name.split("/")):
                raise InvalidArgumentError(
                    f"revision {revision} has {name!r}, a name that git refuses to check out",
                    remedy="do not trust this repository: nobody makes such a name by accident",
                )
            self._entries[name] = _Entry(mode, sha)
            above, _, own = name.rpartition("/")
            self._names.setdefault(above, []).append(own)
        self._known: dict[str, _Known] = {}
        self._links: dict[str, str] = {}
        if not self.is_directory(work_dir):
            raise InvalidArgumentError(
                f"there is no directory {work_dir} in revision {revision}",
                remedy="start from a directory that the revision has",
            )

    def look(self, path: PurePath) -> Seen:
        name = self._real(path)
        entry = self._entries.get(name)
        if entry is None:
            return Seen(Input(name=str(path), digest=None), None)
        known = self._blob(path, entry)
        return Seen(Input(name=str(path), digest=known.digest, size=known.size), name)

    def read(self, path: PurePath, make: Callable[[BinaryIO], T]) -> tuple[Seen, T]:
        seen = self.look(path)
        if seen.input.digest is None:
            raise FileNotFoundError(str(path))
        entry = self._entries[self._real(path)]
        with tempfile.TemporaryFile() as file:
            with self._batch([entry.sha]) as blobs:
                copyfileobj(_next(blobs), file)
            file.seek(0)
            return seen, make(file)

    def list(self, path: PurePath) -> Listing | None:
        if not self.is_directory(path):
            return None
        name = self._real(path)
        names = tuple(sorted(self._names.get(name, ())))
        return Listing(Seen(Input(name=str(path), digest=digest(names)), name), names)

    def is_directory(self, path: PurePath) -> bool:
        with suppress(InvalidArgumentError):
            entry = self._entries.get(self._real(path))
            return entry is not None and entry.mode == _TREE
        return False

    def real(self, path: PurePath) -> PurePath:
        return self.top / self._real(path)

    def first_touched(self, _seen: Sequence[Seen]) -> Seen | None:
        return None

    async def check_unchanged(self, inputs: Sequence[Input]) -> None:
        for one in inputs:
            listing = self.list(PurePath(one.name))
            seen = self.look(PurePath(one.name)) if listing is None else listing.seen
            if seen.input != one:
                raise changed(one)

    @asynccontextmanager
    async def hold(self, inputs: Sequence[Input]) -> AsyncIterator[LocalSources]:
        await self.check_unchanged(inputs)
        with self._scratch.directory() as directory:
            # They are in the revision by the paths they were asked for, links or not.
            files = [PurePath(one.name) for one in inputs if one.digest is not None]
            wanted = {path: self._real(path) for path in files if not self.is_directory(path)}
            self._write(Path(directory), wanted)
            yield LocalTree(Path(directory))

    @contextmanager
    def extracted(self) -> Iterator[LocalSources]:
        """All of it in a private directory, for tools that look for files by themselves."""
        with self._scratch.directory() as directory:
            wanted: dict[PurePath, str] = {}
            for name, entry in self._entries.items():
                path = self.top / name
                with suppress(InvalidArgumentError):
                    real = self._real(path)
                    if real in self._entries and self._entries[real].mode not in (_TREE, _LINK):
                        wanted[path] = real
                    elif entry.mode == _LINK and self.is_directory(path):
                        link = local_path(Path(directory), path)
                        link.parent.mkdir(parents=True, exist_ok=True)
                        link.symlink_to(os.path.relpath(self.top / real, path.parent))
            self._write(Path(directory), wanted)
            yield _Extracted(self, Path(directory))

    def check(self, path: PurePath) -> None:
        """Raise ``InvalidArgumentError`` for a path whose content is not in the repository."""
        if not path.is_relative_to(self.top):
            return
        entry = self._entries.get(self._real(path))
        if entry is not None and entry.mode != _TREE:
            self._blob(path, entry)

    def _write(self, root: Path, files: Mapping[PurePath, str]) -> None:
        for name, entry in self._entries.items():
            if entry.mode == _TREE:
                local_path(root, self.top / name).mkdir(parents=True, exist_ok=True)
        if not files:
            return
        entries = {path: self._entries[name] for path, name in files.items()}
        with self._batch(entry.sha for entry in entries.values()) as blobs:
            for path, entry in entries.items():
                target = local_path(root, PurePath(os.path.normpath(path)))
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    copyfileobj(_next(blobs), file)
                if entry.mode == _PROGRAM:
                    target.chmod(0o700)

    def _blob(self, path: PurePath, entry: _Entry) -> _Known:
        """What is known of a file. Raises ``InvalidArgumentError`` if it is none."""
        if entry.mode == _TREE:
            raise InvalidArgumentError(
                f"{path} is not a regular file", remedy="name a file that can be read twice"
            )
        if entry.sha not in self._known:
            with self._batch([entry.sha]) as blobs:
                blob = _next(blobs)
                pointer = blob.size < _POINTER_BYTES and blob.peek().startswith(_POINTER)
                with tempfile.TemporaryFile() as file:
                    copyfileobj(blob, file)
                    file.seek(0)
                    self._known[entry.sha] = _Known(sha256(file), blob.size, pointer)
        known = self._known[entry.sha]
        if known.pointer:
            raise InvalidArgumentError(
                f"{path} is kept by git-lfs, and revision {self.revision} has only a pointer to it",
                remedy="leave out --ref, or check the revision out: git worktree add DIR REVISION",
            )
        return known

    def _real(self, path: PurePath) -> str:
        """The name in the tree that a path leads to, whether there is something or not.

        Raises ``InvalidArgumentError`` for one that leads out of the revision.
        """
        waiting = deque(self._below_top(path))
        done: list[str] = []
        links = 0
        while waiting:
            part = waiting.popleft()
            if part == "..":
                if done:
                    done.pop()
                else:
                    waiting = self._come_back(path, waiting)
                continue
            done.append(part)
            name = "/".join(done)
            entry = self._entries.get(name)
            if entry is not None and entry.mode == _SUBMODULE:
                raise InvalidArgumentError(
                    f"{path} is in the submodule {name}, which another repository keeps",
                    remedy="start from the submodule, with a revision of its own repository",
                )
            if entry is None or entry.mode != _LINK:
                continue
            links += 1
            if links > _MOST_LINKS:
                raise InvalidArgumentError(
                    f"{path} leads through symbolic links without an end in revision "
                    f"{self.revision}",
                    remedy="correct the links",
                )
            target = PurePath(self._link(entry.sha))
            done = [] if target.is_absolute() else done[:-1]
            parts = self._below_top(target) if target.is_absolute() else target.parts
            waiting.extendleft(reversed(parts))
        return "/".join(done)

    def _come_back(self, path: PurePath, above: deque[str]) -> deque[str]:
        """What is left of a path that has left the work tree, if it leads into it again."""
        place = self.top.parent
        while above and above[0] == "..":
            above.popleft()
            place = place.parent
        place = place.joinpath(*above)
        if not place.is_relative_to(self.top):
            raise self._outside(path)
        return deque(place.relative_to(self.top).parts)

    def _below_top(self, path: PurePath) -> tuple[str, ...]:
        if not path.is_relative_to(self.top):
            # The work tree may have been come to by a link.
            real = PurePath(os.path.realpath(path))
            if not real.is_relative_to(self.top):
                raise self._outside(path)
            path = real
        return path.relative_to(self.top).parts

    def _outside(self, path: PurePath) -> InvalidArgumentError:
        return InvalidArgumentError(
            f"{path} is outside the repository {self.top}, so revision {self.revision} does not "
            "have it",
            remedy="name files of the repository only, or leave out --ref",
        )

    def _link(self, sha: str) -> str:
        if sha not in self._links:
            with self._batch([sha]) as blobs:
                self._links[sha] = os.fsdecode(_next(blobs).read())
        return self._links[sha]

    @contextmanager
    def _batch(self, shas: Iterable[str]) -> Iterator[IO[bytes]]:
        """What ``git cat-file --batch`` writes about blobs, from its beginning."""
        with tempfile.TemporaryFile() as written:
            asked = "".join(f"{sha}\n" for sha in shas).encode()
            try:
                self._run("cat-file", "--batch", stdin=asked, stdout=written)
            except ProgramError as error:
                raise _lacking(error.details) from error
            written.seek(0)
            yield written

    def _find_top(self) -> Path:
        try:
            top = self._git("rev-parse", "--show-toplevel")
        except ProgramError as error:
            raise InvalidArgumentError(
                f"{self._work_dir} is not in the work tree of a git repository, and --ref "
                f"{self.revision} names a revision of one",
                remedy="start from a directory of the repository, or leave out --ref",
                details=error.details,
            ) from error
        return Path(os.fsdecode(top).removesuffix("\n"))

    def _find_commit(self) -> str:
        wanted = f"{self.revision}^{{commit}}"
        try:
            if self.revision.startswith("-") or "\0" in self.revision:
                raise ProgramError("not a revision", remedy="")  # noqa: TRY301 - like an unknown one
            found = self._git("rev-parse", "--verify", "--quiet", wanted).decode().strip()
            if not _COMMIT.fullmatch(found):  # a commit to leave out: ^v1
                raise ProgramError("not a revision", remedy="")  # noqa: TRY301 - the same
        except ProgramError as error:
            raise InvalidArgumentError(
                f"there is no revision {self.revision!r} in {self.top}",
                remedy="name a commit, a branch or a tag that `git log` knows; fetch it if need be",
            ) from error
        return found

    def _git(self, *words: str) -> bytes:
        with tempfile.TemporaryFile() as written:
            self._run(*words, stdout=written)
            written.seek(0)
            return written.read()

    def _run(self, *words: str, stdout: IO[bytes], stdin: bytes = b"") -> None:
        # The repository may be another user's than the engine's: nothing in it is run.
        argv = ["git", "-C", str(self._work_dir), "-c", "safe.directory=*", *words]
        env = {"PATH": os.environ.get("PATH", os.defpath), **_ENV}
        subprocesses.run_into(argv, stdout=stdout, stdin=stdin, env=env)


class _Extracted(LocalTree):
    """A revision in a directory, which still knows what git does not have."""

    def __init__(self, tree: GitTree, root: Path) -> None:
        super().__init__(root)
        self._tree = tree
        self.revision = tree.revision

    def look(self, path: PurePath) -> Seen:
        self._tree.check(path)
        return super().look(path)


class _Blob:
    """One blob in what ``git cat-file --batch`` wrote, to be read to its end."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self.size = self._left = size

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        piece = self._file.read(wanted)
        self._left -= len(piece)
        return piece

    def peek(self) -> bytes:
        """Its first bytes, which are read again."""
        start = self._file.tell()
        first = self._file.read(min(len(_POINTER), self._left))
        self._file.seek(start)
        return first


def _next(file: IO[bytes]) -> _Blob:
    """The next blob. The one before it must have been read to its end."""
    header = file.readline()
    if header == b"\n":  # the end of the blob before
        header = file.readline()
    match = _HEADER.fullmatch(header)
    if match is None:
        raise _lacking(header.decode("utf-8", "replace"))
    return _Blob(file, int(match[1]))


def _lacking(details: str | None) -> InvalidArgumentError:
    return InvalidArgumentError(
        "the repository lacks a file of the revision",
        remedy="fetch it: it may be a partial or a shallow clone",
        details=details,
    )


class Revisions:
    """The sources of each request: its revision's, or this machine's files."""

    def __init__(self, files: Sources, scratch: Scratch = NOBODYS) -> None:
        """``scratch``: where files of revisions are put for tools."""
        self._files = files
        self._scratch = scratch

    async def pin(self, request: PrepareRequest) -> PrepareRequest:
        """The request with its revision's commit, which stays the same.

        Raises ``InvalidArgumentError``.
        """
        if request.ref is None:
            return request
        return replace(
            request, ref=(await asyncio.to_thread(self._tree_of, request, request.ref)).commit
        )

    @asynccontextmanager
    async def of(self, request: PrepareRequest, *, in_directory: bool) -> AsyncIterator[Sources]:
        """The request's sources, until the end of the block.

        ``in_directory``: where they come from a revision, have them in a directory. Raises
        ``InvalidArgumentError``.
        """
        if request.ref is None:
            yield self._files
            return
        tree = await asyncio.to_thread(self._tree_of, request, request.ref)
        if not in_directory:
            yield tree
            return
        async with AsyncExitStack() as stack:
            extracting = tree.extracted()
            extracted = await asyncio.to_thread(extracting.__enter__)
            stack.push(extracting.__exit__)
            yield extracted

    def _tree_of(self, request: PrepareRequest, ref: str) -> GitTree:
        if request.work_dir is None or not Path(request.work_dir).is_dir():
            raise InvalidArgumentError(
                "a request with a ref needs the work_dir that it starts from",
                remedy="name a directory of the repository",
            )
        return GitTree(Path(request.work_dir), ref, self._scratch)
