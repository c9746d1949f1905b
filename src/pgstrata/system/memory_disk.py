"""A small file tree in memory, for the adapters that keep no files."""

from pathlib import Path


class MemoryDisk:
    """Directories and files by absolute path; parent directories are made as needed."""

    def __init__(self) -> None:
        self._entries: dict[Path, bytes | None] = {}  # None for a directory

    def write(self, path: Path, content: bytes) -> None:
        """Make or replace a file. Raises ``IsADirectoryError``."""
        if path in self._entries and self._entries[path] is None:
            raise IsADirectoryError(str(path))
        self.make_dir(path.parent)
        self._entries[path] = content

    def read(self, path: Path) -> bytes | None:
        """A file's content; None if there is no such file."""
        return self._entries.get(path)

    def make_dir(self, path: Path) -> None:
        """Make a directory, if it does not exist. Raises ``NotADirectoryError``."""
        for directory in (path, *path.parents):
            if self._entries.setdefault(directory, None) is not None:
                raise NotADirectoryError(str(directory))

    def exists(self, path: Path) -> bool:
        """Whether there is a file or directory with this path."""
        return path in self._entries

    def children(self, path: Path) -> list[Path]:
        """The entries of a directory, by name; empty if there is no such directory."""
        return sorted(entry for entry in self._entries if entry.parent == path and entry != path)

    def copy_tree(self, source: Path, target: Path) -> None:
        """Copy a file or a directory with its content.

        Raises ``FileNotFoundError`` without a source, ``FileExistsError`` if there is a target.
        """
        if source not in self._entries:
            raise FileNotFoundError(str(source))
        if target in self._entries:
            raise FileExistsError(str(target))
        self.make_dir(target.parent)
        copies = {target / old.relative_to(source): self._entries[old] for old in self._at(source)}
        self._entries.update(copies)

    def rename(self, source: Path, target: Path) -> None:
        """Move a file or a directory with its content; raises like ``copy_tree``."""
        self.copy_tree(source, target)
        self.remove_tree(source)

    def remove_tree(self, path: Path) -> None:
        """Remove a file or a directory with its content, if it exists."""
        for entry in self._at(path):
            del self._entries[entry]

    def _at(self, path: Path) -> list[Path]:
        return [entry for entry in self._entries if entry.is_relative_to(path)]
