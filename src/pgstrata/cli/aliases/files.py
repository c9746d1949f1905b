"""Where alias files are, and which one a word means.

They are looked for in the repository that the caller is in, wherever in it that is; without a
repository, in the caller's directory and below. What is in them is another module's.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pgstrata.cli.near import nearest
from pgstrata.errors import InvalidArgumentError
from pgstrata.system.work_tree import work_tree

Use = Literal["prep", "run"]

COMMANDS: dict[Use, tuple[str, ...]] = {"prep": ("prepare", "plan"), "run": ("run",)}
"""Which commands take an alias of each use."""

_BY = ("pgstrata", "s9s")
"""Whose files there are: ours, and older ones of the same shape."""
_PASSED_OVER = frozenset({"node_modules", "__pycache__"})
_MOST_DIRECTORIES = 50_000


class AliasFile(NamedTuple):
    """A file that is an alias by its name."""

    path: Path
    """Absolute."""
    name: str
    use: Use

    def shown(self, directory: Path) -> str:
        """Its path as somebody in a directory would type it."""
        return os.path.relpath(self.path, directory)


def file_name(name: str, use: Use, by: str = _BY[0]) -> str:
    """Return the file name of an alias."""
    return f"{name}.{use}.{by}.yaml"


def recognise(path: Path) -> AliasFile | None:
    """The alias that a file is by its name, if it is one."""
    for use in COMMANDS:
        for by in _BY:
            name = path.name.removesuffix(file_name("", use, by))
            if name not in ("", path.name):
                return AliasFile(path, name, use)
    return None


def every(directory: Path) -> list[AliasFile]:
    """All aliases of the workspace, by their paths. Raises ``InvalidArgumentError``."""
    return sorted(_walk(work_tree(directory)), key=lambda one: one.path.parts)


def find(directory: Path, use: Use, word: str) -> AliasFile:
    """The alias that a word means: a name, or a path with or without the file's ending.

    Raises ``InvalidArgumentError`` if it means none, or several.
    """
    if "/" in word or recognise(Path(word)):
        found = list(_at(Path(os.path.normpath(directory / word)), use))
        known = [] if found else every(directory)
    else:
        known = every(directory)
        found = [one for one in known if one.name == word and one.use == use]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidArgumentError(
            f'there are {len(found)} aliases "{word}"',
            remedy=f"name the file: {found[0].shown(directory)}",
            details="\n".join(one.shown(directory) for one in found),
        )
    raise _not_found(word, use, known, directory)


def _at(path: Path, use: Use) -> Iterator[AliasFile]:
    """The aliases with a path, which may lack the file's ending."""
    named = recognise(path)
    files = [path] if named else [path.with_name(file_name(path.name, use, by)) for by in _BY]
    for file in files:
        alias = recognise(file)
        if alias is not None and alias.use == use and os.path.lexists(file):
            yield alias


def _walk(root: Path) -> Iterator[AliasFile]:
    # A directory that cannot be read, such as a container's data, has no aliases of the caller's.
    for count, (above, directories, files) in enumerate(os.walk(root)):
        if count > _MOST_DIRECTORIES:
            raise InvalidArgumentError(
                f"there are more than {_MOST_DIRECTORIES} directories in {root} to look for "
                "aliases in",
                remedy="name the alias by its path, such as ./db/shop, or start from a repository",
            )
        for name in (*directories, *files):
            if alias := recognise(Path(above, name)):
                yield alias
        directories[:] = sorted(_entered(Path(above), directories))


def _entered(above: Path, directories: Iterable[str]) -> Iterator[str]:
    """Directories to look into: no hidden ones, no others' code, and no other repository."""
    for name in directories:
        hidden = name.startswith(".") or name in _PASSED_OVER
        if not hidden and not (above / name / ".git").exists():
            yield name


def _not_found(
    word: str, use: Use, known: Iterable[AliasFile], directory: Path
) -> InvalidArgumentError:
    name = (recognise(Path(word)) or AliasFile(Path(word), Path(word).name, use)).name
    others = [one for one in known if one.use != use and one.name == name]
    names = [one.name for one in known if one.use == use]
    if others:
        command = COMMANDS[others[0].use][0]
        remedy = f"there is one to {command}: pgstrata {command} {name}"
    elif similar := nearest(name, names):
        remedy = f"did you mean {similar}?"
    elif names:
        remedy = f"there are: {', '.join(sorted({*names}))}"
    else:
        command = f"{COMMANDS[use][0]}:psql"
        remedy = f"write one: pgstrata alias create {name} {command} -- -f FILE"
    return InvalidArgumentError(
        f'there is no alias "{word}" to {COMMANDS[use][0]} in {work_tree(directory)}',
        remedy=remedy,
    )
