"""What an engine answers when it cannot do what it was asked, as the error that it stands for."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pgstrata.errors import NotFoundError, PgstrataError, UnauthorizedError, error_class, parted

if TYPE_CHECKING:
    from pgstrata.domain.job import ErrorBody

_REMEDIES: Mapping[type[PgstrataError], str] = {
    UnauthorizedError: "set PGSTRATA_TOKEN to the token in that engine's engine.json",
    NotFoundError: "`pgstrata ls --all` shows what there is",
    PgstrataError: "`pgstrata engine logs` shows what the engine said",
}


def error_from(status: int, answer: object) -> PgstrataError:
    """The error that an answer with a status of 400 and above stands for."""
    body = _body(answer)
    if body is None:
        return error_class(None, status)(
            f"the answer came with status {status}, and not from an engine",
            remedy="look at the endpoint, and at what stands between it and here",
        )
    kind = error_class(body.code, status)
    # The engine's own advice on what it does not find speaks of routes.
    remedy, words = parted(body.details)
    told = None if kind is NotFoundError else remedy
    return kind(body.message, remedy=told or _REMEDIES.get(kind), details=words, code=body.code)


def _body(answer: object) -> "ErrorBody | None":
    import msgspec

    from pgstrata.domain.job import ErrorBody

    try:
        return msgspec.convert(answer, ErrorBody)
    except msgspec.ValidationError:
        return None
