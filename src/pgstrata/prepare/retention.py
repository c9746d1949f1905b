"""Retention: which finished jobs are kept, and which are removed."""

import asyncio
from datetime import timedelta

from pgstrata.domain.model import utc_now
from pgstrata.prepare.job_log import JobLog
from pgstrata.queue.base import Kept, Queue
from pgstrata.settings import JobLimits

_ALL = ""
"""Stands for all finished jobs among the signatures that were checked."""


class Retention:
    """Removes old jobs with their tasks and events, never one that has not ended.

    A job that has only just finished is kept, since its client may not have read its end yet.
    """

    def __init__(self, queue: Queue, job_log: JobLog, limits: JobLimits) -> None:
        self._queue = queue
        self._job_log = job_log
        self.limits = limits
        self._checked: dict[str, float] = {}

    async def trim(self, signature: str | None) -> None:
        """Remove the surplus of finished jobs with this signature, then that of all."""
        limit = self.limits.max_identical
        if limit and signature is not None and self._is_due(signature):
            latest = utc_now() - self._grace
            for old in (await self._queue.finished_alike(signature))[limit:]:
                if old.finished_at is not None and old.finished_at <= latest:
                    await self._job_log.remove(old.job_id)
        if self._is_due(_ALL):
            await self.trim_all()

    async def trim_all(self) -> None:
        """Remove the finished jobs that are too many, too large together, or too old."""
        now = utc_now()
        limits = self.limits
        kept = Kept(
            number=limits.keep_number or None,
            max_bytes=limits.keep_bytes or None,
            since=now - timedelta(seconds=limits.keep_age) if limits.keep_age else None,
        )
        for job_id in await self._queue.surplus(kept, finished_before=now - self._grace):
            await self._job_log.remove(job_id)

    @property
    def _grace(self) -> timedelta:
        return timedelta(seconds=self.limits.finished_grace)

    def _is_due(self, signature: str) -> bool:
        """Return whether to check: for the grace time after a check, nothing new is removable."""
        now = asyncio.get_running_loop().time()
        grace = self.limits.finished_grace
        self._checked = {known: at for known, at in self._checked.items() if now - at < grace}
        due = signature not in self._checked
        self._checked.setdefault(signature, now)
        return due
