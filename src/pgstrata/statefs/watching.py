"""Measures a volume again by what changed in it meanwhile, as reported by inotify.

Examining each of a thousand files takes longer than most steps, and most steps change ten. Every
call blocks.
"""

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from inotify_simple import INotify, flags

from pgstrata.statefs import extents, trees
from pgstrata.statefs.base import Usage
from pgstrata.system import planted, walking
from pgstrata.system.planted import PlantedFileError
from pgstrata.system.walking import Found

_CHANGES = flags.MODIFY | flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO
_LOST = flags.Q_OVERFLOW | flags.IGNORED | flags.ISDIR
"""The kernel could not keep up, or a directory was added or removed."""

_A_DIRECTORY = flags.ONLYDIR | flags.DONT_FOLLOW


class Watches:
    """The volumes that are measured repeatedly while they are written to."""

    def __init__(self) -> None:
        self._watched: dict[Path, _Watched] = {}

    def usage(self, volume: Path, changed_since: float | None) -> Usage:
        """A volume's usage, as ``StateFS.usage``; after the first time from its changes."""
        if changed_since is None:
            return extents.usage(volume)
        watched = self._watched.get(volume)
        if watched is not None and (usage := watched.usage()) is not None:
            return usage
        self.forget(volume)
        try:
            watched = _Watched(volume)
        except OSError:
            # The system's limit of watches is reached.
            return extents.usage(volume, changed_since)
        self._watched[volume] = watched
        return watched.first_usage(changed_since)

    def forget(self, volume: Path) -> None:
        """Stop watching a volume, if it is watched."""
        watched = self._watched.pop(volume, None)
        if watched is not None:
            watched.close()

    def __del__(self) -> None:
        for volume in tuple(self._watched):
            self.forget(volume)


class _Watched:
    def __init__(self, volume: Path) -> None:
        self._volume = volume
        self._identity = _identity(volume)
        self._events = INotify()
        self._directories: dict[int, str] = {}
        self._held: dict[str, int] = {}
        self._lost = False

    def first_usage(self, changed_since: float) -> Usage:
        """Examine everything, watching each directory before its files are examined."""
        try:
            return extents.measure(self._record(trees.everything_in(self._volume)), changed_since)
        except BaseException:
            self.close()
            raise

    def usage(self) -> Usage | None:
        """The volume's usage; None if the whole volume must be examined again."""
        changed = self._changed()
        if changed is None or self._identity != _identity(self._volume):
            return None
        for name in changed:
            self._held.pop(name, None)
        for found in _existing(self._volume, changed):
            _begin_to_write_out(found)
        written = extents.measure(self._record(_existing(self._volume, changed)), None)
        if self._lost:
            return None
        everything = sum(self._held.values())
        return Usage(
            exclusive_bytes=written.exclusive_bytes,
            shared_bytes=everything - written.exclusive_bytes,
        )

    def close(self) -> None:
        self._events.close()
        self._lost = True

    def _record(self, files: Iterable[Found]) -> Iterator[Found]:
        for found in files:
            if stat.S_ISDIR(found.status.st_mode):
                self._watch(found)
            elif found.status.st_nlink > 1:
                self._lost = True  # changes under its other name are not reported here
            self._held[found.path] = walking.allocated(found.status)
            yield found

    def _watch(self, directory: Found) -> None:
        path = f"/proc/self/fd/{directory.parent}/{directory.name}"
        try:
            watch = self._events.add_watch(path, _CHANGES | _A_DIRECTORY)
        except OSError:
            self._lost = True
        else:
            self._directories[watch] = directory.path

    def _changed(self) -> set[str] | None:
        """The paths of the files that changed since the last call; None if that is not known."""
        changed = set()
        for event in [] if self._lost else self._events.read(timeout=0):
            if event.mask & _LOST:
                self._lost = True
                break
            changed.add(os.path.join(self._directories[event.wd], event.name))  # noqa: PTH118
        return None if self._lost else changed


def _existing(volume: Path, paths: Iterable[str]) -> Iterator[Found]:
    with planted.open_directory(volume) as root:
        for path in paths:
            directory, _, name = path.rpartition("/")
            with (
                contextlib.suppress(FileNotFoundError, PlantedFileError),
                planted.open_below(root, directory) as parent,
            ):
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                yield Found(status, parent, name, path)


def _begin_to_write_out(found: Found) -> None:
    """Have a file written out, which is waited for when its blocks are looked at."""
    if stat.S_ISREG(found.status.st_mode) and walking.allocated(found.status):
        with (
            contextlib.suppress(OSError, PlantedFileError),
            planted.open_file(found.name, found.parent) as (descriptor, _),
        ):
            trees.begin_to_write_out(descriptor)


def _identity(volume: Path) -> tuple[int, int]:
    status = volume.lstat()
    return status.st_dev, status.st_ino
