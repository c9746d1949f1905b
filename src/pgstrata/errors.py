"""Every error a person can meet, one class each: its code, its HTTP status, its exit code.

The message names the thing that is wrong and the remedy says what to do about it; both are one
line. ``details`` carries a tool's own words.
"""

from typing import ClassVar

from pgstrata.domain.job import ErrorBody


class PgstrataError(Exception):
    """The base of all errors of this project."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 3

    def __init__(
        self, message: str, *, remedy: str | None = None, details: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.details = details

    def body(self) -> ErrorBody:
        """The error as clients see it."""
        return ErrorBody(
            code=self.code, message=self.message, details=self.details, remedy=self.remedy
        )


class InvalidArgumentError(PgstrataError):
    """The request cannot be carried out as it stands."""

    code = "invalid_argument"
    http_status = 400
    exit_code = 2


class UncacheableError(InvalidArgumentError):
    """A recipe has inputs that cannot be known beforehand, so no state can be named after them."""


class UnauthorizedError(PgstrataError):
    """The bearer token is missing or wrong."""

    code = "unauthorized"
    http_status = 401


class NotFoundError(PgstrataError):
    """There is no such job, state, instance, name or route."""

    code = "not_found"
    http_status = 404
    exit_code = 1


class MethodNotAllowedError(PgstrataError):
    """The path is known, the method is not."""

    code = "method_not_allowed"
    http_status = 405


class RangeNotSatisfiableError(PgstrataError):
    """A range of events that starts behind the last one."""

    code = "range_not_satisfiable"
    http_status = 416


class ConflictError(PgstrataError):
    """Something that exists stands in the way."""

    code = "conflict"
    http_status = 409
    exit_code = 4


class CancelledJobError(PgstrataError):
    """The job was cancelled."""

    code = "cancelled"
    http_status = 409
    exit_code = 1


class JobTimeoutError(PgstrataError):
    """The job ran for longer than it was allowed to."""

    code = "timeout"
    exit_code = 1


class EngineStoppingError(PgstrataError):
    """The engine is about to end and takes no more work; the next one will."""

    code = "engine_stopping"
    http_status = 503


class UnreadableJobError(PgstrataError):
    """What is stored of a job cannot be understood any more, so it cannot go on."""

    code = "unreadable_job"


class StepFailedError(PgstrataError):
    """A step's tool ended with an error of its own; ``details`` are the tool's words."""

    code = "step_failed"
    exit_code = 1


class InputChangedError(PgstrataError):
    """A file changed between being read for the plan and the end of the step that used it."""

    code = "input_changed"
    exit_code = 1


class StateUnusableError(PgstrataError):
    """A step left a cluster that cannot be kept as a state."""

    code = "state_unusable"
    exit_code = 1


class ServerError(PgstrataError):
    """A PostgreSQL server could not be initialised, started, reached or stopped."""

    code = "server_failed"


class BackendUnavailableError(PgstrataError):
    """A snapshot backend was asked for by name and does not work on the store's file system."""

    code = "backend_unavailable"


class StoreUnusableError(PgstrataError):
    """The store cannot be used: not writable, in use by another engine, or not to be reached."""

    code = "store_unusable"


class DiskFullError(StoreUnusableError):
    """What was to be done does not fit on the store's disk any more."""

    code = "disk_full"


class ProgramError(PgstrataError):
    """A program could not be started or ended badly."""

    code = "program_failed"


class HostLimitError(PgstrataError):
    """The machine is not to be asked for more: too many instances, or too little memory."""

    code = "host_limit"
    http_status = 409
    exit_code = 4


class CacheFullUnreclaimableError(PgstrataError):
    """There is no room in the cache, and nothing in it may go."""

    code = "cache_full_unreclaimable"
    http_status = 507
    exit_code = 1


class CacheLimitTooSmallError(PgstrataError):
    """The cache's limit does not even allow for the one state that is to be kept."""

    code = "cache_limit_too_small"
    http_status = 507
    exit_code = 1


class CacheEnforcementUnavailableError(PgstrataError):
    """Nobody can tell how full the cache is, or nothing can be removed from it."""

    code = "cache_enforcement_unavailable"
    http_status = 503
    exit_code = 1
