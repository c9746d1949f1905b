"""A job on its way, as its client knows it: what to read next, how long to wait, how it ended."""

import time

from pgstrata.api.jobs import JobAccepted, JobStatus
from pgstrata.client.answers import error_of
from pgstrata.domain.job import ErrorBody, Event, Result, Status
from pgstrata.errors import PgstrataError, UnreachableError, WaitedTooLongError

FIRST_WAIT = 2
"""How many seconds a request for a job waits for its end: what is cached takes no other request."""
HOUR = 3600
LOST_ENGINES = 3
"""How often an engine may be lost in a row before anything new is heard of the job."""


class Following:
    """One job, from its submission to its end."""

    def __init__(self, submitted: JobAccepted | JobStatus) -> None:
        self.job_id = submitted.job_id
        self.next = 0
        """The number of the event that is to be read next."""
        self._lost = 0
        self._status = Status(submitted.status)
        self._result: Result | None = None
        self._error: ErrorBody | None = None
        if isinstance(submitted, JobStatus):
            self._result, self._error = submitted.result, submitted.error

    @property
    def ended(self) -> bool:
        """Whether the job has."""
        return self._status.terminal

    def take(self, event: Event) -> None:
        """Note an event."""
        self.next += 1
        self._lost = 0
        self._status = event.status if event.type == "status" and event.status else self._status
        self._result = event.result or self._result
        self._error = event.error or self._error

    def lose(self, error: PgstrataError) -> None:
        """Note that the engine was lost. Raises the error if that happened too often."""
        self._lost += 1
        if self._lost > LOST_ENGINES:
            raise error

    def result(self) -> Result | None:
        """What the job came to; None if it only planned. Raises the error that it failed with."""
        if self._error is not None:
            raise error_of(self._error)
        return self._result


def first_wait(timeout: float | None, *, watched: bool) -> int:
    """How many seconds the request for a job may wait for its end."""
    if watched:
        return 0
    return FIRST_WAIT if timeout is None else min(FIRST_WAIT, int(timeout))


def left(deadline: float | None) -> float | None:
    """How many seconds are left up to a deadline. Raises ``WaitedTooLongError`` for none."""
    if deadline is None:
        return None
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise WaitedTooLongError(
            "the database is not ready in the time given, and its job was stopped",
            remedy="give it more; the steps that were built by then are kept",
        )
    return seconds


def stopped() -> UnreachableError:
    """That an engine ended the events of a job before the job ended."""
    return UnreachableError(
        "the engine stopped during the job", remedy="see `pgstrata engine status`"
    )
