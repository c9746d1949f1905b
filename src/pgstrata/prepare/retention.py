"""Retention: of identical finished jobs, only the newest are kept."""

import asyncio
from datetime import timedelta

from pgstrata.domain.model import utc_now
from pgstrata.queue.base import Queue


class Retention:
    """Removes old jobs with their tasks and events, never one that has not ended."""

    def __init__(self, queue: Queue, *, limit: int, grace_seconds: float) -> None:
        """``limit``: how many identical jobs to keep; 0 for all. ``grace_seconds``: how long to
        keep every finished job, since its client may not have read its end yet.
        """
        self._queue = queue
        self.limit = limit
        self._grace = grace_seconds
        self._checked: dict[str, float] = {}

    async def trim(self, signature: str | None) -> None:
        """Remove the surplus of finished jobs with this signature."""
        if not self.limit or signature is None or not self._is_due(signature):
            return
        latest = utc_now() - timedelta(seconds=self._grace)
        for old in (await self._queue.finished_alike(signature))[self.limit :]:
            if old.finished_at is not None and old.finished_at <= latest:
                await self._queue.remove(old.job_id)

    def _is_due(self, signature: str) -> bool:
        """Return whether to check: for the grace time after a check, nothing new is removable."""
        now = asyncio.get_running_loop().time()
        self._checked = {known: at for known, at in self._checked.items() if now - at < self._grace}
        due = signature not in self._checked
        self._checked.setdefault(signature, now)
        return due
