"""Retention: of the finished jobs that ask for the same, the newest stay."""

import asyncio
from datetime import timedelta

from pgstrata.domain.model import utc_now
from pgstrata.queue.base import Queue


class Retention:
    """Removes old jobs with their tasks and events, never one that has not ended."""

    def __init__(self, queue: Queue, *, limit: int, grace_seconds: float) -> None:
        """Keep ``limit`` alike, 0 for all, and every one for ``grace_seconds`` after its end: its
        client may not have read the end yet.
        """
        self._queue = queue
        self._limit = limit
        self._grace = grace_seconds
        self._looked: dict[str, float] = {}

    async def trim(self, signature: str | None) -> None:
        """Remove what is too many of the jobs with this signature."""
        if not self._limit or signature is None or not self._is_due(signature):
            return
        latest = utc_now() - timedelta(seconds=self._grace)
        for old in (await self._queue.finished_alike(signature))[self._limit :]:
            if old.finished_at is not None and old.finished_at <= latest:
                await self._queue.remove(old.job_id)

    def _is_due(self, signature: str) -> bool:
        """Whether it is worth looking: within the grace after a look nothing new can be removed."""
        now = asyncio.get_running_loop().time()
        self._looked = {known: at for known, at in self._looked.items() if now - at < self._grace}
        due = signature not in self._looked
        self._looked.setdefault(signature, now)
        return due
