"""Goes through trees that others may be changing.

A path leads elsewhere as soon as one of its directories is swapped for a symbolic link, so a tree
is gone through by its open directories. Every call blocks.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from pgstrata.system import planted
from pgstrata.system.descriptors import opened
from pgstrata.system.planted import PlantedFileError

_BLOCK_BYTES = 512  # the unit of st_blocks, whatever the file system's own block size
_DEEPEST = 64
"""How many directories may lie within each other. PostgreSQL's own are five deep."""


class Found(NamedTuple):
    """A name in a tree, and what it stood for when it was found."""

    status: os.stat_result
    parent: int
    """The open directory that it is in, until the next one is asked for."""
    name: str
    path: str
    """Where it is below the root of the tree; empty for the root itself."""


def allocated(status: os.stat_result) -> int:
    """Bytes allocated for one file or directory."""
    return status.st_blocks * _BLOCK_BYTES


def everything_in(path: Path) -> Iterator[Found]:
    """A directory and everything in it, in no particular order.

    What vanishes meanwhile is left out. Raises ``FileNotFoundError`` if ``path`` is missing, and
    ``PlantedFileError`` if it is no directory, or if directories lie too deep within each other.
    """
    with (
        opened(path.parent, os.O_DIRECTORY) as parent,
        planted.open_directory(path.name, parent) as directory,
    ):
        yield Found(os.fstat(directory), parent, path.name, "")
        yield from below(directory)


def below(directory: int, prefix: str = "", depth: int = 0) -> Iterator[Found]:
    """Everything in an open directory, with ``prefix`` before paths; like ``everything_in``."""
    check_depth(depth)
    for entry in listing(directory):
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        path = prefix + entry.name
        yield Found(status, directory, entry.name, path)
        if stat.S_ISDIR(status.st_mode):
            with ExitStack() as opened:
                try:
                    child = opened.enter_context(planted.open_directory(entry.name, directory))
                except (FileNotFoundError, PlantedFileError):
                    continue
                yield from below(child, f"{path}/", depth + 1)


def listing(directory: int) -> "list[os.DirEntry[str]]":
    """The entries of an open directory, which must be open for as long as they are used."""
    with os.scandir(directory) as entries:
        return list(entries)


def check_depth(depth: int) -> None:
    """Raise ``PlantedFileError`` for directories within more than PostgreSQL's own ever are."""
    if depth > _DEEPEST:
        raise PlantedFileError(f"there is a directory within {depth} others")
