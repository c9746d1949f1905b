"""Notices at once when a server accepts connections.

PostgreSQL announces it in its pid file alone. inotify tells when that was written; looking every
millisecond instead would take a tenth of a start's processor time from the server.
"""

import asyncio
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inotify_simple import INotify, flags

from pgstrata.runtime.postmaster import PID_FILE, Postmaster, read_pid_file

_LOOK_SECONDS = 0.1
"""How often it is looked at all the same: a full queue loses what happened."""

_LOOK_SECONDS_UNTOLD = 0.001
"""How often where nobody tells, since no more may be watched."""


class PidFiles:
    """The pid files of servers that are starting.

    One inotify instance for all of them: closing one takes longer than a server to start.
    """

    def __init__(self) -> None:
        self._inotify: INotify | None = None
        self._written: dict[int, asyncio.Event] = {}

    async def until_ready(self, server: Postmaster, ended: asyncio.Task[None]) -> bool:
        """Wait until the server accepts connections; False if it ended before that.

        ``ended`` is done once the process has ended.
        """
        written = asyncio.Event()
        ended.add_done_callback(lambda _: written.set())
        with self._telling(server.data_dir, written) as told:
            while not ended.done():
                written.clear()
                note = read_pid_file(server.data_dir)
                # It may be another server's, in which case ours is about to give up.
                if note and note.pid == (1 if server.first else server.pid) and note.ready:
                    return True
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS if told else _LOOK_SECONDS_UNTOLD):
                        await written.wait()
        return False

    def close(self) -> None:
        """Watch nothing any more."""
        if self._inotify is not None:
            self._inotify.close()
            self._inotify = None

    @contextmanager
    def _telling(self, data_dir: Path, written: asyncio.Event) -> Iterator[bool]:
        """Set the event whenever the pid file is written; yields whether that is possible."""
        try:
            inotify = self._opened()
            number = inotify.add_watch(data_dir, flags.MODIFY | flags.ONLYDIR | flags.DONT_FOLLOW)
        except OSError:
            yield False
            return
        loop = asyncio.get_running_loop()
        if not self._written:
            loop.add_reader(inotify.fileno(), self._read, inotify)
        self._written[number] = written
        try:
            yield True
        finally:
            del self._written[number]
            if not self._written:
                loop.remove_reader(inotify.fileno())
            with suppress(OSError):  # its directory was removed
                inotify.rm_watch(number)

    def _opened(self) -> INotify:
        if self._inotify is None:
            self._inotify = INotify()
            # Not every runtime is closed that started a server.
            weakref.finalize(self, self._inotify.close)
        return self._inotify

    def _read(self, inotify: INotify) -> None:
        for event in inotify.read(timeout=0):
            if event.name == PID_FILE and (written := self._written.get(event.wd)):
                written.set()
