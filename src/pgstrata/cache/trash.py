"""Deletes volumes in the background: invisible at once, deleted a little later.

Volumes that are left when the engine stops have hidden names, and the next engine purges them.
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


class Trash:
    """Deletes volumes, one at a time. Use it as an async context."""

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
        if self._work is not None:
            await cancel(self._work)

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
