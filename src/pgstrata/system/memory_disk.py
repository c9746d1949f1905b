"""A small file tree in memory, for the adapters that keep no files."""

from copy import deepcopy
from pathlib import Path
from typing import Union

_Entry = Union[bytes, "_Directory"]
_Directory = dict[str, _Entry]


class MemoryDisk:
    """Directories and files by absolute path; parent directories are made as needed.

    No call takes longer because there are many entries elsewhere.
    """

    def __init__(self) -> None:
        self._root: _Directory = {}

    def write(self, path: Path, content: bytes) -> None:
        """Make or replace a file. Raises ``IsADirectoryError``."""
        if isinstance(self._find(path), dict):
            raise IsADirectoryError(str(path))
        self._directory(path.parent)[path.name] = content

    def read(self, path: Path) -> bytes | None:
        """A file's content; None if there is no such file."""
        found = self._find(path)
        return found if isinstance(found, bytes) else None

    def make_dir(self, path: Path) -> None:
        """Make a directory, if it does not exist. Raises ``NotADirectoryError``."""
        self._directory(path)

    def exists(self, path: Path) -> bool:
        """Whether there is a file or directory with this path."""
        return self._find(path) is not None

    def children(self, path: Path) -> list[Path]:
        """The entries of a directory, by name; empty if there is no such directory."""
        found = self._find(path)
        return sorted(path / name for name in found) if isinstance(found, dict) else []

    def copy_tree(self, source: Path, target: Path) -> None:
        """Copy a file or a directory with its content.

        Raises ``FileNotFoundError`` without a source, ``FileExistsError`` if there is a target.
        """
        found = self._find(source)
        if found is None:
            raise FileNotFoundError(str(source))
        if self.exists(target):
            raise FileExistsError(str(target))
        self._directory(target.parent)[target.name] = deepcopy(found)

    def rename(self, source: Path, target: Path) -> None:
        """Move a file or a directory with its content; raises like ``copy_tree``."""
        self.copy_tree(source, target)
        self.remove_tree(source)

    def remove_tree(self, path: Path) -> None:
        """Remove a file or a directory with its content, if it exists."""
        if self.exists(path):
            del self._directory(path.parent)[path.name]

    def _find(self, path: Path) -> _Entry | None:
        found: _Entry | None = self._root
        for name in path.parts[1:]:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    def _directory(self, path: Path) -> _Directory:
        directory = self._root
        for name in path.parts[1:]:
            below = directory.setdefault(name, {})
            if not isinstance(below, dict):
                raise NotADirectoryError(str(path))
            directory = below
        return directory
