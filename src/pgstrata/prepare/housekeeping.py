"""Housekeeping: what is due now and then, whether or not anybody asks for anything.

Finished jobs become too old, and what was removed leaves room in the database's file.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pgstrata.errors import PgstrataError
from pgstrata.prepare.coordinator import JobCoordinator
from pgstrata.system.background import Background

_log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0


class Housekeeping(Background):
    """Tidies up every minute. Use it as an async context."""

    task_name = "housekeeping"
    ended = "finished jobs are no longer tidied up"

    def __init__(
        self,
        coordinator: JobCoordinator,
        give_back: Callable[[], Awaitable[None]],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``give_back``: has the database return what room it does not need."""
        self._coordinator = coordinator
        self._give_back = give_back
        self._sleep = sleep

    async def work(self) -> None:
        """Tidy up, now and then, forever."""
        while True:
            try:
                await self._coordinator.trim_history()
                # Giving room back makes everybody wait who writes meanwhile.
                if not self._coordinator.busy:
                    await self._give_back()
            except (PgstrataError, OSError) as error:
                _log.warning("finished jobs could not be tidied up: %s", error)
            await self._sleep(EVERY_SECONDS)
