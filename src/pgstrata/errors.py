"""Every error a person can meet, one class each: its code, its HTTP status, its exit code.

Engine, client and command line share these classes. An error crosses the wire as its code, and is
of the same class again on the other side. The message names the thing that is wrong and the remedy
says what to do about it, each in one line; ``details`` carries a tool's own words. On the wire, and
in the store, remedy and tool's words are one string: ``join_details`` and ``split_details``.
"""

import errno
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pgstrata.domain.job import ErrorBody


class PgstrataError(Exception):
    """The base of all errors of this project."""

    code = "internal_error"
    # For faults of our own alone: what people or their machines can cause has another.
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 3

    def __init__(
        self,
        message: str,
        *,
        remedy: str | None = None,
        details: str | None = None,
        code: str | None = None,
    ) -> None:
        """``code`` is what the engine said, where that is not the class's own."""
        super().__init__(message)
        self.message = message
        # It is a line on the wire, and what it names, such as a file, may have line breaks in it.
        self.remedy = " ".join((remedy or "").splitlines()) or None
        self.details = details
        self.code = code or self.code

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" in vars(cls):
            _BY_CODE.setdefault(cls.code, cls)

    def body(self) -> "ErrorBody":
        """The error as clients see it."""
        # A command that only shows its help, or why it was used wrongly, needs no models.
        from pgstrata.domain.job import ErrorBody

        return ErrorBody(
            code=self.code, message=self.message, details=join_details(self.remedy, self.details)
        )


_BY_CODE: dict[str, type[PgstrataError]] = {PgstrataError.code: PgstrataError}


def join_details(remedy: str | None, words: str | None) -> str | None:
    """A remedy, of one line, and a tool's words as the one string that ``details`` is."""
    if not words:
        return remedy
    return f"{remedy}\n\n{words}" if remedy else f"\n{words}"


def split_details(details: str | None) -> tuple[str | None, str | None]:
    """The remedy and the tool's words that a string of ``join_details`` was made of.

    Lines without a blank one after the first are a tool's words alone: not every engine has had
    remedies.
    """
    first, _, rest = (details or "").partition("\n")
    if first and rest and not rest.startswith("\n"):
        return None, details
    return first or None, (rest.removeprefix("\n") if first else rest) or None


def is_known(code: str) -> bool:
    """Whether there is a class for a code."""
    return code in _BY_CODE


def error_class(code: str | None, http_status: int) -> type[PgstrataError]:
    """The class of an error that an engine answered with: its code decides.

    The status stands in for a code that is not known here, which a newer engine may have, and for
    one that is missing, since it was a proxy that answered.
    """
    if code in _BY_CODE:
        return _BY_CODE[code]
    if code is None and http_status in _GATEWAY_STATUSES:
        return UnreachableError
    if http_status in _BY_STATUS:
        return _BY_STATUS[http_status]
    return InvalidArgumentError if 400 <= http_status < 500 else PgstrataError


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
    """The request conflicts with something that exists."""

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
    http_status = 504
    exit_code = 1


class EngineStoppingError(PgstrataError):
    """The engine is about to end and takes no more work; the next one will."""

    code = "engine_stopping"
    http_status = 503


class UnreadableJobError(PgstrataError):
    """What is stored of a job cannot be understood any more, so it cannot go on."""

    code = "unreadable_job"
    http_status = 409


class StepFailedError(PgstrataError):
    """A step's tool ended with an error of its own; ``details`` are the tool's words."""

    code = "step_failed"
    http_status = 400
    exit_code = 1


class InputChangedError(PgstrataError):
    """A file changed between being read for the plan and the end of the step that used it."""

    code = "input_changed"
    http_status = 409
    exit_code = 1


class StateUnusableError(PgstrataError):
    """A step left a cluster that cannot be kept as a state."""

    code = "state_unusable"
    http_status = 409
    exit_code = 1


class ServerError(PgstrataError):
    """A PostgreSQL server could not be initialised, started, reached or stopped."""

    code = "server_failed"
    http_status = 503


class BackendUnavailableError(PgstrataError):
    """A snapshot backend was asked for by name and does not work on the store's file system."""

    code = "backend_unavailable"
    http_status = 503


class StoreUnusableError(PgstrataError):
    """The store cannot be used: not writable, in use by another engine, or not to be reached."""

    code = "store_unusable"
    http_status = 503


class DiskFullError(StoreUnusableError):
    """What was to be done does not fit on the store's disk any more."""

    code = "disk_full"
    http_status = 507


class ProgramError(PgstrataError):
    """A program could not be started or ended badly."""

    code = "program_failed"
    http_status = 503


class ToolMissingError(ProgramError):
    """A tool that the request needs is not on the engine's machine, or does not work there."""

    code = "tool_missing"
    http_status = 400


class MachineError(PgstrataError):
    """A disk fails, or one of the operating system's limits is reached."""

    code = "machine_failed"
    http_status = 503


class HostLimitError(PgstrataError):
    """A limit of the machine is reached: too many instances, or too little memory."""

    code = "host_limit"
    http_status = 409
    exit_code = 4


class CacheFullUnreclaimableError(PgstrataError):
    """The cache is full, and nothing in it may be evicted."""

    code = "cache_full_unreclaimable"
    http_status = 507
    exit_code = 1


class CacheLimitTooSmallError(PgstrataError):
    """The cache's limit does not even allow for the one state that is to be kept."""

    code = "cache_limit_too_small"
    http_status = 507
    exit_code = 1


class CacheEnforcementUnavailableError(PgstrataError):
    """The use of the cache cannot be measured, or nothing can be removed from it."""

    code = "cache_enforcement_unavailable"
    http_status = 503
    exit_code = 1


class BodyTooLargeError(PgstrataError):
    """The request's body is larger than the engine is willing to hold."""

    code = "body_too_large"
    http_status = 413
    exit_code = 2


def machine_error(error: OSError) -> MachineError | None:
    """What an error of the operating system says of the machine; None if the fault may be ours."""
    if error.errno not in _MACHINE_TROUBLES:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return MachineError(
        f"the operating system reported an error: {where}{error.strerror}",
        remedy="check the machine's disks, and the engine's limits on files and memory",
    )


_MACHINE_TROUBLES = frozenset(
    {
        *(errno.EIO, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ESTALE),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
    }
)


# What a client alone can meet


class UnreachableError(PgstrataError):
    """No engine answers, or the connection to it broke."""

    code = "engine_unreachable"


class WaitedTooLongError(PgstrataError):
    """The time given with ``--timeout`` is over."""

    code = "timed_out"


class JobFailedError(PgstrataError):
    """The job ended with an error, whose code this bears."""

    code = "job_failed"
    exit_code = 1


_BY_STATUS: dict[int, type[PgstrataError]] = {
    401: UnauthorizedError,
    403: UnauthorizedError,
    404: NotFoundError,
    409: ConflictError,
    416: RangeNotSatisfiableError,
}
_GATEWAY_STATUSES = frozenset({502, 503, 504})
"""What a proxy says when it cannot reach the engine behind it."""
