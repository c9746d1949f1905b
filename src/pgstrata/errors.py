"""All errors that users can see, one class each, with its code, HTTP status and exit code.

The engine, the client and the command line share these classes. An error crosses the wire as its
code and becomes the same class on the other side. The message says what is wrong and the remedy
what to do about it, each in one line; ``details`` is a tool's own output. On the wire and in the
store, the remedy and the output are one string: see ``join_details`` and ``split_details``.
"""

import errno
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from pgstrata.domain.job import ErrorBody


class PgstrataError(Exception):
    """The base class of all errors of this project."""

    code = "internal_error"
    # Only for our own bugs: errors that users or their machines can cause have another status.
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
        """``code``: the engine's, if it is not the class's own."""
        super().__init__(message)
        self.message = message
        # It is one line on the wire, but what it names, such as a file, may contain line breaks.
        self.remedy = " ".join((remedy or "").splitlines()) or None
        self.details = details
        self.code = code or self.code

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        """What a traceback ends with, where a program does not catch it."""
        remedy = self.remedy and f"what to do: {self.remedy}"
        return [note for note in (self.details, remedy) if note]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "code" in vars(cls):
            _BY_CODE.setdefault(cls.code, cls)

    def body(self) -> "ErrorBody":
        """The error as clients see it."""
        # A command that only shows its help or a usage error needs no models.
        from pgstrata.domain.job import ErrorBody

        return ErrorBody(
            code=self.code,
            message=_bounded(self.message, MOST_BYTES),
            details=join_details(
                self.remedy and _bounded(self.remedy, _REMEDY_BYTES),
                self.details and _bounded(self.details, MOST_BYTES - _REMEDY_BYTES - 2),
            ),
        )


_BY_CODE: dict[str, type[PgstrataError]] = {PgstrataError.code: PgstrataError}


MOST_BYTES = 64 << 10
"""How long an error's message, and its details, can be: what they name may have any length."""

_REMEDY_BYTES = 4 << 10
_CUT = " … "


def _bounded(text: str, most: int) -> str:
    """The text, without its middle if it is longer in UTF-8."""
    if len(text) * 4 <= most or len(whole := text.encode("utf-8", "replace")) <= most:
        return text
    half = (most - len(_CUT.encode())) // 2
    return whole[:half].decode("utf-8", "ignore") + _CUT + whole[-half:].decode("utf-8", "ignore")


def join_details(remedy: str | None, output: str | None) -> str | None:
    """Join a remedy, of one line, and a tool's output to the one string that ``details`` is."""
    if not output:
        return remedy
    return f"{remedy}\n\n{output}" if remedy else f"\n{output}"


def split_details(details: str | None) -> tuple[str | None, str | None]:
    """Split a string made by ``join_details`` into the remedy and the tool's output.

    Without a blank line after the first, all lines are a tool's output: older engines had no
    remedies.
    """
    first, _, rest = (details or "").partition("\n")
    if first and rest and not rest.startswith("\n"):
        return None, details
    return first or None, (rest.removeprefix("\n") if first else rest) or None


def known_codes() -> frozenset[str]:
    """Return every code that there is a class for."""
    return frozenset(_BY_CODE)


def is_known(code: str) -> bool:
    """Return whether there is a class for a code."""
    return code in _BY_CODE


def error_class(code: str | None, http_status: int) -> type[PgstrataError]:
    """Return the class of an error from an engine, by its code.

    The status decides if the code is unknown here, as a newer engine's may be, or missing, because
    a proxy responded.
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


class InvalidNameError(InvalidArgumentError):
    """No instance can have this name."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"{name!r} cannot be a name: {reason}",
            remedy="use letters, digits, '-', '_' and '.', such as dev",
        )


class UncacheableError(InvalidArgumentError):
    """A recipe has inputs that cannot be known in advance, so no state can be named after them."""


class UnauthorizedError(PgstrataError):
    """The bearer token is missing or wrong."""

    code = "unauthorized"
    http_status = 401


class HostNotAllowedError(PgstrataError):
    """The engine was called by a name that it does not know, as a rebound one would be."""

    code = "host_not_allowed"
    http_status = 403


class ProgramsNotAllowedError(PgstrataError):
    """The request would run a program as the engine's user, which its setting forbids."""

    code = "programs_not_allowed"
    http_status = 403
    exit_code = 4


class UnsafeListenError(PgstrataError):
    """An engine would listen where others are, without anything that keeps the token secret."""

    code = "unsafe_listen"
    http_status = 400
    exit_code = 4


class NotFoundError(PgstrataError):
    """The job, state, instance, name or route does not exist."""

    code = "not_found"
    http_status = 404
    exit_code = 1


class MethodNotAllowedError(PgstrataError):
    """The path is known, the method is not."""

    code = "method_not_allowed"
    http_status = 405


