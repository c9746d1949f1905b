"""What can go wrong on the caller's side, with the exit code it ends the command with.

These are not the engine's errors (``pgstrata.errors``): a client learns of those as JSON, and
importing their models would cost every command more time than it takes to ask.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from pgstrata.errors import PgstrataError


class ClientError(Exception):
    """The engine failed, or what it answered makes no sense. The base of all errors here."""

    exit_code: ClassVar[int] = 3
    code = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        remedy: str | None = None,
        details: str | None = None,
        code: str | None = None,
    ) -> None:
        """``code`` is the engine's own where it gave one; else the class's."""
        super().__init__(message)
        self.code = code or self.code
        self.message = message
        self.remedy = remedy
        self.details = details

    def body(self) -> dict[str, str]:
        """The error in the shape the engine uses for its own."""
        fields = {
            "code": self.code,
            "message": self.message,
            "details": self.details,
            "remedy": self.remedy,
        }
        return {name: text for name, text in fields.items() if text is not None}


class UnreachableError(ClientError):
    """No engine answers, or the connection to it broke."""

    code = "engine_unreachable"


class UnauthorizedError(ClientError):
    """The engine does not know the token."""

    code = "unauthorized"


class WaitedTooLongError(ClientError):
    """The time given with ``--timeout`` is over."""

    code = "timed_out"


class UsageError(ClientError):
    """The command, or what it was given, cannot be carried out as it stands."""

    exit_code = 2
    code = "invalid_argument"


class UnsatisfiableRangeError(ClientError):
    """The engine has no event with the number asked for."""

    code = "range_not_satisfiable"


class NotFoundError(ClientError):
    """There is no such thing."""

    exit_code = 1
    code = "not_found"


class JobFailedError(ClientError):
    """The job ended with an error."""

    exit_code = 1
    code = "job_failed"


class RefusedError(ClientError):
    """A safety rule stands in the way."""

    exit_code = 4
    code = "conflict"


class EngineStoppingError(ClientError):
    """The engine takes no more jobs; when it has ended, another can be started."""

    code = "engine_stopping"


_BY_STATUS: Mapping[int, type[ClientError]] = {
    400: UsageError,
    401: UnauthorizedError,
    404: NotFoundError,
    409: RefusedError,
    416: UnsatisfiableRangeError,
    503: EngineStoppingError,
}

_REMEDIES: Mapping[int, str] = {
    401: "set PGSTRATA_TOKEN to the token in that engine's engine.json",
    404: "`pgstrata ls --all` shows what there is",
    500: "`pgstrata engine logs` shows what the engine said",
}


def from_answer(status: int, body: object) -> ClientError:
    """The error that an answer with a status of 400 and above stands for."""
    fields: Mapping[str, Any] = body if isinstance(body, dict) else {}
    message = fields.get("message") or f"the engine answered with status {status}"
    return _BY_STATUS.get(status, ClientError)(
        str(message),
        remedy=_remedy(status, fields),
        details=fields.get("details"),
        code=fields.get("code"),
    )


def _remedy(status: int, fields: Mapping[str, Any]) -> str | None:
    if status == 404:
        # The engine's own advice speaks of routes.
        return _REMEDIES[status]
    return fields.get("remedy") or _REMEDIES.get(status)


@contextmanager
def engine_errors_translated() -> Iterator[None]:
    """Turn errors of engine code that runs in this process into errors of the client."""
    try:
        yield
    except _engine_error() as error:
        kind = {1: JobFailedError, 2: UsageError, 4: RefusedError}.get(error.exit_code, ClientError)
        raise kind(
            error.message, remedy=error.remedy, details=error.details, code=error.code
        ) from error


def _engine_error() -> "type[PgstrataError]":
    # Only looked at once something was raised, so that what goes well does not pay the import.
    from pgstrata.errors import PgstrataError

    return PgstrataError
