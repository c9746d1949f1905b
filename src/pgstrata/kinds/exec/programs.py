"""Which program a word means, what comes with it, and what of it counts."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pgstrata.errors import InvalidArgumentError

_SYSTEM = "/usr/local/bin:/usr/bin:/bin"
_PROGRAM_DIRECTORIES = ("bin", "sbin", ".bin")
_PIECE_BYTES = 1 << 20
_LONGEST_FIRST_LINE = 4096


def find(word: str, work_dir: Path, path: str | None) -> Path:
    """The program that a shell would run for a word. Raises ``InvalidArgumentError``."""
    if "/" in word:
        return check(work_dir / word)
    directories = (path or _SYSTEM).split(os.pathsep)
    found = shutil.which(word, path=os.pathsep.join(str(work_dir / one) for one in directories))
    if found is None:
        raise InvalidArgumentError(
            f"there is no command {word} in {', '.join(directories)}",
            remedy="install it, or give its path with a slash: ./migrate.sh",
        )
    return Path(found)


def check(program: Path) -> Path:
    """The program, if it is one. Raises ``InvalidArgumentError``."""
    if not program.exists():
        raise InvalidArgumentError(f"there is no program {program}", remedy="correct its path")
    if not program.is_file():
        raise InvalidArgumentError(f"{program} is not a file", remedy="name a program")
    if not os.access(program, os.X_OK):
        raise InvalidArgumentError(
            f"{program} is not executable", remedy=f"chmod +x {program}, or run it with its shell"
        )
    return program


def comes_with(program: Path, work_dir: Path, path: str | None) -> Iterator[Path]:
    """What a program needs to run: where it is installed, and the interpreters it names."""
    waiting, known = [program], set[Path]()
    while waiting:
        one = Path(os.path.normpath(waiting.pop()))
        if one in known:
            continue
        known.add(one)
        yield one
        above = one.parent.parent
        # A project may have a directory of programs as well, and is not one of them.
        if one.parent.name in _PROGRAM_DIRECTORIES and not work_dir.is_relative_to(above):
            yield above
        if one.is_symlink():
            waiting.append(one.parent / one.readlink())
        else:
            waiting += _interpreters(one, path)


def _interpreters(program: Path, path: str | None) -> list[Path]:
    with program.open("rb") as file:
        line = file.readline(_LONGEST_FIRST_LINE)
    if not line.startswith(b"#!"):
        return []
    words = os.fsdecode(line[2:]).split()
    found = [Path(word) for word in words[:1] if Path(word).is_file()]
    if found and found[0].name == "env":
        named = (shutil.which(word, path=path) for word in words[1:] if not word.startswith("-"))
        found += [Path(one) for one in named if one is not None]
    return found


def content(file: BinaryIO) -> str:
    """The digest of a program; where a script's interpreter is does not matter, as for any path."""
    first = file.readline(_LONGEST_FIRST_LINE)
    if first.startswith(b"#!"):
        first = b" ".join(word.rpartition(b"/")[2] for word in first[2:].split())
    hashed = hashlib.sha256(first + b"\n")
    while piece := file.read(_PIECE_BYTES):
        hashed.update(piece)
    return hashed.hexdigest()