class RangeNotSatisfiableError(PgstrataError):
    """A range of events starts after the last one."""

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
    """The engine is stopping and accepts no more work; the next one will."""

    code = "engine_stopping"
    http_status = 503


class UnreadableJobError(PgstrataError):
    """The stored job can no longer be read, so it cannot continue."""

    code = "unreadable_job"
    http_status = 409


class StepFailedError(PgstrataError):
    """A step's tool failed; ``details`` is the tool's output."""

    code = "step_failed"
    http_status = 400
    exit_code = 1


PREPARE_AGAIN = "it is no fault of the step's: prepare again"
"""What to do about a step that was interrupted."""


class StepInterruptedError(PgstrataError):
    """A step's server or tool was ended from outside, which is no fault of the step's."""

    code = "step_interrupted"
    http_status = 503
    exit_code = 1


class LimitExceededError(PgstrataError):
    """A server was stopped since it took more of the machine than it may."""

    code = "limit_exceeded"
    http_status = 409
    exit_code = 1


class InputChangedError(PgstrataError):
    """A file changed after it was read for the plan and before the step that used it ended."""

    code = "input_changed"
    http_status = 409
    exit_code = 1


class NotComparedError(PgstrataError):
    """Two databases could not be compared."""

    code = "not_compared"
    http_status = 409
    exit_code = 3


class StateDamagedError(PgstrataError):
    """The files of a cached state were damaged, and it was removed; it can be built again."""

    code = "state_damaged"
    http_status = 503
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
    """A snapshot backend was chosen by name and does not work on the store's file system."""

    code = "backend_unavailable"
    http_status = 503


class StoreUnusableError(PgstrataError):
    """The store cannot be used: not writable, in use by another engine, or not reachable."""

    code = "store_unusable"
    http_status = 503


class DiskFullError(StoreUnusableError):
    """There is not enough space left on the store's disk."""

    code = "disk_full"
    http_status = 507
    ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT})
    """What the operating system says then."""


class ProgramError(PgstrataError):
    """A program could not be started, or failed."""

    code = "program_failed"
    http_status = 503


class ToolMissingError(ProgramError):
    """A tool that the request needs is not on the engine's machine, or does not work there."""

    code = "tool_missing"
    http_status = 400


class MachineError(PgstrataError):
    """A disk failed, or a limit of the operating system is reached."""

    code = "machine_failed"
    http_status = 503


class HostLimitError(PgstrataError):
    """A limit is reached: of instances, warm servers, memory or open files."""

    code = "host_limit"
    http_status = 409
    exit_code = 4


class CacheFullUnreclaimableError(PgstrataError):
    """The cache is full, and nothing in it may be evicted."""

    code = "cache_full_unreclaimable"
    http_status = 507
    exit_code = 1


class DiskLowError(CacheFullUnreclaimableError):
    """The same, and too little of the disk is free, which others may change."""


class CacheLimitTooSmallError(PgstrataError):
    """The cache's limit is too small for the one state to be stored."""

    code = "cache_limit_too_small"
    http_status = 507
    exit_code = 1


class CacheEnforcementUnavailableError(PgstrataError):
    """The size of the cache cannot be measured, or nothing can be removed from it."""

    code = "cache_enforcement_unavailable"
    http_status = 503
    exit_code = 1


class BodyTooLargeError(PgstrataError):
    """The request's body is larger than the engine accepts."""

    MOST_BYTES: ClassVar = 64 << 20
    """It contains all of a job's standard input."""

    code = "body_too_large"
    http_status = 413
    exit_code = 2


class HeadTooLargeError(PgstrataError):
    """The request's URL and headers are larger than the engine is willing to hold."""

    code = "head_too_large"
    http_status = 431
    exit_code = 2


def machine_error(error: OSError) -> MachineError | None:
    """Convert an error of the operating system; None if it may be our own bug."""
    if error.errno not in _MACHINE_TROUBLES:
        return None
    where = f"{error.filename}: " if error.filename else ""
    return MachineError(
        f"the operating system reported an error: {where}{error.strerror}",
        remedy="check the machine's disks, and the engine's limits on files and memory",
    )


_MACHINE_TROUBLES = frozenset(
    {
        *DiskFullError.ERRNOS,
        *(errno.EIO, errno.EROFS, errno.ESTALE),
        *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
    }
)


# Raised only by clients


class UnreachableError(PgstrataError):
    """No engine responds, or the connection to it broke."""

    code = "engine_unreachable"


class WaitedTooLongError(PgstrataError):
    """The time given with ``--timeout`` is up."""

    code = "timed_out"


class JobFailedError(PgstrataError):
    """The job failed; this has the code of its error."""

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
"""The statuses of a proxy that cannot reach the engine behind it."""
