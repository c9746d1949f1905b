"""Notices what happens to names in directories, even if it is undone before anyone looks.

A path is a chain of names, and whoever replaces or moves one of them for a moment makes the path
lead to another file meanwhile. No ``stat`` shows that afterwards; inotify does.
"""

import asyncio
import atexit
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePath
from typing import NamedTuple

from inotify_simple import INotify, flags

_NAMES = flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO
_CONTENT = flags.MODIFY | flags.CLOSE_WRITE
_LOST = flags.Q_OVERFLOW | flags.IGNORED | flags.UNMOUNT
_PAUSE_SECONDS = 1.0
_MOST_LINKS = 40
"""As many symbolic links as Linux follows in one path."""


def watch() -> "Watch":
    """A new watch, to be closed."""
    return Watch(_events())


async def keep_up() -> None:
    """Take what the kernel reports as it comes, for ever: it keeps only so much."""
    while True:
        await asyncio.sleep(_PAUSE_SECONDS)
        _events().drain()


class Watch:
    """Names and directories that somebody relies on. Thread-safe.

    What cannot be watched is looked at again instead, and a change that was undone is then seen
    only by what it did to the inode: of a directory in which something was made or removed, it
    cannot be said whether it was also moved away and back, so that counts.
    """

    def __init__(self, events: "_Events") -> None:
        self._events = events
        self._names: dict[str, _Name] = {}
        self._concerned: set[str] = set()
        self._concerned_content: set[str] = set()
        self._whole: set[str] = set()
        self._watched: dict[str, int] = {}
        self._unwatched: set[str] = set()
        self._disturbed: str | None = None
        self._closed = False

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def follow(self, path: PurePath, *, content: bool = False) -> None:
        """Watch every name on the way to an absolute path, through all symbolic links.

        Neither the path nor any of its directories need exist. ``content``: also that of the file
        there.
        """
        names = [*self._way(str(path))]
        if content and names:
            self._concerned_content.add(names[-1])
            self._listen(self._names[names[-1]].directory, _NAMES | _CONTENT)

    def directory(self, path: PurePath) -> None:
        """Watch every name in a directory, and the content of its files."""
        self._whole.add(str(path))
        self._listen(str(path), _NAMES | _CONTENT)

    def disturbed(self) -> Path | None:
        """The first that was made, removed, replaced or moved since it is watched, or changed."""
        self._events.drain()
        if self._disturbed is None and self._unwatched:
            unlike = (
                full
                for full, name in self._names.items()
                if name.directory in self._unwatched and _look(full, name.directory) != name
            )
            self._disturbed = next(unlike, None)
        return None if self._disturbed is None else Path(self._disturbed)

    def leads_through(self, path: PurePath, name: Path) -> bool:
        """Whether a name is on the way to a path that is watched."""
        return str(name) in self._way(str(path))

    @property
    def complete(self) -> bool:
        """Whether everything could be watched, without a gap."""
        self._events.drain()
        return not self._unwatched

    def close(self) -> None:
        """Stop watching; what is followed from now on is not watched. May be repeated."""
        self._closed = True
        self._events.forget(self, self._watched.values())
        self._watched.clear()

    def note(self, directory: str, name: str, mask: int) -> None:
        """An event in a directory of this watch."""
        if mask & _LOST:
            self._unwatched.add(directory)
            return
        full = _join(directory, name)
        if (
            directory in self._whole
            or (mask & _NAMES and full in self._concerned)
            or (mask & _CONTENT and full in self._concerned_content)
        ):
            self._disturbed = self._disturbed or full

    def note_lost(self) -> None:
        """Events were lost."""
        self._unwatched.update(self._watched)

    def _way(self, path: str) -> Iterator[str]:
        waiting = path.split("/")[::-1]
        directory, links = "/", 0
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                directory = os.path.dirname(directory)  # noqa: PTH120
                continue
            full = _join(directory, part)
            name = self._names.get(full) or self._begin(directory, full)
            yield full
            if name.identity is None:
                return
            if name.link is None:
                directory = full
                continue
            links += 1
            if links > _MOST_LINKS:
                return
            waiting += name.link.split("/")[::-1]
            if name.link.startswith("/"):
                directory = "/"

    def _begin(self, directory: str, full: str) -> "_Name":
        # Watched before it is looked at, so that nothing happens in between.
        self._concerned.add(full)
        if directory not in self._watched:
            self._listen(directory, _NAMES)
        name = self._names[full] = _look(full, directory)
        return name

    def _listen(self, directory: str, events: int) -> None:
        if self._closed:
            return
        try:
            self._watched[directory] = self._events.add(self, directory, events)
        except NotADirectoryError:
            pass  # it is a file whose own name is watched, with nothing below it
        except OSError:
            self._unwatched.add(directory)


class _Name(NamedTuple):
    """A name in a directory, as it was when it was looked at."""

    directory: str
    link: str | None
    """Where it leads, if it is a symbolic link."""
    identity: tuple[int, int, int] | None
    """Differs if it was replaced or moved, and may differ otherwise; None if it does not exist."""


class _Events:
    """One inotify instance for all watches of a process: closing one takes longer than a step."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._inotify: INotify | None = None
        self._watches: dict[int, dict[Watch, set[str]]] = {}

    def add(self, watch: Watch, directory: str, events: int) -> int:
        """Watch a directory. Raises ``OSError`` if that is not possible."""
        with self._lock:
            inotify = self._opened()
            mask = events | flags.ONLYDIR | flags.MASK_ADD
            number = int(inotify.add_watch(directory, mask))
            if number in self._watches:
                self.drain()  # what happened before concerns only those that watched already
            self._watches.setdefault(number, {}).setdefault(watch, set()).add(directory)
            return number

    def drain(self) -> None:
        """Tell every watch what has happened by now."""
        with self._lock:
            for event in self._inotify.read(timeout=0) if self._inotify else ():
                if event.mask & flags.Q_OVERFLOW:
                    for one in {one for some in self._watches.values() for one in some}:
                        one.note_lost()
                for one, directories in self._watches.get(event.wd, {}).items():
                    for directory in directories:
                        one.note(directory, event.name, event.mask)
                if event.mask & flags.IGNORED:
                    self._watches.pop(event.wd, None)

    def forget(self, watch: Watch, numbers: Iterable[int]) -> None:
        """End the part of a watch in these of the kernel's."""
        with self._lock:
            for number in {*numbers} & self._watches.keys():
                self._watches[number].pop(watch, None)
                if not self._watches[number]:
                    del self._watches[number]
                    with suppress(OSError):  # its directory was removed
                        self._opened().rm_watch(number)

    def _opened(self) -> INotify:
        if self._inotify is None:
            self._inotify = INotify()
            atexit.register(self._inotify.close)
        return self._inotify


_events = cache(_Events)
# A fork must not take its parent's events away.
os.register_at_fork(after_in_child=_events.cache_clear)


def _look(full: str, directory: str) -> _Name:
    try:
        seen = os.lstat(full)
        link = os.readlink(full) if stat.S_ISLNK(seen.st_mode) else None  # noqa: PTH115
    except (OSError, ValueError):
        return _Name(directory, None, None)
    return _Name(directory, link, (seen.st_dev, seen.st_ino, seen.st_ctime_ns))


def _join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"
