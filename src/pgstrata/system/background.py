"""Work that goes on forever beside everything else, until its context is left."""

import asyncio
import logging
from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

from pgstrata.system.cancellation import cancel

_log = logging.getLogger(__name__)


class Background(ABC):
    """Does its work in a task of its own. Use it as an async context."""

    task_name: ClassVar[str]
    ended: ClassVar[str]
    """What no longer happens if the work ends by a fault of ours, for the log."""

    _task: asyncio.Task[None] | None = None

    @abstractmethod
    async def work(self) -> None:
        """Work forever."""

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self.work(), name=self.task_name)
        self._task.add_done_callback(self._log_failure)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task is not None:
            await cancel(self._task)

    def _log_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error(self.ended, exc_info=error)
