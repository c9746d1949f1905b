"""Deletes volumes in the background: invisible at once, deleted a little later.

An engine that stops deletes what is left, several at a time, for so long as it may take. Volumes
that are left even then, or after a kill, have hidden names, and the next engine purges them.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from pgstrata.statefs.base import StateFS
from pgstrata.system.cancellation import cancel

_log = logging.getLogger(__name__)

AT_ONCE = 4
"""How many volumes are deleted at the same time when the engine stops."""

STOP_SECONDS = 10.0
"""How long it deletes before it leaves the rest to the next engine."""


class Trash:
    """Deletes volumes, one at a time until it has to be quick. Use it as an async context."""

    def __init__(self, statefs: StateFS) -> None:
        self._fs = statefs
        self._hidden: deque[Path] = deque()
        self._work: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        works = [
            asyncio.create_task(self._delete_all(), name="deleting files at the end")
            for _ in range(min(AT_ONCE, len(self._hidden)))
        ]
        if self._work is not None:
            works.append(self._work)
        if not works:
            return
        try:
            await asyncio.wait(works, timeout=STOP_SECONDS)
        finally:
            await cancel(*works)

    async def put(self, volumes: Iterable[Path]) -> None:
        """Make volumes invisible to every reader, and delete their files later. May be repeated."""
        for volume in volumes:
            hidden = await self._fs.hide(volume)
            if hidden is not None:
                self._hidden.append(hidden)
                self._begin()

    async def join(self) -> None:
        """Wait until all files are deleted."""
        if self._work is not None:
            await self._work

    def _begin(self) -> None:
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._delete_all(), name="deleting files")

    async def _delete_all(self) -> None:
        while self._hidden:
            hidden = self._hidden.popleft()
            try:
                await self._fs.delete(hidden)
            except OSError as error:
                _log.warning("%s cannot be deleted, the next engine will try: %s", hidden, error)
